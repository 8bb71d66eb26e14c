//! The activation behind a layer, however it is written: the nodes that follow are read as a function of one number, and
//! that function is compared with those that the kernels know, over fifty orders of magnitude.

use std::collections::HashMap;

use super::net::Net;
use super::tensor;

/// An activation that follows a value.
pub(super) struct Found {
    /// The last node of the expression.
    pub(super) node: usize,
    /// As the operators' attribute `activation` names it.
    pub(super) name: &'static str,
}

/// The longest expression behind `value` that is a known activation and the only use of `value`. Constants in it may have
/// `rank` dimensions at most, so that they leave the shape as it is.
pub(super) fn after(net: &Net, value: &str, rank: usize) -> Option<Found> {
    let samples = samples();
    let mut known: HashMap<String, Vec<f64>> = HashMap::from([(value.to_owned(), samples.clone())]);
    let mut seen: Vec<usize> = Vec::new();
    let mut best = None;
    let mut edge = vec![value.to_owned()];
    while let Some(name) = edge.pop() {
        for user in net.users(&name) {
            if seen.contains(user) || seen.len() == MOST_NODES {
                continue;
            }
            let Some((output, values)) = evaluate(net, *user, &known, rank) else { continue };
            seen.push(*user);
            if inside(net, &seen, value, *user) {
                let named = |name: &str| samples.iter().map(|x| known_as(name, *x)).collect::<Vec<_>>();
                if let Some(name) = KNOWN.into_iter().find(|name| agree(&values, &named(name))) {
                    best = Some(Found { node: *user, name });
                }
            }
            known.insert(output.clone(), values);
            // A node that waited for this value may be next.
            edge.extend([name.clone(), output]);
        }
    }
    best
}

const MOST_NODES: usize = 12;
const KNOWN: [&str; 5] = ["relu", "relu6", "gelu", "gelu_tanh", "quick_gelu"];

/// Whether everything that takes `value`, or what nodes of `seen` make of it, lies in `seen`, but for what `last` makes.
fn inside(net: &Net, seen: &[usize], value: &str, last: usize) -> bool {
    let taken = |name: &str| {
        let users = net.users(name);
        !users.is_empty() && users.iter().all(|user| seen.contains(user))
    };
    let others = seen.iter().filter(|ix| **ix != last);
    taken(value) && others.filter_map(|ix| net.node(*ix)).all(|node| node.output.iter().all(|name| taken(name)))
}

/// Both signs, from tiny to far beyond what an activation can turn at.
fn samples() -> Vec<f64> {
    let mut samples: Vec<f64> = (-120..=120).map(|i| f64::from(i) / 10.0).collect();
    samples.extend((-20..=30).flat_map(|e| [1.3f64, -1.3].map(|v| v * 10f64.powi(e))));
    samples
}

/// The tolerance is that of constants in float32.
fn agree(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 + 1e-6 * a.abs().max(b.abs()))
}

fn known_as(name: &str, x: f64) -> f64 {
    match name {
        "relu" => x.max(0.0),
        "relu6" => x.clamp(0.0, 6.0),
        "gelu" => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        "gelu_tanh" => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        _ => x * sigmoid(1.702 * x),
    }
}

/// The output of node `ix` over the samples, when it is made of known values and constants of one number.
fn evaluate(net: &Net, ix: usize, known: &HashMap<String, Vec<f64>>, rank: usize) -> Option<(String, Vec<f64>)> {
    let node = net.node(ix)?;
    net.standard(ix, &node.op_type)?;
    let [output] = node.output.as_slice() else { return None };
    let input = |i: usize| -> Option<Vec<f64>> {
        let name = node.input.get(i)?;
        if let Some(values) = known.get(name) {
            return Some(values.clone());
        }
        let constant = f64::from(tensor::scalar(net.constant(name)?, rank)?);
        Some(vec![constant; samples().len()])
    };
    let one = |f: &dyn Fn(f64) -> f64| -> Option<Vec<f64>> { Some(input(0)?.into_iter().map(f).collect()) };
    let two = |f: &dyn Fn(f64, f64) -> f64| -> Option<Vec<f64>> {
        Some(input(0)?.into_iter().zip(input(1)?).map(|(a, b)| f(a, b)).collect())
    };
    let values = match node.op_type.as_str() {
        "Mul" => two(&|a, b| a * b),
        "Div" => two(&|a, b| a / b),
        "Add" => two(&|a, b| a + b),
        "Sub" => two(&|a, b| a - b),
        "Pow" => two(&f64::powf),
        "Neg" => one(&|a| -a),
        "Erf" => one(&erf),
        "Tanh" => one(&f64::tanh),
        "Sigmoid" => one(&sigmoid),
        "Relu" => one(&|a| a.max(0.0)),
        "Gelu" => match tensor::text(node, "approximate") {
            b"" | b"none" => one(&|a| known_as("gelu", a)),
            b"tanh" => one(&|a| known_as("gelu_tanh", a)),
            _ => None,
        },
        "Clip" if node.attribute.is_empty() && node.input.len() == 3 => {
            let (least, most) = (input(1)?, input(2)?);
            Some(input(0)?.into_iter().zip(least.into_iter().zip(most)).map(|(a, (l, m))| a.max(l).min(m)).collect())
        }
        _ => None,
    }?;
    Some((output.clone(), values))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Abramowitz and Stegun 7.1.26, within 1.5e-7.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = p.iter().fold(0.0, |sum, c| sum * t + c) * t;
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is fitted to `agree` must tell the known activations apart.
    #[test]
    fn no_two_activations_agree() {
        for (i, a) in KNOWN.iter().enumerate() {
            for b in &KNOWN[i + 1..] {
                let of = |name| samples().iter().map(|x| known_as(name, *x)).collect::<Vec<_>>();
                assert!(!agree(&of(a), &of(b)), "{a} and {b}");
            }
        }
    }
}

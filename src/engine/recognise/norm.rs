//! Layer norms over the last axis: the operator `LayerNormalization` and the chain of nine that older exports write.

use tract_onnx::tract_hir::internal::*;

use super::layer::float_values;
use super::net::Net;
use super::tensor::{self, With};

/// Makes every layer norm that ends in node `ix` a `LookoutLayerNorm`. True when it did.
pub(super) fn rewrite(net: &mut Net, ix: usize) -> TractResult<bool> {
    let Some(found) = whole(net, ix).or_else(|| chain(net, ix)) else { return Ok(false) };
    let Some(node) = net.node(ix) else { return Ok(false) };
    let (name, output) = (node.name.clone(), node.output[0].clone());
    let gamma = net.add_constant(&name, tensor::of_floats(&[found.gamma.len()], &found.gamma));
    let beta = net.add_constant(&name, tensor::of_floats(&[found.beta.len()], &found.beta));
    let node =
        tensor::node("LookoutLayerNorm", &name, &[&found.x, &gamma, &beta], &output).float("epsilon", found.epsilon);
    net.replace(ix, vec![node])?;
    Ok(true)
}

struct Norm {
    x: String,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    epsilon: f32,
}

fn whole(net: &Net, ix: usize) -> Option<Norm> {
    let node = net.standard(ix, "LayerNormalization")?;
    if tensor::int(node, "axis", -1) != -1 || tensor::int(node, "stash_type", 1) != 1 || node.output.len() != 1 {
        return None;
    }
    let gamma = float_values(net, node.input.get(1)?)?;
    let beta = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(beta) => float_values(net, beta)?,
        None => vec![0.0; gamma.len()],
    };
    let fits = gamma.len() == beta.len() && gamma.len() > 1;
    fits.then(|| Norm { x: node.input[0].clone(), gamma, beta, epsilon: tensor::float(node, "epsilon", 1e-5) })
}

/// `(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * gamma + beta`, from its end.
fn chain(net: &Net, ix: usize) -> Option<Norm> {
    let (scaled, beta) = with_row(net, &net.standard(ix, "Add")?.input)?;
    let (normed, gamma) = with_row(net, &net.made_by(&scaled, "Mul")?.input)?;
    let [centred, deviation] = net.made_by(&normed, "Div")?.input.as_slice() else { return None };
    let variance = &net.made_by(deviation, "Sqrt")?.input[0];
    let [a, b] = net.made_by(variance, "Add")?.input.as_slice() else { return None };
    let (variance, epsilon) = match net.constant(b) {
        Some(epsilon) => (a, epsilon),
        None => (b, net.constant(a)?),
    };
    let epsilon = tensor::scalar(epsilon, 1)?;
    let squares = mean_of(net, variance)?;
    let squared = match net.made_by(&squares, "Pow") {
        Some(pow) => pow.input.first().filter(|_| pow.input.get(1).is_some_and(|two| is_two(net, two)))?,
        None => match net.made_by(&squares, "Mul")?.input.as_slice() {
            [a, b] if a == b => a,
            _ => return None,
        },
    };
    // Some exporters subtract the mean twice.
    let x = centre(net, centred)?;
    let same = squared == centred || centre(net, squared)? == x;
    let fits = same && gamma.len() == beta.len() && gamma.len() > 1;
    fits.then_some(Norm { x, gamma, beta, epsilon })
}

/// `x` where `value` is `x - mean(x)`.
fn centre(net: &Net, value: &str) -> Option<String> {
    let [x, mean] = net.made_by(value, "Sub")?.input.as_slice() else { return None };
    (mean_of(net, mean)? == *x).then(|| x.clone())
}

/// `x` where `value` is its mean over the last axis, which stays as 1.
fn mean_of(net: &Net, value: &str) -> Option<String> {
    let mean = net.made_by(value, "ReduceMean")?;
    let axes = match mean.input.get(1) {
        Some(axes) => tensor::integers(net.constant(axes)?)?,
        None => tensor::ints(mean, "axes").to_vec(),
    };
    (axes == [-1] && tensor::int(mean, "keepdims", 1) == 1).then(|| mean.input[0].clone())
}

/// Of two inputs the one that is a row of numbers, and the other's name.
fn with_row(net: &Net, inputs: &[String]) -> Option<(String, Vec<f32>)> {
    let [a, b] = inputs else { return None };
    float_values(net, b).map(|row| (a.clone(), row)).or_else(|| Some((b.clone(), float_values(net, a)?)))
}

fn is_two(net: &Net, name: &str) -> bool {
    let constant = net.constant(name);
    constant.is_some_and(|t| tensor::scalar(t, 1) == Some(2.0) || tensor::integers(t).as_deref() == Some(&[2]))
}

//! A tower around the nodes under test, and the layer as dynamic quantisation writes it.

use lookout::engine::ImageTower;

use crate::graph::{Attribute, Graph, Noise, tower};

pub const HEIGHT: usize = 8;
pub const WIDTH: usize = 12;
pub const VALUES: usize = 3 * HEIGHT * WIDTH;

/// A tower whose picture becomes `x` of shape `x_shape`; `nodes` make `y` of it, `out` values in a row come out.
pub fn graph(x_shape: &[i64], out: [usize; 2], nodes: impl FnOnce(Graph) -> Graph) -> Vec<u8> {
    tower::graph([HEIGHT, WIDTH], x_shape, nodes, out)
}

pub fn load(file: &[u8], out: [usize; 2]) -> lookout::Result<ImageTower> {
    tower::load(file, [HEIGHT, WIDTH], out, 1)
}

/// Runs the graph; `ours` says how many operators of each kind lookout must run, and `not` what must be gone.
#[track_caller]
pub fn run(
    x: &[f32],
    x_shape: &[i64],
    out: [usize; 2],
    ours: &[(&str, usize)],
    nodes: impl FnOnce(Graph) -> Graph,
) -> Vec<f32> {
    let tower = load(&graph(x_shape, out, nodes), out).expect("the tower loads");
    let report = tower.report();
    for (name, count) in ours {
        assert_eq!(report.lookout.get(*name).copied().unwrap_or(0), *count, "{name} in {report}");
    }
    let left = report.lookout.keys().chain(report.tract.keys()).filter(|name| name.contains("uantize")).count();
    assert!(left == 0 || ours.is_empty(), "{report}");
    tower.encode(x).expect("the tower runs").patches.expect("it has patches").data.to_vec()
}

/// `DynamicQuantizeLinear` on `x`, then `op` with the constants `w`, `zero` and `scale`; the product is `name`.
pub fn dynamic(graph: Graph, op: &str, name: &str, attributes: &[(&str, Attribute)]) -> Graph {
    let [sums, floats, scales] = ["sums", "floats", "scales"].map(|part| format!("{name}_{part}"));
    graph
        .node_of_many("DynamicQuantizeLinear", &["x"], &["xq", "x_scale", "x_zero"], &[])
        .node(op, &["xq", "w", "x_zero", "zero"], &sums, attributes)
        .node("Cast", &[&sums], &floats, &[("to", Attribute::Int(1))])
        .node("Mul", &["x_scale", "scale"], &scales, &[])
        .node("Mul", &[&floats, &scales], name, &[])
}

pub const ROWS: usize = 16;
pub const DEPTH: usize = 18;
pub const COLUMNS: usize = 21;
pub const X_SHAPE: [i64; 3] = [1, ROWS as i64, DEPTH as i64];

/// `x w + b`, and how far a result may be from it: each product off by half a step of its row, as onnxruntime is by half a
/// step of the tensor.
pub fn product(x: &[f32], w: &[f64], b: &[f32], depth: usize) -> Vec<(f64, f64)> {
    let columns = b.len();
    let rows = x.chunks_exact(depth).flat_map(|row| {
        let step = f64::from(row.iter().fold(0f32, |a, v| a.max(v.abs()))) / 127.0;
        (0..columns).map(move |n| {
            let column = || (0..depth).map(|k| w[k * columns + n]);
            let sum: f64 = column().zip(row).map(|(w, x)| w * f64::from(*x)).sum();
            let room = column().map(f64::abs).sum::<f64>() * step / 2.0;
            (sum + f64::from(b[n]), room + 1e-4)
        })
    });
    rows.collect()
}

#[track_caller]
pub fn assert_near(found: &[f32], wanted: &[(f64, f64)], of: impl Fn(f64) -> f64) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, (wanted, room))) in found.iter().zip(wanted).enumerate() {
        // No activation here is steeper than 1.2.
        let off = (f64::from(*found) - of(*wanted)).abs();
        assert!(off <= room * 1.2, "value {i} is {found}, not {} within {room}", of(*wanted));
    }
}

pub fn linear_input(noise: &mut Noise) -> Vec<f32> {
    assert_eq!(ROWS * DEPTH, VALUES);
    noise.floats(VALUES)
}

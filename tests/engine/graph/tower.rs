//! An image tower around one operator.

use lookout::engine::{ImageTower, Options};

use super::{Attribute, Dim, Graph, bundle, picture};

pub const HEIGHT: usize = 12;
pub const WIDTH: usize = 16;

/// An image tower whose picture becomes `x` of shape `x_shape`, `nodes` make `y` of it, and `y` comes out as patches.
pub fn graph(size: [usize; 2], x_shape: &[i64], nodes: impl FnOnce(Graph) -> Graph, out: [usize; 2]) -> Vec<u8> {
    let dims = [1, 3, size[0] as i64, size[1] as i64].map(Dim::Is);
    let start = Graph::default()
        .input::<f32>("image", &dims)
        .constant("x_shape", &[x_shape.len()], x_shape)
        .constant("out_shape", &[3], &[1, out[0] as i64, out[1] as i64])
        .node("Reshape", &["image", "x_shape"], "x", &[]);
    nodes(start)
        .node("Reshape", &["y", "out_shape"], "patches", &[])
        .node(
            "ReduceMean",
            &["patches"],
            "embedding",
            &[("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(0))],
        )
        .output("embedding")
        .output("patches")
        .finish()
}

pub fn load(file: &[u8], size: [usize; 2], out: [usize; 2], threads: usize) -> lookout::Result<ImageTower> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [count, width] = out;
    let sections = picture(size[0], size[1], width)
        + &format!("[patches]\ncount = {count}\nwidth = {width}\ngrid = [{count}, 1]\n");
    ImageTower::load(&bundle(folder.path(), &sections, &[("image", file)]), &Options { threads })
}

pub fn run(x: &[f32], x_shape: &[i64], nodes: impl FnOnce(Graph) -> Graph, out: [usize; 2]) -> Vec<f32> {
    let file = graph([HEIGHT, WIDTH], x_shape, nodes, out);
    let tower = load(&file, [HEIGHT, WIDTH], out, 2).expect("the tower loads");
    tower.encode(x).expect("the tower runs").patches.expect("it has patches").data.to_vec()
}

pub fn assert_near(found: &[f32], wanted: &[f64], within: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*f) - w).abs() < within, "{what}: value {i} is {f}, not {w}");
    }
}

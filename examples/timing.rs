//! Least milliseconds on one thread, many interleaved runs: the default bundle's image tower, and attention blocks of equal
//! width with full attention, static keys folded into the projection, and static keys apart.
//!
//!     cargo run --release --example timing [tower | blocks]

use std::time::Instant;

use lookout::bundle::Bundle;
use lookout::engine::{ImageTower, Options, kernel_name};

#[path = "../tests/engine/graph/mod.rs"]
mod graph;

use graph::{Attribute, Dim, Graph, Noise, bundle, picture};

/// `tokens` of `width`: a projection to what the operator takes, the operator, a projection back.
fn block(tokens: usize, width: usize, heads: usize, operator: &str) -> ImageTower {
    let mut noise = Noise(1);
    let channels = match operator {
        "LookoutAttention" => 3 * width,
        "LookoutStaticKeyAttention" => heads * tokens + width,
        _ => 2 * width,
    };
    let mut attributes = vec![("heads", Attribute::Int(heads as i64))];
    if operator != "LookoutAttention" {
        attributes.push(("keys", Attribute::Int(tokens as i64)));
    }
    // The picture is repeated until there are enough values.
    let mut graph = Graph::default()
        .input::<f32>("image", &[Dim::Is(1), Dim::Is(3), Dim::Is(tokens as i64), Dim::Is((width / 3 + 1) as i64)])
        .constant("flat", &[3], &[1, tokens as i64, (width / 3 + 1) as i64 * 3])
        .constant("from", &[1], &[0i64])
        .constant("to", &[1], &[width as i64])
        .constant("axis", &[1], &[2i64])
        .node("Reshape", &["image", "flat"], "tokens", &[])
        .node("Slice", &["tokens", "from", "to", "axis"], "x", &[]);
    for (name, depth, columns) in [("a", width, channels), ("b", width, width)] {
        graph = graph
            .constant(&format!("{name}w"), &[depth, columns], &noise.bytes(depth * columns))
            .constant(&format!("{name}s"), &[columns], &vec![0.001; columns])
            .constant(&format!("{name}b"), &[columns], &noise.floats(columns));
    }
    if operator == "LookoutStaticKeyAttentionUnfolded" {
        let depth = width / heads;
        graph = graph.constant("k", &[heads, depth, tokens], &noise.bytes(heads * depth * tokens)).constant(
            "ks",
            &[heads, tokens],
            &vec![0.001; heads * tokens],
        );
    }
    let inputs: &[&str] = if operator == "LookoutStaticKeyAttentionUnfolded" { &["m", "k", "ks"] } else { &["m"] };
    let file = graph
        .node("LookoutLinear", &["x", "aw", "as", "ab"], "m", &[])
        .node(operator, inputs, "n", &attributes)
        .node("LookoutLinear", &["n", "bw", "bs", "bb", "x"], "y", &[])
        .node("ReduceMean", &["y"], "embedding", &[("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(0))])
        .output("embedding")
        .finish();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bundle = bundle(folder.path(), &picture(tokens, width / 3 + 1, width), &[("image", &file)]);
    ImageTower::load(&bundle, &Options { threads: 1 }).expect("the block loads")
}

/// Least milliseconds of each, in turns.
fn race(towers: &[(&ImageTower, Vec<f32>)], rounds: usize) -> Vec<f64> {
    let mut least = vec![f64::MAX; towers.len()];
    for _ in 0..rounds {
        for ((tower, pixels), least) in towers.iter().zip(&mut least) {
            for _ in 0..2 {
                let start = Instant::now();
                tower.encode(pixels).expect("the tower runs");
                *least = least.min(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    least
}

fn main() -> lookout::Result<()> {
    let only = std::env::args().nth(1);
    let wanted = |what: &str| only.as_ref().is_none_or(|only| only == what);
    println!("{} kernels, one thread, least of many runs", kernel_name());
    if wanted("tower") {
        let default = ImageTower::load(&Bundle::open(&Bundle::default_path()?)?, &Options { threads: 1 })?;
        let ms = race(&[(&default, Noise(2).floats(3 * 256 * 256))], 400)[0];
        println!("image tower of the default bundle: {ms:.3} ms");
    }
    if !wanted("blocks") {
        return Ok(());
    }
    for (tokens, width, heads) in [(64, 256, 4), (196, 384, 6), (196, 384, 2), (49, 384, 6)] {
        let kinds = ["LookoutAttention", "LookoutStaticKeyAttention", "LookoutStaticKeyAttentionUnfolded"];
        let blocks = kinds.map(|kind| block(tokens, width, heads, kind));
        let pixels = Noise(3).floats(3 * tokens * (width / 3 + 1));
        let ms = race(&blocks.each_ref().map(|block| (block, pixels.clone())), 150);
        println!(
            "{tokens} tokens of {width}, {heads} heads: full {:.4} ms, static folded {:.2}, static apart {:.2} of it",
            ms[0],
            ms[1] / ms[0],
            ms[2] / ms[0]
        );
    }
    Ok(())
}

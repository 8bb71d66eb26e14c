//! The towers agree with onnxruntime on 32 pictures and 64 sentences.
//!
//! The stored outputs were made by `models/recipe/fixtures/towers.py` with the stock float twins of the default
//! bundle, whose weights are the dequantised int8 ones: the difference is the engine's alone.

use std::path::{Path, PathBuf};

use lookout::bundle::Bundle;
use lookout::engine::{ImageTower, Options, TextTower};
use lookout::picture::Picture;

const COSINE: f32 = 0.999;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn stored(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(root().join("tests/fixtures/towers").join(name)).expect(name);
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn index() -> serde_json::Value {
    let text = std::fs::read_to_string(root().join("tests/fixtures/towers/towers.json")).expect("towers.json");
    serde_json::from_str(&text).expect("towers.json is JSON")
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

fn open() -> Bundle {
    Bundle::open(&root().join("models/default")).expect("the default bundle opens")
}

fn cut(file: &str, crop: &[u64]) -> Picture {
    let picture = Picture::open(Path::new(&root().join("tests/fixtures/towers").join(file))).expect(file);
    picture.crop(crop[0] as u32, crop[1] as u32, crop[2] as u32, crop[3] as u32)
}

#[test]
fn image_tower_agrees_with_onnxruntime() {
    let (bundle, index) = (open(), index());
    let tower = ImageTower::load(&bundle, &Options::default()).expect("image tower loads");
    let preprocess = bundle.manifest().picture().preprocess();
    let (embeddings, patches) = (stored("image-embeddings.f32"), stored("image-patches.f32"));
    let rows = index["pictures"].as_array().expect("pictures");
    let tokens: Vec<usize> =
        index["patch_tokens"].as_array().expect("tokens").iter().map(|t| t.as_u64().expect("index") as usize).collect();
    assert_eq!(rows.len(), 32);
    let (width, mut worst) = (embeddings.len() / rows.len(), (1.0f32, 1.0f32));
    for (i, row) in rows.iter().enumerate() {
        let crop: Vec<u64> = row["crop"].as_array().expect("crop").iter().map(|v| v.as_u64().expect("pixel")).collect();
        let picture = cut(row["file"].as_str().expect("file"), &crop);
        let seen = tower.encode(&preprocess.apply(&picture)).expect("encodes");
        let near = cosine(&seen.embedding, &embeddings[i * width..(i + 1) * width]);
        let map = seen.patches.expect("the default bundle gives patches");
        let ours: Vec<f32> =
            tokens.iter().flat_map(|t| map.data[t * map.width..(t + 1) * map.width].iter().copied()).collect();
        let near_patches = cosine(&ours, &patches[i * ours.len()..(i + 1) * ours.len()]);
        worst = (worst.0.min(near), worst.1.min(near_patches));
    }
    println!("worst cosine: embedding {}, patches {}", worst.0, worst.1);
    assert!(worst.0 >= COSINE && worst.1 >= COSINE, "worst cosine: embedding {}, patches {}", worst.0, worst.1);
}

#[test]
fn text_tower_agrees_with_onnxruntime() {
    let (bundle, index) = (open(), index());
    let tower = TextTower::load(&bundle, &Options::default()).expect("text tower loads");
    let wanted = stored("text-embeddings.f32");
    let sentences = index["sentences"].as_array().expect("sentences");
    assert_eq!(sentences.len(), 64);
    let width = wanted.len() / sentences.len();
    for (i, sentence) in sentences.iter().enumerate() {
        let sentence = sentence.as_str().expect("text");
        let near = cosine(&tower.encode(sentence).expect(sentence), &wanted[i * width..(i + 1) * width]);
        assert!(near >= COSINE, "{sentence:?}: cosine {near}");
    }
}

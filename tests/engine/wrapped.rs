//! Dual encoders made elsewhere, wrapped by `models/recipe`, give the numbers that onnxruntime gives with the same files.
//!
//! The bundles and their `expected.json` are made by `models/recipe/tried/architectures.py` at random weights: small ones
//! in `tests/fixtures/wrapped` (with `--fixture`), the real sizes wherever `LOOKOUT_TRIED` says.
//!
//! A float model must give onnxruntime's numbers. A quantised one is rounded otherwise here: by a scale for each row instead
//! of one for the tensor, symmetric about 0 instead of fitted to the range, so with steps of at most twice the size. It is
//! held to the float model beside it: within twice the distance that onnxruntime's numbers for the same file have from it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lookout::bundle::Bundle;
use lookout::engine::{ImageTower, Options, TextTower};

const COSINE: f64 = 0.999;

#[test]
fn small_wrapped_models_agree_with_onnxruntime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wrapped");
    let bundles = bundles_in(&folder);
    assert_eq!(bundles.len(), 8, "bundles in {}", folder.display());
    bundles.iter().for_each(|bundle| agrees(bundle));
}

#[test]
fn full_size_wrapped_models_agree_with_onnxruntime() {
    let Some(folder) = std::env::var_os("LOOKOUT_TRIED").map(PathBuf::from) else {
        println!("skipped: LOOKOUT_TRIED does not name the folder that models/recipe/tried/architectures.py filled");
        return;
    };
    let bundles = bundles_in(&folder);
    assert!(!bundles.is_empty(), "no bundle in {}", folder.display());
    bundles.iter().for_each(|bundle| agrees(bundle));
}

/// Every embedding of the bundle in `folder` is the stored one, and so are the pairs that `bundle check` reads.
fn agrees(folder: &Path) {
    let name = folder.file_name().expect("a bundle has a name").to_string_lossy();
    let bundle = Bundle::open(folder).expect("the bundle opens");
    bundle.verify().expect("the hashes hold");
    let expected = expected_in(folder);
    let kind = ["-int8", "-qdq"].iter().find_map(|kind| name.find(kind));
    let float = kind.map(|at| expected_in(&folder.with_file_name(format!("{}-float", &name[..at]))));
    let options = Options { threads: 1 };

    let tower = ImageTower::load(&bundle, &options).unwrap_or_else(|error| panic!("{name}: image tower: {error}"));
    let picture_input = bundle.manifest().picture();
    let size = picture_input.width as usize;
    let rows = rows(&expected, "image", |row| {
        let pixels = picture(row["seed"].as_u64().expect("seed"), size);
        let start = Instant::now();
        let embedding = tower.encode(&pixels).unwrap_or_else(|error| panic!("{name}: {error}")).embedding;
        (embedding, start.elapsed().as_secs_f64() * 1e3)
    });
    report(&name, "image", &rows, &expected, float.as_ref());
    // This one is far from its float model when quantised, in onnxruntime even more than here.
    let least = if name.starts_with("tiny-fastvit") && kind.is_some() { 0.9 } else { 0.99 };
    for pair in bundle.pairs().expect("the stored pairs parse").expect("wrapped bundles store pairs").image {
        let embedding = tower.encode(&pair.input(3 * size * size)).expect("encodes").embedding;
        let near = lookout::bundle::agreement(&pair.embedding, &embedding);
        assert!(near >= least, "{name}: stored picture {}: cosine {near}", pair.seed);
    }
    drop(tower);

    let tower = TextTower::load(&bundle, &options).unwrap_or_else(|error| panic!("{name}: text tower: {error}"));
    let encode = |text: &str| tower.encode(text).unwrap_or_else(|error| panic!("{name}: {text:?}: {error}"));
    let rows = self::rows(&expected, "text", |row| {
        let sentence = row["sentence"].as_str().expect("sentence");
        encode(sentence); // the first run of a length may prepare for it
        let start = Instant::now();
        (encode(sentence), start.elapsed().as_secs_f64() * 1e3)
    });
    report(&name, "text", &rows, &expected, float.as_ref());
    for pair in bundle.pairs().expect("the stored pairs parse").expect("wrapped bundles store pairs").text {
        let near = lookout::bundle::agreement(&pair.embedding, &encode(&pair.text));
        assert!(near >= least, "{name}: stored sentence {:?}: cosine {near}", pair.text);
    }
}

fn expected_in(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("expected.json")).expect("expected.json");
    serde_json::from_str(&text).expect("expected.json is JSON")
}

struct Row {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    ms: f64,
}

fn rows(
    expected: &serde_json::Value,
    tower: &str,
    mut run: impl FnMut(&serde_json::Value) -> (Vec<f32>, f64),
) -> Vec<Row> {
    let stored = expected[tower].as_array().unwrap_or_else(|| panic!("expected.json has {tower}"));
    let row = |row: &serde_json::Value| {
        let (ours, ms) = run(row);
        let theirs = embedding(row);
        let ours = ours.iter().map(|v| f64::from(*v)).collect();
        Row { ours, theirs, ms }
    };
    stored.iter().map(row).collect()
}

/// Embeddings at random weights are all alike, so what they share is taken off too for the eye: the rest must be the same
/// rest.
fn report(name: &str, tower: &str, rows: &[Row], expected: &serde_json::Value, float: Option<&serde_json::Value>) {
    assert!(rows.len() >= 3, "{name}: {tower}: {} rows", rows.len());
    let width = rows[0].theirs.len();
    let mean: Vec<f64> =
        (0..width).map(|i| rows.iter().map(|r| r.theirs[i]).sum::<f64>() / rows.len() as f64).collect();
    let rest = |v: &[f64]| -> Vec<f64> { v.iter().zip(&mean).map(|(a, b)| a - b).collect() };
    let worst = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::min);
    let whole = worst(&mut rows.iter().map(|r| cosine(&r.ours, &r.theirs)));
    let rest = worst(&mut rows.iter().map(|r| cosine(&rest(&r.ours), &rest(&r.theirs))));
    let mut ms: Vec<f64> = rows.iter().map(|r| r.ms).collect();
    // Sentences differ in length; the second is the one whose time onnxruntime stored.
    let ms = if tower == "text" { ms[1] } else { median(&mut ms) };
    let theirs = &expected["onnxruntime_ms"][tower];
    println!("{name} {tower}: cosine {whole:.6}, without the mean {rest:.6}, {ms:.1} ms, onnxruntime {theirs} ms");
    let Some(float) = float else {
        assert!(whole >= COSINE, "{name}: {tower}: cosine {whole}");
        return;
    };
    let float: Vec<Vec<f64>> = float[tower].as_array().expect("rows").iter().map(embedding).collect();
    assert_eq!(float.len(), rows.len(), "{name}: {tower}: rows of the float model");
    let far = |of: fn(&Row) -> &Vec<f64>| rows.iter().zip(&float).map(|(r, f)| distance(of(r), f)).fold(0.0, f64::max);
    let (ours, theirs) = (far(|r| &r.ours), far(|r| &r.theirs));
    println!("{name} {tower}: distance from float {ours:.4}, onnxruntime's {theirs:.4}");
    assert!(ours <= theirs * 2.0 + 0.002, "{name}: {tower}: {ours} from the float model, onnxruntime is {theirs}");
}

/// Of vectors of length 1.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    (2.0 * (1.0 - cosine(a, b)).max(0.0)).sqrt()
}

fn embedding(row: &serde_json::Value) -> Vec<f64> {
    row["embedding"].as_array().expect("embedding").iter().map(|v| v.as_f64().expect("float")).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "width of the embedding");
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(p, q)| p * q).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// `blocks` in models/recipe/tried/architectures.py: an 8 x 8 mosaic of made-up colours under made-up noise, tinted.
fn picture(seed: u64, size: usize) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let contrast = 0.6 + 0.5 * draw();
    let tint: Vec<f32> = (0..3).map(|_| draw()).collect();
    let colours: Vec<f32> = (0..192).map(|_| draw()).collect();
    let noise: Vec<f32> = (0..64 * 64).map(|_| draw()).collect();
    let value = |i: usize| {
        let (channel, y, x) = (i / (size * size), i / size % size, i % size);
        let colour = colours[channel * 64 + y * 8 / size * 8 + x * 8 / size];
        tint[channel] + contrast * (colour + 0.25 * noise[y % 64 * 64 + x % 64])
    };
    (0..3 * size * size).map(value).collect()
}

fn bundles_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut bundles: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join("lookout.toml").is_file()).collect();
    bundles.sort();
    bundles
}

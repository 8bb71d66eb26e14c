//! The text tower, decoder and grounding head over small graphs whose results can be worked out by hand.

use crate::graph::{Attribute, Dim, Graph, Noise, bundle, picture};
use lookout::Code;
use lookout::bundle::Bundle;
use lookout::engine::{Decoder, Grounder, ImageTower, Options, Patches, TextTower};
use lookout::text::Speaker;

const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
"model":{"type":"WordLevel","vocab":{"[UNK]":0,"a":1,"dog":2,"cat":3,"and":4},"unk_token":"[UNK]"}}"#;
const VOCABULARY: usize = 5;
const WIDTH: usize = 4;
const OPTIONS: Options = Options { threads: 2 };

fn mean(axis: &'static [i64]) -> [(&'static str, Attribute<'static>); 2] {
    [("axes", Attribute::Ints(axis)), ("keepdims", Attribute::Int(0))]
}

/// A network that averages its picture over all pixels; every bundle needs one.
fn image() -> Vec<u8> {
    Graph::default()
        .input::<f32>("image", &[Dim::Named("batch"), Dim::Is(3), Dim::Named("h"), Dim::Named("w")])
        .node("ReduceMean", &["image"], "rgb", &mean(&[2, 3]))
        .constant("w", &[3, WIDTH], &[1f32, 0., 0., 1., 0., 1., 0., 1., 0., 0., 1., 1.])
        .node("MatMul", &["rgb", "w"], "pooled", &[])
        .output("pooled")
        .finish()
}

fn table() -> Vec<f32> {
    Noise(21).floats(VOCABULARY * WIDTH)
}

fn open(text_section: &str, files: &[(&str, &[u8])]) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = image();
    let mut all: Vec<(&str, &[u8])> = vec![("image", &image)];
    all.extend_from_slice(files);
    let sections = picture(8, 8, WIDTH)
        + "[patches]\ncount = 6\nwidth = 4\ngrid = [2, 3]\n"
        + &format!("[text]\ncontext = 5\npad = 0\ntemplates = [\"{{}}\"]\n{text_section}\n")
        + "[calibration]\ntemperature = 0.1\nnone_bias = 0.1\ncheck_scale = 1.0\ncheck_bias = 0.0\n"
        + "[speaker]\nstart = \"a\"\nend = \"and\"\nmax_tokens = 4\nbeams = 1\nlength_penalty = 0.0\n"
        + "layers = 1\nheads = 1\nhead_width = 4\n";
    let bundle = bundle(folder.path(), &sections, &all);
    (folder, bundle)
}

/// The mean of the ids' rows, length 1.
fn averaged(ids: &[usize]) -> Vec<f32> {
    let table = table();
    let sums: Vec<f64> = (0..WIDTH).map(|d| ids.iter().map(|id| f64::from(table[id * WIDTH + d])).sum()).collect();
    let length = sums.iter().map(|v| v * v).sum::<f64>().sqrt();
    sums.iter().map(|v| (v / length) as f32).collect()
}

fn assert_near(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-5), "{found:?} not {wanted:?}");
}

fn words(length: Dim) -> Graph {
    Graph::default()
        .input::<i64>("input_ids", &[Dim::Is(1), length])
        .constant("table", &[VOCABULARY, WIDTH], &table())
        .node("Gather", &["table", "input_ids"], "rows", &[])
}

#[test]
fn text_of_any_length_runs_at_its_length() {
    let file =
        words(Dim::Named("L")).node("ReduceMean", &["rows"], "embedding", &mean(&[1])).output("embedding").finish();
    let (_folder, bundle) = open("", &[("text", &file), ("tokenizer", TOKENIZER.as_bytes())]);
    let tower = TextTower::load(&bundle, &OPTIONS).expect("loads");
    assert_near(&tower.encode("a dog").expect("runs"), &averaged(&[1, 2]));
    assert_near(&tower.encode("cat").expect("runs"), &averaged(&[3]));
    // Seven words in a context of five: the last one is kept.
    assert_near(&tower.encode("a a dog a dog a cat").expect("runs"), &averaged(&[1, 1, 2, 1, 3]));
    assert_eq!(tower.encode_ids(&[]).unwrap_err().code(), Code::Text);
    // An id outside the table is an error, not a panic.
    assert_eq!(tower.encode_ids(&[4_000_000_000]).unwrap_err().code(), Code::Engine);
}

#[test]
fn wrapped_text_towers_get_a_mask_and_filling() {
    let file = words(Dim::Named("sequence"))
        .input::<i64>("attention_mask", &[Dim::Named("batch"), Dim::Named("sequence")])
        .node("Cast", &["attention_mask"], "mask", &[("to", Attribute::Int(1))])
        .constant("last", &[1], &[-1i64])
        .node("Unsqueeze", &["mask", "last"], "column", &[])
        .node("Mul", &["rows", "column"], "kept", &[])
        .node("Neg", &["rows"], "other", &[])
        .node("ReduceMean", &["kept"], "pooled", &mean(&[1]))
        .output("other")
        .output("pooled")
        .finish();
    let (_folder, bundle) = open("fixed_length = true", &[("text", &file), ("tokenizer", TOKENIZER.as_bytes())]);
    let tower = TextTower::load(&bundle, &OPTIONS).expect("loads");
    // The filling has no weight, and the mean's divisor goes with the normalisation.
    assert_near(&tower.encode("a dog").expect("runs"), &averaged(&[1, 2]));
}

#[test]
fn a_context_that_the_file_fixes_is_filled() {
    let file = words(Dim::Is(5)).node("ReduceMean", &["rows"], "embedding", &mean(&[1])).output("embedding").finish();
    let (_folder, bundle) = open("", &[("text", &file), ("tokenizer", TOKENIZER.as_bytes())]);
    let tower = TextTower::load(&bundle, &OPTIONS).expect("loads");
    assert_near(&tower.encode("a dog").expect("runs"), &averaged(&[1, 2, 0, 0, 0]));
}

#[test]
fn wrapped_image_towers_load_without_known_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = image();
    let bundle = bundle(folder.path(), &picture(8, 8, WIDTH), &[("image", &file)]);
    let tower = ImageTower::load(&bundle, &OPTIONS).expect("loads");
    let mut pixels = vec![0f32; 3 * 64];
    pixels[..64].fill(3.0);
    let seen = tower.encode(&pixels).expect("runs");
    assert!(seen.patches.is_none());
    assert_near(&seen.embedding, &[0.5f32.sqrt(), 0.0, 0.0, 0.5f32.sqrt()]);
    for (pixels, code) in
        [(vec![0.0; 192], Code::Bundle), (vec![f32::NAN; 192], Code::Bundle), (vec![1.0; 5], Code::Bundle)]
    {
        assert_eq!(tower.encode(&pixels).unwrap_err().code(), code);
    }
}

fn decoder() -> Vec<u8> {
    let cache = [Dim::Is(1), Dim::Is(1), Dim::Named("S"), Dim::Is(WIDTH as i64)];
    Graph::default()
        .input::<f32>("patches", &[Dim::Is(1), Dim::Is(6), Dim::Is(4)])
        .input::<i64>("token", &[Dim::Is(1), Dim::Is(1)])
        .input::<i64>("position", &[Dim::Is(1)])
        .input::<f32>("keys", &cache)
        .input::<f32>("values", &cache)
        .constant("table", &[VOCABULARY, WIDTH], &table())
        .constant("cell", &[4], &[1i64, 1, 1, WIDTH as i64])
        .constant("row", &[2], &[1i64, WIDTH as i64])
        .node("Gather", &["table", "token"], "row_of_token", &[])
        .node("Reshape", &["row_of_token", "cell"], "key", &[])
        .node("Concat", &["keys", "key"], "new_keys", &[("axis", Attribute::Int(2))])
        .node("Neg", &["key"], "value", &[])
        .node("Concat", &["values", "value"], "new_values", &[("axis", Attribute::Int(2))])
        .constant("axis", &[1], &[2i64])
        .node("ReduceSum", &["new_keys", "axis"], "sum", &[("keepdims", Attribute::Int(0))])
        .node("Reshape", &["sum", "row"], "said", &[])
        .node("ReduceMean", &["patches"], "seen", &mean(&[1]))
        .node("Cast", &["position"], "place", &[("to", Attribute::Int(1))])
        .node("Add", &["said", "seen"], "both", &[])
        .node("Add", &["both", "place"], "logits", &[])
        .output("logits")
        .output("new_values")
        .output("new_keys")
        .finish()
}

#[test]
fn decoder_remembers_each_branch_by_itself() {
    let file = decoder();
    let tokenizer = TOKENIZER.as_bytes();
    let (_folder, bundle) = open("", &[("decoder", &file), ("speaker_tokenizer", tokenizer)]);
    let decoder = Decoder::load(&bundle, &OPTIONS).expect("loads");
    let patches = Patches { count: 6, width: 4, data: Noise(22).floats(24).into() };
    let attending = decoder.attend(&patches);
    let wanted = |tokens: &[usize]| -> Vec<f32> {
        let (table, place) = (table(), tokens.len() as f32 - 1.0);
        let seen = |d: usize| (0..6).map(|p| patches.data[p * 4 + d]).sum::<f32>() / 6.0;
        let said = |d: usize| tokens.iter().map(|t| table[t * WIDTH + d]).sum::<f32>();
        (0..WIDTH).map(|d| said(d) + seen(d) + place).collect()
    };
    let mut first = attending.start().expect("starts");
    assert_near(&attending.step(&mut first, 1).expect("steps"), &wanted(&[1]));
    let mut second = first.clone();
    assert_near(&attending.step(&mut first, 2).expect("steps"), &wanted(&[1, 2]));
    assert_near(&attending.step(&mut second, 3).expect("steps"), &wanted(&[1, 3]));
    assert_near(&attending.step(&mut first, 4).expect("steps"), &wanted(&[1, 2, 4]));
    // A token outside the table is an error and leaves the branch as it was.
    assert_eq!(attending.step(&mut second, 77).unwrap_err().code(), Code::Engine);
    assert_near(&attending.step(&mut second, 2).expect("steps"), &wanted(&[1, 3, 2]));
    let strange = Patches { count: 2, width: 4, data: vec![0.0; 8].into() };
    let attending = decoder.attend(&strange);
    let mut state = attending.start().expect("starts");
    assert_eq!(attending.step(&mut state, 1).unwrap_err().code(), Code::Bundle);
}

#[test]
fn grounding_gives_boxes_with_corners_in_order() {
    let file = Graph::default()
        .input::<f32>("phrase", &[Dim::Is(1), Dim::Is(4)])
        .input::<f32>("patches", &[Dim::Is(1), Dim::Is(6), Dim::Is(4)])
        .constant("row", &[2], &[1i64, 6])
        .constant("column", &[3], &[1i64, 4, 1])
        .node("Reshape", &["phrase", "column"], "p", &[])
        .node("MatMul", &["patches", "p"], "s", &[])
        .node("Reshape", &["s", "row"], "scores", &[])
        .node("Identity", &["patches"], "boxes", &[])
        .output("boxes")
        .output("scores")
        .finish();
    let text =
        words(Dim::Named("L")).node("ReduceMean", &["rows"], "embedding", &mean(&[1])).output("embedding").finish();
    let tokenizer = TOKENIZER.as_bytes();
    let (_folder, bundle) = open("", &[("ground", &file), ("text", &text), ("tokenizer", tokenizer)]);
    let grounder = Grounder::load(&bundle, &OPTIONS).expect("loads");
    let mut data = vec![0.5; 24];
    data[..8].copy_from_slice(&[0.1, 0.2, 0.3, 0.4, 0.9, -2.0, 0.1, 3.0]);
    let patches = Patches { count: 6, width: 4, data: data.into() };
    let found = grounder.locate(&patches, &[1.0, 2.0, 3.0, 4.0]).expect("runs");
    assert_eq!(found.len(), 6);
    assert_eq!(found[0].0, [0.1, 0.2, 0.3, 0.4]);
    assert!((found[0].1 - 3.0).abs() < 1e-5);
    assert_eq!(found[1].0, [0.1, 0.0, 0.9, 1.0]);
    assert_eq!(grounder.locate(&patches, &[1.0]).unwrap_err().code(), Code::Bundle);
    let broken = Patches { data: vec![f32::NAN; 24].into(), ..patches };
    assert_eq!(grounder.locate(&broken, &[1.0; 4]).unwrap_err().code(), Code::Bundle);
}

#[test]
fn what_a_bundle_lacks_is_said_plainly() {
    let (_folder, bundle) = open("", &[]);
    let cases = [
        (TextTower::load(&bundle, &OPTIONS).err(), "bundle tiny has no text tower, so it cannot read words"),
        (Decoder::load(&bundle, &OPTIONS).err(), "bundle tiny has no decoder, so it cannot caption"),
        (Grounder::load(&bundle, &OPTIONS).err(), "bundle tiny has no grounding head, so it cannot ground"),
    ];
    for (error, message) in cases {
        let error = error.expect("an error");
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.message().starts_with(message), "{error}");
    }
}

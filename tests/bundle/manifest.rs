//! What a manifest promises: every value is in range, what roles need is there, and a mistake is named with its line and
//! a way out.

use lookout::Code;
use lookout::bundle::{Digest, FORMAT, MAX_MANIFEST_BYTES, Manifest, Role, TowerFilter, TowerRule};

const WHOLE: &str = r#"format = 1
name = "lookout-v1"
version = "1"
licence = "MIT OR Apache-2.0"
distilled_from = ["a teacher"]

[picture]
width = 256
height = 128
rule = "stretch"
filter = "bicubic"
mean = [0.498, 0.5, 0]
std = [0.502, 0.25, 1]

[embedding]
width = 384

[patches]
count = 256
width = 192
grid = [16, 16]

[text]
context = 32
pad = 0
templates = ["a photo of {}.", "{}"]

[calibration]
temperature = 0.05
none_bias = 0.2
background = ["a wall"]
check_scale = 12.0
check_bias = -3.0

[speaker]
start = "[CLS]"
end = "[SEP]"
question = "[unused1]"
answer = "[unused2]"
max_tokens = 24
beams = 3
length_penalty = 0.7
layers = 3
heads = 4
head_width = 64

[files.image]
path = "image.onnx"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 123
quantisation = "int8"

[files.text]
path = "towers/text.onnx"
sha256 = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
bytes = 1073741824

[files.decoder]
path = "decoder.onnx"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 3

[files.ground]
path = "ground.onnx"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 4

[files.tokenizer]
path = "tokenizer.json"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 5

[files.speaker_tokenizer]
path = "tokenizer.json"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 5

[check]
path = "check.json"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
bytes = 6
"#;

fn parse(text: &str) -> lookout::Result<Manifest> {
    Manifest::from_bytes(text.as_bytes(), "models/x")
}

/// `WHOLE` with one line replaced. The line must be there.
fn with(line: &str, replacement: &str) -> String {
    assert!(WHOLE.contains(line), "{line:?} is in the manifest");
    WHOLE.replacen(line, replacement, 1)
}

/// `WHOLE` without a section.
fn without(section: &str) -> String {
    let start = WHOLE.find(&format!("[{section}]")).expect("the section is there");
    let end = WHOLE[start + 1..].find("\n[").map_or(WHOLE.len(), |end| start + 1 + end);
    format!("{}{}", &WHOLE[..start], &WHOLE[end..])
}

/// The message and help of a manifest that must be refused; both name what they should.
#[track_caller]
fn refused(text: &str, message: &[&str], help: &str) {
    let error = parse(text).expect_err("it is refused");
    assert_eq!(error.code(), Code::Bundle);
    for part in [&["models/x"], message].concat() {
        assert!(error.message().contains(part), "{part:?} is in {:?}", error.message());
    }
    assert!(!error.message().contains('\n'), "{:?} is one line", error.message());
    assert!(!error.help().is_empty() && error.help().contains(help), "{help:?} is in {:?}", error.help());
}

#[test]
fn a_whole_manifest_says_what_it_holds() {
    let manifest = parse(WHOLE).expect("it is sound");
    assert_eq!((manifest.name(), manifest.version()), ("lookout-v1", "1"));
    let picture = manifest.picture();
    assert_eq!((picture.width, picture.height), (256, 128));
    assert_eq!((picture.rule, picture.filter), (TowerRule::Stretch, TowerFilter::Bicubic));
    assert_eq!((picture.mean, picture.std), ([0.498, 0.5, 0.0], [0.502, 0.25, 1.0]));
    assert_eq!(manifest.embedding_width(), 384);
    assert_eq!(manifest.patches().map(|p| (p.count, p.width, p.grid)), Some((256, 192, [16, 16])));
    let text = manifest.text().expect("there is a text section");
    assert_eq!((text.context, text.pad, text.input.as_str(), text.fixed_length), (32, 0, "input_ids", false));
    let calibration = manifest.calibration().expect("there is a calibration");
    assert_eq!((calibration.temperature, calibration.ground_scale, calibration.ground_bias), (0.05, 1.0, 0.0));
    assert_eq!((calibration.answer_scale, calibration.answer_bias), (1.0, 0.0));
    let speaker = manifest.speaker().expect("there is a speaker");
    assert_eq!((speaker.beams, speaker.layers, speaker.heads, speaker.head_width), (3, 3, 4, 64));
    assert_eq!(manifest.files().map(|(role, _)| role).collect::<Vec<_>>(), Role::ALL);
    let file = manifest.file(Role::Text).expect("there is a text tower");
    assert_eq!((file.path.as_str(), file.bytes, file.sha256), ("towers/text.onnx", 1 << 30, Digest::of(b"")));
    assert_eq!(manifest.check().map(|file| file.bytes), Some(6));
}

/// [`WHOLE`] with the two optional parts of the calibration.
fn calibrated() -> String {
    let blank = vec!["0.5"; 192].join(", ");
    let parts = format!(
        "check_bias = -3.0\n\n[calibration.presence]\nscale = 20.0\nbackground = -25.0\nbias = -1.0\n\n\
         [calibration.check]\ncosine_scale = 17.0\ncosine_bias = -3.6\nchoice = 0.6\ngain = 0.4\nbias = 3.5\n\
         blank = [{blank}]\nkinds = [[\"red\", \"blue\"], [\"two\", \"three\"]]\n\n\
         [calibration.things]\nkinds = [[\"dog\", \"cat\"]]\nleast = [-1.5]\n"
    );
    with("check_bias = -3.0\n", &parts)
}

#[test]
fn how_words_and_absent_labels_are_judged_is_optional_and_comes_back_from_toml() {
    let plain = parse(WHOLE).expect("it is sound");
    let calibration = plain.calibration().expect("there is a calibration");
    assert_eq!((calibration.presence, &calibration.check), (None, &None));
    let manifest = parse(&calibrated()).expect("it is sound");
    let calibration = manifest.calibration().expect("there is a calibration");
    assert_eq!(calibration.presence.map(|p| (p.scale, p.background, p.bias)), Some((20.0, -25.0, -1.0)));
    let check = calibration.check.as_ref().expect("there is a check");
    assert_eq!((check.blank.len(), check.kinds.len(), check.gain), (192, 2, 0.4));
    let things = calibration.things.as_ref().expect("there are things");
    assert_eq!((things.kinds.len(), things.least.as_slice()), (1, &[-1.5][..]));
    let again = parse(&manifest.to_toml().expect("it can be written")).expect("it is sound");
    assert_eq!(again.document(), manifest.document());
}

#[test]
fn a_wrong_part_of_the_calibration_is_refused() {
    let wrong = |was: &str, is: &str| {
        let text = calibrated();
        assert!(text.contains(was), "{was}");
        text.replacen(was, is, 1)
    };
    refused(&wrong("blank = [0.5, ", "blank = ["), &["191 numbers in blank", "192"], "mean patch token");
    refused(&wrong("blank = [0.5, ", "blank = [nan, "), &["not a finite number"], "");
    refused(&wrong("[\"red\", \"blue\"]", "[\"red\"]"), &["fewer than two words"], "");
    refused(&wrong("\"blue\"", "\" \""), &["a word is blank"], "");
    refused(&wrong("gain = 0.4\n", ""), &["gain"], "");
    refused(&wrong("background = -25.0", "background = inf"), &["not a finite number"], "");
    refused(&wrong("least = [-1.5]", "least = [-1.5, 0.0]"), &["least 2 numbers"], "one number for each");
    refused(&wrong("least = [-1.5]", "least = [inf]"), &["not a finite number"], "");
    refused(&wrong("[\"dog\", \"cat\"]", "[\"dog\"]"), &["fewer than two words"], "");
    let presence = "[calibration.presence]\nscale = 20.0\nbackground = -25.0\nbias = -1.0\n";
    refused(&wrong(presence, ""), &["[calibration.things] but no [calibration.presence]"], "leave the things out");
}

#[test]
fn a_manifest_comes_back_from_its_toml() {
    let manifest = parse(WHOLE).expect("it is sound");
    let written = manifest.to_toml().expect("it can be written");
    assert_eq!(parse(&written).expect("it is sound").document(), manifest.document());
    let small = parse(&towerless()).expect("it is sound");
    assert_eq!(Manifest::new(small.document()).expect("it is sound").document(), small.document());

    let mut wrong = manifest.document().clone();
    wrong.picture.std[1] = 0.0;
    assert!(Manifest::new(&wrong).expect_err("it is refused").message().contains("not above 0"));
}

/// Only an image tower.
fn towerless() -> String {
    let start = WHOLE.find("[patches]").expect("it is there");
    let files = WHOLE.find("[files.image]").expect("it is there");
    let end = WHOLE.find("[files.text]").expect("it is there");
    format!("{}{}", &WHOLE[..start], &WHOLE[files..end])
}

#[test]
fn an_image_tower_alone_is_a_bundle() {
    let manifest = parse(&towerless()).expect("it is sound");
    assert!(manifest.text().is_none() && manifest.file(Role::Decoder).is_none());
}

#[test]
fn the_identity_changes_with_any_byte() {
    let identity = parse(WHOLE).expect("it is sound").identity();
    let digits = identity.strip_prefix("lookout-v1@1+").expect("name and version come first");
    assert!(digits.len() == 12 && Digest::of(WHOLE.as_bytes()).to_string().starts_with(digits));
    assert_ne!(parse(&format!("{WHOLE}#")).expect("it is sound").identity(), identity);
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_nearest_key() {
    refused(
        &with("temperature =", "temprature ="),
        &["line 29", "unknown key \"temprature\""],
        "did you mean `temperature`?",
    );
    refused(&with("licence =", "license ="), &["line 4", "\"license\""], "did you mean `licence`?");
    refused(&with("[calibration]", "[calibrations]"), &["\"calibrations\""], "did you mean `calibration`?");
    refused(&with("bytes = 123", "size = 123"), &["\"size\""], "path, sha256, bytes");
    refused(&with("rule = \"stretch\"", "rule = \"strech\""), &["line 10", "\"strech\""], "did you mean `stretch`?");
    let hostile = with("pad = 0", "\"x`, expected `y\" = 0");
    refused(&hostile, &["unknown key \"x`, expected `y\""], "context, pad");
}

#[test]
fn an_unknown_role_is_named() {
    refused(&with("[files.ground]", "[files.grounder]"), &["unknown role \"grounder\""], "did you mean `ground`?");
    refused(&with("[files.ground]", "[files.zzz]"), &["unknown role \"zzz\""], "image, text, decoder");
}

#[test]
fn a_role_listed_twice_is_refused() {
    refused(&with("[files.ground]", "[files.image]"), &["line", "duplicate key"], "");
    let twice = WHOLE.replacen("path = \"ground.onnx\"", "path = \"image.onnx\"", 1);
    refused(&twice, &["image.onnx twice"], "own file");
}

#[test]
fn a_newer_format_says_so_before_anything_else() {
    let newer = format!("format = {}\nsomething_new = true\n", FORMAT + 1);
    refused(&newer, &["format 2 is newer"], "update lookout");
    refused(&with("format = 1", "format = 9223372036854775807"), &["is newer"], "update lookout");
    refused(&with("format = 1", "format = 0"), &["line 1", "0 is out of range"], "");
    refused(&with("format = 1", "format = -1"), &["line 1", "-1 is out of range"], "");
    refused(&with("format = 1\n", ""), &["missing field `format`"], "");
}

#[test]
fn every_number_has_its_range() {
    for (line, wrong) in [
        ("width = 256", "width = 0"),
        ("width = 256", "width = 2049"),
        ("width = 256", "width = -1"),
        ("width = 256", "width = 1e3"),
        ("height = 128", "height = 4294967552"),
        ("std = [0.502, 0.25, 1]", "std = [0.502, 0.0, 1]"),
        ("std = [0.502, 0.25, 1]", "std = [0.502, -0.25, 1]"),
        ("std = [0.502, 0.25, 1]", "std = [0.502, nan, 1]"),
        ("std = [0.502, 0.25, 1]", "std = [0.502, 0.25]"),
        ("std = [0.502, 0.25, 1]", "std = [1e300, 0.25, 1]"),
        ("mean = [0.498, 0.5, 0]", "mean = [0.498, inf, 0]"),
        ("mean = [0.498, 0.5, 0]", "mean = [0.498, 0.5, 0, 0]"),
        ("width = 384", "width = 16385"),
        ("count = 256", "count = 255"),
        ("count = 256", "count = 0"),
        ("grid = [16, 16]", "grid = [0, 16]"),
        ("grid = [16, 16]", "grid = [16, 16, 1]"),
        ("context = 32", "context = 0"),
        ("pad = 0", "pad = 4294967296"),
        ("temperature = 0.05", "temperature = 0"),
        ("temperature = 0.05", "temperature = -inf"),
        ("none_bias = 0.2", "none_bias = nan"),
        ("check_scale = 12.0", "check_scale = inf"),
        ("check_bias = -3.0", "check_bias = \"-3\""),
        ("beams = 3", "beams = 33"),
        ("max_tokens = 24", "max_tokens = 0"),
        ("length_penalty = 0.7", "length_penalty = nan"),
        ("length_penalty = 0.7", "length_penalty = 0.7\ncosine_weight = -0.1"),
        ("length_penalty = 0.7", "length_penalty = 0.7\ncosine_weight = inf"),
        ("length_penalty = 0.7", "length_penalty = 0.7\nrerank_weight = -1"),
        ("length_penalty = 0.7", "length_penalty = 0.7\nnames = [\"a cat\", \" \"]"),
        ("length_penalty = 0.7", "length_penalty = 0.7\nnames = [\"a cat\"]\nname_prompt = \"a photo\""),
        ("layers = 3", "layers = 129"),
        ("bytes = 123", "bytes = 0"),
        ("bytes = 123", "bytes = 1073741825"),
        ("name = \"lookout-v1\"", "name = \"\""),
        ("name = \"lookout-v1\"", "name = \"a/b\""),
        ("version = \"1\"", "version = 1"),
        ("licence = \"MIT OR Apache-2.0\"", "licence = \" \""),
        ("templates = [\"a photo of {}.\", \"{}\"]", "templates = []"),
        ("templates = [\"a photo of {}.\", \"{}\"]", "templates = [\"a photo\"]"),
        ("sha256 = \"e3b0", "sha256 = \"e3b"),
        ("sha256 = \"e3b0", "sha256 = \"e3bg"),
        ("sha256 = \"e3b0", "sha256 = \"+3b0"),
    ] {
        let error = parse(&with(line, wrong)).expect_err(wrong);
        let place = error.message().contains("line ") || error.message().contains("patch grid");
        assert!(place && !error.help().is_empty(), "{wrong}: {} / {}", error.message(), error.help());
    }
}

#[test]
fn a_path_that_leaves_the_folder_is_refused() {
    for path in
        ["", "/etc/passwd", "../x", "a/../../x", "a/..", "./x", "a//b", "a/", "C:x", "a\\\\..\\\\b", "a\\u0000b"]
    {
        let error = parse(&with("path = \"image.onnx\"", &format!("path = \"{path}\""))).expect_err(path);
        assert!(error.message().contains("the path"), "{path}: {}", error.message());
    }
    refused(&with("image.onnx", &"x".repeat(256)), &["longer than 255"], "");
}

#[test]
fn what_a_role_needs_must_be_there() {
    refused(&without("files.image"), &["no image tower"], "[files.image]");
    refused(&without("files.tokenizer"), &["role text", "tokenizer"], "leave the role out");
    refused(&without("files.speaker_tokenizer"), &["role decoder", "speaker_tokenizer"], "leave the role out");
    refused(&without("files.text"), &["role ground", "role text"], "leave the role out");
    refused(&without("text"), &["role text", "[text]"], "add it");
    refused(&without("calibration"), &["role text", "[calibration]"], "add it");
    refused(&without("speaker"), &["role decoder", "[speaker]"], "add it");
    refused(&without("patches"), &["role decoder", "[patches]"], "add it");
    refused(&with("answer = \"[unused2]\"\n", ""), &["only one of question and answer"], "neither");
}

#[test]
fn what_is_no_manifest_at_all_is_refused() {
    refused("", &["is empty"], "again");
    refused("  \n", &["missing field"], "");
    refused("\u{0}\u{1}garbage", &["line 1"], "");
    refused("{\"format\": 1}", &["line 1"], "");
    refused(&"#".repeat(MAX_MANIFEST_BYTES + 1), &["larger than 256 KiB"], "");
    refused(&"[".repeat(MAX_MANIFEST_BYTES), &["line 1"], "");
    refused(&format!("a={}", "[".repeat(MAX_MANIFEST_BYTES - 2)), &["line 1"], "");
    let error = Manifest::from_bytes(b"name = \"\xFF\"", "models/x").expect_err("it is refused");
    assert!(error.message().contains("not UTF-8 text (byte 8)"), "{}", error.message());
}

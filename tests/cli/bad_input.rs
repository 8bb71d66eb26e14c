//! Bad input: an error that names the thing, the cause and the remedy; a failing exit status; no panic; no partial output.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::cli::{self, folder, lookout, lookout_reading, picture, program, run};

const LABELS: [&str; 2] = ["--labels", "a dog, a cat"];

fn label(picture: &str) -> cli::Run {
    lookout(["label", picture, LABELS[0], LABELS[1]])
}

#[test]
fn a_missing_picture_is_named() {
    label("/nowhere/cat.jpg").bad(1, &["/nowhere/cat.jpg", "there is no file"]);
}

#[test]
fn a_folder_is_no_picture() {
    label("src").bad(1, &["src", "is a folder"]);
}

#[test]
fn a_truncated_jpeg_is_no_picture() {
    label(&picture("cut.jpg")).bad(1, &["cut.jpg", "truncated"]);
}

#[test]
fn an_empty_file_is_no_picture() {
    let folder = folder();
    let path = folder.path().join("nothing.jpg");
    std::fs::write(&path, b"").unwrap();
    label(path.to_str().unwrap()).bad(1, &["nothing.jpg", "empty"]);
    lookout_reading(["label", "-", LABELS[0], LABELS[1]], b"").bad(1, &["standard input", "empty"]);
}

#[test]
fn a_text_file_with_a_pictures_name_is_no_picture() {
    let folder = folder();
    let path = folder.path().join("letter.jpg");
    std::fs::write(&path, "Dear reader, this is no picture.\n".repeat(40)).unwrap();
    label(path.to_str().unwrap()).bad(1, &["letter.jpg", "not a picture"]);
}

#[test]
fn a_picture_of_400_million_pixels_is_refused_within_a_gigabyte() {
    let folder = folder();
    let path = folder.path().join("huge.png");
    std::fs::write(&path, huge_png()).unwrap();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 1150000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lookout"), "label"]);
    limited.arg(&path).args(LABELS).arg("--bundle").arg(cli::default_bundle());
    run(limited, b"").bad(1, &["huge.png", "20000"]);
}

#[test]
fn a_picture_of_one_pixel_is_looked_at() {
    let folder = folder();
    let path = folder.path().join("dot.png");
    lookout::picture::Picture::from_rgb8(1, 1, vec![9, 9, 9]).unwrap().save(&path).unwrap();
    let labels = lookout(["label", path.to_str().unwrap(), LABELS[0], LABELS[1], "--json"]).good().json();
    assert_eq!(labels["labels"].as_array().unwrap().len(), 2);
    let boxes = lookout(["ground", path.to_str().unwrap(), "a dot", "--threshold", "0", "--json"]).good().json();
    for found in boxes["boxes"].as_array().unwrap() {
        let rect: Vec<f64> = found["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(rect[0] + rect[2] <= 1.001 && rect[1] + rect[3] <= 1.001, "{rect:?} leaves the picture");
    }
}

#[test]
fn a_camera_that_gives_no_picture_says_why() {
    for (camera, cause) in [
        ("v4l2:///dev/video93", "there is no camera /dev/video93"),
        ("v4l2:///dev/video0?sise=1x1", "did you mean `size=`?"),
        ("cmd:echo no sensor >&2; exit 7", "ended with status 7: no sensor"),
        ("http://me:secret@127.0.0.1:1/cam.mjpeg", "http://127.0.0.1:1/cam.mjpeg: "),
        ("rtsp://cam/1", "cmd:ffmpeg"),
    ] {
        lookout(["caption", camera]).bad(1, &[cause]);
    }
}

#[test]
fn an_empty_list_of_labels_is_refused() {
    let fine = picture("fine.jpg");
    for list in ["", " , ,"] {
        let run = lookout(["label", &fine, "--labels", list]);
        let code = run.code;
        assert_ne!(code, 0);
        run.bad(code, &["label", "empty"]);
    }
    let folder = folder();
    let file = folder.path().join("words.txt");
    std::fs::write(&file, "\n \n").unwrap();
    lookout(["label", &fine, "--labels-file", file.to_str().unwrap()]).bad(1, &["words.txt", "no labels"]);
    std::fs::write(&file, b"a dog\n\xff\xfe\n").unwrap();
    lookout(["label", &fine, "--labels-file", file.to_str().unwrap()]).bad(1, &["words.txt", "not UTF-8", "byte 6"]);
    lookout(["label", &fine, "--labels-file", "/nowhere/words.txt"]).bad(1, &["/nowhere/words.txt"]);
    lookout(["label", &fine]).bad(2, &["--labels", "usage: lookout label"]);
}

#[test]
fn more_labels_than_the_limit_are_refused() {
    let folder = folder();
    let file = folder.path().join("words.txt");
    std::fs::write(&file, (0..10_001).map(|n| format!("thing {n}\n")).collect::<String>()).unwrap();
    lookout(["label", &picture("fine.jpg"), "--labels-file", file.to_str().unwrap()])
        .bad(2, &["10001 labels", "10000"]);
}

#[test]
fn one_label_leaves_room_for_none_of_these() {
    let answer = lookout(["label", &picture("fine.jpg"), "--labels", "a dog", "--json"]).good().json();
    let (score, none) = (answer["labels"][0]["score"].as_f64().unwrap(), answer["none"].as_f64().unwrap());
    assert!(none > 0.0 && (score + none - 1.0).abs() < 1e-4, "{score} + {none}");
}

#[test]
fn a_label_longer_than_the_context_is_cut_with_a_warning_and_one_beyond_the_limit_is_refused() {
    let fine = picture("fine.jpg");
    let long = "dog ".repeat(2500);
    let run = lookout(["label", &fine, "--labels", &long]).good();
    assert!(run.err.contains("warning: the label \"dog dog") && run.err.contains("only the first"), "{}", run.err);
    let quiet = lookout(["label", &fine, "--labels", &long, "-q"]).good();
    assert_eq!(quiet.err, "");
    let endless = "dog ".repeat(20_000);
    let folder = folder();
    let file = folder.path().join("words.txt");
    std::fs::write(&file, endless).unwrap();
    lookout(["label", &fine, "--labels-file", file.to_str().unwrap()]).bad(1, &["\"dog dog", "79999 bytes", "65536"]);
}

#[test]
fn text_that_is_not_utf8_is_refused_but_a_path_may_be_so() {
    let broken = OsStr::from_bytes(b"caf\xe9");
    let fine = picture("fine.jpg");
    for args in [
        vec![OsStr::new("check"), OsStr::new(&fine), broken],
        vec![OsStr::new("label"), OsStr::new(&fine), OsStr::new("--labels"), broken],
    ] {
        lookout(&args).bad(2, &["caf", "not valid UTF-8"]);
    }
    lookout([OsStr::new("find"), broken, OsStr::new(".")]).bad(2, &["caf", "not valid UTF-8"]);
    lookout([broken]).bad(2, &[]);

    let folder = folder();
    let path = folder.path().join(broken);
    std::fs::copy(&fine, &path).unwrap();
    lookout([OsStr::new("embed"), path.as_os_str(), OsStr::new("--json")]).good();
}

#[test]
fn blank_sentences_phrases_and_questions_are_refused() {
    let fine = picture("fine.jpg");
    for task in ["check", "ground", "ask"] {
        lookout([task, &fine, "  "]).bad(1, &["empty"]);
    }
    lookout(["embed", "--text", ""]).bad(1, &["empty"]);
}

#[test]
fn an_output_that_cannot_be_written_is_named_and_leaves_nothing() {
    let fine = picture("fine.jpg");
    lookout(["ground", &fine, "a dog", "--out", "/nowhere/at/all/boxes.png"]).bad(1, &["/nowhere/at/all/boxes.png"]);
    // Not even root can make a file here.
    lookout(["ground", &fine, "a dog", "--out", "/proc/boxes.png"]).bad(1, &["/proc/boxes.png", "cannot be written"]);
    let folder = folder();
    let unknown = folder.path().join("boxes.xyz");
    lookout(["ground", &fine, "a dog", "--out", unknown.to_str().unwrap()]).bad(1, &["boxes.xyz"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    lookout(["man", "--dir", "/nowhere/at/all"]).bad(1, &["/nowhere/at/all"]);
    lookout(["find", "a dog", folder.path().to_str().unwrap(), "--index", "/proc/index"]).bad(1, &["/proc/index"]);
    lookout(["find", "a dog", "/nowhere/at/all"]).bad(1, &["/nowhere/at/all"]);
    lookout(["find", "a dog", &fine]).bad(1, &["fine.jpg", "it is a file"]);
}

#[test]
fn a_closed_output_pipe_ends_the_program_quietly() {
    for args in [vec!["completions", "bash"], vec!["label", "/nowhere.jpg", "--labels", "x", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = program(&args).stdout(writer).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(141), "{args:?}");
    }
}

#[test]
fn a_full_disk_under_the_output_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program(["completions", "bash"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("standard output cannot be written"), "{err}");
}

#[test]
fn under_json_every_error_is_one_object_on_standard_output() {
    let fine = picture("fine.jpg");
    let cases: [(&[&str], i32, &str, &str); 5] = [
        (&["label", "/nowhere.jpg", "--labels", "x", "--json"], 1, "input", "/nowhere.jpg"),
        (&["--json", "label"], 2, "usage", "<PICTURE>"),
        (&["caption", &fine, "--json", "--colour"], 2, "usage", "--colour"),
        (&["caption", "http://127.0.0.1:9/", "--json"], 1, "camera", "127.0.0.1:9"),
        (&["caption", &fine, "--bundle", "/nowhere", "--json"], 1, "input", "/nowhere"),
    ];
    for (args, code, name, word) in cases {
        let run = lookout(args);
        assert_eq!((run.code, run.err.as_str()), (code, ""), "{args:?}");
        let error = &run.json()["error"];
        assert_eq!(error["code"], name, "{args:?}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
        assert!(!error["help"].as_str().unwrap().is_empty(), "{error}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let fine = picture("fine.jpg");
    lookout(["ground", &fine, "x", "--threshold", "1.5"]).bad(2, &["1.5", "0 to 1"]);
    lookout(["ground", &fine, "x", "--threshold", "NaN"]).bad(2, &["NaN"]);
    lookout(["ground", &fine, "x", "--top", "0"]).bad(2, &["--top"]);
    lookout(["caption", &fine, "--beams", "0"]).bad(2, &["--beams"]);
    lookout(["caption", &fine, "--samples", "33"]).bad(2, &["33"]);
    lookout(["caption", &fine, "--threads", "0"]).bad(2, &["--threads"]);
    lookout(["eval", "guess", "--images", "x", "--rows", "y"]).bad(2, &["guess", "retrieve"]);
}

/// A PNG of 20,000 x 20,000 pixels, as far as its header goes.
fn huge_png() -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], body: &[u8]| {
        png.extend((body.len() as u32).to_be_bytes());
        let whole = [kind, body].concat();
        png.extend(&whole);
        png.extend(crc.checksum(&whole).to_be_bytes());
    };
    let side = 20_000u32.to_be_bytes();
    chunk(b"IHDR", &[&side[..], &side[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]);
    chunk(b"IEND", b"");
    png
}

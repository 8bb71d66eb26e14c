//! Pictures of every kind decode, resize and crop as Pillow does it.
//!
//! The fixtures and Pillow's answers are made by `models/recipe/fixtures/picture.py`; `cases.txt` lists them.

use std::path::PathBuf;

use lookout::picture::{Filter, Picture, Preprocess, ResizeRule};

/// Resampling the same pixels: no sample may differ by more than this. On x86-64 none differs at all; another machine's
/// sine may round a Lanczos weight the other way.
const RESIZE_MOST: u8 = 1;
/// JPEG and lossy WebP decoders, and CMYK conversion, round differently: mean and largest difference of a sample.
const LOSSY_MEAN: f64 = 1.5;
const LOSSY_MOST: u8 = 24;

#[test]
fn every_kind_of_picture_decodes_to_pillows_pixels() {
    let mut seen = 0;
    for case in cases("decode") {
        let [exactness, name, reference] = &case[..] else { panic!("{case:?}") };
        let difference = Difference::of(&open(name), &open(reference), name);
        match exactness.as_str() {
            "same" => assert_eq!(difference.most, 0, "{name}: {difference:?}"),
            _ => assert!(difference.mean < LOSSY_MEAN && difference.most <= LOSSY_MOST, "{name}: {difference:?}"),
        }
        seen += 1;
    }
    assert!(seen >= 40, "only {seen} cases");
}

#[test]
fn resized_pixels_are_within_one_of_pillows() {
    let mut seen = 0;
    for case in cases("resize") {
        let [width, height, filter, name, reference] = &case[..] else { panic!("{case:?}") };
        let got = open(name).resized(width.parse().unwrap(), height.parse().unwrap(), filter.parse().unwrap());
        let difference = Difference::of(&got, &open(reference), reference);
        assert!(difference.most <= RESIZE_MOST, "{reference}: {difference:?}");
        seen += 1;
    }
    assert!(seen >= 40, "only {seen} cases");
}

#[test]
fn cropped_pixels_are_within_one_of_torchvisions() {
    let mut seen = 0;
    for case in cases("crop") {
        let [size, filter, name, reference] = &case[..] else { panic!("{case:?}") };
        let size = size.parse().unwrap();
        let rules = Preprocess {
            width: size,
            height: size,
            rule: ResizeRule::Crop,
            filter: filter.parse::<Filter>().unwrap(),
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let difference = Difference::of(&rules.fit(&open(name)), &open(reference), reference);
        assert!(difference.most <= RESIZE_MOST, "{reference}: {difference:?}");
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} cases");
}

#[test]
fn every_orientation_of_a_photograph_comes_out_upright() {
    let upright = open("turned1.jpg");
    for orientation in 2..=8 {
        let turned = open(&format!("turned{orientation}.jpg"));
        // The stored pixels are the same, so the upright picture is turned accordingly: sides swap from 5 on.
        let expected = if orientation >= 5 { (30, 48) } else { (48, 30) };
        assert_eq!((turned.width(), turned.height()), expected, "orientation {orientation}");
        assert_ne!(turned, upright, "orientation {orientation} was ignored");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/picture")
}

fn open(name: &str) -> Picture {
    Picture::open(&folder().join(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn cases(kind: &str) -> Vec<Vec<String>> {
    let list = std::fs::read_to_string(folder().join("cases.txt")).unwrap();
    list.lines()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
        .map(|rest| rest.split(' ').map(str::to_owned).collect())
        .collect()
}

#[derive(Debug)]
struct Difference {
    mean: f64,
    most: u8,
}

impl Difference {
    fn of(got: &Picture, expected: &Picture, name: &str) -> Self {
        assert_eq!((got.width(), got.height()), (expected.width(), expected.height()), "{name}");
        let each = || got.as_rgb8().iter().zip(expected.as_rgb8()).map(|(a, b)| a.abs_diff(*b));
        let mean = each().map(f64::from).sum::<f64>() / got.as_rgb8().len() as f64;
        let difference = Self { mean, most: each().max().unwrap() };
        println!("{name}: {difference:?}");
        difference
    }
}

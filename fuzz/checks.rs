//! What each fuzz target promises. The targets run these over made-up bytes, `tests/fuzz_corpus.rs` over the corpus.
#![allow(dead_code)]

use std::sync::{Once, OnceLock};

use lookout::bundle::{Bundle, Manifest};
use lookout::kernels::{
    Activation, Finish, Floats, Kernel, LevelLines, LevelTaps, Lines, Packed, Rows, Taps, Window, Windows, depthwise,
    depthwise_to_levels, padded, pixels, rows_of_bytes, rows_of_levels,
};
use lookout::link::serial::{MAX_LINE, Split, Splitter, check_line};
use lookout::picture::{Filter, MAX_PIXELS, Picture, Preprocess, ResizeRule};
use lookout::protocol::{MAX_FRAME, Message, encode};
use lookout::text::Tokenizer;
use lookout::{Code, Error};

/// The fuzzer's own panic hook ends the process even where the library catches the panic and reports an error. With this
/// one, only a panic that gets out ends it.
pub fn let_guards_catch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| eprintln!("{info}"))));
}

/// A manifest is refused with a cause and a remedy, or it reads back the same from its own TOML. Bytes that could be an
/// archive are opened as one too.
pub fn manifest(bytes: &[u8]) {
    match Manifest::from_bytes(bytes, "fuzz") {
        Ok(manifest) => {
            let text = manifest.to_toml().expect("what was read can be written");
            let again = Manifest::from_bytes(text.as_bytes(), "fuzz").expect("what was written can be read");
            assert_eq!(again.document(), manifest.document());
            assert!(manifest.identity().starts_with(manifest.name()));
        }
        Err(error) => explained(&error, &[Code::Bundle]),
    }
    if bytes.len() >= 512 {
        archive(bytes);
    }
}

fn archive(bytes: &[u8]) {
    let thread = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("lookout-fuzz-{}-{thread:?}.tar", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    match Bundle::open(&path) {
        Ok(bundle) => {
            for (role, entry) in bundle.manifest().files() {
                assert_eq!(bundle.bytes(role).map(|bytes| bytes.len() as u64), Some(entry.bytes));
            }
            let _ = bundle.verify().map_err(|error| explained(&error, &[Code::Bundle]));
            let _ = bundle.pairs().map_err(|error| explained(&error, &[Code::Bundle]));
        }
        Err(error) => explained(&error, &[Code::Bundle]),
    }
    // Left behind at worst; the next run of this process writes over it.
    let _ = std::fs::remove_file(&path);
}

/// A picture is refused with a cause and a remedy, or has as many pixels as it says and can be made a tower's input.
pub fn picture(bytes: &[u8]) {
    match Picture::decode(bytes, "fuzz") {
        Ok(picture) => {
            let pixels = u64::from(picture.width()) * u64::from(picture.height());
            assert!((1..=MAX_PIXELS).contains(&pixels));
            assert_eq!(picture.as_rgb8().len() as u64, pixels * 3);
            if pixels <= 1 << 16 {
                let (width, height, rule, filter) = (5, 3, ResizeRule::Crop, Filter::Bicubic);
                let input = Preprocess { width, height, rule, filter, mean: [0.5; 3], std: [0.5; 3] }.apply(&picture);
                assert!(input.len() == 45 && input.iter().all(|value| (-1.001..=1.001).contains(value)));
            }
        }
        Err(error) => explained(&error, &[Code::Picture, Code::Input]),
    }
}

/// A sentence becomes ids of the vocabulary, which become text again. Bytes that could be a `tokenizer.json` are read as
/// one too, and used on a short sentence.
pub fn tokenizer(bytes: &[u8]) {
    static DEFAULT: OnceLock<Tokenizer> = OnceLock::new();
    let default = DEFAULT.get_or_init(|| {
        let json = include_bytes!("../models/default/tokenizer.json");
        Tokenizer::from_bytes(json, "tokenizer.json").expect("the default tokenizer is sound")
    });
    let text = String::from_utf8_lossy(bytes);
    match default.encode(&text) {
        Ok(ids) => {
            assert!(ids.iter().all(|id| (*id as usize) < default.vocab_size()));
            let plain = default.encode_plain(&text).expect("it can be encoded with special tokens");
            assert!(plain.len() <= ids.len());
            default.decode(&ids).expect("ids of the vocabulary can be decoded");
        }
        Err(error) => explained(&error, &[Code::Text]),
    }
    if bytes.first() == Some(&b'{') {
        match Tokenizer::from_bytes(bytes, "fuzz") {
            Ok(strange) => {
                if let Err(error) = strange.encode("a dog, 2 cats").and_then(|ids| strange.decode(&ids)) {
                    explained(&error, &[Code::Text]);
                }
            }
            Err(error) => explained(&error, &[Code::Text]),
        }
    }
}

fn explained(error: &Error, codes: &[Code]) {
    assert!(codes.contains(&error.code()), "{:?}: {error}", error.code());
    assert!(!error.message().is_empty() && !error.help().is_empty(), "{error:?}");
}

/// Whatever the shape and the values, every kernel gives the bits of the plain one, and writes nowhere else.
pub fn kernels(bytes: &[u8]) {
    let Some((&[rows, depth, columns, extra, how], values)) = bytes.split_first_chunk::<5>() else { return };
    let (rows, depth) = (1 + usize::from(rows) % 24, 1 + usize::from(depth));
    let (columns, stride) = (1 + usize::from(columns), 1 + usize::from(columns) + usize::from(extra % 4));
    let mut values = values.iter().copied().chain(std::iter::repeat(129)).scan(0u8, |shift, byte| {
        *shift = shift.wrapping_add(7);
        Some(byte ^ (*shift & 16))
    });
    let mut byte = || values.next().expect("it never ends");
    let x: Vec<f32> = (0..rows * depth).map(|_| f32::from_bits(u32::from_be_bytes([byte(), byte(), 0, 0]))).collect();
    let weight: Vec<i8> = (0..depth * columns).map(|_| byte() as i8).collect();
    let scale: Vec<f32> = (0..columns).map(|_| f32::from(byte()) / 4096.0).collect();
    let bias: Vec<f32> = (0..columns).map(|_| f32::from(byte() as i8)).collect();
    let residual: Vec<f32> = (0..rows * stride).map(|_| f32::from(byte() as i8)).collect();
    let weights = Packed::new(&weight, depth, columns, &scale, &bias).expect("scales and biases are finite");
    let activation = [Activation::None, Activation::Relu, Activation::Relu6][usize::from(how % 3)];
    let finish = Finish { activation, residual: if how & 64 > 0 { &residual } else { &[] } };
    let multiply = |kernel: Kernel| {
        let mut quantised = Rows::default();
        quantised.quantise(kernel, &x, depth);
        let mut out = vec![77.0; rows * stride];
        kernel.multiply(quantised.view(), &weights, 0..weights.panels(), finish, &mut out, stride);
        assert!(out.chunks(stride).all(|row| row[columns..].iter().all(|v| *v == 77.0)), "{}", kernel.name());
        out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    // Whole numbers, so that float sums are exact in any order.
    let side = [1, 2, 3, 5][usize::from(how >> 3) % 4];
    let window = Window {
        kernel: [side; 2],
        strides: [1 + usize::from(extra >> 2) % 3; 2],
        pads: [0, 2, 4, 6].map(|shift| usize::from(how >> shift) % 4),
    };
    let (size, channels) = ([1 + rows % 12, 1 + depth % 20], 1 + columns % 40);
    let picture: Vec<f32> = (0..size[0] * size[1] * channels).map(|_| f32::from(byte() as i8)).collect();
    let taps: Vec<i8> = (0..side * side * channels).map(|_| byte() as i8).collect();
    let ones = vec![1.0; channels];
    let slide = |kernel: Kernel| {
        let [rows, columns] = window.output(size[0], size[1])?;
        let mut out = vec![77.0; rows * columns * channels];
        let lines = Lines { x: &picture, kept: size[0], size };
        depthwise(kernel, lines, window, Taps { weight: &taps, scale: &ones, bias: &ones, activation }, 0, &mut out);
        Some(out)
    };
    // Levels: what a product writes, what a depthwise convolution makes of a picture, and a product of that.
    let levels: Vec<u8> = (0..size[0] * size[1] * padded(channels)).map(|_| byte().min(254)).collect();
    let small = vec![0.002; channels];
    let level_taps = LevelTaps::new(window, &taps, &small, &ones, [0.5; 2]).expect("sums and results are small");
    let in_levels = |kernel: Kernel| {
        let mut quantised = Rows::default();
        quantised.quantise(kernel, &x, depth);
        let mut out = vec![0; rows * padded(columns)];
        kernel.multiply_to_levels(
            quantised.view(),
            &weights.in_steps(0.25),
            0..weights.panels(),
            &mut out,
            padded(columns),
        );
        let stored: Vec<u8> = levels.iter().map(|level| level.wrapping_add(kernel.blank())).collect();
        let [high, wide] = window.output(size[0], size[1])?;
        let mut slid = vec![0; high * wide * padded(channels)];
        let lines = LevelLines { x: &stored, kept: size[0], size };
        level_taps.slide(kernel, lines, 0, &mut slid, &mut Floats::default());
        let last =
            Packed::new(&taps[..channels], channels, 1, &[0.01], &[]).expect("a scale").deepened(padded(channels));
        let mut sums = vec![0.0; high * wide];
        let view = rows_of_levels(&slid, padded(channels));
        kernel.multiply(view, &last, 0..1, Finish::NONE, &mut sums, 1);
        let read = |bytes: Vec<u8>| bytes.into_iter().map(|byte| byte.wrapping_sub(kernel.blank())).collect::<Vec<_>>();
        Some((read(out), read(slid), sums.into_iter().map(f32::to_bits).collect::<Vec<_>>()))
    };
    // A first layer: a picture as bytes, windows of two of its lines, their product; and a depthwise convolution of floats.
    let first = |kernel: Kernel| {
        let [_, width] = size;
        let pitch = width * channels;
        let mut bytes = vec![0; 2 * pitch + Windows::SLACK];
        for (line, floats) in bytes.chunks_exact_mut(pitch).take(2).zip(picture.chunks_exact(pitch).cycle()) {
            pixels(kernel, floats, [channels, 1], channels, 0.9, line);
        }
        let shape = Windows { step: channels, pieces: 2, piece: side.min(width) * channels, pitch };
        let count = width + 1 - side.min(width);
        let mut copied = vec![0; count * shape.depth() + Windows::SLACK];
        shape.copy(&bytes, count, &mut copied);
        let depth = 2 * shape.piece;
        let kept: Vec<i8> = (0..depth).map(|k| taps[k % taps.len()]).collect();
        let matrix = Packed::new(&kept, depth, 1, &[0.01], &[]).expect("a scale");
        let mut sums = vec![0.0; count];
        kernel.multiply(
            rows_of_bytes(kernel, &copied, count, shape.depth()),
            &matrix,
            0..1,
            Finish::NONE,
            &mut sums,
            1,
        );
        let mut levels =
            vec![kernel.blank(); window.output(size[0], width)?.iter().product::<usize>() * padded(channels)];
        let lines = Lines { x: &picture, kept: size[0], size };
        // A power of two, so that what is not fused is exact as well.
        let scale = vec![1.0 / 128.0; channels];
        let taps = Taps { weight: &taps, scale: &scale, bias: &ones, activation };
        depthwise_to_levels(kernel, lines, window, taps, 0, &mut levels);
        // What pads a pixel is any byte.
        let read = |pixel: &[u8]| pixel[..channels].iter().map(|b| b.wrapping_sub(kernel.blank())).collect::<Vec<_>>();
        let levels: Vec<u8> = levels.chunks(padded(channels)).flat_map(read).collect();
        Some((sums.into_iter().map(f32::to_bits).collect::<Vec<_>>(), levels))
    };
    let available = Kernel::available();
    let plain = available[available.len() - 1];
    let all = |kernel: Kernel| (multiply(kernel), slide(kernel), in_levels(kernel), first(kernel));
    let wanted = all(plain);
    for kernel in available {
        assert!(all(kernel) == wanted, "{}", kernel.name());
    }
}

/// Whatever comes on a serial line, in whatever portions, is split alike; lines can be printed and are understood or
/// refused with a cause; and behind it the next frame arrives, and after a silence the next line.
pub fn serial_line(bytes: &[u8]) {
    let whole = split(&mut Splitter::new(), &[bytes]);
    let step = 1 + usize::from(bytes.first().copied().unwrap_or(0)) % 7;
    let portions: Vec<&[u8]> = bytes.chunks(step).collect();
    assert_eq!(split(&mut Splitter::new(), &portions), whole);
    for line in whole.iter().filter_map(|split| if let Split::Line(line) = split { Some(line) } else { None }) {
        assert!(line.len() <= MAX_LINE && line.trim() == line && !line.contains(char::is_control), "{line:?}");
        if let Err(error) = check_line(line) {
            explained(&error, &[Code::Usage, Code::Text]);
        }
    }
    let ping = Message::Ping { nonce: bytes.len() as u32 };
    let mut buffer = [0; MAX_FRAME];
    let frame = encode(&ping, &mut buffer).expect("every message fits");
    assert_eq!(split(&mut Splitter::new(), &[bytes, frame]).last(), Some(&Split::Frame(ping)));

    let mut splitter = Splitter::new();
    splitter.echo(true);
    split(&mut splitter, &portions);
    splitter.silence();
    assert_eq!(split(&mut splitter, &[b"\rAT\r"]).last(), Some(&Split::Line("AT".to_owned())));
    assert!(splitter.echoed().is_some_and(|echoed| echoed.ends_with(b"AT\r\n")));
}

fn split(splitter: &mut Splitter, portions: &[&[u8]]) -> Vec<Split> {
    let mut all = Vec::new();
    for portion in portions {
        let mut rest = *portion;
        while let Some(split) = splitter.feed(&mut rest) {
            all.push(split);
        }
    }
    all
}

//! The operators of the domain `lookout`, through a real ONNX file, against sums written out here; and files that are wrong.

use crate::graph::tower::{HEIGHT, WIDTH, assert_near, graph, load, run};
use crate::graph::{Attribute, Dim, Graph, Noise};
use lookout::Code;

/// A row as the operators quantise it: what each value becomes.
fn quantised(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().fold(0f32, |a, v| a.max(v.abs()));
    row.iter().map(|v| f64::from((v * (127.0 / largest)).round_ties_even()) * f64::from(largest) / 127.0).collect()
}

fn gelu(x: f64) -> f64 {
    // erf by Simpson's rule.
    let z = x / 2f64.sqrt();
    let f = |j: u32| (-(f64::from(j) * z / 400.0).powi(2)).exp();
    let sum: f64 = (0..200).map(|j| f(2 * j) + 4.0 * f(2 * j + 1) + f(2 * j + 2)).sum();
    0.5 * x * (1.0 + sum * z / 1200.0 * 2.0 / std::f64::consts::PI.sqrt())
}

fn activate(x: f64, name: &str) -> f64 {
    match name {
        "relu" => x.max(0.0),
        "relu6" => x.clamp(0.0, 6.0),
        "gelu" => gelu(x),
        _ => x,
    }
}

#[test]
fn linear_layers_are_right_with_every_activation_and_residual() {
    let mut noise = Noise(11);
    let (rows, depth, columns) = (64, 9, 19);
    let x = noise.floats(rows * depth);
    let (weight, bias) = (noise.bytes(depth * columns), noise.floats(columns));
    let scale: Vec<f32> = noise.floats(columns).iter().map(|v| v.abs() * 0.05).collect();
    let residual = noise.floats(rows * columns);
    for activation in ["none", "relu", "relu6", "gelu"] {
        for precision in ["int8", "weights"] {
            for with_residual in [false, true] {
                let found = run(
                    &x,
                    &[1, rows as i64, depth as i64],
                    |graph| {
                        let mut inputs = vec!["x", "w", "s", "b"];
                        if with_residual {
                            inputs.push("r");
                        }
                        let attributes =
                            [("activation", Attribute::Text(activation)), ("precision", Attribute::Text(precision))];
                        graph
                            .constant("w", &[depth, columns], &weight)
                            .constant("s", &[columns], &scale)
                            .constant("b", &[columns], &bias)
                            .constant("r", &[1, rows, columns], &residual)
                            .node("LookoutLinear", &inputs, "y", &attributes)
                    },
                    [rows, columns],
                );
                let mut wanted = Vec::new();
                for m in 0..rows {
                    let row = &x[m * depth..][..depth];
                    let row =
                        if precision == "int8" { quantised(row) } else { row.iter().map(|v| f64::from(*v)).collect() };
                    for n in 0..columns {
                        let sum: f64 = (0..depth).map(|k| row[k] * f64::from(weight[k * columns + n])).sum();
                        let y = activate(sum * f64::from(scale[n]) + f64::from(bias[n]), activation);
                        wanted.push(y + if with_residual { f64::from(residual[m * columns + n]) } else { 0.0 });
                    }
                }
                assert_near(&found, &wanted, 1e-4, &format!("{activation} {precision} residual {with_residual}"));
            }
        }
    }
}

#[test]
fn convolutions_are_right_with_strides_and_uneven_pads() {
    let mut noise = Noise(12);
    let (channels, columns) = (3, 20);
    let x = noise.floats(HEIGHT * WIDTH * channels);
    for (kernel, strides, pads, x_scale) in [
        ([3, 3], [2, 2], [0, 0, 1, 1], None),
        ([3, 2], [1, 3], [2, 1, 0, 4], None),
        ([1, 1], [1, 1], [0; 4], None),
        ([1, 1], [2, 2], [0; 4], None),
        ([12, 16], [1, 1], [0; 4], None),
        ([3, 3], [2, 2], [0, 0, 1, 1], Some(1.0 / 90.0)),
        ([3, 2], [1, 3], [2, 1, 0, 4], Some(1.0 / 90.0)),
        ([1, 1], [1, 1], [0; 4], Some(1.0 / 90.0)),
        ([5, 7], [1, 1], [0; 4], Some(1.0 / 90.0)),
    ] {
        let [kh, kw] = kernel;
        let depth = (kh * kw) as usize * channels;
        let (weight, bias, scale) = (noise.bytes(depth * columns), noise.floats(columns), vec![0.01; columns]);
        let rows = ((HEIGHT as i64 + pads[0] + pads[2] - kh) / strides[0] + 1) as usize;
        let across = ((WIDTH as i64 + pads[1] + pads[3] - kw) / strides[1] + 1) as usize;
        let found = run(
            &x,
            &[1, HEIGHT as i64, WIDTH as i64, channels as i64],
            |graph| {
                let mut attributes = vec![
                    ("kernel", Attribute::Ints(&kernel)),
                    ("strides", Attribute::Ints(&strides)),
                    ("pads", Attribute::Ints(&pads)),
                    ("activation", Attribute::Text("relu6")),
                ];
                attributes.extend(x_scale.map(|scale| ("x_scale", Attribute::Float(scale))));
                graph
                    .constant("w", &[depth, columns], &weight)
                    .constant("s", &[columns], &scale)
                    .constant("b", &[columns], &bias)
                    .node("LookoutConv", &["x", "w", "s", "b"], "y", &attributes)
            },
            [rows * across, columns],
        );
        let mut wanted = Vec::new();
        for (oy, ox) in (0..rows).flat_map(|y| (0..across).map(move |x| (y, x))) {
            let mut window = vec![0f32; depth];
            for (i, value) in window.iter_mut().enumerate() {
                let (ky, kx, c) = (i / channels / kw as usize, i / channels % kw as usize, i % channels);
                let iy = (oy * strides[0] as usize + ky).wrapping_sub(pads[0] as usize);
                let ix = (ox * strides[1] as usize + kx).wrapping_sub(pads[1] as usize);
                if iy < HEIGHT && ix < WIDTH {
                    *value = x[(iy * WIDTH + ix) * channels + c];
                }
            }
            let inside = window.iter().any(|v| *v != 0.0);
            let window = match x_scale {
                // Some of the values lie beyond the largest byte.
                Some(scale) => window.iter().map(|v| uniformly_quantised(*v, scale)).collect(),
                None if inside => quantised(&window),
                None => vec![0.0; depth],
            };
            for n in 0..columns {
                let sum: f64 = (0..depth).map(|k| window[k] * f64::from(weight[k * columns + n])).sum();
                wanted.push((sum * 0.01f32 as f64 + f64::from(bias[n])).clamp(0.0, 6.0));
            }
        }
        assert_near(&found, &wanted, 1e-4, &format!("{kernel:?} {strides:?} {pads:?} {x_scale:?}"));
    }
}

fn uniformly_quantised(value: f32, scale: f32) -> f64 {
    (f64::from(value) / f64::from(scale)).round_ties_even().clamp(-127.0, 127.0) * f64::from(scale)
}

#[test]
fn scales_of_activations_that_cannot_be_right_are_refused() {
    for (scale, precision, wanted) in [
        (0.0, "int8", "x_scale is 0; it must be above 0"),
        (-0.5, "int8", "x_scale is -0.5; it must be above 0"),
        (f32::NAN, "int8", "x_scale is NaN; it must be above 0"),
        (0.5, "weights", "x_scale needs the precision int8"),
    ] {
        let file = graph(
            [HEIGHT, WIDTH],
            &[1, HEIGHT as i64, WIDTH as i64, 3],
            |graph| {
                let attributes = [
                    ("kernel", Attribute::Ints(&[1, 1])),
                    ("x_scale", Attribute::Float(scale)),
                    ("precision", Attribute::Text(precision)),
                ];
                graph
                    .constant("w", &[3, 4], &[1i8; 12])
                    .constant("s", &[4], &[0.1f32; 4])
                    .constant("b", &[4], &[0f32; 4])
                    .node("LookoutConv", &["x", "w", "s", "b"], "y", &attributes)
            },
            [HEIGHT * WIDTH, 4],
        );
        let error = load(&file, [HEIGHT, WIDTH], [HEIGHT * WIDTH, 4], 1).expect_err("it is refused").to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// A tower with every operator, large enough to be split over threads.
fn large() -> (Vec<u8>, [usize; 2], [usize; 2]) {
    let mut noise = Noise(14);
    let (size, tokens, width) = ([64, 64], 256, 96);
    let file = graph(
        size,
        &[1, 64, 64, 3],
        |graph| {
            let window = |step: &'static [i64]| {
                [
                    ("kernel", Attribute::Ints(&[3, 3])),
                    ("strides", Attribute::Ints(step)),
                    ("pads", Attribute::Ints(&[0, 0, 1, 1])),
                ]
            };
            let attention = || [("heads", Attribute::Int(3)), ("keys", Attribute::Int(256))];
            graph
                .constant("zero", &[width], &vec![0f32; width])
                .constant("one", &[width], &vec![1f32; width])
                .constant("scale", &[width], &vec![0.002f32; width])
                .constant("zeros", &[2 * width], &vec![0f32; 2 * width])
                .constant("scales", &[2 * width], &vec![0.002f32; 2 * width])
                .constant("conv", &[27, width], &noise.bytes(27 * width))
                .constant("depth", &[9, width], &noise.bytes(9 * width))
                .constant("two", &[width, 2 * width], &noise.bytes(2 * width * width))
                .constant("keys", &[3, 32, 256], &noise.bytes(width * 256))
                .constant("key_scale", &[3, 256], &vec![0.002f32; 768])
                .constant("fold", &[width, 768 + width], &noise.bytes(width * (768 + width)))
                .constant("fold_scale", &[768 + width], &vec![0.001f32; 768 + width])
                .constant("fold_bias", &[768 + width], &vec![0f32; 768 + width])
                .constant("tokens", &[3], &[1, tokens as i64, width as i64])
                .node("LookoutConv", &["x", "conv", "scale", "zero"], "c", &window(&[2, 2]))
                .node("LookoutDepthwise", &["c", "depth", "scale", "zero"], "d", &window(&[2, 2]))
                .node("Reshape", &["d", "tokens"], "t", &[])
                .node("LookoutLayerNorm", &["t", "one", "zero"], "n", &[("epsilon", Attribute::Float(1e-5))])
                .node(
                    "LookoutLinear",
                    &["n", "two", "scales", "zeros"],
                    "qv",
                    &[("activation", Attribute::Text("gelu"))],
                )
                .node("LookoutStaticKeyAttentionUnfolded", &["qv", "keys", "key_scale"], "a", &attention())
                .node(
                    "LookoutLinear",
                    &["a", "fold", "fold_scale", "fold_bias"],
                    "f",
                    &[("precision", Attribute::Text("weights"))],
                )
                .node("LookoutStaticKeyAttention", &["f"], "y", &attention())
        },
        [tokens, width],
    );
    (file, size, [tokens, width])
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (file, size, out) = large();
    let x = Noise(15).floats(3 * size[0] * size[1]);
    let alone = load(&file, size, out, 1).expect("loads").encode(&x).expect("runs");
    let first = &alone.patches.as_ref().expect("patches").data;
    assert!(first.iter().any(|v| *v != first[0]), "a constant result shows nothing");
    for threads in [2, 3, 4, 7] {
        let tower = load(&file, size, out, threads).expect("loads");
        for _ in 0..3 {
            assert!(tower.encode(&x).expect("runs") == alone, "{threads} threads change the result");
        }
    }
}

#[test]
fn one_tower_serves_many_threads() {
    let (file, size, out) = large();
    let tower = load(&file, size, out, 2).expect("loads");
    let pictures: Vec<Vec<f32>> = (1..5).map(|seed| Noise(seed).floats(3 * size[0] * size[1])).collect();
    let wanted: Vec<_> = pictures.iter().map(|x| tower.encode(x).expect("runs")).collect();
    std::thread::scope(|scope| {
        for (x, wanted) in pictures.iter().zip(&wanted) {
            let tower = &tower;
            scope.spawn(move || (0..5).for_each(|_| assert!(tower.encode(x).expect("runs") == *wanted)));
        }
    });
}

fn refusal(file: &[u8], out: [usize; 2]) -> lookout::Error {
    match load(file, [HEIGHT, WIDTH], out, 1) {
        Ok(_) => panic!("a wrong file was loaded"),
        Err(error) => error,
    }
}

#[test]
fn wrong_weights_and_attributes_are_named() {
    type Parts<'a> = (&'a [usize], &'a [i8], &'a [f32], &'a [f32], &'a str, &'a str);
    let (w, ones) = ([1i8; 12], [1f32; 4]);
    let cases: [Parts; 8] = [
        (&[2, 4], &w[..8], &ones, &ones, "none", "2"),
        (&[3, 4], &w, &ones[..3], &ones, "none", "3 scales for 4 columns"),
        (&[3, 4], &w, &ones, &ones[..2], "none", "2 biases for 4 columns"),
        (&[3, 4], &w, &[1.0, f32::NAN, 1.0, 1.0], &ones, "none", "scale of column 1 is NaN"),
        (&[3, 4], &w, &[1.0, -0.5, 1.0, 1.0], &ones, "none", "scale of column 1 is -0.5"),
        (&[3, 4], &w, &ones, &[0.0, 0.0, f32::INFINITY, 0.0], "none", "bias of column 2 is inf"),
        (&[12], &w, &ones, &ones, "none", "weight"),
        (&[3, 4], &w, &ones, &ones, "swish", "swish"),
    ];
    for (shape, weight, scale, bias, activation, cause) in cases {
        let file = graph(
            [HEIGHT, WIDTH],
            &[1, 192, 3],
            |graph| {
                graph
                    .constant("w", shape, weight)
                    .constant("s", &[scale.len()], scale)
                    .constant("b", &[bias.len()], bias)
                    .node("LookoutLinear", &["x", "w", "s", "b"], "y", &[("activation", Attribute::Text(activation))])
            },
            [192, 4],
        );
        let error = refusal(&file, [192, 4]);
        assert_eq!(error.code(), Code::Engine);
        assert!(error.message().contains("image.onnx") && error.message().contains(cause), "{cause}: {error}");
    }
}

#[test]
fn wrong_files_are_errors() {
    // Twice as a dimension, more than a usize can count.
    const BEYOND: usize = 1 << (usize::BITS / 2 + 8);
    let image = || Graph::default().input::<f32>("image", &[1, 3, HEIGHT as i64, WIDTH as i64].map(Dim::Is));
    let window = [("kernel", Attribute::Ints(&[0, 3]))];
    let cases = [
        (b"not a network at all".to_vec(), "not an ONNX file"),
        (vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], "not an ONNX file"),
        (Graph::default().finish(), "no outputs"),
        (image().output("ghost").finish(), "nothing makes its output ghost"),
        (image().node("Frobnicate", &["image"], "embedding", &[]).output("embedding").finish(), "Frobnicate"),
        (image().node("Add", &["image", "nobody"], "embedding", &[]).output("embedding").finish(), "nobody"),
        (image().node("LookoutLinear", &["image"], "embedding", &[]).output("embedding").finish(), "4 to 5 inputs"),
        (
            image()
                .node("LookoutDepthwise", &["image", "image", "image", "image"], "embedding", &window)
                .output("embedding")
                .finish(),
            "kernel",
        ),
        (
            image()
                .node("LookoutLinear", &["image", "image", "image", "image"], "embedding", &[])
                .output("embedding")
                .finish(),
            "weight",
        ),
        (
            image()
                .elsewhere("w", "/etc/passwd")
                .node("Add", &["image", "w"], "embedding", &[])
                .output("embedding")
                .finish(),
            "another file",
        ),
        (image().constant("w", &[BEYOND, BEYOND], &[1f32]).output("image").finish(), "constant w"),
        (image().node("Identity", &["image"], "embedding", &[]).output("embedding").finish(), "[patches]"),
    ];
    for (file, cause) in cases {
        let error = refusal(&file, [192, 4]);
        assert!(error.message().contains(cause), "{cause}: {error}");
        assert!(error.message().len() < 600, "{error}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let file = graph(
        [HEIGHT, WIDTH],
        &[1, 192, 3],
        |graph| {
            graph
                .constant("w", &[3, 4], &[1i8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
                .constant("s", &[4], &[1f32; 4])
                .constant("b", &[4], &[1f32; 4])
                .node("LookoutLinear", &["x", "w", "s", "b"], "y", &[])
        },
        [192, 4],
    );
    let x = Noise(16).floats(HEIGHT * WIDTH * 3);
    let mut noise = Noise(17);
    let mut refused = 0;
    for round in 0..400 {
        let mut damaged = file.clone();
        let at = ((noise.next() + 1.0) / 2.0 * (file.len() - 1) as f32) as usize;
        if round % 4 == 0 {
            damaged.truncate(at.max(1))
        } else {
            damaged[at] ^= 1 << (round % 8)
        }
        match load(&damaged, [HEIGHT, WIDTH], [192, 4], 1) {
            Ok(tower) => drop(tower.encode(&x)),
            Err(error) => {
                refused += 1;
                assert!(matches!(error.code(), Code::Engine | Code::Bundle), "{error}");
            }
        }
    }
    assert!(refused > 100, "only {refused} damaged files were noticed");
}

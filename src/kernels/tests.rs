//! Every kernel of this machine against the plain one, and the plain one against sums in 64 bits.

use super::*;

/// Deterministic floats in -1..1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (f64::from(self.0) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() * 128.0).floor() as i8).collect()
    }
}

/// Rows, depth, columns: single ones, odd ones, every number of rows and panels of a block, and a deep one.
const SHAPES: [(usize, usize, usize); 17] = [
    (1, 1, 1),
    (1, 3, 17),
    (2, 5, 15),
    (3, 4, 16),
    (4, 31, 33),
    (5, 64, 48),
    (6, 33, 65),
    (7, 100, 100),
    (8, 17, 31),
    (9, 27, 24),
    (13, 384, 129),
    (16, 48, 144),
    (23, 255, 64),
    (1, 384, 1000),
    (2, 4096, 5),
    (49, 96, 80),
    (1, 65536, 3),
];

fn product(kernel: Kernel, x: &[f32], weights: &Packed) -> Vec<f32> {
    let mut rows = Rows::default();
    rows.quantise(kernel, x, weights.depth());
    let columns = weights.columns();
    // Sentinels around the result show a store out of place.
    let mut out = vec![77.0; rows.count() * (columns + 1)];
    kernel.multiply(&rows, weights, 0..weights.panels(), Finish::NONE, &mut out, columns + 1);
    for row in out.chunks(columns + 1) {
        assert_eq!(row[columns], 77.0, "{} wrote past its columns", kernel.name());
    }
    out.chunks(columns + 1).flat_map(|row| &row[..columns]).copied().collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_kernel_gives_the_bits_of_the_plain_one() {
    let mut noise = Noise(1);
    for (rows, depth, columns) in SHAPES {
        let x = noise.floats(rows * depth);
        let scale: Vec<f32> = noise.floats(columns).iter().map(|v| v.abs()).collect();
        let weights =
            Packed::new(&noise.bytes(depth * columns), depth, columns, &scale, &noise.floats(columns)).unwrap();
        let wanted = product(Kernel(Set::Plain), &x, &weights);
        for kernel in Kernel::available() {
            assert_eq!(
                bits(&product(kernel, &x, &weights)),
                bits(&wanted),
                "{} {:?}",
                kernel.name(),
                (rows, depth, columns)
            );
        }
    }
}

#[test]
fn extreme_bytes_do_not_saturate() {
    let mut noise = Noise(2);
    for (rows, depth, columns) in SHAPES {
        // All activations at the ends of their range and all weights at -128 or 127: sums are the largest that occur.
        let x: Vec<f32> =
            (0..rows * depth).map(|i| if i / depth % 2 == 0 { 1.0 } else { noise.next().signum() }).collect();
        let bytes: Vec<i8> = (0..depth * columns).map(|i| if i % columns % 3 == 0 { 127 } else { -128 }).collect();
        let weights = Packed::new(&bytes, depth, columns, &vec![1.0; columns], &[]).unwrap();
        for kernel in Kernel::available() {
            let found = product(kernel, &x, &weights);
            for m in 0..rows {
                for n in 0..columns {
                    let exact: i64 =
                        (0..depth).map(|k| (x[m * depth + k] * 127.0) as i64 * i64::from(bytes[k * columns + n])).sum();
                    let wanted = exact as i32 as f32 * (1.0 / 127.0);
                    assert_eq!(i64::from(exact as i32), exact, "the bound on the depth keeps sums in 32 bits");
                    assert_eq!(found[m * columns + n], wanted, "{} {:?}", kernel.name(), (m, n, depth));
                }
            }
        }
    }
}

#[test]
fn bad_activations_spoil_no_other_row() {
    let (depth, columns) = (37, 20);
    let mut noise = Noise(3);
    let weights = Packed::new(&noise.bytes(depth * columns), depth, columns, &vec![0.01; columns], &[]).unwrap();
    let clean = noise.floats(6 * depth);
    let mut x = clean.clone();
    x[depth + 3] = f32::NAN;
    x[2 * depth + 35] = f32::INFINITY;
    x[2 * depth + 36] = f32::NEG_INFINITY;
    x[3 * depth..4 * depth].fill(f32::NEG_INFINITY);
    x[4 * depth..5 * depth].fill(1e-41);
    // What the bad values stand for.
    let mut meant = clean;
    meant[depth + 3] = 0.0;
    let largest = meant[2 * depth..2 * depth + 35].iter().fold(0f32, |a, v| a.max(v.abs()));
    meant[2 * depth + 35] = largest;
    meant[2 * depth + 36] = -largest;
    meant[3 * depth..5 * depth].fill(0.0);
    for kernel in Kernel::available() {
        let found = product(kernel, &x, &weights);
        assert_eq!(bits(&found), bits(&product(Kernel(Set::Plain), &meant, &weights)), "{}", kernel.name());
    }
}

#[test]
fn quantised_products_are_near_the_float_ones() {
    let mut noise = Noise(4);
    let (rows, depth, columns) = (9, 200, 50);
    let (x, bytes, bias) = (noise.floats(rows * depth), noise.bytes(depth * columns), noise.floats(columns));
    let scale = vec![0.02; columns];
    let weights = Packed::new(&bytes, depth, columns, &scale, &bias).unwrap();
    let columns_only = Columns::new(&bytes, depth, columns, &scale, &bias).unwrap();
    let exact = |m: usize, n: usize| -> f64 {
        let sum: f64 = (0..depth).map(|k| f64::from(x[m * depth + k]) * f64::from(bytes[k * columns + n])).sum();
        sum * f64::from(scale[n]) + f64::from(bias[n])
    };
    for kernel in Kernel::available() {
        let quantised = product(kernel, &x, &weights);
        let mut float = vec![0.0; rows * columns];
        let strides = Strides::dense(rows, depth);
        columns_only.multiply(kernel, &x, strides, 0, 32, Finish::NONE, &mut float, columns);
        columns_only.multiply(kernel, &x, strides, 32, 18, Finish::NONE, &mut float[32..], columns);
        for m in 0..rows {
            for n in 0..columns {
                let (i, wanted) = (m * columns + n, exact(m, n));
                assert!((f64::from(float[i]) - wanted).abs() < 2e-4, "{}: {} not {wanted}", kernel.name(), float[i]);
                assert!(
                    (f64::from(quantised[i]) - wanted).abs() < 0.3,
                    "{}: {} not {wanted}",
                    kernel.name(),
                    quantised[i]
                );
            }
        }
    }
}

#[test]
fn softmax_weighs_values_like_floats() {
    let mut noise = Noise(5);
    for (tokens, width) in [(1, 1), (7, 16), (33, 20), (256, 64)] {
        let logits: Vec<f32> = noise.floats(tokens).iter().map(|v| v * 4.0).collect();
        let values = noise.floats(tokens * (width + 3));
        let top = logits.iter().fold(f32::MIN, |a, v| a.max(*v));
        let weights: Vec<f64> = logits.iter().map(|v| f64::from(v - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        for kernel in Kernel::available() {
            let mut packed = Packed::default();
            packed.repack(&values, width + 3, tokens, width);
            let (mut rows, mut exps) = (Rows::default(), Vec::new());
            rows.fill(1, tokens, |_, bytes| {
                let mut scale = 0.0;
                softmax_to_bytes(kernel, &logits, kernel.positive_max(), &mut exps, bytes, &mut scale);
                scale
            });
            let mut out = vec![0.0; width];
            kernel.multiply(&rows, &packed, 0..packed.panels(), Finish::NONE, &mut out, width);
            for (n, found) in out.iter().enumerate() {
                let wanted: f64 =
                    (0..tokens).map(|t| weights[t] * f64::from(values[t * (width + 3) + n])).sum::<f64>() / total;
                assert!((f64::from(*found) - wanted).abs() < 0.02, "{} {tokens}: {found} not {wanted}", kernel.name());
            }
        }
    }
}

#[test]
fn softmax_survives_hostile_logits() {
    for kernel in Kernel::available() {
        let weigh = |logits: &[f32]| {
            let (mut bytes, mut scale) = (vec![9; logits.len()], 9.0);
            softmax_to_bytes(kernel, logits, kernel.positive_max(), &mut Vec::new(), &mut bytes, &mut scale);
            bytes.iter().map(|b| f32::from(*b) * scale).collect::<Vec<_>>()
        };
        assert_eq!(weigh(&[f32::NAN, 1.0, 1.0]), [0.0, 0.5, 0.5]);
        assert_eq!(weigh(&[f32::INFINITY, 1.0]), [1.0, 0.0]);
        assert_eq!(weigh(&[f32::NEG_INFINITY, -1e30]), [0.0, 1.0]);
        assert_eq!(weigh(&[1e38, -1e38, 0.0]), [1.0, 0.0, 0.0]);
        let (nan, low) = (weigh(&[f32::NAN; 40]), weigh(&[f32::NEG_INFINITY; 3]));
        assert!(nan.iter().chain(&low).all(|w| w.is_finite()));
    }
}

#[test]
fn gelu_is_near_the_exact_one() {
    for kernel in Kernel::available() {
        for i in -80..80 {
            let x = f64::from(i) / 10.0;
            // erf(x / sqrt 2) by Simpson's rule.
            let z = x / 2f64.sqrt();
            let f = |j: u32| (-(f64::from(j) * z / 1000.0).powi(2)).exp();
            let sum: f64 = (0..500).map(|j| f(2 * j) + 4.0 * f(2 * j + 1) + f(2 * j + 2)).sum();
            let wanted = 0.5 * x * (1.0 + sum * z / 3000.0 * 2.0 / std::f64::consts::PI.sqrt());
            let mut found = [x as f32; 19];
            activate(kernel, &mut found, Activation::Gelu);
            found
                .iter()
                .for_each(|v| assert!((f64::from(*v) - wanted).abs() < 3e-6, "{}: {v} not {wanted}", kernel.name()));
        }
        let mut found = [-1.0, 3.0, 7.0];
        activate(kernel, &mut found, Activation::Relu6);
        assert_eq!(found, [0.0, 3.0, 6.0]);
    }
}

#[test]
fn layer_norm_is_the_textbook_one() {
    let mut noise = Noise(6);
    for width in [1, 5, 32, 100, 384] {
        let (x, gamma, beta) = (noise.floats(3 * width), noise.floats(width), noise.floats(width));
        for kernel in Kernel::available() {
            let mut out = vec![0.0; 3 * width];
            layer_norm(kernel, &x, &gamma, &beta, 1e-5, &mut out);
            for (row, out) in x.chunks(width).zip(out.chunks(width)) {
                let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
                for i in 0..width {
                    let normal = (f64::from(row[i]) - mean) / (variance + 1e-5).sqrt();
                    let wanted = normal * f64::from(gamma[i]) + f64::from(beta[i]);
                    assert!((f64::from(out[i]) - wanted).abs() < 1e-4, "{} {width}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn depthwise_is_the_textbook_one() {
    let mut noise = Noise(7);
    let windows = [
        ([3, 3], [1, 1], [1, 1, 1, 1]),
        ([3, 3], [2, 2], [0, 0, 1, 1]),
        ([3, 3], [2, 2], [1, 1, 1, 1]),
        ([7, 7], [1, 1], [3, 3, 3, 3]),
        ([1, 5], [1, 3], [0, 4, 2, 0]),
        ([2, 2], [1, 1], [5, 0, 0, 6]),
    ];
    for (kernel_size, strides, pads) in windows {
        let window = Window { kernel: kernel_size, strides, pads };
        for (size, channels) in [([9, 8], 3), ([6, 7], 64), ([5, 4], 131)] {
            let Some([rows, columns]) = window.output(size[0], size[1]) else { continue };
            let (x, scale, bias) =
                (noise.floats(size[0] * size[1] * channels), noise.floats(channels), noise.floats(channels));
            let weight = noise.bytes(kernel_size[0] * kernel_size[1] * channels);
            for kernel in Kernel::available() {
                let mut out = vec![0.0; rows * columns * channels];
                // In two parts, as two threads would.
                let (top, rest) = out.split_at_mut(columns * channels);
                let lines = Lines { x: &x, kept: size[0], size };
                let taps = Taps { weight: &weight, scale: &scale, bias: &bias, activation: Activation::None };
                depthwise(kernel, lines, window, taps, 0, top);
                depthwise(kernel, lines, window, taps, 1, rest);
                for (i, found) in out.iter().enumerate() {
                    let (y, at, c) = (i / channels / columns, i / channels % columns, i % channels);
                    let mut sum = 0f64;
                    for ky in 0..kernel_size[0] {
                        for kx in 0..kernel_size[1] {
                            let iy = (y * strides[0] + ky).wrapping_sub(pads[0]);
                            let ix = (at * strides[1] + kx).wrapping_sub(pads[1]);
                            if iy < size[0] && ix < size[1] {
                                let w = weight[(ky * kernel_size[1] + kx) * channels + c];
                                sum += f64::from(x[(iy * size[1] + ix) * channels + c]) * f64::from(w);
                            }
                        }
                    }
                    let wanted = sum * f64::from(scale[c]) + f64::from(bias[c]);
                    assert!(
                        (f64::from(*found) - wanted).abs() < 1e-3,
                        "{} {window:?}: {found} not {wanted}",
                        kernel.name()
                    );
                }
            }
        }
    }
}

#[test]
fn weights_that_cannot_be_right_are_refused() {
    let refused = |weight: &[i8], depth, columns, scale: &[f32], bias: &[f32], cause: &str| {
        for message in [
            Packed::new(weight, depth, columns, scale, bias).unwrap_err(),
            Columns::new(weight, depth, columns, scale, bias).unwrap_err(),
        ] {
            assert!(message.contains(cause), "{message}");
        }
    };
    refused(&[1; 6], 2, 4, &[1.0; 4], &[], "6 values, not 2 x 4");
    refused(&[], 0, 4, &[1.0; 4], &[], "empty");
    refused(&[1; 8], 2, 4, &[1.0; 3], &[], "3 scales for 4 columns");
    refused(&[1; 8], 2, 4, &[1.0; 4], &[0.0; 5], "5 biases for 4 columns");
    refused(&[1; 8], 2, 4, &[1.0, 1.0, f32::NAN, 1.0], &[], "scale of column 2 is NaN");
    refused(&[1; 8], 2, 4, &[1.0, -1.0, 1.0, 1.0], &[], "scale of column 1 is -1");
    refused(&[1; 8], 2, 4, &[1.0; 4], &[0.0, 0.0, 0.0, f32::INFINITY], "bias of column 3 is inf");
    refused(&vec![1; (1 << 16) + 1], (1 << 16) + 1, 1, &[1.0], &[], "at most 65536");
}

/// `make test-arm64` says what each emulated processor must use.
#[test]
fn the_chosen_kernel_is_the_expected_one() {
    let chosen = Kernel::chosen();
    assert!(Kernel::available().contains(&chosen));
    assert_eq!(Kernel::available().last().map(|kernel| kernel.name()), Some("plain"));
    match std::env::var("LOOKOUT_EXPECTED_KERNEL") {
        Ok(expected) => assert_eq!(chosen.name(), expected),
        Err(_) if std::env::var_os("LOOKOUT_KERNEL").is_none() => assert_eq!(chosen, Kernel::available()[0]),
        Err(_) => {}
    }
}

//! Float loops: activations, layer norm, depthwise convolution.

use super::*;

#[test]
fn gelu_is_near_the_exact_one() {
    for kernel in Kernel::available() {
        for i in (-80..80).step_by(if cfg!(miri) { 40 } else { 1 }) {
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
    for width in [1, 5, 32, 100] {
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
            if cfg!(miri) && channels > 3 {
                continue;
            }
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
fn depthwise_gives_the_same_bits_on_every_instruction_set_and_from_few_rows_in_memory() {
    let mut noise = Noise(17);
    for case in 0..if cfg!(miri) { 6 } else { 120 } {
        let kernel = [[3, 3], [5, 5], [1, 1], [7, 7], [2, 3]][case % 5];
        let strides = [[1, 1], [2, 2], [1, 2], [3, 1]][case / 5 % 4];
        let pads = [0; 4].map(|_| noise.size(kernel[0] + 1) - 1);
        let window = Window { kernel, strides, pads };
        let (size, channels) = if cfg!(miri) {
            ([noise.size(5), noise.size(12)], noise.size(6))
        } else {
            ([noise.size(14), noise.size(26)], noise.size(40))
        };
        let Some([rows, columns]) = window.output(size[0], size[1]) else { continue };
        let x = noise.floats(size[0] * size[1] * channels);
        let (weight, scale) = (noise.bytes(kernel[0] * kernel[1] * channels), vec![0.01; channels]);
        let bias = noise.floats(channels);
        let taps = Taps { weight: &weight, scale: &scale, bias: &bias, activation: Activation::Relu6 };
        let mut seen = None;
        for kernel in fusing() {
            let whole = Lines { x: &x, kept: size[0], size };
            let mut out = vec![77.0; rows * columns * channels];
            depthwise(kernel, whole, window, taps, 0, &mut out);
            // The rows of one output row alone, where they wrap around.
            let kept = size[0].min(window.kernel[0] + 1);
            for row in 0..rows {
                let (y0, y1, top) = window.taps(0, row, size[0]);
                let line = size[1] * channels;
                let mut few = vec![f32::NAN; kept * line];
                for y in top..top + y1 - y0 {
                    few[y % kept * line..][..line].copy_from_slice(&x[y * line..][..line]);
                }
                let mut one = vec![77.0; columns * channels];
                depthwise(kernel, Lines { x: &few, kept, size }, window, taps, row, &mut one);
                assert_eq!(bits(&one), bits(&out[row * columns * channels..][..columns * channels]), "{window:?}");
            }
            let out = bits(&out);
            assert_eq!(&out, seen.get_or_insert(out.clone()), "{} {window:?} {size:?} {channels}", kernel.name());
        }
    }
}

#[test]
fn a_bad_value_spoils_only_the_windows_that_see_it() {
    for kernel in Kernel::available() {
        for (channels, bad) in [(16, f32::NAN), (3, f32::INFINITY)] {
            let (size, window) = ([9, 20], Window { kernel: [3, 3], strides: [1, 1], pads: [1; 4] });
            let mut x = vec![1.0; 9 * 20 * channels];
            x[(4 * 20 + 7) * channels + 2] = bad;
            let (weight, ones) = (vec![1; 9 * channels], vec![1.0; channels]);
            let taps = Taps { weight: &weight, scale: &ones, bias: &ones, activation: Activation::None };
            let mut out = vec![0.0; x.len()];
            depthwise(kernel, Lines { x: &x, kept: 9, size }, window, taps, 0, &mut out);
            for (i, v) in out.iter().enumerate() {
                let (y, x, c) = (i / channels / 20, i / channels % 20, i % channels);
                let near = y.abs_diff(4) <= 1 && x.abs_diff(7) <= 1 && c == 2;
                assert_eq!(v.is_finite(), !near, "{} {y} {x} {c}", kernel.name());
            }
        }
    }
}

#[test]
fn activations_and_layer_norm_give_the_same_bits_on_every_instruction_set() {
    let mut noise = Noise(18);
    for width in [1, 7, 16, 33, 100] {
        let x: Vec<f32> = noise.floats(3 * width).iter().map(|v| v * 5.0).collect();
        let (gamma, beta) = (noise.floats(width), noise.floats(width));
        let mut seen = None;
        for kernel in fusing() {
            let mut normal = vec![0.0; 3 * width];
            layer_norm(kernel, &x, &gamma, &beta, 1e-5, &mut normal);
            let mut curved = x.clone();
            activate(kernel, &mut curved, Activation::Gelu);
            let found = (bits(&normal), bits(&curved));
            assert_eq!(&found, seen.get_or_insert(found.clone()), "{} {width}", kernel.name());
        }
    }
}

#[test]
fn sums_of_exponentials_are_near_those_in_double_precision_and_the_same_on_every_instruction_set() {
    let mut noise = Noise(47);
    for count in [1, 31, 32, 33, 513, 7878] {
        let mut x: Vec<f32> = noise.floats(count).iter().map(|v| v * 20.0).collect();
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let wanted: f64 = x.iter().map(|v| f64::from(v - largest).exp()).sum();
        let mut seen = None;
        for kernel in Kernel::available() {
            let mut sum = 0.0;
            add_exp(kernel, &x, largest, &mut sum);
            assert!((sum / wanted - 1.0).abs() < 2e-6, "{} {count}: {sum} not {wanted}", kernel.name());
            if fusing().contains(&kernel) {
                assert_eq!(sum.to_bits(), *seen.get_or_insert(sum.to_bits()), "{} {count}", kernel.name());
            }
        }
        x.extend([f32::NAN, f32::NEG_INFINITY, largest - 500.0]);
        for kernel in Kernel::available() {
            let mut sum = 0.0;
            add_exp(kernel, &x, largest, &mut sum);
            assert!((sum / wanted - 1.0).abs() < 2e-6, "{} {count}: {sum} not {wanted}", kernel.name());
        }
    }
}

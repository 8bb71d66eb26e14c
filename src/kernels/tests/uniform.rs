//! Activations with one scale for a whole tensor.

use super::*;

/// Values that are hostile now and then, in units of `1 / inverse`.
fn values(noise: &mut Noise, count: usize) -> Vec<f32> {
    let strange =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, -0.0, 0.5, 1.5, 126.5, 127.5, -127.5, -128.0];
    let value = |noise: &mut Noise| if noise.size(5) == 1 { strange[noise.size(12) - 1] } else { noise.next() * 140.0 };
    (0..count).map(|_| value(noise)).collect()
}

fn rounded(value: f32) -> i8 {
    if value.is_nan() { 0 } else { value.round_ties_even().clamp(-127.0, 127.0) as i8 }
}

#[test]
fn pixels_are_the_nearest_bytes_however_they_lie() {
    let mut noise = Noise(51);
    for (width, channels) in [(1, 3), (15, 3), (16, 3), (70, 3), (33, 1), (40, 4), (9, 17)] {
        for planes in [false, true] {
            let plane = width + noise.size(3) - 1;
            let strides = if planes { [1, plane] } else { [channels, 1] };
            let units = values(&mut noise, plane * channels);
            let x: Vec<f32> = units.iter().map(|v| v / 64.0).collect();
            for kernel in Kernel::available() {
                let mut out = vec![7; width * channels + 1];
                let (all, after) = out.split_at_mut(width * channels);
                pixels(kernel, &x, strides, channels, 64.0, all);
                for (i, found) in all.iter().enumerate() {
                    let value = units[i / channels * strides[0] + i % channels * strides[1]];
                    let found = found.wrapping_sub(kernel.zero()) as i8;
                    assert_eq!(found, rounded(value), "{} {value} of {width} x {channels}", kernel.name());
                }
                assert_eq!(after, [7], "{} wrote past its pixels", kernel.name());
            }
        }
    }
}

#[test]
fn windows_are_copied_piece_by_piece() {
    let mut noise = Noise(52);
    for (pieces, piece, step, pitch) in
        [(3, 9, 6, 90), (3, 16, 5, 60), (5, 15, 3, 77), (2, 4, 4, 40), (3, 20, 7, 90), (1, 1, 1, 1)]
    {
        let shape = Windows { step, pieces, piece, pitch };
        for count in [1, 2, 7] {
            let length = (count - 1) * step + (pieces - 1) * pitch + piece + Windows::SLACK;
            let from: Vec<u8> = (0..length).map(|_| noise.size(256) as u8).collect();
            let mut out = vec![0; count * shape.depth() + Windows::SLACK];
            shape.copy(&from, count, &mut out);
            for (i, window) in out.chunks_exact(shape.depth()).take(count).enumerate() {
                for (p, found) in window.chunks(piece).take(pieces).enumerate() {
                    assert_eq!(found, &from[i * step + p * pitch..][..piece], "window {i} of {shape:?}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "bytes of the windows")]
fn windows_that_reach_beyond_their_rows_are_refused() {
    let shape = Windows { step: 6, pieces: 3, piece: 9, pitch: 90 };
    shape.copy(&[0; 200], 4, &mut [0; 200]);
}

#[test]
fn products_of_bytes_are_exact_on_every_kernel() {
    let mut noise = Noise(53);
    for (rows, depth, columns) in shapes() {
        let (x, mut bytes) = (noise.bytes(rows * depth), noise.bytes(depth * columns));
        // The largest sums that there are.
        (0..depth).for_each(|k| bytes[k * columns] = if rows % 2 == 0 { -128 } else { 127 });
        let x: Vec<i8> = x.iter().enumerate().map(|(i, v)| if i % 3 == 0 { 127 } else { (*v).max(-127) }).collect();
        let bias = noise.floats(columns);
        let weights = Packed::new(&bytes, depth, columns, &vec![0.002; columns], &bias).unwrap().of_steps(0.5);
        let wide = weights.padded_depth();
        for kernel in Kernel::available() {
            // What lies in the padding does not count.
            let row = |row: &[i8]| {
                let bytes = row.iter().map(|v| (*v as u8).wrapping_add(kernel.zero()));
                bytes.chain(std::iter::repeat_n(99, wide - depth)).collect::<Vec<u8>>()
            };
            let mut stored: Vec<u8> = x.chunks(depth).flat_map(row).collect();
            stored.resize(rows * wide + Windows::SLACK, 99);
            let view = rows_of_bytes(kernel, &stored, rows, wide);
            for activation in [Activation::None, Activation::Relu6] {
                for residual in [vec![], vec![1.0; rows * columns]] {
                    let mut out = vec![f32::NAN; rows * columns];
                    let finish = Finish { activation, residual: &residual };
                    kernel.multiply(view, &weights, 0..weights.panels(), finish, &mut out, columns);
                    for (m, n) in (0..rows).flat_map(|m| (0..columns).map(move |n| (m, n))) {
                        let term = |k: usize| i64::from(x[m * depth + k]) * i64::from(bytes[k * columns + n]);
                        let sum = (0..depth).map(term).sum::<i64>() as f32;
                        let y = sum.mul_add(0.5 * 0.002, bias[n]);
                        let y = if activation == Activation::Relu6 { y.clamp(0.0, 6.0) } else { y };
                        let wanted = if residual.is_empty() { y } else { y + 1.0 };
                        let found = out[m * columns + n];
                        assert_eq!(found.to_bits(), wanted.to_bits(), "{} row {m} column {n}", kernel.name());
                    }
                }
            }
        }
    }
}

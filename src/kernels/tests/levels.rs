//! Layers whose input or output are levels.

use super::*;
use crate::kernels::levels::Shift;
use crate::kernels::quantise::ROUNDER;

/// A float of hostile kinds now and then.
fn hostile(noise: &mut Noise, count: usize) -> Vec<f32> {
    let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0];
    let value = |noise: &mut Noise| if noise.size(12) == 1 { strange[noise.size(6) - 1] } else { noise.next() * 400.0 };
    (0..count).map(|_| value(noise)).collect()
}

/// As every kernel keeps them.
fn stored(kernel: Kernel, levels: &[u8]) -> Vec<u8> {
    levels.iter().map(|level| level.wrapping_add(kernel.blank())).collect()
}

fn read(kernel: Kernel, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte.wrapping_sub(kernel.blank())).collect()
}

fn levels(noise: &mut Noise, count: usize) -> Vec<u8> {
    (0..count)
        .map(|_| if noise.size(4) == 1 { [0, 254][noise.size(2) - 1] } else { (noise.size(255) - 1) as u8 })
        .collect()
}

fn level(y: f32) -> u8 {
    if y > 0.0 { y.min(TOP_LEVEL).round_ties_even() as u8 } else { 0 }
}

#[test]
fn products_become_the_levels_nearest_to_their_floats() {
    let mut noise = Noise(31);
    for (i, (rows, depth, columns)) in shapes().into_iter().enumerate() {
        // All results fit 16 bits, or those of some panels do, or hardly any.
        let x = if i % 3 == 0 { noise.floats(rows * depth) } else { hostile(&mut noise, rows * depth) };
        let (bytes, bias) = (noise.bytes(depth * columns), hostile(&mut noise, columns));
        let bias: Vec<f32> = if i % 3 == 2 { bias } else { noise.floats(columns) };
        let bias: Vec<f32> = bias.iter().map(|b| if b.is_finite() { *b } else { 0.0 }).collect();
        let scale: Vec<f32> = noise.floats(columns).iter().map(|v| v.abs() * 0.02).collect();
        let step = 0.3;
        let whole = Packed::new(&bytes, depth, columns, &scale, &bias).unwrap().in_steps(step);
        let float = Columns::new(&bytes, depth, columns, &scale, &bias).unwrap().in_steps(step);
        let stride = padded(columns) + 16 * (rows % 2);
        for kernel in Kernel::available() {
            let name = kernel.name();
            let mut quantised = Rows::default();
            quantised.quantise(kernel, &x, depth);
            let mut wanted = vec![0.0; rows * columns];
            kernel.multiply(quantised.view(), &whole, 0..whole.panels(), Finish::NONE, &mut wanted, columns);
            let mut found = vec![7; rows * stride];
            let middle = whole.panels() / 2;
            for panels in [0..middle, middle..whole.panels()] {
                let out = &mut found[panels.start * PANEL..];
                kernel.multiply_to_levels(quantised.view(), &whole, panels, out, stride);
            }
            check(kernel, &wanted, &found, columns, stride, name);
            let strides = Strides::dense(rows, depth);
            float.multiply(kernel, &x, strides, 0, columns, Finish::NONE, &mut wanted, columns);
            found.fill(7);
            float.multiply_to_levels(kernel, &x, strides, &mut found, stride);
            check(kernel, &wanted, &found, columns, stride, name);
        }
    }
}

fn check(kernel: Kernel, wanted: &[f32], found: &[u8], columns: usize, stride: usize, name: &str) {
    for (wanted, found) in wanted.chunks(columns).zip(found.chunks(stride)) {
        let wanted: Vec<u8> = wanted.iter().map(|y| level(*y)).collect();
        assert_eq!(read(kernel, &found[..columns]), wanted, "{name}");
        assert!(found[padded(columns)..].iter().all(|byte| *byte == 7), "{name} wrote past its columns");
    }
}

#[test]
fn products_of_levels_are_exact_on_every_kernel() {
    let mut noise = Noise(32);
    for (rows, depth, columns) in shapes() {
        let x = levels(&mut noise, rows * depth);
        let mut bytes = noise.bytes(depth * columns);
        // The largest sums that there are.
        (0..depth).for_each(|k| bytes[k * columns] = if rows % 2 == 0 { -128 } else { 127 });
        let scale = vec![0.001; columns];
        let weights = Packed::new(&bytes, depth, columns, &scale, &[]).unwrap().deepened(padded(depth)).of_steps(0.5);
        for kernel in Kernel::available() {
            // What lies in the padding does not count.
            let row = |row: &[u8]| [row, &vec![99; padded(depth) - depth]].concat();
            let stored: Vec<u8> = stored(kernel, &x).chunks(depth).flat_map(row).collect();
            let view = rows_of_levels(&stored, padded(depth));
            let mut out = vec![f32::NAN; rows * columns];
            kernel.multiply(view, &weights, 0..weights.panels(), Finish::NONE, &mut out, columns);
            for (m, n) in (0..rows).flat_map(|m| (0..columns).map(move |n| (m, n))) {
                let term = |k: usize| i64::from(x[m * depth + k]) * i64::from(bytes[k * columns + n]);
                let wanted = (0..depth).map(term).sum::<i64>() as f32 * (0.5 * 0.001);
                assert_eq!(out[m * columns + n].to_bits(), wanted.to_bits(), "{} row {m} column {n}", kernel.name());
            }
        }
    }
}

/// Kernels may leave out what is level 0 in neighbouring rows.
#[test]
fn silent_channels_of_levels_count_for_nothing() {
    let mut noise = Noise(35);
    let cases = [(7, 320, 40), (12, 256, 24), (6, 37 * 16, 16), (9, 2048, 17), (13, 272, 5), (70, 2048, 8)];
    for (case, (rows, depth, columns)) in cases.into_iter().take(if cfg!(miri) { 1 } else { 6 }).enumerate() {
        // Some rows are silent, in some pieces of others two neighbours are, or one of them, or all but one channel.
        let mut x = levels(&mut noise, rows * depth);
        for (i, row) in x.chunks_mut(depth).enumerate() {
            for (k, piece) in row.chunks_mut(16).enumerate() {
                match ((i / 2 * 7 + k) % 5, (i + k) % 3) {
                    (0, _) => piece.fill(0),
                    (1, 0) => piece.fill(0),
                    (2, 1) => piece[1..].fill(0),
                    _ if i / 2 == 1 => piece.fill(0),
                    _ => (),
                }
            }
        }
        let mut bytes: Vec<i8> = noise.bytes(depth * columns).iter().map(|byte| byte / 2).collect();
        if case == 2 {
            // Not in all columns do 4 products fit 16 bits.
            (0..16).for_each(|k| bytes[k * columns] = 127);
        }
        let scale = vec![0.001; columns];
        let weights = Packed::new(&bytes, depth, columns, &scale, &[]).unwrap().of_steps(0.5);
        for kernel in Kernel::available() {
            let stored = stored(kernel, &x);
            let view = rows_of_levels(&stored, depth);
            let residual = noise.floats(rows * columns);
            for residual in [&[][..], &residual] {
                let mut out = vec![f32::NAN; rows * columns];
                let finish = Finish { activation: Activation::None, residual };
                kernel.multiply(view, &weights, 0..weights.panels(), finish, &mut out, columns);
                for (m, n) in (0..rows).flat_map(|m| (0..columns).map(move |n| (m, n))) {
                    let term = |k: usize| i64::from(x[m * depth + k]) * i64::from(bytes[k * columns + n]);
                    let sum = (0..depth).map(term).sum::<i64>() as f32 * (0.5 * 0.001);
                    let wanted = sum + residual.get(m * columns + n).unwrap_or(&0.0);
                    assert_eq!(out[m * columns + n], wanted, "{} row {m} column {n} of case {case}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn depthwise_of_levels_is_exact_on_every_kernel_and_from_few_rows_in_memory() {
    let mut noise = Noise(33);
    for case in 0..if cfg!(miri) { 5 } else { 160 } {
        let size_of = [[3, 3], [5, 5], [1, 1], [9, 2], [2, 7]][case % 5];
        let strides = [[1, 1], [2, 2], [1, 2], [3, 1], [5, 5]][case / 5 % 5];
        let pads = [0; 4].map(|_| noise.size(size_of[0] + 1) - 1);
        let window = Window { kernel: size_of, strides, pads };
        let (size, channels) = if cfg!(miri) {
            ([noise.size(5), noise.size(9)], noise.size(6))
        } else {
            ([noise.size(14), noise.size(26)], noise.size(150))
        };
        let Some([rows, columns]) = window.output(size[0], size[1]) else { continue };
        let whole = padded(channels);
        let mut x = levels(&mut noise, size[0] * size[1] * whole);
        let mut weight = noise.bytes(size_of[0] * size_of[1] * channels);
        weight.iter_mut().step_by(channels).for_each(|w| *w = if case % 2 == 0 { -128 } else { 127 });
        if case % 4 == 2 {
            // As large as they may be for the products of a row to fit 16 bits, and levels that make these the largest.
            let most = (i16::MAX / 127 / size_of[1] as i16).min(127) as i8;
            weight.iter_mut().for_each(|w| *w = (*w).clamp(-most, most));
            weight.iter_mut().step_by(channels).for_each(|w| *w = most);
            x.iter_mut().for_each(|x| *x = if *x < 100 { 0 } else { 254 });
        }
        // Some results leave 16 bits.
        let most = if case % 3 == 1 { 0.4 } else { 0.004 };
        let scale: Vec<f32> = noise.floats(channels).iter().map(|v| v.abs() * most).collect();
        let bias = noise.floats(channels);
        let steps = [0.25, 0.125];
        let taps = LevelTaps::new(window, &weight, &scale, &bias, steps).unwrap();
        let mut wanted = vec![0; rows * columns * whole];
        for (i, wanted) in wanted.iter_mut().enumerate().filter(|(i, _)| i % whole < channels) {
            let (y, at, c) = (i / whole / columns, i / whole % columns, i % whole);
            let mut sum = 0i32;
            for (ky, kx) in (0..size_of[0]).flat_map(|ky| (0..size_of[1]).map(move |kx| (ky, kx))) {
                let iy = (y * strides[0] + ky).wrapping_sub(pads[0]);
                let ix = (at * strides[1] + kx).wrapping_sub(pads[1]);
                if iy < size[0] && ix < size[1] {
                    let tap = weight[(ky * size_of[1] + kx) * channels + c];
                    sum += i32::from(x[(iy * size[1] + ix) * whole + c]) * i32::from(tap);
                }
            }
            let step = scale[c] * steps[0] / steps[1];
            let shift = Shift::new(step, bias[c] / steps[1], 1e6).unwrap();
            *wanted =
                (i32::from(Shift::byte(sum + shift.start + ROUNDER.to_bits() as i32, step, shift.shift)) + 127) as u8;
            let exact = f64::from(sum) * f64::from(step) + f64::from(bias[c] / steps[1]);
            let off = (f64::from(*wanted) - exact.clamp(0.0, 254.0)).abs();
            assert!(off <= 0.5 + f64::from(step) / 2.0 + 1e-3, "level {wanted} of {exact}");
        }
        for kernel in Kernel::available() {
            let bytes = stored(kernel, &x);
            let (mut found, mut room) = (vec![0; wanted.len()], Floats::default());
            let (kept, line) = ((window.kernel[0] + strides[0]).min(size[0]), size[1] * whole);
            let mut ring = vec![0; kept * line];
            for (row, found) in found.chunks_mut(columns * whole).enumerate() {
                if row % 2 == 0 {
                    // Rows that this one needs, and no other, are in memory.
                    ring.fill(200);
                    let (y0, y1, top) = window.taps(0, row, size[0]);
                    for y in top..top + y1 - y0 {
                        ring[y % kept * line..][..line].copy_from_slice(&bytes[y * line..][..line]);
                    }
                    taps.slide(kernel, LevelLines { x: &ring, kept, size }, row, found, &mut room);
                } else {
                    taps.slide(kernel, LevelLines { x: &bytes, kept: size[0], size }, row, found, &mut room);
                }
            }
            let found: Vec<u8> = read(kernel, &found).chunks(whole).flat_map(|c| c[..channels].to_vec()).collect();
            let mut together = vec![0; wanted.len()];
            taps.slide(kernel, LevelLines { x: &bytes, kept: size[0], size }, 0, &mut together, &mut room);
            let together: Vec<u8> =
                read(kernel, &together).chunks(whole).flat_map(|c| c[..channels].to_vec()).collect();
            let wanted: Vec<u8> = wanted.chunks(whole).flat_map(|c| c[..channels].to_vec()).collect();
            assert!(found == wanted && together == wanted, "{} {window:?} {size:?} {channels}", kernel.name());
        }
    }
}

#[test]
fn depthwise_of_floats_becomes_the_levels_nearest_to_its_floats() {
    let mut noise = Noise(34);
    for case in 0..if cfg!(miri) { 4 } else { 100 } {
        let size_of = [[3, 3], [5, 5], [3, 3], [7, 2]][case % 4];
        let strides = [[1, 1], [2, 2], [1, 1], [1, 1], [3, 1]][case % 5];
        let pads = if case % 2 == 0 { [1; 4] } else { [0; 4].map(|_| noise.size(size_of[0] + 1) - 1) };
        let window = Window { kernel: size_of, strides, pads };
        let (size, channels) = if cfg!(miri) {
            ([noise.size(5), noise.size(12)], noise.size(6))
        } else {
            ([noise.size(14), noise.size(40)], [32, 8, noise.size(70)][case % 3])
        };
        let Some([rows, columns]) = window.output(size[0], size[1]) else { continue };
        let count = size[0] * size[1] * channels;
        let x = if case % 4 == 0 { hostile(&mut noise, count) } else { noise.floats(count) };
        let weight = noise.bytes(size_of[0] * size_of[1] * channels);
        let scale: Vec<f32> = noise.floats(channels).iter().map(|v| v.abs()).collect();
        let bias: Vec<f32> = noise.floats(channels).iter().map(|v| v * 100.0).collect();
        let taps = Taps { weight: &weight, scale: &scale, bias: &bias, activation: Activation::None };
        let lines = Lines { x: &x, kept: size[0], size };
        for kernel in Kernel::available() {
            let mut wanted = vec![0.0; rows * columns * channels];
            depthwise(kernel, lines, window, taps, 0, &mut wanted);
            let wanted: Vec<u8> = wanted.iter().map(|y| level(*y)).collect();
            let whole = padded(channels);
            let mut found = vec![0; rows * columns * whole];
            // In two parts, as two threads would.
            let (top, rest) = found.split_at_mut(columns * whole);
            depthwise_to_levels(kernel, lines, window, taps, 0, top);
            if rows > 1 {
                depthwise_to_levels(kernel, lines, window, taps, 1, rest);
            }
            let found: Vec<u8> = read(kernel, &found).chunks(whole).flat_map(|c| c[..channels].to_vec()).collect();
            assert!(found == wanted, "{} {window:?} {size:?} {channels}", kernel.name());
        }
    }
}

#[test]
fn sums_that_no_float_could_hold_are_refused() {
    let window = Window { kernel: [15, 15], strides: [1, 1], pads: [0; 4] };
    let new = |tap: i8, scale: f32, bias: f32| LevelTaps::new(window, &[tap; 225], &[scale], &[bias], [1.0; 2]);
    assert!(new(1, 0.01, 3.0).is_some());
    assert!(new(127, 0.01, 3.0).is_none(), "sums");
    assert!(new(1, 100.0, 3.0).is_none() && new(1, 0.01, 1e9).is_none(), "results");
    // Without a scale there is the bias alone.
    let shift = Shift::new(0.0, 9.0, 1e5).unwrap();
    assert_eq!(Shift::byte(77 + ROUNDER.to_bits() as i32 + shift.start, shift.scale, shift.shift), 9 - 127);
}

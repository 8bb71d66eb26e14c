//! Softmax to bytes, and matrices that are packed while the network runs.

use super::*;

#[test]
fn softmax_weighs_values_like_floats() {
    let mut noise = Noise(5);
    for (tokens, width) in [(1, 1), (7, 16), (33, 20), (256, 64)] {
        if cfg!(miri) && tokens > 7 {
            continue;
        }
        let logits: Vec<f32> = noise.floats(tokens).iter().map(|v| v * 4.0).collect();
        let values = noise.floats(tokens * (width + 3));
        let top = logits.iter().fold(f32::MIN, |a, v| a.max(*v));
        let weights: Vec<f64> = logits.iter().map(|v| f64::from(v - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        for kernel in Kernel::available() {
            let mut packed = Packed::default();
            packed.repack(kernel, &values, width + 3, tokens, width);
            let mut rows = Rows::default();
            rows.fill(1, tokens, |_, bytes| softmax_to_bytes(kernel, &logits, kernel.positive_max(), bytes));
            let mut out = vec![0.0; width];
            kernel.multiply(rows.view(), &packed, 0..packed.panels(), Finish::NONE, &mut out, width);
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
            let mut bytes = vec![9; logits.len()];
            let scale = softmax_to_bytes(kernel, logits, kernel.positive_max(), &mut bytes);
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
fn softmax_gives_the_same_bytes_on_every_instruction_set() {
    let mut noise = Noise(14);
    for tokens in (1..70).chain([196, 257]).step_by(if cfg!(miri) { 9 } else { 1 }) {
        let logits: Vec<f32> = noise.floats(tokens).iter().map(|v| v * 6.0).collect();
        let mut seen = None;
        for kernel in fusing() {
            let mut bytes = vec![0; tokens];
            let scale = softmax_to_bytes(kernel, &logits, 127.0, &mut bytes);
            let found = (bytes, scale.to_bits());
            assert_eq!(&found, seen.get_or_insert(found.clone()), "{} {tokens}", kernel.name());
        }
    }
}

/// A float matrix packed as it is and packed from its transpose, times rows of every form.
#[test]
fn matrices_packed_at_run_time_are_near_the_float_ones() {
    let mut noise = Noise(15);
    for (count, depth, columns) in [(1, 1, 1), (3, 5, 17), (6, 33, 16), (5, 64, 49), (4, 7, 130)] {
        if cfg!(miri) && count > 3 {
            continue;
        }
        let matrix = noise.floats(depth * (columns + 2));
        let mut transposed = vec![0.0; columns * (depth + 1)];
        for (k, row) in matrix.chunks(columns + 2).enumerate() {
            for (n, value) in row[..columns].iter().enumerate() {
                transposed[n * (depth + 1) + k] = *value;
            }
        }
        let x = noise.floats(count * depth);
        let mut seen: Option<[Vec<u32>; 2]> = None;
        for kernel in Kernel::available() {
            let (mut upright, mut turned, mut spare) = (Packed::default(), Packed::default(), Rows::default());
            // Twice, so that nothing is left of the first time.
            upright.repack(kernel, &vec![9.0; 70 * 140], 140, 70, 140);
            turned.repack_transposed(kernel, &vec![9.0; 70 * 140], 70, 70, 140, 2.0, &mut spare);
            upright.repack(kernel, &matrix, columns + 2, depth, columns);
            turned.repack_transposed(kernel, &transposed, depth + 1, depth, columns, 0.5, &mut spare);
            let found = [product(kernel, &x, &upright), product(kernel, &x, &turned)];
            for m in 0..count {
                for n in 0..columns {
                    let terms = (0..depth).map(|k| f64::from(x[m * depth + k] * matrix[k * (columns + 2) + n]));
                    let wanted: f64 = terms.sum();
                    for (found, factor) in found.iter().zip([1.0, 0.5]) {
                        let found = f64::from(found[m * columns + n]);
                        assert!((found - wanted * factor).abs() < 0.1, "{}: {found} not {wanted}", kernel.name());
                    }
                }
            }
            let found = found.map(|out| bits(&out));
            assert_eq!(&found, seen.get_or_insert(found.clone()), "{}", kernel.name());
        }
    }
}

#[test]
fn a_bad_value_of_a_packed_matrix_spoils_no_other_column() {
    let mut noise = Noise(16);
    let (depth, columns) = (10, 37);
    let clean = noise.floats(depth * columns);
    let mut bad = clean.clone();
    (bad[3], bad[2 * columns + 20], bad[4 * columns + 36]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    // What they stand for: 0, and the largest finite magnitude of the column with the sign.
    let mut meant = clean;
    meant[3] = 0.0;
    let largest = |meant: &[f32], row: usize, column: usize| {
        let others = (0..depth).filter(|k| *k != row).map(|k| meant[k * columns + column].abs());
        others.fold(0.0, f32::max)
    };
    meant[2 * columns + 20] = largest(&meant, 2, 20);
    meant[4 * columns + 36] = -largest(&meant, 4, 36);
    let x = noise.floats(2 * depth);
    for kernel in Kernel::available() {
        let [bad, meant] = [&bad, &meant].map(|values| {
            let mut packed = Packed::default();
            packed.repack(kernel, values, columns, depth, columns);
            bits(&product(kernel, &x, &packed))
        });
        assert_eq!(bad, meant, "{}", kernel.name());
    }
}

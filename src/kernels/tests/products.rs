//! Products of quantised rows, and of float rows, with int8 weights.

use super::*;

#[test]
fn every_kernel_gives_the_bits_of_the_plain_one() {
    let mut noise = Noise(1);
    for (rows, depth, columns) in shapes() {
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
    // The ends of their range, and where sums of 4 products begin to leave 16 bits.
    for [high, low] in [[127, -128], [65, -65], [64, -64], [63, -64]] {
        for (rows, depth, columns) in shapes() {
            // All activations at the ends of their range and all weights at these: sums are the largest that occur.
            let x: Vec<f32> =
                (0..rows * depth).map(|i| if i / depth % 2 == 0 { 1.0 } else { noise.next().signum() }).collect();
            let bytes: Vec<i8> = (0..depth * columns).map(|i| if i % columns % 3 == 0 { high } else { low }).collect();
            let weights = Packed::new(&bytes, depth, columns, &vec![1.0; columns], &[]).unwrap();
            for kernel in Kernel::available() {
                let found = product(kernel, &x, &weights);
                for m in 0..rows {
                    let units = x[m * depth..][..depth].iter().map(|x| (x * 127.0) as i64).sum::<i64>();
                    for n in 0..columns {
                        let exact = units * i64::from(bytes[n]);
                        let wanted = exact as i32 as f32 * (1.0 / 127.0);
                        assert_eq!(i64::from(exact as i32), exact, "the bound on the depth keeps sums in 32 bits");
                        assert_eq!(found[m * columns + n], wanted, "{} {:?}", kernel.name(), (m, n, depth));
                    }
                }
            }
        }
    }
}

/// Weights as trained ones are, few of them large: some pieces of a column have room in 16 bits for more products.
#[test]
fn weights_of_any_spread_give_the_bits_of_the_plain_kernel() {
    let mut noise = Noise(19);
    for (spread, (rows, depth, columns)) in shapes().into_iter().enumerate() {
        let weight: Vec<i8> =
            (0..depth * columns).map(|_| (noise.next().powi(1 + spread as i32 % 4) * 127.9) as i8).collect();
        let x = noise.floats(rows * depth);
        let weights = Packed::new(&weight, depth, columns, &vec![0.1; columns], &noise.floats(columns)).unwrap();
        let wanted = bits(&product(Kernel(Set::Plain), &x, &weights));
        for kernel in Kernel::available() {
            assert_eq!(bits(&product(kernel, &x, &weights)), wanted, "{} {:?}", kernel.name(), (rows, depth, columns));
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[test]
fn a_piece_is_wild_where_four_products_can_leave_16_bits() {
    let (depth, columns) = (50, 20);
    let wild = |weights: [i8; 4], first: usize, column: usize| {
        let mut bytes = vec![0; depth * columns];
        for (i, weight) in weights.into_iter().enumerate() {
            bytes[(first + 4 * i) * columns + column] = weight;
        }
        let packed = Packed::new(&bytes, depth, columns, &vec![1.0; columns], &[]).unwrap();
        // 3 whole pieces of 2 panels.
        let mut wild = Vec::new();
        for runs in packed.bounds().unwrap().runs.chunks_exact(8) {
            for [calm, bits] in runs.as_chunks::<2>().0 {
                wild.extend(vec![0; usize::from(*calm)]);
                match bits {
                    0 => break,
                    bits => wild.push(*bits),
                }
            }
        }
        wild
    };
    assert_eq!(wild([65, -65, 64, 64], 3, 5), [0; 6]);
    assert_eq!(wild([65, -65, 64, 65], 3, 5), [2, 0, 0, 0, 0, 0]);
    assert_eq!(wild([127, -128, 4, 0], 32, 19), [0, 0, 0, 0, 0, 1]);
    assert_eq!(wild([127, -128, 3, 0], 32, 19), [0; 6]);
    assert_eq!(wild([127, 127, 127, 127], 8, 0), [0; 6], "two products of each piece");
}

#[cfg(target_arch = "aarch64")]
#[test]
fn squares_of_weights_bound_those_of_activations_for_sums_that_fit_16_bits() {
    let (depth, columns) = (35, 20);
    let limits = |weight: i8| {
        let mut bytes = vec![0; depth * columns];
        (16..32).step_by(4).for_each(|k| bytes[(k + 3) * columns + 5] = weight);
        let packed = Packed::new(&bytes, depth, columns, &vec![1.0; columns], &[]).unwrap();
        packed.bounds().unwrap().limits.clone()
    };
    // 4 lanes of 2 whole pieces of 2 panels; 4 of 127 times 4 of these are the most that fits, and the least that does not.
    let half = 4 * 127 * 127 / 2;
    assert_eq!([limits(0), limits(64)], [const { [u16::MAX; 16] }; 2]);
    let found = limits(65);
    assert!(u32::from(found[7]) < half, "{found:?}");
    assert!(found.iter().enumerate().all(|(i, limit)| i == 7 || *limit == u16::MAX), "{found:?}");

    // A number for each of more pieces, and none behind them.
    let mut bytes = vec![0; 65 * columns];
    (33..48).step_by(4).for_each(|k| bytes[k * columns + 17] = -90);
    let packed = Packed::new(&bytes, 65, columns, &vec![1.0; columns], &[]).unwrap();
    let found = packed.bounds().unwrap().limits.clone();
    let limit = i16::MAX as u32 * i16::MAX as u32 / (2 * 4 * 90 * 90);
    assert!(found.iter().enumerate().all(|(i, found)| u32::from(*found) == if i == 10 { limit } else { 65535 }));
}

#[test]
fn rows_of_any_depth_are_quantised_alike_and_bad_ones_spoil_no_other() {
    let mut noise = Noise(41);
    let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, 1e-41, 0.0];
    for depth in [8, 16, 17, 24, 32, 40, 48, 56, 100, 104] {
        for count in 1..9 {
            let mut x = noise.floats(count * depth);
            for row in x.chunks_exact_mut(depth).skip(count % 3).step_by(2) {
                let at = noise.size(depth) - 1;
                row[at] = strange[noise.size(strange.len()) - 1];
            }
            let mut wanted = Rows::default();
            wanted.quantise(Kernel(Set::Plain), &x, depth);
            for kernel in Kernel::available().into_iter().filter(|kernel| kernel.form() == Form::Signed) {
                let mut found = Rows::default();
                found.quantise(kernel, &x, depth);
                let (wanted, found) = (wanted.view(), found.view());
                let bytes = count * wanted.depth;
                assert_eq!(found.bytes[..bytes], wanted.bytes[..bytes], "{} {depth} {count}", kernel.name());
                assert_eq!(bits(found.scale), bits(wanted.scale), "{} {depth} {count}", kernel.name());
            }
        }
    }
}

/// As the first layer of a network has them: 3 rows of 3 in each of some planes, 2 apart.
#[test]
fn windows_that_overlap_give_the_same_bits_on_every_instruction_set() {
    let mut noise = Noise(43);
    for (rows, columns, planes) in [(5, 16, 3), (12, 8, 1), (13, 32, 3), (30, 24, 2), (127, 40, 3), (14, 20, 3)] {
        let depth = planes * 9;
        let (bias, width) = (noise.floats(columns), 2 * rows + 1);
        let weights = Columns::new(&noise.bytes(depth * columns), depth, columns, &vec![0.05; columns], &bias).unwrap();
        let strides = Strides { rows, row: 2, planes, plane: 3 * width, pieces: 3, piece: width, length: 3 };
        let mut x = noise.floats(planes * strides.plane);
        x[width] = f32::NAN;
        let residual = noise.floats(rows * columns);
        for (activation, residual) in [
            (Activation::Relu6, &[][..]),
            (Activation::Relu, &[]),
            (Activation::None, &[]),
            (Activation::Relu6, &residual),
        ] {
            let mut seen: Option<Vec<u32>> = None;
            for kernel in fusing() {
                let mut out = vec![0.0; rows * columns];
                weights.multiply(kernel, &x, strides, 0, columns, Finish { activation, residual }, &mut out, columns);
                let out = bits(&out);
                assert_eq!(&out, seen.get_or_insert(out.clone()), "{} {strides:?} {activation:?}", kernel.name());
            }
        }
    }
}

/// Columns that fill a panel by half, with few rows left after blocks of 12.
#[test]
fn half_panels_give_the_bits_of_the_plain_kernel() {
    let mut noise = Noise(47);
    for (rows, depth, columns) in [(12, 4, 8), (23, 20, 24), (48, 88, 24), (49, 300, 40), (50, 720, 8), (37, 1500, 24)]
    {
        let bias = noise.floats(columns);
        let weights = Packed::new(&noise.bytes(depth * columns), depth, columns, &vec![0.1; columns], &bias).unwrap();
        let x = noise.floats(rows * depth);
        let wanted = bits(&product(Kernel(Set::Plain), &x, &weights));
        for kernel in Kernel::available() {
            assert_eq!(bits(&product(kernel, &x, &weights)), wanted, "{} {:?}", kernel.name(), (rows, depth, columns));
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
    let (rows, depth, columns) = if cfg!(miri) { (2, 20, 50) } else { (9, 200, 50) };
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

#[test]
fn activation_and_residual_give_the_bits_of_separate_passes() {
    let mut noise = Noise(10);
    for (rows, depth, columns) in shapes() {
        let x = noise.floats(rows * depth);
        let (bytes, scale) = (noise.bytes(depth * columns), vec![0.002; columns]);
        let (bias, residual) = (noise.floats(columns), noise.floats(rows * columns));
        let weights = Packed::new(&bytes, depth, columns, &scale, &bias).unwrap();
        for kernel in Kernel::available() {
            let bare = product(kernel, &x, &weights);
            for activation in [Activation::None, Activation::Relu, Activation::Relu6, Activation::Gelu] {
                for residual in [&[][..], &residual] {
                    let mut wanted = bare.clone();
                    activate(kernel, &mut wanted, activation);
                    wanted.iter_mut().zip(residual).for_each(|(w, r)| *w += r);
                    let mut quantised = Rows::default();
                    quantised.quantise(kernel, &x, depth);
                    let mut out = vec![77.0; rows * columns];
                    let finish = Finish { activation, residual };
                    kernel.multiply(quantised.view(), &weights, 0..weights.panels(), finish, &mut out, columns);
                    assert_eq!(bits(&out), bits(&wanted), "{} {activation:?}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn rows_without_negative_values_give_the_bits_of_the_plain_kernel() {
    let mut noise = Noise(11);
    for (count, depth, columns) in shapes() {
        let bytes: Vec<u8> = (0..count * depth).map(|_| (noise.next().abs() * 127.5) as u8).collect();
        let weights = Packed::new(&noise.bytes(depth * columns), depth, columns, &vec![0.5; columns], &[]).unwrap();
        let multiply = |kernel: Kernel| {
            let mut rows = Rows::default();
            rows.fill(count, depth, |row, out| {
                out.copy_from_slice(&bytes[row * depth..][..depth]);
                0.25
            });
            let mut out = vec![0.0; count * columns];
            kernel.multiply(rows.view(), &weights, 0..weights.panels(), Finish::NONE, &mut out, columns);
            bits(&out)
        };
        let wanted = multiply(Kernel(Set::Plain));
        for kernel in Kernel::available() {
            assert_eq!(multiply(kernel), wanted, "{}", kernel.name());
        }
    }
}

#[test]
fn any_range_of_panels_gives_the_same_columns() {
    let mut noise = Noise(12);
    let (count, depth, columns) = (7, 21, 150);
    let x = noise.floats(count * depth);
    let weights = Packed::new(&noise.bytes(depth * columns), depth, columns, &vec![0.1; columns], &[]).unwrap();
    for kernel in Kernel::available() {
        let whole = product(kernel, &x, &weights);
        let mut rows = Rows::default();
        rows.quantise(kernel, &x, depth);
        for panels in [0..1, 2..9, 9..10, 3..8] {
            let (first, last) = (panels.start * PANEL, (panels.end * PANEL).min(columns));
            let mut out = vec![0.0; count * (last - first)];
            kernel.multiply(rows.view(), &weights, panels, Finish::NONE, &mut out, last - first);
            for (row, whole) in out.chunks(last - first).zip(whole.chunks(columns)) {
                assert_eq!(bits(row), bits(&whole[first..last]), "{}", kernel.name());
            }
        }
    }
}

#[test]
fn float_rows_give_the_same_bits_on_every_instruction_set_and_wherever_they_lie() {
    let mut noise = Noise(13);
    for (rows, depth, columns) in shapes() {
        let weight = noise.bytes(depth * columns);
        let weights = Columns::new(&weight, depth, columns, &vec![0.01; columns], &noise.floats(columns)).unwrap();
        // Two runs a row where the depth is even, as a convolution's window has.
        let pieces = if depth % 2 == 0 { 2 } else { 1 };
        let length = depth / pieces;
        let spread =
            Strides { rows, row: length + 3, planes: 1, plane: 0, pieces, piece: rows * (length + 3) + 5, length };
        let x = noise.floats(spread.piece * pieces + rows * spread.row);
        let dense: Vec<f32> = (0..rows * pieces)
            .flat_map(|i| &x[i / pieces * spread.row + i % pieces * spread.piece..][..length])
            .copied()
            .collect();
        let mut seen: Option<Vec<u32>> = None;
        for kernel in fusing() {
            for (x, strides) in [(&x, spread), (&dense, Strides::dense(rows, depth))] {
                let mut out = vec![0.0; rows * columns];
                weights.multiply(kernel, x, strides, 0, columns, Finish::NONE, &mut out, columns);
                let out = bits(&out);
                assert_eq!(&out, seen.get_or_insert(out.clone()), "{} {strides:?}", kernel.name());
            }
        }
    }
}

#[test]
fn nan_travels_through_float_rows_and_relu_ends_it() {
    let weights = Columns::new(&[1; 34], 2, 17, &[1.0; 17], &[]).unwrap();
    for kernel in Kernel::available() {
        let run = |activation| {
            let finish = Finish { activation, residual: &[] };
            let mut out = vec![0.0; 34];
            let x = [f32::NAN, 1.0, f32::INFINITY, 1.0];
            weights.multiply(kernel, &x, Strides::dense(2, 2), 0, 17, finish, &mut out, 17);
            out
        };
        let plain = run(Activation::None);
        assert!(plain[..17].iter().all(|v| v.is_nan()) && plain[17..].iter().all(|v| *v == f32::INFINITY));
        let held = run(Activation::Relu6);
        assert!(held[..17].iter().all(|v| *v == 0.0) && held[17..].iter().all(|v| *v == 6.0), "{}", kernel.name());
    }
}

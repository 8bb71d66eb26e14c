//! The same for convolutions, layer norms and attention, and for files that cannot be right: those are refused by name.

use crate::exports::*;
use crate::graph::{Attribute, Graph, Noise};
use lookout::Code;

/// A convolution written out: `[channels, HEIGHT, WIDTH]` by `[out, within, kh, kw]`.
struct Conv<'a> {
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
    group: usize,
    within: usize,
    weight: &'a [i8],
    bias: &'a [f32],
}

impl Conv<'_> {
    fn size(&self) -> [usize; 2] {
        let along = |size: usize, axis: usize| {
            (size + self.pads[axis] + self.pads[axis + 2] - self.kernel[axis]) / self.strides[axis] + 1
        };
        [along(HEIGHT, 0), along(WIDTH, 1)]
    }

    /// Sums and the room that rounding `x` to a step of 1/127 takes.
    fn sums(&self, x: &[f32], scale: f64) -> Vec<(f64, f64)> {
        let [rows, columns] = self.size();
        let out = self.bias.len();
        let mut sums = Vec::new();
        for (n, oy, ox) in (0..out).flat_map(|n| (0..rows).flat_map(move |y| (0..columns).map(move |x| (n, y, x)))) {
            let (mut sum, mut room) = (f64::from(self.bias[n]), 1e-4);
            for (c, ky, kx) in (0..self.within)
                .flat_map(|c| (0..self.kernel[0]).flat_map(move |y| (0..self.kernel[1]).map(move |x| (c, y, x))))
            {
                let channel = n / (out / self.group) * self.within + c;
                let y = (oy * self.strides[0] + ky).wrapping_sub(self.pads[0]);
                let at = (ox * self.strides[1] + kx).wrapping_sub(self.pads[1]);
                let w = f64::from(self.weight[((n * self.within + c) * self.kernel[0] + ky) * self.kernel[1] + kx]);
                if y < HEIGHT && at < WIDTH {
                    sum += w * scale * f64::from(x[(channel * HEIGHT + y) * WIDTH + at]);
                    room += w.abs() * scale / 254.0;
                }
            }
            sums.push((sum, room));
        }
        sums
    }
}

#[test]
fn convolutions_of_every_kind_are_right() {
    let mut noise = Noise(34);
    let x = noise.floats(VALUES);
    let whole = [1, 3, HEIGHT as i64, WIDTH as i64];
    for (group, within, out, kernel, strides, pads, kind) in [
        (1, 3, 5, [3, 3], [2, 1], [0, 1, 1, 1], "conv"),
        (1, 3, 17, [1, 1], [1, 1], [0; 4], "conv"),
        (3, 1, 3, [3, 2], [1, 2], [1, 1, 0, 2], "depthwise"),
        (3, 1, 6, [3, 3], [2, 2], [1, 1, 1, 1], "depthwise"),
    ] {
        let weight = noise.bytes(out * within * kernel[0] * kernel[1]);
        let bias = noise.floats(out);
        let conv = Conv { kernel, strides, pads, group, within, weight: &weight, bias: &bias };
        let [rows, columns] = conv.size();
        let wide = |values: &[usize]| values.iter().map(|v| *v as i64).collect::<Vec<_>>();
        let (strides, pads) = (wide(&strides), wide(&pads));
        let attributes = [
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(group as i64)),
        ];
        let shape = [out, within, kernel[0], kernel[1]];
        // Dynamic, with the bias behind a reshape.
        let found = run(&x, &whole, [out, rows * columns], &[(kind, 1)], |graph| {
            dynamic(graph, "ConvInteger", "product", &attributes)
                .constant("w", &shape, &weight)
                .constant("zero", &[], &[0i8])
                .constant("scale", &[], &[0.01f32])
                .constant("bias", &[out], &bias)
                .constant("bias_shape", &[4], &[1i64, -1, 1, 1])
                .node("Reshape", &["bias", "bias_shape"], "bias4", &[])
                .node("Add", &["product", "bias4"], "y", &[])
        });
        assert_near(&found, &conv.sums(&x, 0.01), |v| v);
        // Static, with the bias in int32.
        let step = 1.0 / 127.0f32;
        let rounded: Vec<i32> = bias.iter().map(|b| (b / (step * 0.01)).round() as i32).collect();
        let found = run(&x, &whole, [out, rows * columns], &[(kind, 1)], |graph| {
            graph
                .constant("step", &[], &[step])
                .constant("none", &[], &[0i8])
                .constant("w", &shape, &weight)
                .constant("w_scale", &[out], &vec![0.01f32; out])
                .constant("w_zero", &[out], &vec![0i8; out])
                .constant("b", &[out], &rounded)
                .constant("b_scale", &[], &[step * 0.01])
                .node("QuantizeLinear", &["x", "step", "none"], "xq", &[])
                .node("DequantizeLinear", &["xq", "step", "none"], "xd", &[])
                .node("DequantizeLinear", &["w", "w_scale", "w_zero"], "wd", &[("axis", Attribute::Int(0))])
                .node("DequantizeLinear", &["b", "b_scale"], "bd", &[])
                .node("Conv", &["xd", "wd", "bd"], "y", &attributes)
        });
        assert_near(&found, &conv.sums(&x, 0.01), |v| v);
    }
}

#[test]
fn layer_norms_are_found_in_both_forms() {
    let mut noise = Noise(37);
    let x = linear_input(&mut noise);
    let (gamma, beta) = (noise.floats(DEPTH), noise.floats(DEPTH));
    let mut wanted = Vec::new();
    for row in x.chunks_exact(DEPTH) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / DEPTH as f64;
        let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / DEPTH as f64;
        for (i, v) in row.iter().enumerate() {
            let normed = (f64::from(*v) - mean) / (variance + 1e-3).sqrt();
            wanted.push((normed * f64::from(gamma[i]) + f64::from(beta[i]), 1e-4));
        }
    }
    let constants = |graph: Graph| graph.constant("gamma", &[DEPTH], &gamma).constant("beta", &[DEPTH], &beta);
    let last = [("axes", Attribute::Ints(&[-1]))];
    let whole = run(&x, &X_SHAPE, [ROWS, DEPTH], &[("layer norm", 1)], |graph| {
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(1e-3))];
        constants(graph).node("LayerNormalization", &["x", "gamma", "beta"], "y", &attributes)
    });
    assert_near(&whole, &wanted, |v| v);
    let chain = run(&x, &X_SHAPE, [ROWS, DEPTH], &[("layer norm", 1)], |graph| {
        constants(graph)
            .constant("epsilon", &[], &[1e-3f32])
            .constant("two", &[], &[2f32])
            .node("ReduceMean", &["x"], "mean", &last)
            .node("Sub", &["x", "mean"], "d", &[])
            .node("Pow", &["d", "two"], "dd", &[])
            .node("ReduceMean", &["dd"], "variance", &last)
            .node("Add", &["variance", "epsilon"], "sum", &[])
            .node("Sqrt", &["sum"], "deviation", &[])
            .node("Div", &["d", "deviation"], "normed", &[])
            .node("Mul", &["normed", "gamma"], "scaled", &[])
            .node("Add", &["scaled", "beta"], "y", &[])
    });
    assert_near(&chain, &wanted, |v| v);
}

const HEADS: usize = 3;
const HEAD: usize = DEPTH / HEADS;

/// Attention of the rows of `v` among themselves, earlier rows only, as an exporter writes it.
fn attention(graph: Graph) -> Graph {
    let (tokens, wide) = (ROWS as i64, DEPTH as i64);
    let mask: Vec<f32> = (0..ROWS * ROWS).map(|i| if i % ROWS > i / ROWS { -1e9 } else { 0.0 }).collect();
    graph
        .constant("apart", &[4], &[1i64, tokens, -1, HEAD as i64])
        .constant("joined", &[3], &[1i64, tokens, wide])
        .constant("factor", &[], &[0.7f32])
        .constant("mask", &[1, 1, ROWS, ROWS], &mask)
        .node("Reshape", &["v", "apart"], "split", &[])
        .node("Transpose", &["split"], "q", &[("perm", Attribute::Ints(&[0, 2, 1, 3]))])
        .node("Transpose", &["split"], "k", &[("perm", Attribute::Ints(&[0, 2, 3, 1]))])
        .node("MatMul", &["q", "k"], "logits", &[])
        .node("Mul", &["logits", "factor"], "scaled", &[])
        .node("Add", &["scaled", "mask"], "masked", &[])
        .node("Softmax", &["masked"], "weights", &[("axis", Attribute::Int(-1))])
        .node("MatMul", &["weights", "q"], "heads", &[])
        .node("Transpose", &["heads"], "turned", &[("perm", Attribute::Ints(&[0, 2, 1, 3]))])
        .node("Reshape", &["turned", "joined"], "y", &[])
}

fn attended(v: &[f64]) -> Vec<f64> {
    let row = |token: usize, head: usize| &v[token * DEPTH + head * HEAD..][..HEAD];
    let mut out = Vec::new();
    for (token, head) in (0..ROWS).flat_map(|token| (0..HEADS).map(move |head| (token, head))) {
        let dot = |other: usize| row(token, head).iter().zip(row(other, head)).map(|(a, b)| a * b).sum::<f64>() * 0.7;
        let weights: Vec<f64> = (0..=token).map(|other| dot(other).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mean = |i: usize| weights.iter().enumerate().map(|(o, w)| w * row(o, head)[i]).sum::<f64>() / sum;
        out.extend((0..HEAD).map(mean));
    }
    out
}

#[test]
fn attention_beside_int8_layers_is_int8_and_beside_float_ones_is_not() {
    let mut noise = Noise(38);
    let x = linear_input(&mut noise);
    let w = noise.bytes(DEPTH * DEPTH);
    let floats: Vec<f32> = w.iter().map(|v| f32::from(*v) * 0.002).collect();
    let whole: Vec<f64> = floats.iter().map(|v| f64::from(*v)).collect();
    let v: Vec<f64> = product(&x, &whole, &[0.0; DEPTH], DEPTH).into_iter().map(|(v, _)| v).collect();
    let most = v.iter().fold(0f64, |a, v| a.max(v.abs()));
    let wanted = attended(&v);
    let within = |room: f64| wanted.iter().map(|v| (*v, room)).collect::<Vec<_>>();

    let found = run(&x, &X_SHAPE, [ROWS, DEPTH], &[("linear", 1), ("attention", 1), ("Softmax", 0)], |graph| {
        attention(
            dynamic(graph, "MatMulInteger", "v", &[])
                .constant("w", &[DEPTH, DEPTH], &w)
                .constant("zero", &[], &[0i8])
                .constant("scale", &[], &[0.002f32]),
        )
    });
    // Three roundings, to 1/127 of a row's largest value each, and one of the weights to 1/127 (1/255 with VNNI).
    assert_near(&found, &within(most * 4.0 / 127.0), |v| v);

    let found = run(&x, &X_SHAPE, [ROWS, DEPTH], &[("linear", 0), ("attention", 0)], |graph| {
        attention(graph.constant("w", &[DEPTH, DEPTH], &floats).node("MatMul", &["x", "w"], "v", &[]))
    });
    assert_near(&found, &within(1e-4), |v| v);
}

/// A file that must be refused by an error that holds each of `parts`.
#[track_caller]
fn refused(parts: &[&str], x_shape: &[i64], nodes: impl FnOnce(Graph) -> Graph) {
    let error = load(&graph(x_shape, [ROWS, COLUMNS], nodes), [ROWS, COLUMNS]).expect_err("it is refused");
    assert_eq!(error.code(), Code::Engine, "{error}");
    for part in [&["image.onnx"], parts].concat() {
        assert!(error.message().contains(part), "{part:?} is in {:?}", error.message());
    }
    assert!(!error.help().is_empty());
}

#[test]
fn scales_that_cannot_be_right_are_refused_by_node() {
    let w = vec![1i8; DEPTH * COLUMNS];
    for (scale, part) in [(f32::NAN, "NaN"), (-0.5, "-0.5"), (f32::INFINITY, "inf")] {
        refused(&["product_sums", part], &X_SHAPE, |graph| {
            dynamic(graph, "MatMulInteger", "product", &[])
                .constant("w", &[DEPTH, COLUMNS], &w)
                .constant("zero", &[], &[0i8])
                .constant("scale", &[], &[scale])
                .node("Relu", &["product"], "y", &[])
        });
    }
    for scale in [0.0, -1.0, f32::NAN] {
        refused(&["xq", "QuantizeLinear", "scale"], &X_SHAPE, |graph| {
            graph
                .constant("step", &[], &[scale])
                .constant("low", &[], &[0u8])
                .constant("w", &[DEPTH, COLUMNS], &w)
                .constant("w_scale", &[], &[0.1f32])
                .node("QuantizeLinear", &["x", "step", "low"], "xq", &[])
                .node("DequantizeLinear", &["xq", "step", "low"], "xd", &[])
                .node("DequantizeLinear", &["w", "w_scale"], "wd", &[])
                .node("MatMul", &["xd", "wd"], "y", &[])
        });
    }
}

#[test]
fn layers_whose_parts_do_not_fit_are_refused_by_node() {
    let w = vec![1i8; DEPTH * COLUMNS];
    // Scales for another number of columns, weights in float, weights of another depth.
    refused(&["product_sums", "20 scales for 21 columns"], &X_SHAPE, |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &w)
            .constant("zero", &[], &[0i8])
            .constant("scale", &[COLUMNS - 1], &[0.1f32; COLUMNS - 1])
            .node("Relu", &["product"], "y", &[])
    });
    refused(&["product_sums"], &X_SHAPE, |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &vec![1f32; DEPTH * COLUMNS])
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.1f32])
            .node("Relu", &["product"], "y", &[])
    });
    refused(&["product_sums"], &X_SHAPE, |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[COLUMNS, DEPTH], &w)
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.1f32])
            .node("Relu", &["product"], "y", &[])
    });
    // Fewer bytes than the shape says.
    refused(&["w"], &X_SHAPE, |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &w[1..])
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.1f32])
            .node("Relu", &["product"], "y", &[])
    });
}

#[test]
fn graphs_that_are_no_graphs_are_refused() {
    refused(&["cycle", "a"], &X_SHAPE, |graph| {
        graph.node("Add", &["x", "b"], "a", &[]).node("Relu", &["a"], "b", &[]).node("Relu", &["b"], "y", &[])
    });
    refused(&["two nodes make v"], &X_SHAPE, |graph| {
        graph.node("Relu", &["x"], "v", &[]).node("Neg", &["x"], "v", &[]).node("Relu", &["v"], "y", &[])
    });
    refused(&["y", "Frobnicate"], &X_SHAPE, |graph| graph.node("Frobnicate", &["x"], "y", &[]));
    refused(&["w"], &X_SHAPE, |graph| {
        graph.constant::<i8>("w", &[1 << 40, 1 << 40], &[]).node("MatMul", &["x", "w"], "y", &[])
    });
    refused(&["shape"], &X_SHAPE, |graph| {
        graph.constant("shape", &[3], &[i64::MAX, i64::MAX, 2]).node("Expand", &["x", "shape"], "big", &[]).node(
            "Relu",
            &["big"],
            "y",
            &[],
        )
    });
}

//! Other people's ways of writing int8 layers, each in a small graph: they run on lookout's operators, and give the sums
//! written out here. What only looks like one is left alone, and what cannot be right is refused by name.
#![cfg(feature = "engine")]

mod engine_graph;

use engine_graph::{Attribute, Dim, Graph, Noise, bundle, picture};
use lookout::Code;
use lookout::engine::{ImageTower, Options};

const HEIGHT: usize = 8;
const WIDTH: usize = 12;
const VALUES: usize = 3 * HEIGHT * WIDTH;

/// A tower whose picture becomes `x` of shape `x_shape`; `nodes` make `y` of it, `out` values in a row come out.
fn graph(x_shape: &[i64], out: [usize; 2], nodes: impl FnOnce(Graph) -> Graph) -> Vec<u8> {
    let start = Graph::default()
        .input::<f32>("image", &[1, 3, HEIGHT as i64, WIDTH as i64].map(Dim::Is))
        .constant("x_shape", &[x_shape.len()], x_shape)
        .constant("out_shape", &[3], &[1, out[0] as i64, out[1] as i64])
        .node("Reshape", &["image", "x_shape"], "x", &[]);
    nodes(start)
        .node("Reshape", &["y", "out_shape"], "patches", &[])
        .node(
            "ReduceMean",
            &["patches"],
            "embedding",
            &[("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(0))],
        )
        .output("embedding")
        .output("patches")
        .finish()
}

fn load(file: &[u8], out: [usize; 2]) -> lookout::Result<ImageTower> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [count, width] = out;
    let sections =
        picture(HEIGHT, WIDTH, width) + &format!("[patches]\ncount = {count}\nwidth = {width}\ngrid = [{count}, 1]\n");
    ImageTower::load(&bundle(folder.path(), &sections, &[("image", file)]), &Options { threads: 1 })
}

/// Runs the graph; `ours` says how many operators of each kind lookout must run, and `not` what must be gone.
#[track_caller]
fn run(
    x: &[f32],
    x_shape: &[i64],
    out: [usize; 2],
    ours: &[(&str, usize)],
    nodes: impl FnOnce(Graph) -> Graph,
) -> Vec<f32> {
    let tower = load(&graph(x_shape, out, nodes), out).expect("the tower loads");
    let report = tower.report();
    for (name, count) in ours {
        assert_eq!(report.lookout.get(*name).copied().unwrap_or(0), *count, "{name} in {report}");
    }
    let left = report.lookout.keys().chain(report.tract.keys()).filter(|name| name.contains("uantize")).count();
    assert!(left == 0 || ours.is_empty(), "{report}");
    tower.encode(x).expect("the tower runs").patches.expect("it has patches").data.to_vec()
}

/// `DynamicQuantizeLinear` on `x`, then `op` with the constants `w`, `zero` and `scale`; the product is `name`.
fn dynamic(graph: Graph, op: &str, name: &str, attributes: &[(&str, Attribute)]) -> Graph {
    let [sums, floats, scales] = ["sums", "floats", "scales"].map(|part| format!("{name}_{part}"));
    graph
        .node_of_many("DynamicQuantizeLinear", &["x"], &["xq", "x_scale", "x_zero"], &[])
        .node(op, &["xq", "w", "x_zero", "zero"], &sums, attributes)
        .node("Cast", &[&sums], &floats, &[("to", Attribute::Int(1))])
        .node("Mul", &["x_scale", "scale"], &scales, &[])
        .node("Mul", &[&floats, &scales], name, &[])
}

/// `x w + b`, and how far a result may be from it: each product off by half a step of its row, as onnxruntime is by half a
/// step of the tensor.
fn product(x: &[f32], w: &[f64], b: &[f32], depth: usize) -> Vec<(f64, f64)> {
    let columns = b.len();
    let rows = x.chunks_exact(depth).flat_map(|row| {
        let step = f64::from(row.iter().fold(0f32, |a, v| a.max(v.abs()))) / 127.0;
        (0..columns).map(move |n| {
            let column = || (0..depth).map(|k| w[k * columns + n]);
            let sum: f64 = column().zip(row).map(|(w, x)| w * f64::from(*x)).sum();
            let room = column().map(f64::abs).sum::<f64>() * step / 2.0;
            (sum + f64::from(b[n]), room + 1e-4)
        })
    });
    rows.collect()
}

#[track_caller]
fn assert_near(found: &[f32], wanted: &[(f64, f64)], of: impl Fn(f64) -> f64) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, (wanted, room))) in found.iter().zip(wanted).enumerate() {
        // No activation here is steeper than 1.2.
        let off = (f64::from(*found) - of(*wanted)).abs();
        assert!(off <= room * 1.2, "value {i} is {found}, not {} within {room}", of(*wanted));
    }
}

const ROWS: usize = 16;
const DEPTH: usize = 18;
const COLUMNS: usize = 21;
const X_SHAPE: [i64; 3] = [1, ROWS as i64, DEPTH as i64];

fn linear_input(noise: &mut Noise) -> Vec<f32> {
    assert_eq!(ROWS * DEPTH, VALUES);
    noise.floats(VALUES)
}

#[test]
fn weights_of_every_sign_and_zero_point_are_exact() {
    let mut noise = Noise(31);
    let x = linear_input(&mut noise);
    let bias = noise.floats(COLUMNS);
    let signed = noise.bytes(DEPTH * COLUMNS);
    let unsigned: Vec<u8> = signed.iter().map(|v| (i16::from(*v) + 128) as u8).collect();
    let scales: Vec<f32> = noise.floats(COLUMNS).iter().map(|v| 0.001 + v.abs() * 0.01).collect();
    let zeros: Vec<u8> = (0..COLUMNS).map(|n| 100 + 3 * n as u8).collect();
    let whole = |value: &dyn Fn(usize) -> i32, scale: &dyn Fn(usize) -> f32, zero: &dyn Fn(usize) -> i32| -> Vec<f64> {
        let at = |i: usize| f64::from(value(i) - zero(i % COLUMNS)) * f64::from(scale(i % COLUMNS));
        (0..DEPTH * COLUMNS).map(at).collect()
    };
    let layer = |graph: Graph| {
        dynamic(graph, "MatMulInteger", "product", &[]).constant("bias", &[COLUMNS], &bias).node(
            "Add",
            &["bias", "product"],
            "y",
            &[],
        )
    };
    let out = [ROWS, COLUMNS];
    // int8 without, and uint8 about 128, become int8 as they are.
    for (signed_weights, kind) in [(true, "linear"), (false, "linear")] {
        let found = run(&x, &X_SHAPE, out, &[(kind, 1)], |graph| {
            let graph = graph.constant("scale", &[], &[0.01f32]);
            layer(if signed_weights {
                graph.constant("w", &[DEPTH, COLUMNS], &signed).constant("zero", &[], &[0i8])
            } else {
                graph.constant("w", &[DEPTH, COLUMNS], &unsigned).constant("zero", &[], &[128u8])
            })
        });
        let w = whole(&|i| i32::from(signed[i]), &|_| 0.01, &|_| 0);
        assert_near(&found, &product(&x, &w, &bias, DEPTH), |v| v);
    }
    // Zero points and scales of columns, too far off for int8: the rest is made up for.
    let found = run(&x, &X_SHAPE, out, &[("shifted linear", 1)], |graph| {
        layer(graph.constant("w", &[DEPTH, COLUMNS], &unsigned).constant("zero", &[COLUMNS], &zeros).constant(
            "scale",
            &[COLUMNS],
            &scales,
        ))
    });
    let w = whole(&|i| i32::from(unsigned[i]), &|n| scales[n], &|n| i32::from(zeros[n]));
    assert_near(&found, &product(&x, &w, &bias, DEPTH), |v| v);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

#[test]
fn activations_are_taken_in_however_they_are_written() {
    let mut noise = Noise(32);
    let x = linear_input(&mut noise);
    let bias = noise.floats(COLUMNS);
    let w = noise.bytes(DEPTH * COLUMNS);
    let whole: Vec<f64> = w.iter().map(|v| f64::from(*v) * 0.01).collect();
    let wanted = product(&x, &whole, &bias, DEPTH);
    let layer = |graph: Graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &w)
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.01f32])
            .constant("bias", &[COLUMNS], &bias)
            .node("Add", &["product", "bias"], "v", &[])
            .constant("half", &[], &[0.5f32])
            .constant("one", &[1], &[1f32])
    };
    type Write = fn(Graph) -> Graph;
    type Case = (&'static str, Write, fn(f64) -> f64);
    let cases: [Case; 4] = [
        ("Relu", |g| g.node("Relu", &["v"], "y", &[]), |v| v.max(0.0)),
        (
            "quick GELU",
            |g| {
                g.constant("c", &[], &[1.702f32])
                    .node("Mul", &["v", "c"], "cv", &[])
                    .node("Sigmoid", &["cv"], "s", &[])
                    .node("Mul", &["v", "s"], "y", &[])
            },
            |v| v * sigmoid(1.702 * v),
        ),
        (
            "GELU, the half first",
            |g| {
                g.constant("root", &[], &[std::f32::consts::FRAC_1_SQRT_2])
                    .node("Mul", &["v", "half"], "hv", &[])
                    .node("Mul", &["root", "v"], "rv", &[])
                    .node("Erf", &["rv"], "e", &[])
                    .node("Add", &["one", "e"], "e1", &[])
                    .node("Mul", &["hv", "e1"], "y", &[])
            },
            // Close to the exact one: their greatest difference is 5e-4, and is checked for below.
            gelu_tanh,
        ),
        (
            "GELU by tanh",
            |g| {
                g.constant("three", &[], &[3f32])
                    .constant("a", &[], &[0.044_715f32])
                    .constant("b", &[], &[0.797_884_6f32])
                    .node("Pow", &["v", "three"], "v3", &[])
                    .node("Mul", &["v3", "a"], "av3", &[])
                    .node("Add", &["v", "av3"], "u", &[])
                    .node("Mul", &["b", "u"], "bu", &[])
                    .node("Tanh", &["bu"], "t", &[])
                    .node("Add", &["t", "one"], "t1", &[])
                    .node("Mul", &["t1", "v"], "vt", &[])
                    .node("Mul", &["half", "vt"], "y", &[])
            },
            gelu_tanh,
        ),
    ];
    for (name, write, of) in cases {
        let file = graph(&X_SHAPE, [ROWS, COLUMNS], |g| write(layer(g)));
        let tower = load(&file, [ROWS, COLUMNS]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = tower.report();
        assert_eq!(report.lookout.get("linear"), Some(&1), "{name}: {report}");
        // One `Mul` is the mean's, behind the layer.
        let own = |op: &str| report.tract.get(op).or(report.lookout.get(op)).copied().unwrap_or(0);
        let left: usize = ["Erf", "Tanh", "Sigmoid", "Mul", "Pow", "GeluExact", "Max"].map(own).iter().sum();
        assert_eq!(left, 1, "{name}: {report}");
        let found = tower.encode(&x).expect("runs").patches.expect("patches").data.to_vec();
        let room: Vec<(f64, f64)> = wanted.iter().map(|(v, room)| (*v, room + 1e-3)).collect();
        assert_near(&found, &room, of);
    }
}

#[test]
fn what_is_used_elsewhere_keeps_its_value() {
    let mut noise = Noise(33);
    let x = linear_input(&mut noise);
    let bias = noise.floats(COLUMNS);
    let w = noise.bytes(DEPTH * COLUMNS);
    let whole: Vec<f64> = w.iter().map(|v| f64::from(*v) * 0.01).collect();
    // The value before the Relu is needed again: y = relu(v) - v.
    let found = run(&x, &X_SHAPE, [ROWS, COLUMNS], &[("linear", 1)], |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &w)
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.01f32])
            .constant("bias", &[COLUMNS], &bias)
            .node("Add", &["product", "bias"], "v", &[])
            .node("Relu", &["v"], "r", &[])
            .node("Sub", &["r", "v"], "y", &[])
    });
    assert_near(&found, &product(&x, &whole, &bias, DEPTH), |v| v.max(0.0) - v);
    // The rounded values themselves are needed: both they and the layer are there.
    let found = run(&x, &X_SHAPE, [ROWS, COLUMNS], &[], |graph| {
        dynamic(graph, "MatMulInteger", "product", &[])
            .constant("w", &[DEPTH, COLUMNS], &w)
            .constant("zero", &[], &[0i8])
            .constant("scale", &[], &[0.01f32])
            .node("Mul", &["x_scale", "scale"], "again", &[])
            .node("Sub", &["again", "again"], "nothing", &[])
            .node("Add", &["product", "nothing"], "y", &[])
    });
    assert_near(&found, &product(&x, &whole, &[0.0; COLUMNS], DEPTH), |v| v);
}

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
fn a_static_range_that_stands_for_a_relu_still_does() {
    let mut noise = Noise(35);
    let x = linear_input(&mut noise);
    let w = noise.bytes(DEPTH * COLUMNS);
    let scales: Vec<f32> = noise.floats(COLUMNS).iter().map(|v| 0.001 + v.abs() * 0.01).collect();
    // 0 to 0.6: exporters leave out a Relu or Clip that the range makes anyway.
    let clipped: Vec<f32> = x.iter().map(|v| v.clamp(0.0, 0.6)).collect();
    for transposed in [false, true] {
        let found = run(&x, &X_SHAPE, [ROWS, COLUMNS], &[("linear", 1)], |graph| {
            let graph = graph
                .constant("step", &[], &[0.6f32 / 255.0])
                .constant("low", &[], &[0u8])
                .constant("w_scale", &[COLUMNS], &scales)
                .constant("w_zero", &[COLUMNS], &[0i8; COLUMNS])
                .node("QuantizeLinear", &["x", "step", "low"], "xq", &[])
                .node("DequantizeLinear", &["xq", "step", "low"], "xd", &[]);
            if transposed {
                let turned: Vec<i8> = (0..w.len()).map(|i| w[i % DEPTH * COLUMNS + i / DEPTH]).collect();
                graph
                    .constant("w", &[COLUMNS, DEPTH], &turned)
                    .constant("flat", &[2], &[ROWS as i64, DEPTH as i64])
                    .node("Reshape", &["xd", "flat"], "x2", &[])
                    .node("DequantizeLinear", &["w", "w_scale", "w_zero"], "wd", &[("axis", Attribute::Int(0))])
                    .node("Gemm", &["x2", "wd"], "y", &[("transB", Attribute::Int(1))])
            } else {
                graph
                    .constant("w", &[DEPTH, COLUMNS], &w)
                    .node("DequantizeLinear", &["w", "w_scale", "w_zero"], "wd", &[("axis", Attribute::Int(1))])
                    .node("MatMul", &["xd", "wd"], "y", &[])
            }
        });
        let whole: Vec<f64> =
            w.iter().enumerate().map(|(i, v)| f64::from(*v) * f64::from(scales[i % COLUMNS])).collect();
        assert_near(&found, &product(&clipped, &whole, &[0.0; COLUMNS], DEPTH), |v| v);
    }
}

#[test]
fn float_activations_stay_float() {
    let mut noise = Noise(36);
    let x = linear_input(&mut noise);
    let w = noise.bytes(DEPTH * COLUMNS);
    let found = run(&x, &X_SHAPE, [ROWS, COLUMNS], &[("linear", 1)], |graph| {
        graph
            .constant("w", &[DEPTH, COLUMNS], &w)
            .constant("w_scale", &[], &[0.01f32])
            .node("DequantizeLinear", &["w", "w_scale"], "wd", &[])
            .node("MatMul", &["x", "wd"], "y", &[])
    });
    let whole: Vec<f64> = w.iter().map(|v| f64::from(*v) * 0.01).collect();
    let exact: Vec<(f64, f64)> =
        product(&x, &whole, &[0.0; COLUMNS], DEPTH).into_iter().map(|(v, _)| (v, 1e-4)).collect();
    assert_near(&found, &exact, |v| v);
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

//! Other people's ways of writing int8 linear layers, each in a small graph: they run on lookout's operators, and give the
//! sums written out here. What only looks like one is left alone.

use crate::exports::*;
use crate::graph::{Attribute, Graph, Noise};

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
            // At most 5e-4 from the exact one, which the room below holds.
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

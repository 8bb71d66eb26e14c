//! Layers that run together: with floats between them they give the bits of the layers alone, with bytes between them what
//! those bytes stand for.

use crate::graph::{Attribute, Dim, Graph, Noise, bundle, picture};
use lookout::engine::{ImageTower, Options};

const NARROW: usize = 3;
const X_SCALE: f32 = 1.0 / 100.0;
/// What a ReLU6 bounds, in steps.
const STEP: f64 = 6.0 / 254.0;

/// What comes before and how it ends, the kernel's size and stride, and zeros around the picture.
struct Case {
    front: &'static str,
    activation: &'static str,
    /// Of the last layer and of the one before it.
    precision: &'static str,
    middle: &'static str,
    /// Whether the first one has a scale for all activations.
    uniform: bool,
    size: usize,
    wide: usize,
    kernel: usize,
    stride: usize,
    pads: [i64; 4],
    residual: bool,
}

/// The constants of a case.
struct Weights {
    front: Vec<i8>,
    front_bias: Vec<f32>,
    taps: Vec<i8>,
    taps_bias: Vec<f32>,
    back: Vec<i8>,
    back_bias: Vec<f32>,
    pixels: Vec<f32>,
}

impl Case {
    fn rows(&self) -> usize {
        (self.size + (self.pads[0] + self.pads[2]) as usize - self.kernel) / self.stride + 1
    }

    fn depth(&self) -> usize {
        if self.front == "LookoutConv" { 9 * NARROW } else { NARROW }
    }

    fn weights(&self) -> Weights {
        let mut noise = Noise(3);
        Weights {
            front: noise.bytes(self.depth() * self.wide),
            front_bias: noise.floats(self.wide),
            taps: noise.bytes(self.kernel * self.kernel * self.wide),
            taps_bias: noise.floats(self.wide),
            back: noise.bytes(self.wide * NARROW),
            back_bias: noise.floats(NARROW),
            pixels: noise.floats(3 * self.size * self.size),
        }
    }

    /// The patches, and whether `wide` was also an output, which keeps the layers apart.
    fn run(&self, apart: bool, threads: usize) -> Vec<f32> {
        let Case { size, wide, .. } = *self;
        let (weights, rows) = (self.weights(), self.rows());
        let precision = if self.uniform { "int8" } else { "weights" };
        let mut front =
            vec![("activation", Attribute::Text(self.activation)), ("precision", Attribute::Text(precision))];
        if self.uniform {
            front.push(("x_scale", Attribute::Float(X_SCALE)));
        }
        if self.front == "LookoutConv" {
            front.extend([("kernel", Attribute::Ints(&[3, 3])), ("pads", Attribute::Ints(&[1, 1, 1, 1]))]);
        }
        let (kernel, strides) = ([self.kernel as i64; 2], [self.stride as i64; 2]);
        let window = [
            ("activation", Attribute::Text(self.activation)),
            ("kernel", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&self.pads)),
            ("precision", Attribute::Text(self.middle)),
        ];
        let back: &[&str] =
            if self.residual { &["middle", "w2", "s2", "b2", "x"] } else { &["middle", "w2", "s2", "b2"] };
        let file = Graph::default()
            .input::<f32>("image", &[1, 3, size as i64, size as i64].map(Dim::Is))
            .constant("w0", &[self.depth(), wide], &weights.front)
            .constant("s0", &[wide], &vec![0.02; wide])
            .constant("b0", &[wide], &weights.front_bias)
            .constant("w1", &[self.kernel * self.kernel, wide], &weights.taps)
            .constant("s1", &[wide], &vec![0.005; wide])
            .constant("b1", &[wide], &weights.taps_bias)
            .constant("w2", &[wide, NARROW], &weights.back)
            .constant("s2", &[NARROW], &[0.01; NARROW])
            .constant("b2", &[NARROW], &weights.back_bias)
            .constant("shape", &[3], &[1, (rows * rows) as i64, NARROW as i64])
            .node("Transpose", &["image"], "x", &[("perm", Attribute::Ints(&[0, 2, 3, 1]))])
            .node(self.front, &["x", "w0", "s0", "b0"], "wide", &front)
            .node("LookoutDepthwise", &["wide", "w1", "s1", "b1"], "middle", &window)
            .node("LookoutLinear", back, "y", &[("precision", Attribute::Text(self.precision))])
            .node("Reshape", &["y", "shape"], "patches", &[])
            .node(
                "ReduceMean",
                &[if apart { "wide" } else { "y" }],
                "embedding",
                &[("axes", Attribute::Ints(&[1, 2])), ("keepdims", Attribute::Int(0))],
            )
            .output("embedding")
            .output("patches")
            .finish();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sections = picture(size, size, if apart { wide } else { NARROW })
            + &format!("[patches]\ncount = {}\nwidth = {NARROW}\ngrid = [{rows}, {rows}]\n", rows * rows);
        let bundle = bundle(folder.path(), &sections, &[("image", &file)]);
        let tower = ImageTower::load(&bundle, &Options { threads }).expect("the tower loads");
        tower.encode(&weights.pixels).expect("the tower runs").patches.expect("it has patches").data.to_vec()
    }

    /// The patches in double precision; bytes lie before and after the middle layer, or floats.
    fn exact(&self, before: bool, after: bool) -> Vec<f64> {
        let Case { size, wide, kernel, .. } = *self;
        let (weights, rows) = (self.weights(), self.rows());
        let bounded = |y: f64, bytes: bool| {
            let y = y.clamp(0.0, 6.0);
            if bytes { (y / STEP).round_ties_even() * STEP } else { y }
        };
        let inside = |at: usize| (at < size).then_some(at);
        let scale = f64::from(X_SCALE);
        let pixel = |c: usize, y: usize, x: usize| f64::from(weights.pixels[(c * size + y) * size + x]);
        let read = |c: usize, y: usize, x: usize| match pixel(c, y, x) {
            value if self.uniform => (value / scale).round_ties_even().clamp(-127.0, 127.0) * scale,
            value => value,
        };
        let between: Vec<f64> = (0..size * size * wide)
            .map(|i| {
                let (y, x, n) = (i / wide / size, i / wide % size, i % wide);
                let mut sum = 0.0;
                for k in 0..self.depth() {
                    let (tap, c) = (k / NARROW, k % NARROW);
                    let (down, across) = if self.front == "LookoutConv" { (tap / 3, tap % 3) } else { (1, 1) };
                    let at = inside((y + down).wrapping_sub(1)).zip(inside((x + across).wrapping_sub(1)));
                    let value = at.map_or(0.0, |(y, x)| read(c, y, x));
                    sum += value * f64::from(weights.front[k * wide + n]);
                }
                bounded(sum * f64::from(0.02f32) + f64::from(weights.front_bias[n]), before)
            })
            .collect();
        let mut out = Vec::new();
        for at in 0..rows * rows {
            let (y, x) = (at / rows, at % rows);
            let middle: Vec<f64> = (0..wide)
                .map(|n| {
                    let mut sum = 0.0;
                    for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                        let y = inside((y * self.stride + ky).wrapping_sub(self.pads[0] as usize));
                        let x = inside((x * self.stride + kx).wrapping_sub(self.pads[1] as usize));
                        if let (Some(y), Some(x)) = (y, x) {
                            let tap = f64::from(weights.taps[(ky * kernel + kx) * wide + n]);
                            sum += between[(y * size + x) * wide + n] * tap;
                        }
                    }
                    let bias = f64::from(weights.taps_bias[n]);
                    let bias = if before { kept(bias, f64::from(0.005f32)) } else { bias };
                    bounded(sum * f64::from(0.005f32) + bias, after)
                })
                .collect();
            for n in 0..NARROW {
                let products = middle.iter().enumerate().map(|(k, m)| m * f64::from(weights.back[k * NARROW + n]));
                let residual = if self.residual { pixel(n, y, x) } else { 0.0 };
                out.push(products.sum::<f64>() * f64::from(0.01f32) + f64::from(weights.back_bias[n]) + residual);
            }
        }
        out
    }
}

/// A bias as a layer from bytes to bytes keeps it, whose sums count `scale` each: what a float near `1.5 * 2^23` lacks of it is
/// rounded to a whole number of these.
fn kept(bias: f64, scale: f64) -> f64 {
    let rounder = 12_582_912.0;
    let exact = rounder + bias / STEP - 127.0 - rounder * scale;
    let lacking = exact - f64::from(exact as f32);
    bias + ((lacking / scale).round() * scale - lacking) * STEP
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

const PLAIN: Case = Case {
    front: "LookoutLinear",
    activation: "relu6",
    precision: "weights",
    middle: "int8",
    uniform: false,
    size: 64,
    wide: 64,
    kernel: 3,
    stride: 1,
    pads: [1, 1, 1, 1],
    residual: true,
};

#[test]
fn layers_with_floats_between_them_give_the_bits_of_the_layers_alone() {
    let cases = [
        Case { kernel: 5, stride: 2, pads: [1, 1, 2, 2], residual: false, ..PLAIN },
        Case { kernel: 3, stride: 2, pads: [0, 0, 1, 1], residual: false, ..PLAIN },
        Case { front: "LookoutConv", ..PLAIN },
        Case { front: "LookoutConv", uniform: true, ..PLAIN },
        // Not bounded, so no step is known.
        Case { activation: "relu", precision: "int8", ..PLAIN },
        // Windows with rows between them that none sees, and one taller than what is kept.
        Case { kernel: 2, stride: 3, pads: [0; 4], residual: false, ..PLAIN },
        Case { kernel: 31, stride: 1, pads: [0; 4], residual: false, ..PLAIN },
        PLAIN,
    ];
    for case in cases {
        let alone = case.run(true, 1);
        assert!(alone.iter().any(|v| *v != alone[0]), "the layers do something");
        for threads in [1, 2, 3] {
            let together = case.run(false, threads);
            assert!(same(&alone, &together), "{} {} {}x{}", case.front, case.precision, case.kernel, case.stride);
        }
    }
}

#[test]
fn layers_with_bytes_between_them_give_what_the_bytes_stand_for() {
    let plain = Case { precision: "int8", ..PLAIN };
    let cases = [
        // All of it stays in cache, or some rows of it; channels that are no whole number of registers.
        Case { size: 20, wide: 40, kernel: 5, pads: [2; 4], ..plain },
        Case { size: 60, wide: 83, kernel: 5, stride: 2, pads: [1, 1, 2, 2], residual: false, ..plain },
        Case { size: 60, wide: 81, ..plain },
        Case { size: 33, wide: 19, stride: 2, pads: [0, 0, 1, 1], residual: false, ..plain },
        // The convolution reads the picture as it came.
        Case { front: "LookoutConv", size: 24, wide: 32, residual: false, ..plain },
        Case { front: "LookoutConv", size: 70, wide: 64, residual: false, ..plain },
        Case { front: "LookoutConv", uniform: true, size: 37, wide: 40, ..plain },
        // Floats before the middle layer.
        Case { front: "LookoutConv", uniform: true, middle: "weights", wide: 32, ..plain },
        Case { front: "LookoutConv", middle: "weights", size: 20, wide: 70, kernel: 5, pads: [2; 4], ..plain },
        Case { middle: "weights", size: 61, wide: 83, stride: 2, pads: [0, 0, 1, 1], residual: false, ..plain },
        Case { kernel: 2, stride: 3, pads: [0; 4], residual: false, size: 66, wide: 70, ..plain },
        Case { kernel: 9, stride: 1, pads: [0; 4], residual: false, size: 62, wide: 70, ..plain },
    ];
    for case in cases {
        let (exact, float) = (case.exact(case.middle == "int8", true), case.exact(false, false));
        let found = case.run(false, 1);
        let name = format!("{} {}x{} of {}x{}", case.front, case.kernel, case.stride, case.size, case.wide);
        let far = |other: &[f64]| {
            let distances = found.iter().zip(other).map(|(a, b)| (f64::from(*a) - b).abs());
            (distances.clone().fold(0.0, f64::max), distances.sum::<f64>() / other.len() as f64)
        };
        // A sum in single precision may round to the other of two levels, which moves a result by one step at most times
        // the largest weight.
        let (most, mean) = far(&exact);
        assert!(most <= 2.0 * STEP * 1.28 && mean < 2e-4, "{name}: off by {most}, {mean} on average");
        assert!(far(&float).1 > 10.0 * mean, "{name}: {:?} from floats", far(&float));
        for threads in [2, 3] {
            assert!(same(&case.run(false, threads), &found), "{name}, {threads} threads");
        }
    }
}

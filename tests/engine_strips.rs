//! Layers that run together, a few rows at a time, give the bits of the layers alone.
#![cfg(feature = "engine")]

mod engine_graph;

use engine_graph::{Attribute, Dim, Graph, Noise, bundle, picture};
use lookout::engine::{ImageTower, Options};

const SIZE: usize = 64;
const WIDE: usize = 64;
const NARROW: usize = 3;

/// What comes before, the kernel's size and stride, and zeros around the picture.
struct Case {
    front: &'static str,
    precision: &'static str,
    kernel: i64,
    stride: i64,
    pads: [i64; 4],
    residual: bool,
}

impl Case {
    fn rows(&self) -> usize {
        (SIZE + (self.pads[0] + self.pads[2]) as usize - self.kernel as usize) / self.stride as usize + 1
    }

    /// The patches, and whether `wide` was also an output, which keeps the layers apart.
    fn run(&self, apart: bool, threads: usize) -> Vec<f32> {
        let mut noise = Noise(3);
        let depth = if self.front == "LookoutConv" { 9 * NARROW } else { NARROW };
        let taps = (self.kernel * self.kernel) as usize;
        let rows = self.rows();
        let precision = Attribute::Text(self.precision);
        let mut front = vec![("activation", Attribute::Text("relu6")), ("precision", precision)];
        if depth > NARROW {
            front.extend([("kernel", Attribute::Ints(&[3, 3])), ("pads", Attribute::Ints(&[1, 1, 1, 1]))]);
        }
        let (kernel, strides) = ([self.kernel; 2], [self.stride; 2]);
        let window = [
            ("activation", Attribute::Text("relu6")),
            ("kernel", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&self.pads)),
        ];
        let back: &[&str] =
            if self.residual { &["middle", "w2", "s2", "b2", "x"] } else { &["middle", "w2", "s2", "b2"] };
        let file = Graph::default()
            .input::<f32>("image", &[1, 3, SIZE as i64, SIZE as i64].map(Dim::Is))
            .constant("w0", &[depth, WIDE], &noise.bytes(depth * WIDE))
            .constant("s0", &[WIDE], &[0.02; WIDE])
            .constant("b0", &[WIDE], &noise.floats(WIDE))
            .constant("w1", &[taps, WIDE], &noise.bytes(taps * WIDE))
            .constant("s1", &[WIDE], &[0.005; WIDE])
            .constant("b1", &[WIDE], &noise.floats(WIDE))
            .constant("w2", &[WIDE, NARROW], &noise.bytes(WIDE * NARROW))
            .constant("s2", &[NARROW], &[0.01; NARROW])
            .constant("b2", &[NARROW], &noise.floats(NARROW))
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
        let sections = picture(SIZE, SIZE, if apart { WIDE } else { NARROW })
            + &format!("[patches]\ncount = {}\nwidth = {NARROW}\ngrid = [{rows}, {rows}]\n", rows * rows);
        let bundle = bundle(folder.path(), &sections, &[("image", &file)]);
        let tower = ImageTower::load(&bundle, &Options { threads }).expect("the tower loads");
        let pixels = noise.floats(3 * SIZE * SIZE);
        tower.encode(&pixels).expect("the tower runs").patches.expect("it has patches").data.to_vec()
    }
}

#[test]
fn layers_that_run_together_give_the_bits_of_the_layers_alone() {
    let plain =
        Case { front: "LookoutLinear", precision: "int8", kernel: 3, stride: 1, pads: [1, 1, 1, 1], residual: true };
    let cases = [
        Case { kernel: 5, stride: 2, pads: [1, 1, 2, 2], residual: false, ..plain },
        Case { kernel: 3, stride: 2, pads: [0, 0, 1, 1], residual: false, precision: "weights", ..plain },
        Case { front: "LookoutConv", precision: "weights", ..plain },
        Case { front: "LookoutConv", ..plain },
        // Windows with rows between them that none sees, and one taller than what is kept.
        Case { kernel: 2, stride: 3, pads: [0; 4], residual: false, ..plain },
        Case { kernel: 31, stride: 1, pads: [0; 4], residual: false, ..plain },
        plain,
    ];
    for case in cases {
        let alone = case.run(true, 1);
        assert!(alone.iter().any(|v| *v != alone[0]), "the layers do something");
        for threads in [1, 2, 3] {
            let together = case.run(false, threads);
            let same = alone.iter().zip(&together).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{} {} {}x{}", case.front, case.precision, case.kernel, case.stride);
        }
    }
}

//! Every kernel of this machine against the plain one, and the plain one against sums in 64 bits.

use super::*;

mod attention;
mod floats;
mod levels;
mod products;
mod uniform;

/// Deterministic floats in -1..1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (f64::from(self.0) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    /// A whole number from 1 to `most`.
    fn size(&mut self, most: usize) -> usize {
        1 + ((self.next().abs() * most as f32) as usize).min(most - 1)
    }

    fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() * 128.0).floor() as i8).collect()
    }
}

/// Rows, depth, columns: single ones, odd ones, every number of rows and panels of a block, and deep ones.
const SHAPES: [(usize, usize, usize); 19] = [
    (1, 1, 1),
    (1, 3, 17),
    (2, 5, 15),
    (3, 4, 16),
    (4, 31, 33),
    (5, 64, 48),
    (6, 33, 65),
    (7, 100, 100),
    (8, 17, 31),
    (9, 27, 24),
    (13, 384, 129),
    (16, 48, 144),
    (23, 255, 64),
    (1, 384, 1000),
    (2, 4096, 5),
    (49, 96, 80),
    (1, 65536, 3),
    (6, 5600, 17),
    (13, 4100, 17),
];

/// Those, every number of rows of a block with every number of panels, and odd ones; few of them where tests are slow.
fn shapes() -> Vec<(usize, usize, usize)> {
    let mut noise = Noise(8);
    let blocks = (1..=13).flat_map(|rows| [1, 2, 3, 4, 5, 6, 9, 10].map(|panels| (rows, 9, panels * PANEL - rows % 3)));
    let odd = std::iter::repeat_with(|| (noise.size(30), noise.size(300), noise.size(200))).take(40);
    let all: Vec<_> = SHAPES.into_iter().chain(blocks).chain(odd).collect();
    let small = |(rows, depth, columns): &(usize, usize, usize)| !cfg!(miri) || rows * depth * columns < 500;
    all.into_iter().filter(small).collect()
}

/// All kernels whose float loops give the same bits: where the machine fuses multiply and add, all but the plain one.
fn fusing() -> Vec<Kernel> {
    let fuses = |kernel: &Kernel| cfg!(target_arch = "aarch64") || kernel.0 != Set::Plain;
    Kernel::available().into_iter().filter(fuses).collect()
}

fn product(kernel: Kernel, x: &[f32], weights: &Packed) -> Vec<f32> {
    let mut rows = Rows::default();
    rows.quantise(kernel, x, weights.depth());
    let columns = weights.columns();
    // Sentinels around the result show a store out of place.
    let mut out = vec![77.0; rows.view().count() * (columns + 1)];
    kernel.multiply(rows.view(), weights, 0..weights.panels(), Finish::NONE, &mut out, columns + 1);
    for row in out.chunks(columns + 1) {
        assert_eq!(row[columns], 77.0, "{} wrote past its columns", kernel.name());
    }
    out.chunks(columns + 1).flat_map(|row| &row[..columns]).copied().collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// `make test-arm64` says what each emulated processor must use.
#[test]
fn the_chosen_kernel_is_the_expected_one() {
    let chosen = Kernel::chosen();
    assert!(Kernel::available().contains(&chosen));
    assert_eq!(Kernel::available().last().map(|kernel| kernel.name()), Some("plain"));
    match std::env::var("LOOKOUT_EXPECTED_KERNEL") {
        Ok(expected) => assert_eq!(chosen.name(), expected),
        Err(_) if std::env::var_os("LOOKOUT_KERNEL").is_none() => assert_eq!(chosen, Kernel::available()[0]),
        Err(_) => {}
    }
}

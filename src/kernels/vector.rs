//! Activations and layer norm, written once in plain Rust and compiled once per instruction set, so that the
//! compiler vectorises them. Where the machine fuses multiply and add, so do they; the plain x86-64 build does not, and may differ from the
//! others in the last bits.

use super::quantise::ROUNDER;

/// Compiles the `#[inline(always)]` function `$body::<FUSED>` for each instruction set and calls the right one.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(kernel: $crate::kernels::Kernel, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::kernels::Set;
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn wide($($arg: $type),*) {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn half($($arg: $type),*) {
                    $body::<true>($($arg),*)
                }
                match kernel.0 {
                    // SAFETY: a kernel of this set exists only where these features were detected.
                    Set::Avx512Vnni => return unsafe { wide($($arg),*) },
                    // SAFETY: a kernel of these sets exists only where these features were detected.
                    Set::AvxVnni | Set::Avx2 => return unsafe { half($($arg),*) },
                    Set::Plain => {}
                }
            }
            let _ = kernel;
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}

/// What follows a linear or convolutional layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x (1 + erf(x / sqrt 2)) / 2`, within 3e-6
    Gelu,
    /// `x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))`: GELU by its tanh approximation
    GeluTanh,
    /// `x sigmoid(1.702 x)`
    QuickGelu,
}

impl Activation {
    /// The upper bound of what is held at 0 below; `None` for the other activations.
    pub(super) fn high(self) -> Option<f32> {
        match self {
            Activation::Relu => Some(f32::INFINITY),
            Activation::Relu6 => Some(6.0),
            _ => None,
        }
    }

    /// Whether it is more than a comparison, and so has a pass of its own.
    pub(super) fn is_curve(self) -> bool {
        self != Activation::None && self.high().is_none()
    }
}

#[inline(always)]
pub(super) fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// erf by the rational approximation of Eigen and XLA.
#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    let z = (x * std::f32::consts::FRAC_1_SQRT_2).clamp(-3.925, 3.925);
    let t = z * z;
    let mut p = fused::<FUSED>(-2.726_142_4e-10, t, 2.770_681_6e-8);
    for c in [-2.101_024e-6, -5.692_506_6e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603e-2] {
        p = fused::<FUSED>(p, t, c);
    }
    let mut q = fused::<FUSED>(-1.456_607e-5, t, -2.133_740_3e-4);
    for c in [-1.682_827e-3, -7.373_329e-3, -1.426_474_2e-2] {
        q = fused::<FUSED>(q, t, c);
    }
    0.5 * x * (1.0 + p * z / q)
}

/// `x sigmoid(y)`
#[inline(always)]
fn gated<const FUSED: bool>(x: f32, y: f32) -> f32 {
    let e = exp::<FUSED>(-y.abs());
    x * if y >= 0.0 { 1.0 } else { e } / (1.0 + e)
}

#[inline(always)]
fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    gated::<FUSED>(x, x * fused::<FUSED>(x * x, 0.071_354_81, 1.595_769))
}

#[inline(always)]
fn apply<const FUSED: bool>(values: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
        #[expect(clippy::manual_clamp, reason = "`clamp` would keep NaN, which counts as 0 here")]
        Activation::Relu6 => values.iter_mut().for_each(|v| *v = v.max(0.0).min(6.0)),
        Activation::Gelu => values.iter_mut().for_each(|v| *v = gelu::<FUSED>(*v)),
        Activation::GeluTanh => values.iter_mut().for_each(|v| *v = gelu_tanh::<FUSED>(*v)),
        Activation::QuickGelu => values.iter_mut().for_each(|v| *v = gated::<FUSED>(*v, 1.702 * *v)),
    }
}

multiversion! {
    /// Applies `activation` to each value.
    pub fn activate(values: &mut [f32], activation: Activation) = apply
}

#[inline(always)]
fn add_body<const FUSED: bool>(values: &mut [f32], other: &[f32]) {
    values.iter_mut().zip(other).for_each(|(v, o)| *v += o);
}

multiversion! {
    /// Adds `other` to `values`.
    pub fn add(values: &mut [f32], other: &[f32]) = add_body
}

/// `e^x` for `x <= 0`; NaN and everything below -87 give about 1e-38.
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    let t = x * std::f32::consts::LOG2_E;
    let t = if t >= -126.0 { t } else { -126.0 };
    let rounded = t + ROUNDER;
    let whole = (rounded.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let f = t - (rounded - ROUNDER);
    let mut p = 1.339_887_4e-3;
    for c in [9.618_437e-3, 5.550_332_5e-2, 2.402_264_7e-1, 6.931_472e-1, 1.0] {
        p = fused::<FUSED>(p, f, c);
    }
    f32::from_bits((whole.wrapping_add(127) as u32) << 23) * p
}

multiversion! {
    /// Softmax of each row of `width` floats, in place.
    pub fn softmax(values: &mut [f32], width: usize) = softmax_body
}

#[inline(always)]
fn softmax_body<const FUSED: bool>(values: &mut [f32], width: usize) {
    for row in values.chunks_exact_mut(width) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, v| a.max(*v));
        row.iter_mut().for_each(|v| *v = exp::<FUSED>(*v - largest));
        let whole = 1.0 / row.iter().sum::<f32>();
        row.iter_mut().for_each(|v| *v *= whole);
    }
}

multiversion! {
    /// Adds `e^(v - largest)` of each value to `sum`; NaN counts as nothing, as do values 87 below the largest.
    pub fn add_exp(values: &[f32], largest: f32, sum: &mut f64) = add_exp_body
}

#[inline(always)]
fn add_exp_body<const FUSED: bool>(values: &[f32], largest: f32, sum: &mut f64) {
    const LANES: usize = 32;
    // So few that what 32 bits round off does not add up.
    for piece in values.chunks(16 * LANES) {
        let blocks = piece.chunks_exact(LANES);
        let rest = blocks.remainder();
        let mut lanes = [0f32; LANES];
        for block in blocks {
            for l in 0..LANES {
                lanes[l] += exp::<FUSED>(block[l] - largest);
            }
        }
        let rest = rest.iter().map(|v| exp::<FUSED>(*v - largest)).sum::<f32>();
        *sum += f64::from(lanes.iter().sum::<f32>() + rest);
    }
}

#[inline(always)]
fn layer_norm_body<const FUSED: bool>(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, out: &mut [f32]) {
    const LANES: usize = 32;
    let width = gamma.len();
    for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let blocks = row.chunks_exact(LANES);
        let rest = blocks.remainder();
        let mut lanes = [0f32; LANES];
        for block in blocks.clone() {
            for l in 0..LANES {
                lanes[l] += block[l];
            }
        }
        let mean = (lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()) / width as f32;
        let mut lanes = [0f32; LANES];
        for block in blocks {
            for l in 0..LANES {
                let d = block[l] - mean;
                lanes[l] = fused::<FUSED>(d, d, lanes[l]);
            }
        }
        let squares = lanes.iter().sum::<f32>() + rest.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>();
        let inverse = 1.0 / (squares / width as f32 + epsilon).sqrt();
        for ((o, v), (g, b)) in out.iter_mut().zip(row).zip(gamma.iter().zip(beta)) {
            *o = fused::<FUSED>((v - mean) * inverse, *g, *b);
        }
    }
}

multiversion! {
    /// Layer norm of each row of `gamma.len()` floats: `(x - mean) / sqrt(variance + epsilon) * gamma + beta`.
    pub fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, out: &mut [f32]) = layer_norm_body
}

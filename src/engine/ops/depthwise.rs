//! `LookoutDepthwise(x[B, H, W, C], weight int8 [kh kw, C], scale [C], bias [C])`: one kernel per channel, float sums.
//! Between two int8 layers it may run on bytes (see [`strips`](super::strips)), unless its precision is `weights`.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::Operator;
use super::dense::Precision;
use crate::engine::threads;
use crate::kernels::{self, Activation, Kernel, LevelTaps, Lines, Taps, Window};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Depthwise {
    pub(super) window: Window,
    pub(super) activation: Activation,
    /// Whether `x` may be rounded to bytes, where a ReLU6 bounds it.
    pub(super) precision: Precision,
}

#[derive(Debug)]
pub(super) struct Constants {
    weight: Vec<i8>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl Operator for Depthwise {
    type Constants = Constants;
    const NAME: &'static str = "LookoutDepthwise";
    const CONSTANTS: &'static [&'static str] = &["weight", "scale", "bias"];

    fn read(node: &NodeProto) -> TractResult<Self> {
        Ok(Depthwise {
            window: super::window(node)?,
            activation: super::activation(node)?,
            precision: Precision::read(node)?,
        })
    }

    fn shape(&self, x: &[TDim], weight: &[TDim]) -> TractResult<TVec<TDim>> {
        ensure!(weight.len() == 2, "weight is {weight:?}; it must be [kh kw, C]");
        let shape = super::slide(&self.window, x, weight[1].clone())?;
        super::expect("channels of x", &x[3], &weight[1])?;
        Ok(shape)
    }

    fn load(&self, constants: &[Arc<Tensor>]) -> TractResult<Constants> {
        let weight = super::values::<i8>("weight", &constants[0], 2)?;
        let scale = super::values::<f32>("scale", &constants[1], 1)?;
        let bias = super::values::<f32>("bias", &constants[2], 1)?;
        let [taps, channels] = [constants[0].shape()[0], constants[0].shape()[1]];
        let wanted = self.window.kernel[0] * self.window.kernel[1];
        ensure!(taps == wanted, "the weight has {taps} rows; the kernel {:?} has {wanted}", self.window.kernel);
        kernels::check(weight, taps, channels, scale, bias).map_err(TractError::msg)?;
        ensure!(bias.len() == channels, "there are {} biases for {channels} channels", bias.len());
        Ok(Constants { weight: weight.to_vec(), scale: scale.to_vec(), bias: bias.to_vec() })
    }

    fn run(
        &self,
        constants: &Constants,
        x: &[f32],
        shape: &[usize],
        _: Option<&[f32]>,
        out: &mut [f32],
    ) -> TractResult<()> {
        let kernel = Kernel::chosen();
        let size = [shape[1], shape[2]];
        let Some([rows, columns]) = self.window.output(size[0], size[1]) else { bail!("the kernel does not fit") };
        let picture = size[0] * size[1] * constants.scale.len();
        let line = columns * constants.scale.len();
        let cost = rows * line * self.window.kernel[0] * self.window.kernel[1];
        if picture == 0 || line == 0 || rows == 0 {
            return Ok(());
        }
        for (x, out) in x.chunks_exact(picture).zip(out.chunks_exact_mut(rows * line)) {
            let lines = Lines { x, kept: size[0], size };
            let taps = self.taps(constants);
            threads::split(out, line, 2, cost, |first, out| {
                kernels::depthwise(kernel, lines, self.window, taps, first, out);
            });
        }
        Ok(())
    }
}

impl Constants {
    /// The same with results in units of `step`.
    pub(super) fn in_steps(&self, step: f32) -> Self {
        let [scale, bias] = [&self.scale, &self.bias].map(|values| values.iter().map(|v| v / step).collect());
        Constants { weight: self.weight.clone(), scale, bias }
    }
}

impl Depthwise {
    /// The same layer from levels to levels, if it can be.
    pub(super) fn level_taps(&self, constants: &Constants, steps: [f32; 2]) -> Option<LevelTaps> {
        let Constants { weight, scale, bias } = constants;
        LevelTaps::new(self.window, weight, scale, bias, steps)
    }

    pub(super) fn taps<'a>(&self, constants: &'a Constants) -> Taps<'a> {
        let Constants { weight, scale, bias } = constants;
        Taps { weight, scale, bias, activation: self.activation }
    }
}

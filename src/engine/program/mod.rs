//! A network as a fixed list of steps over buffers that are planned once: running it allocates nothing.
//!
//! tract reads, checks and simplifies a graph. Where everything that is left is an operator of `ops` or a plain movement
//! of floats, [`Program::compile`] turns it into steps for one set of shapes; any other graph runs on tract's own plan.
//! Reshapes cost nothing: they only rename a buffer. A buffer is used again as soon as its last reader is done.

mod compile;
mod steps;

use tract_onnx::tract_hir::internal::*;

use self::steps::Work;
use super::stop::Stop;
use crate::kernels::Floats;

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    /// Floats in each slot.
    slots: Vec<usize>,
    outputs: Vec<Operand>,
}

#[derive(Debug)]
struct Step {
    work: Work,
    inputs: Vec<Operand>,
    slot: usize,
    /// Floats that it writes.
    size: usize,
    /// The node it came from.
    name: String,
}

/// Where a step finds floats.
#[derive(Debug, Clone)]
enum Operand {
    /// The first floats of a slot.
    Slot(usize, usize),
    /// An input of the network.
    Input(usize),
    Constant(Arc<Tensor>),
}

/// An input of the network for one run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    Floats(&'a [f32]),
    Ids(&'a [i64]),
}

/// What a run works in. It serves one run at a time, of any program, and grows to the largest.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Floats>);

impl Program {
    /// Floats over all slots.
    #[cfg(test)]
    pub(super) fn floats(&self) -> usize {
        self.slots.iter().sum()
    }

    /// Runs all steps; `inputs` are as the graph declares them.
    pub(super) fn run(&self, buffers: &mut Buffers, inputs: &[Input], stop: &Stop) -> TractResult<()> {
        if buffers.0.len() < self.slots.len() {
            buffers.0.resize_with(self.slots.len(), Floats::default);
        }
        for step in &self.steps {
            if stop.is_due() {
                bail!("stopped");
            }
            // The slot is not among the inputs: the compiler gives it away only after their last use.
            let mut out = std::mem::take(&mut buffers.0[step.slot]);
            let result = step.work.run(&Operands { step, buffers, inputs }, out.first(step.size));
            buffers.0[step.slot] = out;
            result.with_context(|| step.name.clone())?;
        }
        Ok(())
    }

    /// The floats of an output after [`Program::run`].
    pub(super) fn output<'a>(
        &'a self,
        buffers: &'a Buffers,
        inputs: &[Input<'a>],
        ix: usize,
    ) -> TractResult<&'a [f32]> {
        floats(&self.outputs[ix], buffers, inputs)
    }
}

/// A step's inputs during a run.
struct Operands<'a> {
    step: &'a Step,
    buffers: &'a Buffers,
    inputs: &'a [Input<'a>],
}

impl<'a> Operands<'a> {
    fn count(&self) -> usize {
        self.step.inputs.len()
    }

    fn floats(&self, ix: usize) -> TractResult<&'a [f32]> {
        floats(&self.step.inputs[ix], self.buffers, self.inputs)
    }

    fn ids(&self, ix: usize) -> TractResult<&'a [i64]> {
        match self.step.inputs[ix] {
            Operand::Input(input) => match self.inputs[input] {
                Input::Ids(ids) => Ok(ids),
                Input::Floats(_) => bail!("input {input} holds floats, not ids"),
            },
            _ => bail!("ids are not an input"),
        }
    }
}

fn floats<'a>(operand: &'a Operand, buffers: &'a Buffers, inputs: &[Input<'a>]) -> TractResult<&'a [f32]> {
    Ok(match operand {
        Operand::Slot(slot, size) => &buffers.0[*slot].as_slice()[..*size],
        Operand::Input(input) => match inputs[*input] {
            Input::Floats(values) => values,
            Input::Ids(_) => bail!("input {input} holds ids, not floats"),
        },
        Operand::Constant(tensor) => tensor.as_plain_slice()?,
    })
}

/// The floats of a constant.
trait PlainSlice {
    fn as_plain_slice(&self) -> TractResult<&[f32]>;
}

impl PlainSlice for Tensor {
    fn as_plain_slice(&self) -> TractResult<&[f32]> {
        self.try_as_plain_ram()?.as_slice::<f32>()
    }
}

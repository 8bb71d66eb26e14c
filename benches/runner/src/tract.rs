//! tract, as its documentation says to use it: optimised for the input's shape, then run.

use std::sync::Arc;

use tract_onnx::prelude::*;

use crate::serve::{Fallible, Loaded, Order};

struct Network {
    plan: Arc<TypedRunnableModel>,
    input: TValue,
    /// Position of the output that is the embedding.
    output: usize,
}

pub fn load(order: &Order) -> Fallible<Box<dyn Loaded>> {
    if order.threads > 1 {
        use tract_linalg::multithread::{Executor, set_default_executor};
        set_default_executor(Executor::multithread(order.threads));
    }
    let mut model = tract_onnx::onnx().model_for_path(order.model)?;
    let input: Tensor = match order.role {
        "image" => {
            let values = order.floats()?;
            let shape = model.input_fact(0)?.shape.as_concrete_finite()?.ok_or("the input's shape is not fixed")?;
            Tensor::from_shape(&shape, &values)?
        }
        "text" => {
            let ids = order.ids()?;
            Tensor::from_shape(&[1, ids.len()], &ids)?
        }
        role => return Err(format!("tract is not asked for {role}").into()),
    };
    model.set_input_fact(0, InferenceFact::dt_shape(input.datum_type(), input.shape()))?;
    let output = model.outputs.iter().position(|outlet| {
        let label = model.outlet_label(*outlet).unwrap_or(&model.nodes[outlet.node].name);
        label == "embedding"
    });
    let plan = model.into_optimized()?.into_runnable()?;
    Ok(Box::new(Network { plan, input: input.into_tvalue(), output: output.unwrap_or(0) }))
}

impl Loaded for Network {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        let outputs = self.plan.run(tvec!(self.input.clone()))?;
        Ok(outputs[self.output].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }
}

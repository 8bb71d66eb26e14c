//! rten, with weights packed when loaded and a thread pool of the asked size.

use std::sync::Arc;

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use crate::serve::{Fallible, Loaded, Order};

struct Network {
    model: Model,
    input: Value,
    ids: (NodeId, NodeId),
    pool: Arc<ThreadPool>,
}

pub fn load(order: &Order) -> Fallible<Box<dyn Loaded>> {
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(order.model)?;
    let id = *model.input_ids().first().ok_or("the model has no input")?;
    let input: Value = match order.role {
        "image" => {
            let shape = model.node_info(id).and_then(|node| node.shape()).ok_or("the input has no shape")?;
            let shape = shape.iter().map(|dim| match dim {
                rten::Dimension::Fixed(size) => Ok(*size),
                rten::Dimension::Symbolic(name) => Err(format!("the input's dimension {name} is not fixed")),
            });
            Tensor::from_data(&shape.collect::<Result<Vec<_>, _>>()?, order.floats()?).into()
        }
        "text" => {
            let ids: Vec<i32> = order.ids()?.into_iter().map(|id| id as i32).collect();
            NdTensor::from_data([1, ids.len()], ids).into()
        }
        role => return Err(format!("rten is not asked for {role}").into()),
    };
    let output = model.node_id("embedding").or_else(|error| model.output_ids().first().copied().ok_or(error))?;
    let pool = Arc::new(ThreadPool::with_num_threads(order.threads));
    Ok(Box::new(Network { model, input, ids: (id, output), pool }))
}

impl Loaded for Network {
    fn run(&mut self) -> Fallible<Vec<f32>> {
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        // All outputs, as the others compute them.
        let outputs =
            self.model.run(vec![((self.ids.0), (&self.input).into())], self.model.output_ids(), Some(options))?;
        let at = self.model.output_ids().iter().position(|id| *id == self.ids.1).ok_or("no output")?;
        let embedding: Tensor<f32> = outputs.into_iter().nth(at).ok_or("no output")?.try_into()?;
        Ok(embedding.to_vec())
    }
}

//! The grounding head: patch tokens and a phrase to boxes.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::program::Input;
use super::session::{Session, Sizes};
use super::{Options, Patches, Report};
use crate::bundle::{Bundle, Role};

/// A loaded grounding head.
#[derive(Debug)]
pub struct Grounder {
    session: Session,
    order: [usize; 2],
    boxes: usize,
    scores: usize,
    count: usize,
    width: usize,
    phrase: usize,
}

impl Grounder {
    /// Loads the bundle's grounding head: inputs `patches` and `phrase`, outputs `boxes` and `scores`.
    pub fn load(bundle: &Bundle, options: &Options) -> crate::Result<Self> {
        let phrase = bundle.manifest().embedding_width();
        let (count, width) = bundle.manifest().patches().map_or((0, 0), |grid| (grid.count, grid.width));
        let mut order = [0; 2];
        let session = Session::load(bundle, Role::Ground, options, |inputs| {
            ensure!(inputs.len() == 2, "its inputs are {:?}, not patches and phrase", inputs.names());
            ensure!(count > 0, "the manifest has no [patches]");
            order = [inputs.position("patches")?, inputs.position("phrase")?];
            inputs.set(order[0], f32::datum_type(), &[1.to_dim(), count.to_dim(), width.to_dim()])?;
            inputs.set(order[1], f32::datum_type(), &[1.to_dim(), phrase.to_dim()])
        })?;
        let boxes = session.output("boxes")?;
        let scores = session.output("scores")?;
        Ok(Grounder { session, order, boxes, scores, count, width, phrase })
    }

    /// A box for each patch token, `[x0, y0, x1, y1]` in fractions of the picture with corners in order and inside it,
    /// and its logit. `phrase` is the text tower's embedding.
    pub fn locate(&self, patches: &Patches, phrase: &[f32]) -> crate::Result<Vec<([f32; 4], f32)>> {
        if (patches.count, patches.width) != (self.count, self.width) {
            return Err(self.session.complain(format_args!("patches are [{}, {}]", patches.count, patches.width)));
        }
        if phrase.len() != self.phrase {
            return Err(self.session.complain(format_args!(
                "a phrase has {} floats, not {}",
                phrase.len(),
                self.phrase
            )));
        }
        if let Some(steps) = self.session.compiled(Sizes::one(0))? {
            let mut inputs = [Input::Floats(&patches.data), Input::Floats(phrase)];
            if self.order == [1, 0] {
                inputs.swap(0, 1);
            }
            return self.session.execute(&steps, &inputs, |output| self.boxes(output));
        }
        let mut inputs = tvec!(
            self.session.tensor(&[1, self.count, self.width], &patches.data)?,
            self.session.tensor(&[1, self.phrase], phrase)?
        );
        if self.order == [1, 0] {
            inputs.swap(0, 1);
        }
        let outputs = self.session.run(inputs)?;
        self.boxes(&|ix| outputs[ix].try_as_plain_ram()?.as_slice::<f32>())
    }

    fn boxes<'a>(&self, output: &dyn Fn(usize) -> TractResult<&'a [f32]>) -> crate::Result<Vec<([f32; 4], f32)>> {
        let boxes = self.session.sized(output(self.boxes), "boxes", self.count * 4)?;
        let scores = self.session.sized(output(self.scores), "scores", self.count)?;
        if !boxes.iter().chain(scores).all(|v| v.is_finite()) {
            return Err(self.session.complain("a box or score is not finite"));
        }
        let inside = |v: f32| v.clamp(0.0, 1.0);
        let found = boxes.chunks_exact(4).zip(scores).map(|(b, score)| {
            let [x0, y0, x1, y1] = [inside(b[0]), inside(b[1]), inside(b[2]), inside(b[3])];
            ([x0.min(x1), y0.min(y1), x0.max(x1), y0.max(y1)], *score)
        });
        Ok(found.collect())
    }

    /// Which part runs on what.
    pub fn report(&self) -> Report {
        self.session.report()
    }
}

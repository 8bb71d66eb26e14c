//! The image tower: pixels to an embedding and patch tokens.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::session::Session;
use super::{Options, normalised};
use crate::bundle::{Bundle, Role};

/// A loaded image tower. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct ImageTower {
    session: Session,
    shape: [usize; 4],
    width: usize,
    embedding: usize,
    patches: Option<(usize, usize, usize)>,
}

/// What the image tower sees in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Length 1.
    pub embedding: Vec<f32>,
    /// For grounding and speaking; a dual encoder has none.
    pub patches: Option<Patches>,
}

/// Patch tokens, `[count, width]` row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Number of tokens.
    pub count: usize,
    /// Floats in a token.
    pub width: usize,
    /// `count * width` floats, shared.
    pub data: Arc<[f32]>,
}

impl ImageTower {
    /// Loads the bundle's image tower. Its outputs are found by the names `embedding` and `patches`; a wrapped one may have
    /// other names, and the first output of rank 2 is then the embedding.
    pub fn load(bundle: &Bundle, options: &Options) -> crate::Result<Self> {
        let manifest = bundle.manifest();
        let picture = manifest.picture();
        let shape = [1, 3, picture.height as usize, picture.width as usize];
        let session = Session::load(bundle, Role::Image, options, |inputs| {
            ensure!(inputs.len() == 1, "it has {} inputs, not one picture: {:?}", inputs.len(), inputs.names());
            inputs.set(0, f32::datum_type(), &shape.map(|d| d.to_dim()))
        })?;
        let width = manifest.embedding_width();
        let embedding = session.embedding_output(&["embedding", "image_embeds", "image_features", "pooler_output"])?;
        let patches = match (manifest.patches(), session.outputs().iter().position(|name| name == "patches")) {
            (Some(grid), Some(output)) => Some((output, grid.count, grid.width)),
            (Some(_), None) => return Err(session.complain("the manifest has [patches], the file no output `patches`")),
            (None, _) => None,
        };
        Ok(ImageTower { session, shape, width, embedding, patches })
    }

    /// Pixels `[3, height, width]` as [`Preprocess`](crate::picture::Preprocess) makes them.
    pub fn encode(&self, pixels: &[f32]) -> crate::Result<Features> {
        let wanted: usize = self.shape.iter().product();
        if pixels.len() != wanted {
            return Err(self.session.complain(format_args!("a picture has {} floats, not {wanted}", pixels.len())));
        }
        let input = self.session.tensor(&self.shape, pixels)?;
        let outputs = self.session.run(tvec!(input))?;
        let embedding = self.session.floats(&outputs[self.embedding], "embedding", self.width)?;
        let embedding = normalised(embedding.to_vec())
            .ok_or_else(|| self.session.complain("an embedding is not finite or all 0"))?;
        let patches = match self.patches {
            None => None,
            Some((output, count, width)) => {
                let data = self.session.floats(&outputs[output], "patches", count * width)?;
                Some(Patches { count, width, data: data.into() })
            }
        };
        Ok(Features { embedding, patches })
    }
}

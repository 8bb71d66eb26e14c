//! The image tower: pixels to an embedding and patch tokens.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::program::Input;
use super::session::{Session, Sizes};
use super::{Options, Report, normalise};
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
        let mut features = Features { embedding: Vec::new(), patches: None };
        self.encode_into(pixels, &mut features)?;
        Ok(features)
    }

    /// As [`ImageTower::encode`], into the memory of an earlier picture's features where nothing else holds them. On one
    /// thread a bundle of lookout's own operators then allocates nothing.
    pub fn encode_into(&self, pixels: &[f32], features: &mut Features) -> crate::Result<()> {
        let wanted: usize = self.shape.iter().product();
        if pixels.len() != wanted {
            return Err(self.session.complain(format_args!("a picture has {} floats, not {wanted}", pixels.len())));
        }
        let Some(steps) = self.session.compiled(Sizes::one(0))? else {
            let input = self.session.tensor(&self.shape, pixels)?;
            let outputs = self.session.run(tvec!(input))?;
            return self.fill(features, &|ix| outputs[ix].try_as_plain_ram()?.as_slice::<f32>());
        };
        self.session.execute(&steps, &[Input::Floats(pixels)], |output| self.fill(features, output))
    }

    fn fill<'a>(&self, features: &mut Features, output: &dyn Fn(usize) -> TractResult<&'a [f32]>) -> crate::Result<()> {
        let embedding = self.session.sized(output(self.embedding), "embedding", self.width)?;
        features.embedding.clear();
        features.embedding.extend_from_slice(embedding);
        if !normalise(&mut features.embedding) {
            return Err(self.session.complain("an embedding is not finite or all 0"));
        }
        let Some((ix, count, width)) = self.patches else {
            features.patches = None;
            return Ok(());
        };
        let data = self.session.sized(output(ix), "patches", count * width)?;
        if let Some(patches) = &mut features.patches
            && (patches.count, patches.width) == (count, width)
            && let Some(held) = Arc::get_mut(&mut patches.data)
        {
            held.copy_from_slice(data);
        } else {
            features.patches = Some(Patches { count, width, data: data.into() });
        }
        Ok(())
    }

    /// Which part runs on what.
    pub fn report(&self) -> Report {
        self.session.report()
    }
}

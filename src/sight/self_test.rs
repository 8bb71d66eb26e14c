//! Does a bundle work on this machine?

use crate::bundle::{ImagePair, Role};
use crate::engine::compare_stored;
use crate::picture::Picture;
use crate::{Code, Error, Result};

use super::looker::Looker;

/// Side of the made-up picture, in pixels.
const SIDE: u32 = 64;

impl Looker {
    /// Runs the stored pairs of the bundle, and asks one question of every kind that it can answer about a made-up
    /// picture. All its networks are loaded afterwards. Errors name the bundle and the first thing that fails.
    pub fn self_test(&self) -> Result<()> {
        let failed = |cause: String| {
            let message = format!("bundle {} fails its self-test: {cause}", self.identity());
            Error::new(Code::Bundle, message, "make or fetch it again: `lookout bundle check PATH` says more")
        };
        let told = |error: Error| failed(error.to_string());
        let compared = compare_stored(&self.bundle, Some(&self.image), self.text.as_ref()).map_err(told)?;
        if let Some(differs) = compared.iter().find(|pair| !pair.ok) {
            let (tower, input, cosine) = (differs.tower, &differs.input, differs.cosine);
            return Err(failed(format!(
                "the {tower} tower's output for {input} has cosine {cosine:.4} with the stored one"
            )));
        }
        let noise = ImagePair { seed: 1, embedding: Vec::new() }.input((3 * SIDE * SIDE) as usize);
        let pixels = noise.iter().map(|value| ((value + 1.0) * 127.5) as u8).collect();
        let view = self.look(&Picture::from_rgb8(SIDE, SIDE, pixels)?).map_err(told)?;
        if self.bundle.has(Role::Text) {
            self.label(&view, &["a dog".to_owned(), "a cat".to_owned()]).map_err(told)?;
        }
        if self.bundle.has(Role::Decoder) {
            self.caption(&view, &Default::default()).map_err(told)?;
        }
        if self.bundle.has(Role::Ground) {
            self.ground(&view, "a dog", &Default::default()).map_err(told)?;
        }
        Ok(())
    }
}

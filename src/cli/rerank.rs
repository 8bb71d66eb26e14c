//! What was found by words, looked at again.

use clap::Args;

use crate::picture::Picture;
use crate::sight::Looker;
use crate::{Code, Error, Result};

use super::console::Console;

#[derive(Args)]
pub(super) struct Rerank {
    /// Look again at the N pictures that fit the words best, and put them into order by what the speaker would say of
    /// them too
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, conflicts_with = "like")]
    rerank: usize,
}

/// Something found, and the log-probability with which the speaker says the words about it, if it was looked at again.
pub(super) struct Again<T> {
    pub hit: T,
    pub log_probability: Option<f32>,
}

impl Rerank {
    /// An error where there are no words to go by.
    pub fn needs(&self, words: Option<&str>) -> Result<()> {
        if self.rerank > 0 && words.is_none() {
            let help = "write: lookout find --events \"a dog on the sofa\" --rerank 20";
            return Err(Error::new(Code::Usage, "--rerank needs words to look again for", help));
        }
        Ok(())
    }

    /// What a nat counts beside a cosine; `None` where nothing is to be looked at again. An error where the bundle cannot.
    pub fn weight(&self, looker: &Looker) -> Result<Option<f32>> {
        (self.rerank > 0).then(|| looker.rerank_weight()).transpose()
    }

    /// How many have to be found, so that `top` can be shown.
    pub fn wanted(&self, top: usize) -> usize {
        top.max(self.rerank)
    }

    /// Puts the first of `hits`, which come best first, into order again. One whose picture cannot be seen any more stays
    /// among them by its cosine.
    pub fn order<T>(
        &self,
        looker: &Looker,
        words: Option<&str>,
        hits: Vec<T>,
        console: &Console,
        cosine: impl Fn(&T) -> f32,
        picture: impl Fn(&T) -> Result<Picture>,
    ) -> Result<Vec<Again<T>>> {
        let mut hits: Vec<Again<T>> = hits.into_iter().map(|hit| Again { hit, log_probability: None }).collect();
        let first = self.rerank.min(hits.len());
        if let (Some(words), Some(weight)) = (words, self.weight(looker)?) {
            let sought = looker.sought(words)?;
            let bar = console.bar("looking again");
            for (done, again) in hits[..first].iter_mut().enumerate() {
                match picture(&again.hit) {
                    Ok(picture) => again.log_probability = looker.told(&looker.look(&picture)?, &[&sought])?.pop(),
                    Err(error) => log::warn!("it is not looked at again: {error}"),
                }
                bar.at(done + 1, first);
            }
            let told: Vec<f32> = hits.iter().filter_map(|again| again.log_probability).collect();
            let usual = told.iter().sum::<f32>() / told.len().max(1) as f32;
            let score =
                |again: &Again<T>| cosine(&again.hit) + weight * (again.log_probability.unwrap_or(usual) - usual);
            hits[..first].sort_by(|a, b| score(b).total_cmp(&score(a)));
        }
        Ok(hits)
    }
}

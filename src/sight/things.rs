//! Are the things that a sentence names in the picture? The speaker knows few, and sees one of them in whatever it does not
//! know; the embedding knows more.

use crate::Result;
use crate::bundle::Things;

use super::looker::{Looker, cosine, sigmoid};
use super::view::View;
use super::wording::plain;

impl Looker {
    /// The probability that what `sentence` names is there, by `[calibration.things]`; 1 where it names nothing of that kind.
    pub(super) fn things(&self, view: &View, sentence: &str) -> Result<f32> {
        let Some(things) = &self.calibration()?.things else { return Ok(1.0) };
        let (words, least) = named(things, sentence);
        if words.is_empty() {
            return Ok(1.0);
        }
        let embeddings = self.embed_labels_unchecked(&words, false, &mut |_, _| {})?;
        let contest = self.contest()?;
        let round = contest.before(&view.embedding);
        let odds = embeddings.iter().filter_map(|row| round.odds(cosine(&view.embedding, row)));
        Ok(odds.zip(least).map(|(odds, least)| sigmoid(odds - least)).fold(1.0, f32::min))
    }
}

/// The things that a sentence names, each once, and what the log-odds of each must reach.
fn named(things: &Things, sentence: &str) -> (Vec<String>, Vec<f32>) {
    let (mut words, mut least) = (Vec::new(), Vec::new());
    for word in plain(sentence).split(' ') {
        let kind = things.kinds.iter().position(|kind| kind.iter().any(|known| known == word));
        if let Some(kind) = kind.filter(|_| words.iter().all(|known| known != word)) {
            words.push(word.to_owned());
            least.push(things.least[kind]);
        }
    }
    (words, least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_named_once_whatever_its_case_and_punctuation() {
        let kinds = [&["dog", "dogs"][..], &["car", "bus"]].map(|kind| kind.iter().map(|w| (*w).to_owned()).collect());
        let things = Things { kinds: kinds.to_vec(), least: vec![-1.5, -2.0] };
        let (words, least) = named(&things, "A Dog, a man and a dog beside (the) bus. Doghouse!");
        assert_eq!((words, least), (vec!["dog".to_owned(), "bus".to_owned()], vec![-1.5, -2.0]));
        assert_eq!(named(&things, "  "), (vec![], vec![]));
    }
}

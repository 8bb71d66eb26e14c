//! Counting runs of words.

use std::collections::HashMap;

/// The longest run of words that is counted.
pub(super) const LONGEST: usize = 4;

/// How often each run of one to [`LONGEST`] words occurs.
pub(super) type Counts<'a> = HashMap<&'a [String], u32>;

/// Counts the runs of one to [`LONGEST`] words.
pub(super) fn count(words: &[String]) -> Counts<'_> {
    let mut counts = Counts::new();
    for run in (1..=LONGEST).flat_map(|n| words.windows(n)) {
        *counts.entry(run).or_default() += 1;
    }
    counts
}

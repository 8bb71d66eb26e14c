//! Comparing short answers.

/// Lower case, with every run of characters that is neither letter, digit nor comma as one space, and no spaces at the
/// ends or around commas: `"Tape_dispenser , Book."` becomes `"tape dispenser,book"`.
pub fn normalised_answer(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let parts = lower.split(',').map(|part| {
        let words = part.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ")
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Whether two answers are the same once normalised. A list of answers must match whole and in order.
pub fn same_answer(given: &str, expected: &str) -> bool {
    normalised_answer(given) == normalised_answer(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_match_whole_whatever_their_case_and_spacing() {
        assert!(same_answer("Tape _ Dispenser", "tape_dispenser"));
        assert!(same_answer("book , scissor.", "book, scissor"));
        assert!(!same_answer("book", "book, scissor"));
        assert!(!same_answer("scissor, book", "book, scissor"));
        assert!(!same_answer("", "book"));
    }
}

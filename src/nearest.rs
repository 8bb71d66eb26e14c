//! The known name that somebody probably meant.

/// The one of `known` that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name: String = name.chars().take(60).collect::<String>().to_lowercase();
    let scored = known.iter().map(|known| (strsim::jaro_winkler(&name, known), *known));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

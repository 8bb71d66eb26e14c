//! The known name that somebody probably meant.

/// The one of `known` that `name` was probably meant to be: alike as a whole, or one slip of the fingers away.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name: String = name.chars().take(60).collect::<String>().to_lowercase();
    let slip = known.iter().find(|known| known.len() > 2 && strsim::osa_distance(&name, known) <= 1);
    let scored = known.iter().map(|known| (strsim::jaro_winkler(&name, known), *known));
    let alike = || scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known);
    slip.copied().or_else(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_likenesses_are_found_and_strangers_are_not() {
        let known = ["fps", "name", "source", "threshold", "unless"];
        for (name, meant) in [
            ("fsp", Some("fps")),
            ("treshold", Some("threshold")),
            ("thresh", Some("threshold")),
            ("Sourc", Some("source")),
            ("xyzzy", None),
        ] {
            assert_eq!(nearest(name, &known), meant, "{name}");
        }
    }
}

//! Which of two versions is the older one.

use std::cmp::Ordering;

/// Compares versions part by part, numbers as numbers: `2.3 < 2.10 < 2.10.1`. A part after `-` comes before the version
/// itself, as in semantic versioning (`2.3-rc1 < 2.3`), what follows a `+` counts last.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let (version, build) = version.split_once('+').unwrap_or((version, ""));
        let (release, pre) = version.split_once('-').unwrap_or((version, ""));
        (parts(release), pre.is_empty(), parts(pre), parts(build))
    };
    split(a).cmp(&split(b))
}

/// Runs of digits and runs of letters.
fn parts(version: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for word in version.split(['.', '_', '-', '+']) {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let digit = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
            let (run, after) = rest.split_at(end);
            parts.push(if digit {
                let run = run.trim_start_matches('0');
                Part::Number(run.len(), run.to_owned())
            } else {
                Part::Word(run.to_owned())
            });
            rest = after;
        }
    }
    parts
}

/// Words come before numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Word(String),
    /// Count of digits, and the digits: of any length.
    Number(usize, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_in_the_order_in_which_they_are_made() {
        let rising = [
            "1",
            "1.0.1",
            "2.3-alpha",
            "2.3-rc1",
            "2.3-rc2",
            "2.3-rc10",
            "2.3",
            "2.3+1",
            "2.3.1",
            "2.10",
            "2024.09.30",
            "2024.10.1",
            "99999999999999999999999",
            "100000000000000000000000",
        ];
        for (at, a) in rising.iter().enumerate() {
            for (other, b) in rising.iter().enumerate() {
                assert_eq!(compare_versions(a, b), at.cmp(&other), "{a} and {b}");
            }
        }
        assert_eq!(compare_versions("2.03", "2.3"), Ordering::Equal);
    }
}

//! Prompt templates and label lists.
use std::collections::HashSet;

use crate::{Code, Error, Result};

/// Puts `label` in the place of every `{}` of the template: `"a photo of {}."` and `"a dog"` give `"a photo of a dog."`.
/// A template without `{}` stays as it is.
pub fn fill_template(template: &str, label: &str) -> String {
    template.replace("{}", label)
}

/// The labels of a comma separated list, trimmed; empty ones and repetitions are dropped, the order is kept. A list
/// without any label is an error.
pub fn parse_labels(list: &str) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    let labels: Vec<String> =
        list.split(',').map(str::trim).filter(|l| !l.is_empty() && seen.insert(*l)).map(str::to_owned).collect();
    if labels.is_empty() {
        return Err(Error::new(
            Code::Text,
            "the list of labels is empty",
            "give at least one label, separated by commas: \"a dog, a cat, an empty sofa\"",
        ));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_trimmed_and_each_comes_once() {
        assert_eq!(parse_labels(" a dog,a cat , ,a dog,,\tempty sofa\n").unwrap(), ["a dog", "a cat", "empty sofa"]);
        assert_eq!(parse_labels("猫").unwrap(), ["猫"]);
    }

    #[test]
    fn a_list_without_labels_is_an_error_that_says_what_to_do() {
        for list in ["", "  ", ",", " , ,\n"] {
            let error = parse_labels(list).unwrap_err();
            assert_eq!(error.code(), Code::Text);
            assert!(error.help().contains("comma"));
        }
    }

    #[test]
    fn ten_thousand_labels_and_very_long_ones_pass() {
        let list: Vec<String> = (0..10_000).map(|i| format!("label {i}")).collect();
        assert_eq!(parse_labels(&list.join(",")).unwrap(), list);
        assert_eq!(parse_labels(&"x".repeat(10_000)).unwrap()[0].len(), 10_000);
    }

    #[test]
    fn templates_take_the_label_in_every_place() {
        assert_eq!(fill_template("a photo of {}.", "a {} dog"), "a photo of a {} dog.");
        assert_eq!(fill_template("{} or {}", "x"), "x or x");
        assert_eq!(fill_template("no place", "x"), "no place");
    }
}

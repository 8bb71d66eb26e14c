//! The triggers as they are: those of the file, changed by what was set while running.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::watch::{Edit, EditKind, Trigger};

/// What was set while running, by the trigger's name. It is kept in the memory, since the configuration file may be
/// read-only, and outlives restarts and changes of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Edits(BTreeMap<String, Option<Trigger>>);

impl Edits {
    /// Reads what [`Edits::to_json`] wrote. What cannot be read counts as nothing.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            log::warn!("the triggers that were set while running cannot be read, and are forgotten: {error}");
            Self::default()
        })
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The edits with this trigger added or replaced.
    pub fn with(mut self, trigger: Trigger) -> Self {
        self.0.insert(trigger.name.clone(), Some(trigger));
        self
    }

    /// The edits with this trigger gone.
    pub fn without(mut self, name: &str, in_file: bool) -> Self {
        if in_file {
            self.0.insert(name.to_owned(), None);
        } else {
            self.0.remove(name);
        }
        self
    }

    /// The triggers of the file with the edits applied: in the order of the file, then the added ones by name.
    pub fn apply(&self, file: &[Trigger]) -> Vec<Trigger> {
        let mut triggers: Vec<Trigger> = file
            .iter()
            .filter_map(|trigger| self.0.get(&trigger.name).cloned().unwrap_or_else(|| Some(trigger.clone())))
            .collect();
        let added = self.0.iter().filter(|(name, _)| !file.iter().any(|trigger| trigger.name == **name));
        triggers.extend(added.filter_map(|(_, trigger)| trigger.clone()));
        triggers
    }

    /// The edits but this trigger's.
    pub fn forgetting(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// What differs from the triggers of the file, by name.
    pub fn against(&self, file: &[Trigger]) -> Vec<Edit> {
        let kind = |(name, edit): (&String, &Option<Trigger>)| {
            let kind = match (file.iter().find(|trigger| trigger.name == *name), edit) {
                (Some(_), None) => EditKind::Removed,
                (Some(before), Some(now)) if before != now => EditKind::Changed,
                (None, Some(_)) => EditKind::Added,
                (Some(_), Some(_)) | (None, None) => return None,
            };
            Some(Edit { name: name.clone(), edit: kind })
        };
        self.0.iter().filter_map(kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str, when: &str) -> Trigger {
        toml::from_str(&format!("name = \"{name}\"\nwhen = \"{when}\"")).unwrap()
    }

    #[test]
    fn edits_replace_remove_and_add_and_survive_being_written() {
        let file = [trigger("a", "a dog"), trigger("b", "a cat"), trigger("c", "a car")];
        let edits = Edits::default().with(trigger("b", "a lion")).without("a", true).with(trigger("z", "a bus"));
        let edits = Edits::from_json(&edits.to_json());
        let whens: Vec<String> = edits.apply(&file).into_iter().filter_map(|trigger| trigger.when).collect();
        assert_eq!(whens, ["a lion", "a car", "a bus"]);
        let differing = |edits: &Edits| -> Vec<(String, EditKind)> {
            edits.against(&file).into_iter().map(|edit| (edit.name, edit.edit)).collect()
        };
        let [a, b, z] = ["a", "b", "z"].map(str::to_owned);
        assert_eq!(
            differing(&edits),
            [(a, EditKind::Removed), (b.clone(), EditKind::Changed), (z.clone(), EditKind::Added)]
        );
        let edits = edits.forgetting("a").with(trigger("c", "a car"));
        assert_eq!(differing(&edits), [(b, EditKind::Changed), (z, EditKind::Added)], "c is as the file says");
        assert_eq!(edits.apply(&file)[0], file[0]);
        let edits = edits.without("z", false);
        assert_eq!(edits.apply(&file).len(), 3);
        assert_eq!(Edits::from_json("{").apply(&file).len(), 3);
    }
}

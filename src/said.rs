//! Trouble that is said once, however long it lasts.

/// Logs a trouble when it begins or changes, and once when it is over.
#[derive(Debug, Default)]
pub(crate) struct Said {
    trouble: Option<String>,
}

impl Said {
    /// Logs `text` as a warning unless it was the last thing said.
    pub(crate) fn trouble(&mut self, text: &str) {
        if self.trouble.as_deref() != Some(text) {
            log::warn!("{text}");
            self.trouble = Some(text.to_owned());
        }
    }

    /// Logs `text` if there was trouble.
    pub(crate) fn over(&mut self, text: &str) {
        if self.trouble.take().is_some() {
            log::info!("{text}");
        }
    }
}

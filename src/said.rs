//! Trouble that is said once, however long it lasts.

/// Logs a trouble when it begins or changes, and once when it is over.
#[derive(Debug, Default)]
pub(crate) struct Said {
    trouble: Option<String>,
    silent: bool,
}

impl Said {
    /// Says nothing, for where the caller reports the trouble.
    pub(crate) fn silent() -> Self {
        Self { trouble: None, silent: true }
    }

    /// Logs `text` as a warning unless it was the last thing said.
    pub(crate) fn trouble(&mut self, text: &str) {
        if self.trouble.as_deref() != Some(text) {
            if !self.silent {
                log::warn!("{text}");
            }
            self.trouble = Some(text.to_owned());
        }
    }

    /// Logs `text` if there was trouble.
    pub(crate) fn over(&mut self, text: &str) {
        if self.trouble.take().is_some() && !self.silent {
            log::info!("{text}");
        }
    }
}

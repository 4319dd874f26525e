//! Saying a trouble when it comes and when it is over, but not again and again.

/// The last trouble that was said.
#[derive(Debug, Default)]
pub(super) struct LogOnChange(Option<String>);

impl LogOnChange {
    /// Takes the trouble as it is now.
    pub fn say(&mut self, trouble: Option<String>) {
        self.advise(trouble, "");
    }

    /// The same, with what is said behind it and not when it is over.
    pub fn advise(&mut self, trouble: Option<String>, advice: &str) {
        match (&self.0, &trouble) {
            (old, Some(new)) if old.as_ref() != Some(new) => tracing::warn!("{new}{advice}"),
            (Some(old), None) => tracing::info!("over: {old}"),
            _ => {}
        }
        self.0 = trouble;
    }
}

//! Somebody who answers what a server asks while it lets them in.

use std::fmt;
use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

/// One question of a server. Its texts are foreign, and escaped already.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginQuestion {
    /// What the server says about it, several lines; may be empty.
    pub instructions: String,
    /// The question.
    pub prompt: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}

type Answer = dyn Fn(&LoginQuestion) -> io::Result<Zeroizing<String>> + Send + Sync;

/// Answers questions, on a thread that may block.
#[derive(Clone)]
pub struct Person(Arc<Answer>);

impl Person {
    /// Somebody who answers so. An error ends the login.
    pub fn new(answer: impl Fn(&LoginQuestion) -> io::Result<Zeroizing<String>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    pub(super) fn answer(&self, question: &LoginQuestion) -> io::Result<Zeroizing<String>> {
        (self.0)(question)
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person")
    }
}

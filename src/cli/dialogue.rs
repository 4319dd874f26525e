//! Questions to a person at a terminal.
//!
//! Guarantees: what is typed as a secret is not shown, and is wiped from memory when it is dropped; the terminal is as it was
//! before, also when a question is left unanswered. Questions go to stderr, so that stdout holds results alone.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::columns::{columns, fitted};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};

/// The longest answer, in bytes.
const LONGEST: usize = 16 * 1024;

/// A person at standard input. Clones are the same person.
#[derive(Clone, Default)]
pub struct Dialogue {
    /// How the terminal was, while it shows nothing.
    hidden: Arc<Mutex<Option<Termios>>>,
}

impl Dialogue {
    /// The person at standard input, where that is a terminal.
    pub fn open() -> Option<Self> {
        io::stdin().is_terminal().then(Self::default)
    }

    /// Asks for a line. Blocking. Fails at the end of the input.
    pub fn ask(&self, prompt: &str, echo: bool) -> io::Result<Zeroizing<String>> {
        let mut stderr = io::stderr();
        if !echo {
            // Before the question is there, or a quick answer would be seen, or lost.
            self.hide()?;
        }
        let prompt = fitted(prompt, columns(&stderr));
        let answer = write!(stderr, "{prompt} ").and_then(|()| stderr.flush()).and_then(|()| read_line());
        if echo {
            return answer;
        }
        self.show();
        // The line end that was typed was not shown either.
        writeln!(stderr)?;
        answer
    }

    fn hide(&self) -> io::Result<()> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        Ok(())
    }

    /// Shows again what is typed.
    pub fn show(&self) {
        if let Some(before) = self.hidden.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    /// The answer to a question; an empty one is the default.
    pub async fn line(&self, question: &str, default: Option<&str>) -> Result<String> {
        let prompt = default.map_or_else(|| format!("{question}:"), |default| format!("{question} [{default}]:"));
        loop {
            let answer = self.answer(prompt.clone(), true).await?;
            match (answer.trim(), default) {
                ("", Some(default)) => return Ok(default.to_owned()),
                ("", None) => {}
                (answer, _) => return Ok(answer.to_owned()),
            }
        }
    }

    /// A secret, which is not empty.
    pub async fn secret(&self, question: &str) -> Result<Zeroizing<String>> {
        loop {
            let answer = self.answer(format!("{question}:"), false).await?;
            if !answer.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// Whether the answer is yes. What is neither yes nor no answers another question, and this one is asked again.
    pub async fn agrees(&self, question: &str) -> Result<bool> {
        loop {
            let answer = self.answer(format!("{question} (yes/no)"), true).await?;
            match answer.trim().to_lowercase().as_str() {
                "yes" | "y" | "oui" | "o" => return Ok(true),
                "no" | "n" | "non" => return Ok(false),
                _ => {}
            }
        }
    }

    async fn answer(&self, prompt: String, echo: bool) -> Result<Zeroizing<String>> {
        let dialogue = self.clone();
        let answer = blocking::run(move || dialogue.ask(&prompt, echo).map_err(|error| unanswered(&error)));
        answer.await
    }
}

fn unanswered(error: &io::Error) -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, format!("a question was not answered: {error}"))
        .with_solution("Answer it, or give all answers as flags and add --yes; see `nas-sync setup --help`.")
}

/// The next line of standard input, without its end; not a byte beyond it. Blocking.
pub fn read_line() -> io::Result<Zeroizing<String>> {
    // All the room at once: a text that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    loop {
        let mut byte = [0];
        match rustix::io::read(stdin(), &mut byte) {
            Ok(0) if line.is_empty() => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == LONGEST => return Err(io::Error::from(io::ErrorKind::FileTooLarge)),
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let text = str::from_utf8(&line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

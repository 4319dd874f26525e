//! Logging in with a password: at once (`password`), or as the answer to a question (`keyboard-interactive`).
//!
//! Guarantees: a password is given once in a login, and never to a question for a code. Questions that it does not answer go
//! to a person; where there is nobody, the login ends with the question shown. A server asks [`MAX_ROUNDS`] times at most.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Step, Prompt};
use russh::{MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::config::SshConfig;
use super::key_file::text_of;
use super::link::Callbacks;
use super::person::{LoginQuestion, Person};
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;
use crate::text;

/// How often a server may ask, each time as much as it likes: a password, a code, a second try at either.
const MAX_ROUNDS: usize = 10;
/// The most questions at once.
const MAX_QUESTIONS: usize = 10;
/// The most of a question that is shown, in bytes.
const MAX_PROMPT: usize = 300;
const MAX_INSTRUCTIONS: usize = 2048;
/// Words in questions that a password does not answer.
const NO_PASSWORD: [&str; 14] = [
    "2fa",
    "again",
    "code",
    "factor",
    "new",
    "nouveau",
    "otp",
    "passcode",
    "pin",
    "retype",
    "time",
    "token",
    "totp",
    "verification",
];

/// The password of one login, which may be given once.
pub(super) struct PasswordLogin<'a> {
    config: &'a SshConfig,
    password: Arc<Zeroizing<String>>,
    is_given: bool,
    tried: Vec<MethodKind>,
}

impl<'a> PasswordLogin<'a> {
    /// Reads the password. Fails with `KeyUnusable`.
    pub(super) async fn new(config: &'a SshConfig, password: &Secret) -> Result<Self> {
        let password = password.clone();
        let read = move || {
            text_of(&password, "the password").map_err(|error| {
                error.with_solution(
                    "Correct NAS_PASSWORD_FILE (--password-file), or the permissions of the file that it names.",
                )
            })
        };
        Ok(Self { config, password: blocking::run(read).await?, is_given: false, tried: Vec::new() })
    }

    /// Whether the server has seen the password.
    pub(super) fn is_given(&self) -> bool {
        self.is_given
    }

    /// Which of the server's methods is next. With a person there, questions come first: they may ask for a code too.
    pub(super) fn next(&self, methods: &[MethodKind]) -> Option<MethodKind> {
        let mut order = [MethodKind::Password, MethodKind::KeyboardInteractive];
        if self.config.person.is_some() {
            order.reverse();
        }
        order.into_iter().find(|kind| methods.contains(kind) && !self.tried.contains(kind))
    }

    /// Tries one method. `None` when the connection ended. Fails with `LoginRefused` when there is a question that nobody
    /// answers.
    pub(super) async fn offer(
        &mut self,
        kind: MethodKind,
        handle: &mut Handle<Callbacks>,
    ) -> Result<Option<AuthResult>> {
        self.tried.push(kind);
        if kind == MethodKind::Password {
            self.is_given = true;
            // russh wipes its copy.
            return Ok(handle.authenticate_password(&self.config.user, self.password.as_str()).await.ok());
        }
        let mut step = handle.authenticate_keyboard_interactive_start(&self.config.user, None).await;
        for _ in 0..MAX_ROUNDS {
            let (instructions, prompts) = match step {
                Ok(Step::Success) => return Ok(Some(AuthResult::Success)),
                Ok(Step::Failure { remaining_methods, partial_success }) => {
                    return Ok(Some(AuthResult::Failure { remaining_methods, partial_success }));
                }
                Ok(Step::InfoRequest { instructions, prompts, .. }) => (instructions, prompts),
                Err(_) => return Ok(None),
            };
            let answers = self.answers(&instructions, &prompts).await?;
            step = handle.authenticate_keyboard_interactive_respond(answers).await;
        }
        let remaining_methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
        Ok(Some(AuthResult::Failure { remaining_methods, partial_success: false }))
    }

    async fn answers(&mut self, instructions: &str, prompts: &[Prompt]) -> Result<Vec<String>> {
        let mut answers = Vec::new();
        for prompt in prompts.iter().take(MAX_QUESTIONS) {
            if !prompt.echo && !self.is_given && is_for_a_password(&prompt.prompt) {
                self.is_given = true;
                answers.push(self.password.as_str().to_owned());
                continue;
            }
            let question = LoginQuestion {
                instructions: text::escape_lines_start(instructions.as_bytes(), MAX_PROMPT, MAX_INSTRUCTIONS),
                prompt: text::escape_start(prompt.prompt.trim(), MAX_PROMPT),
                echo: prompt.echo,
            };
            let Some(person) = self.config.person.clone() else { return Err(self.unanswered(&question)) };
            answers.push(ask(person, question).await?);
        }
        Ok(answers)
    }

    fn unanswered(&self, question: &LoginQuestion) -> NasSyncError {
        let (user, address) = (&self.config.user, self.config.address());
        let message = format!("{address} asks {user} for more than a password: {}", question.prompt);
        NasSyncError::new(ErrorKind::LoginRefused, message).with_details(&question.instructions).with_solution(
            "Let this user log in with a key: `nas-sync setup`, started in a terminal, asks for the code once and installs one.",
        )
    }
}

async fn ask(person: Person, question: LoginQuestion) -> Result<String> {
    let answer = blocking::run(move || {
        person.answer(&question).map_err(|error| {
            let message = format!("nobody answers \"{}\": {error}", question.prompt);
            NasSyncError::new(ErrorKind::LoginRefused, message).with_source(error)
        })
    });
    Ok(answer.await?.as_str().to_owned())
}

/// Whether a hidden answer to this question is the password. Servers call it as they like, and in any language.
fn is_for_a_password(prompt: &str) -> bool {
    let prompt = prompt.to_lowercase();
    !prompt.split(|c: char| !c.is_alphanumeric()).any(|word| NO_PASSWORD.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_answer_to_a_question_for_a_code() {
        for prompt in ["Password: ", "(pinky@factory) Password:", "Mot de passe : ", "Passwort:", "密码：", ""] {
            assert!(is_for_a_password(prompt), "{prompt}");
        }
        for prompt in [
            "Verification code: ",
            "Enter your OTP",
            "One-time password:",
            "Two-factor:",
            "PIN",
            "New password: ",
            "Token_Response",
        ] {
            assert!(!is_for_a_password(prompt), "{prompt}");
        }
    }
}

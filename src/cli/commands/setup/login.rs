//! The one login with a password.

use std::path::Path;

use crate::blocking;
use crate::cli::console::Console;
use crate::cli::dialogue::{self, Dialogue};
use crate::client::Client;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::secret::Secret;
use crate::service::setup;
use crate::text;
use crate::transport::ssh::{PASSWORD_SETTINGS, Person};

/// How often a person may mistype a password. Some NAS block an address after five.
const TRIES: u32 = 3;

/// Where the password comes from, and who answers what the NAS asks besides.
pub struct Login<'a> {
    pub person: Option<Dialogue>,
    pub console: &'a Console,
}

impl Login<'_> {
    /// Logs in with the password of a file, of the settings, of a person, or of standard input: the first that there is.
    pub async fn by_password(&self, settings: &Settings, file: Option<&Path>) -> Result<Client> {
        let given = file.map(Secret::in_file).or_else(|| settings.password.clone());
        let (Some(person), None) = (&self.person, &given) else {
            let Some(password) = given else { return self.by_stdin(settings).await };
            let result = setup::log_in_by_password(settings, password, self.answers()).await;
            return match file {
                Some(file) => {
                    let file = text::escape(&file.to_string_lossy());
                    result.map_err(|error| of_another(&format!("the password in {file}"), error))
                }
                None => result,
            };
        };
        let user = text::escape(&settings.nas_user().unwrap_or_default());
        let mut tries = 0;
        loop {
            tries += 1;
            let typed = person.secret(&format!("Password of {user} on the NAS, used once and not kept")).await?;
            let password = Secret::new(typed.as_str().to_owned());
            match setup::log_in_by_password(settings, password, self.answers()).await {
                Err(error) if error.kind() == ErrorKind::LoginRefused && tries < TRIES => {
                    self.console.err(error.message());
                }
                result => return result,
            }
        }
    }

    async fn by_stdin(&self, settings: &Settings) -> Result<Client> {
        let password = from_stdin().await?;
        let result = setup::log_in_by_password(settings, password, self.answers()).await;
        result.map_err(|error| of_another("the password, which came from standard input", error))
    }

    fn answers(&self) -> Option<Person> {
        let (person, console) = (self.person.clone()?, self.console.clone());
        Some(Person::new(move |question| {
            if !question.instructions.is_empty() {
                console.err(&question.instructions);
            }
            person.ask(&question.prompt, question.echo)
        }))
    }
}

/// What is to be corrected where a password came from elsewhere than the settings.
fn of_another(password: &str, error: NasSyncError) -> NasSyncError {
    match error.solution().split_once(PASSWORD_SETTINGS) {
        Some((correct, more)) => {
            let solution = [correct, password, more].concat();
            error.with_solution(solution)
        }
        None => error,
    }
}

/// The first line of standard input.
async fn from_stdin() -> Result<Secret> {
    let read = || {
        if Dialogue::open().is_some() {
            return Err(no_password("--yes asks for none"));
        }
        dialogue::read_line().map_err(|error| no_password(&format!("standard input gives none: {error}")))
    };
    let line = blocking::run(read).await?;
    Ok(Secret::new(line.as_str().to_owned()))
}

fn no_password(why: &str) -> NasSyncError {
    NasSyncError::new(ErrorKind::NotConfigured, format!("there is no password: {why}")).with_solution(
        "Give it with --password-file or NAS_PASSWORD_FILE, or on standard input; or run this in a terminal without --yes.",
    )
}

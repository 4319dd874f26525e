//! `setup`: from a NAS, its address and a password to a configuration that works, step by step.
//!
//! Guarantees: each step says what it did; with `--yes` nothing is asked; what stands in `.env` is not replaced without
//! asking; running it again goes on where it stopped. Never: a password is kept, printed or written anywhere.

mod env;
mod folder;
mod login;

use std::path::PathBuf;

use clap::Args;

use self::login::Login;
use crate::cli::console::Console;
use crate::cli::dialogue::Dialogue;
use crate::client::vendor::{VENDORS, advise, advise_over};
use crate::client::{Client, survey};
use crate::config::{Environment, Flags, Settings};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::secret::Secret;
use crate::service::NasSyncService;
use crate::service::setup::{self, NasKey};
use crate::text;

/// How to see a host key on the NAS itself.
const WHERE_SHOWN: &str = "           The NAS shows it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` (ecdsa, rsa for other types), in a session that you trust; some show it on the page with their SSH settings.";

/// How to set up.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Setup {
    /// Ask nothing: NAS and folder come from flags or NAS_…, the password from --password-file, NAS_PASSWORD_FILE or
    /// standard input, the host key by --accept-new-host-key or NAS_HOST_KEY
    #[arg(short, long)]
    yes: bool,
    /// File that holds the user's password [env: NAS_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Let the key do nothing on the NAS but fill and read the folder by rsync, flush it, and ask for its room
    #[arg(long)]
    lock_down: bool,
    /// Make the key, print its line for authorized_keys and how to install it by hand, and end
    #[arg(long)]
    print_key: bool,
    /// For a NAS that takes no keys: go on using the password in --password-file
    #[arg(long, conflicts_with_all = ["lock_down", "print_key"])]
    keep_password: bool,
}

/// A set-up under way.
struct Run<'a> {
    options: Setup,
    flags: Flags,
    settings: Settings,
    console: &'a Console,
    person: Option<Dialogue>,
    /// The fingerprint that was accepted just now.
    pinned: Option<String>,
}

/// What was typed as `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`; more than one colon without brackets is an address.
fn host_and_port(typed: &str) -> (&str, Option<&str>) {
    if let Some((address, behind)) = typed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        match behind.strip_prefix(':') {
            Some(port) => return (address, Some(port)),
            None if behind.is_empty() => return (address, None),
            None => {}
        }
    }
    match typed.split_once(':') {
        Some((host, port)) if port.bytes().all(|letter| letter.is_ascii_digit()) => (host, Some(port)),
        _ => (typed, None),
    }
}

/// Shows what is typed again, whatever ends the run.
struct Restore(Option<Dialogue>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(person) = &self.0 {
            person.show();
        }
    }
}

impl Setup {
    /// Runs all steps.
    pub async fn run(self, settings: Settings, flags: Flags, console: &Console) -> Result<u8> {
        let person = if self.yes || self.print_key { None } else { Dialogue::open() };
        let _restore = Restore(person.clone());
        let mut run = Run { options: self, flags, settings, console, person, pinned: None };
        if run.options.print_key {
            return run.print_key().await;
        }
        run.all().await
    }
}

impl Run<'_> {
    fn step(&self, name: &str, said: &str) {
        self.console.report(&format!("{name:<11}{said}"));
    }

    async fn all(&mut self) -> Result<u8> {
        self.complete().await?;
        env::check(self).await?;
        self.accept_host_key().await?;
        let (client, key) = self.log_in().await?;
        let outcome = self.finish(&client, key.as_ref()).await;
        client.disconnect().await;
        outcome
    }

    /// Everything behind a login that works.
    async fn finish(&mut self, client: &Client, key: Option<&NasKey>) -> Result<u8> {
        let report = match folder::check(self, client).await {
            Ok(report) => report,
            Err(error) => return Err(advise_over(error, client).await),
        };
        self.step("folder", &format!("{} is writable, best level {}", self.shown_path(), report.level.as_str()));
        let written = env::write(self, key).await?;
        self.step(
            ".env",
            &if written.is_empty() {
                String::from("holds all this already")
            } else {
                format!("written: {}", written.join(", "))
            },
        );
        // As every later command does it: from what is written.
        let settings = Settings::resolve(&Flags::default(), &Environment::of_process()?)?;
        let service = NasSyncService::new(settings);
        let report = service.test_connection().await?;
        self.step("test", &service.connected());
        self.console.report(
            "\nNext: `nas-sync add --user 1 FILE…`, then `nas-sync sync`; or `nas-sync watch`, which keeps at it.",
        );
        self.console.object(&json::setup(&report, &service.connected(), key, &written));
        Ok(0)
    }

    fn shown_path(&self) -> String {
        text::escape(self.settings.path.as_deref().unwrap_or_default())
    }

    /// Asks for what is missing, but for the folder, which is easier to choose later.
    async fn complete(&mut self) -> Result<()> {
        let Some(person) = self.person.clone() else {
            let missing = self.settings.missing();
            if missing.is_empty() {
                return Ok(());
            }
            let why = if self.options.yes { "" } else { ", and there is no terminal to ask at" };
            let error = NasSyncError::new(ErrorKind::NotConfigured, format!("missing: {}{why}", missing.join(", ")));
            return Err(error.with_solution("Give --nas-host, --nas-user and --nas-path (or NAS_HOST, NAS_USER and NAS_PATH), with --yes and a password."));
        };
        while self.settings.host.is_none() {
            let answer = person.line("Name or address of the NAS (:PORT behind it, if not 22)", None).await?;
            let (host, port) = host_and_port(&answer);
            let flags = Flags { nas_host: Some(host.into()), port: port.map(Into::into), ..Flags::default() };
            let Some(settings) = self.answered(&flags) else { continue };
            self.settings.host = settings.host;
            self.settings.port = settings.port.or(self.settings.port);
        }
        while self.settings.nas_user().is_none() {
            let answer = person.line("User on the NAS", None).await?;
            let flags = Flags { nas_user: Some(answer.into()), ..Flags::default() };
            self.settings.user = self.answered(&flags).and_then(|settings| settings.user);
        }
        Ok(())
    }

    /// An answer as it is checked everywhere. What is wrong with it is said.
    fn answered(&self, flags: &Flags) -> Option<Settings> {
        let checked = Environment::new(|_: &str| None, "", None).and_then(|nothing| Settings::resolve(flags, &nothing));
        checked.inspect_err(|error| self.console.err(error.message())).ok()
    }

    async fn accept_host_key(&mut self) -> Result<()> {
        let shown = setup::look(&self.settings).await.map_err(|error| self.with_the_port(error))?;
        let host = text::escape(self.settings.host.as_deref().unwrap_or_default());
        self.step("NAS", &format!("{host}, port {}, answers: {}", shown.port, shown.server_version));
        let named = format!("{} ({})", shown.fingerprint, shown.key_type);
        if shown.is_known {
            self.step("host key", &format!("{named}, known already"));
            return Ok(());
        }
        if self.settings.accept_new_host_key != Some(true) {
            let Some(person) = &self.person else {
                let message = format!("the host key of {host} is not known: {named}");
                return Err(NasSyncError::new(ErrorKind::HostKeyUnknown, message).with_solution(format!(
                    "Compare the fingerprint with the one the NAS shows. If it is the same, run this again with --accept-new-host-key, or with NAS_HOST_KEY={}",
                    shown.fingerprint
                )));
            };
            self.console.err(&format!("host key   {named}\n{WHERE_SHOWN}"));
            if !person.agrees("Is it the one that the NAS shows?").await? {
                let error = NasSyncError::new(ErrorKind::HostKeyUnknown, "the host key was not accepted");
                return Err(error.with_solution(
                    "Look at it on the NAS, and run this again. If it is another one there, somebody else answers at this address.",
                ));
            }
        }
        // It is pinned where the settings are written, in the end.
        self.step("host key", &format!("{named}, accepted"));
        self.settings.host_key = Some(shown.fingerprint.clone());
        self.pinned = Some(shown.fingerprint);
        Ok(())
    }

    /// Who answers questions gives the port with the address.
    fn with_the_port(&self, error: NasSyncError) -> NasSyncError {
        if self.person.is_none() || error.kind() != ErrorKind::ConnectionRefused {
            return error;
        }
        let solution = format!("{} Where SSH has another port there, put :PORT behind the address.", error.solution());
        error.with_solution(solution)
    }

    /// A login as every later command has it: with the key, or with the password where that is to stay.
    async fn log_in(&mut self) -> Result<(Client, Option<NasKey>)> {
        let login = Login { person: self.person.clone(), console: self.console };
        let user = text::escape(&self.settings.nas_user().unwrap_or_default());
        if self.options.keep_password {
            let password = self.kept_password()?;
            let client = setup::log_in_by_password(&self.settings, password.clone(), None).await?;
            self.settings.password = Some(password);
            self.step("login", &format!("{user}, by password, which stays where it is"));
            return Ok((client, None));
        }
        self.settings = setup::with_own_key(&self.settings);
        let found = setup::find_key(&self.settings).await?;
        if let Some(key) = found {
            match setup::log_in_by_key(&self.settings).await {
                Ok(client) => {
                    self.step("login", &format!("{user}, by the key that is there already"));
                    if self.options.lock_down {
                        folder::choose(self, &client).await?;
                        self.lock_down(&client, &key).await?;
                    }
                    return Ok((client, Some(key)));
                }
                Err(error) if error.kind() == ErrorKind::LoginRefused => {
                    self.console
                        .note(&format!("login      the key that is there is not let in yet: {}", error.message()));
                }
                Err(error) => return Err(error),
            }
        }
        let first = login.by_password(&self.settings, self.options.password_file.as_deref()).await?;
        self.step("login", &format!("{user}, by password"));
        let vendor = survey::vendor(&first).await;
        if let Some(vendor) = vendor {
            self.step("kind", &format!("looks like {}", vendor.name));
        }
        if self.options.lock_down {
            folder::choose(self, &first).await?;
        }
        let key = setup::find_or_make_key(&self.settings).await?;
        if let (Some(file), true) = (&key.file, key.is_new) {
            self.step(
                "key",
                &format!(
                    "made {} (ed25519, without a passphrase, readable by you alone)",
                    text::escape(&file.to_string_lossy())
                ),
            );
        }
        let installed = setup::install(&first, &key, &self.settings, self.options.lock_down).await;
        let installed = match installed {
            Ok(installed) => installed,
            Err(error) => {
                let error = folder::with_others(error, &first).await;
                first.disconnect().await;
                return Err(advise(error, vendor));
            }
        };
        first.disconnect().await;
        self.say_installed(&installed);
        let client = setup::prove(&self.settings, &installed).await.map_err(|error| advise(error, vendor))?;
        self.step("login", &format!("{user}, by the key"));
        Ok((client, Some(key)))
    }

    fn say_installed(&self, installed: &crate::client::account::Installed) {
        for file in &installed.closed {
            self.step("closed", &format!("{file}, to which others could write"));
        }
        let what = match (installed.was_there, self.options.lock_down) {
            (true, _) => "stands already",
            (false, true) => "put, held to the folder,",
            (false, false) => "put, with `restrict`,",
        };
        self.step("key", &format!("{what} in {}/.ssh/authorized_keys on the NAS", installed.home));
    }

    /// Holds a key that is let in already to the folder.
    async fn lock_down(&self, client: &Client, key: &NasKey) -> Result<()> {
        match setup::install(client, key, &self.settings, true).await {
            Ok(installed) => self.say_installed(&installed),
            Err(error) if error.kind() == ErrorKind::ExecRefused => {
                self.step("key", "is held to a command on the NAS already, and left as it is");
            }
            Err(error) => return Err(folder::with_others(error, client).await),
        }
        Ok(())
    }

    fn kept_password(&self) -> Result<Secret> {
        let file = self.options.password_file.clone().map(std::path::absolute).transpose();
        let file = file.map_err(|error| NasSyncError::new(ErrorKind::Usage, format!("--password-file: {error}")))?;
        file.map(Secret::in_file).or_else(|| self.settings.password.clone()).ok_or_else(|| {
            NasSyncError::new(ErrorKind::NotConfigured, "--keep-password needs the password in a file").with_solution(
                "Write it into a file that only you can read (chmod 600), and name that with --password-file.",
            )
        })
    }

    async fn print_key(&mut self) -> Result<u8> {
        let settings = setup::with_own_key(&Settings {
            host: self.settings.host.clone().or_else(|| Some(String::from("nas"))),
            user: self.settings.user.clone().or_else(|| Some(String::from("user"))),
            ..self.settings.clone()
        });
        let key = setup::find_or_make_key(&settings).await?;
        let line = format!("restrict {}", key.public);
        let file = key.file.as_ref().map_or_else(String::new, |file| text::escape(&file.to_string_lossy()));
        self.console.note(&format!("The key in {file} is let in by this line of ~/.ssh/authorized_keys on the NAS:"));
        self.console.line(&line);
        let vendors = VENDORS.map(|vendor| vendor.by_hand(&file)).concat();
        let steps = include_str!("by_hand.txt").replace("@line@", &line).replace("@vendors@\n", &vendors);
        self.console.verbatim(&format!("\n{}", steps.trim_end()));
        self.console.object(&json::setup_key(&key, &line));
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_port_stands_behind_the_last_colon_of_what_is_no_bare_address() {
        for (typed, host, port) in [
            ("nas.local", "nas.local", None),
            ("nas.local:2222", "nas.local", Some("2222")),
            ("fe80::1", "fe80::1", None),
            ("[fe80::1]", "fe80::1", None),
            ("[::1]:2222", "::1", Some("2222")),
            ("nas:ssh", "nas:ssh", None),
            ("[::1]x", "[::1]x", None),
        ] {
            assert_eq!(host_and_port(typed), (host, port), "{typed}");
        }
    }
}

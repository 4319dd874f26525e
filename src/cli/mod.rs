//! The command line: words become calls, events become text, bars or JSON.
//!
//! Guarantees: with `--json` stdout holds one object and nothing else; nothing foreign reaches a terminal unescaped; the
//! exit status says how it ended. Never: what to sync, or how, is decided here.

mod args;
mod columns;
mod commands;
mod console;
mod dialogue;
mod hooks;
mod lines;
mod log;
mod progress;
mod report;
mod rsync;
mod signals;
mod surroundings;
mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use self::args::Talk;
use self::commands::Command;
use self::console::Console;
use self::rsync::Request;
use self::signals::Signals;
use crate::config::LogFormat;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::process;

/// The exit status when a result cannot be written: of our own commands, and rsync's.
const UNWRITTEN: u8 = ErrorKind::LocalFile.exit_code();
const UNWRITTEN_RSYNC: u8 = ErrorKind::LocalFile.rsync_exit_code();

/// Runs the program with its whole command line, the program's own name included.
pub fn main(words: Vec<OsString>) -> ExitCode {
    surroundings::close_memory();
    if rsync::is_rsync_name(words.first()) {
        return transfer(words.into_iter().skip(1).collect(), Talk::default());
    }
    let wants_json = words.iter().any(|word| word == "--json");
    let cli = match commands::parse(words) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, wants_json),
    };
    match cli.command {
        Command::Push { arguments } | Command::Pull { arguments } => transfer(arguments, cli.talk),
        Command::Documents(command) => {
            let flags = cli.config.into();
            settled(cli.talk, async |console, signals| Box::pin(command.run(flags, cli.talk, console, signals)).await)
        }
        Command::Doctor => {
            let flags = cli.config.into();
            settled(cli.talk, async |console, signals| commands::diagnose(&flags, cli.talk, console, signals).await)
        }
        Command::Completions(completions) => about_itself(cli.talk, |console| Ok(completions.run(console))),
        Command::Man(man) => about_itself(cli.talk, |console| man.run(console)),
    }
}

/// What has settings, to its exit status.
fn settled(talk: Talk, work: impl AsyncFnOnce(&Console, Signals) -> u8) -> ExitCode {
    let console = Console::new(talk.json, talk.quiet);
    let work = async |signals| work(&console, signals).await;
    let code = in_runtime(work).unwrap_or_else(|error| {
        console.error(&error);
        console.object(&json::failed(&error));
        error.kind().exit_code()
    });
    console.exit_code(code, UNWRITTEN)
}

/// What needs no settings.
fn about_itself(talk: Talk, run: impl FnOnce(&Console) -> Result<u8>) -> ExitCode {
    let console = Console::new(false, talk.quiet);
    let code = run(&console).unwrap_or_else(|error| {
        console.error(&error);
        error.kind().exit_code()
    });
    console.exit_code(code, UNWRITTEN)
}

/// `push`, `pull`, and everything under the name `rsync`: where the `HOST:` stands says which way it goes. `talk` holds what
/// stood before the word.
fn transfer(arguments: Vec<OsString>, talk: Talk) -> ExitCode {
    let json_asked = talk.json || arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let mut command = match rsync::parse(arguments, std::env::var_os("RSYNC_RSH")) {
        Ok(Request::Transfer(command)) => command,
        Ok(Request::Help) => return show(&rsync::help()),
        Ok(Request::Version) => return show(&rsync::version()),
        Err(refusal) => {
            let console = Console::new(json_asked, talk.quiet);
            let code = rsync::refused(&refusal, &console);
            return console.exit_code(code, UNWRITTEN_RSYNC);
        }
    };
    command.show.json |= talk.json;
    command.show.quiet |= talk.quiet;
    command.show.verbose = command.show.verbose.saturating_add(talk.verbose);
    let console = Console::new(command.show.json, command.show.quiet);
    // One -v asks for names, as in rsync; more ask for our log.
    log::start(&console, (!command.show.quiet).then(|| command.show.verbose.saturating_sub(1)), LogFormat::Text);
    let work = async |signals| rsync::run(*command, &console, signals).await;
    let code = in_runtime(work).unwrap_or_else(|error| {
        console.error(&error);
        console.object(&json::push_failed(&error, error.kind().rsync_exit_code()));
        error.kind().rsync_exit_code()
    });
    console.exit_code(code, UNWRITTEN_RSYNC)
}

fn in_runtime(work: impl AsyncFnOnce(Signals) -> u8) -> Result<u8> {
    // One thread, because one task encrypts all there is: more threads would only wake each other, which costs half as
    // much again as the transfer itself. Disks and roles have threads of their own.
    process::need_descriptors().map_err(|error| {
        NasSyncError::new(ErrorKind::ResourceShortage, format!("cannot start: {error}")).with_source(error)
    })?;
    surroundings::allow_threads();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        NasSyncError::new(ErrorKind::Internal, format!("cannot start the runtime: {error}")).with_source(error)
    })?;
    let code = runtime.block_on(async { Ok(work(Signals::listen()?).await) });
    // A thread that still waits for a disk must not delay the end.
    runtime.shutdown_background();
    code
}

/// A command line that clap does not accept, or its help, which clap also calls an error.
fn not_understood(error: &clap::Error, wants_json: bool) -> ExitCode {
    if !error.use_stderr() {
        return show(error.render().to_string().trim_end());
    }
    if wants_json {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let console = Console::new(true, false);
        console.object(&json::failed(&NasSyncError::new(ErrorKind::Usage, first).with_details(&text)));
    }
    // Nothing can be done about a stderr that cannot be written.
    let _ = error.print();
    ExitCode::from(ErrorKind::Usage.exit_code())
}

/// Help and version.
fn show(text: &str) -> ExitCode {
    let console = Console::new(false, false);
    console.words(text.trim_end());
    console.exit_code(0, UNWRITTEN)
}

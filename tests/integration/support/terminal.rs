//! A program at a pseudo-terminal, and somebody who answers its questions.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use rustix::termios::LocalModes;

/// How long a question may take to come, and the program to end.
const LONGEST: Duration = Duration::from_secs(60);

/// The program, and all that its terminal has shown.
pub struct AtTerminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// How much of it has been looked at.
    seen: usize,
}

impl AtTerminal {
    /// Starts it at a terminal that does not say how wide it is.
    pub fn start(command: Command) -> Self {
        Self::start_at(command, 0)
    }

    /// Starts it at a terminal of so many columns.
    pub fn start_at(mut command: Command, columns: u16) -> Self {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudo-terminal");
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm");
        }
        let end = File::from(pair.slave);
        let other = || end.try_clone().expect("another handle");
        let child = command.stdin(other()).stdout(other()).stderr(other()).spawn().expect("the program starts");
        // The handles of this side would keep the terminal open.
        drop((command, end));
        let keyboard = File::from(pair.master);
        let mut output = keyboard.try_clone().expect("another handle");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the program has gone.
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, shown: String::new(), seen: 0 }
    }

    /// Waits for a question, and types a line.
    #[track_caller]
    pub fn answer(&mut self, question: &str, line: &str) {
        self.expect(question);
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("the terminal takes it");
    }

    /// Waits for a text behind all that was waited for before.
    #[track_caller]
    pub fn expect(&mut self, question: &str) {
        let started = Instant::now();
        loop {
            if let Some(at) = self.shown[self.seen..].find(question) {
                self.seen += at + question.len();
                break;
            }
            let left = LONGEST.saturating_sub(started.elapsed());
            let bytes =
                self.screen.recv_timeout(left).unwrap_or_else(|_| panic!("no {question:?} in:\n{}", self.shown));
            self.shown += &String::from_utf8_lossy(&bytes);
        }
    }

    /// Whether the terminal shows what is typed.
    pub fn shows_typing(&self) -> bool {
        rustix::termios::tcgetattr(&self.keyboard).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// Sends it SIGINT and waits for its end.
    pub fn interrupt(&mut self) -> Option<i32> {
        let target = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &target]).status().expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }

    /// Waits for its end: the exit status, and all that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LONGEST;
        while let Ok(bytes) = self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.shown += &String::from_utf8_lossy(&bytes);
        }
        let status = self.child.wait().expect("it ends");
        (status.code(), self.shown)
    }
}

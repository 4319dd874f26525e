//! `send`: documents that are named on standard input, and no database.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::blocking;
use crate::cli::args::Talk;
use crate::cli::console::Console;
use crate::cli::lines::{self, Line};
use crate::cli::progress::{Display, Show};
use crate::cli::signals::{Signals, Stop};
use crate::client::documents::{DocumentMonitor, DocumentOutcome, OutgoingDocument};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::json;
use crate::service::NasSyncService;
use crate::service::stream::Stream;
use crate::text;

/// A batch goes when no line has come for so long, or the first one is so old, or it has so many lines.
const MOMENT: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);
const MOST: usize = 2_000;
/// The exit status when some documents failed.
const DOCUMENTS_FAILED: u8 = 1;

/// What is read, and what is shown meanwhile.
#[derive(Debug, Args)]
pub struct Send {
    /// Read {"key":"42","path":"/app/a.jpg","name":"2024/a.jpg"} a line from standard input until its end, and answer each
    /// with {"key":"42","outcome":"synced",…} or {"key":"42","outcome":"failed","error":{…}} on standard output
    #[arg(long, required = true)]
    json_lines: bool,
    /// How to show how far it is
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    progress: Show,
}

impl Send {
    /// Sends what standard input names until its end, and answers each line.
    pub async fn run(self, service: &NasSyncService, talk: Talk, console: &Console, signals: Signals) -> Result<u8> {
        let mut stream = Stream::new(service)?;
        let mut input = Input { lines: lines::read(io::stdin())?, next: None, fault: None };
        let display = Arc::new(Display::begin(self.progress, console, talk.verbose));
        let monitor = Arc::clone(&display) as Arc<dyn DocumentMonitor>;
        let (stop, stopped) = signals.into_stop(console);
        let (ask, asked) = watch::channel(false);
        let mut answers = Answers { ask: ask.clone(), fault: None, synced: 0, failed: 0 };
        tokio::spawn(async move {
            stop.await;
            ask.send_replace(true);
        });
        let mut is_over = asked.clone();
        loop {
            let batch = tokio::select! {
                batch = input.batch() => batch,
                // An error means that nobody can ask, which `answers` always can.
                _ = is_over.wait_for(|is_over| *is_over) => break,
            };
            let Some(Batch { documents, senseless }) = batch else { break };
            answers
                .give(senseless.iter().map(|(number, key, error)| json::senseless(*number, key.as_ref(), error)), 0)
                .await;
            let sent =
                stream.send(documents, &monitor, asked.clone(), async |outcomes| answers.outcomes(&outcomes).await);
            Box::pin(sent).await;
            stream.take_warnings().iter().for_each(|warning| console.err(&format!("warning: {warning}")));
        }
        let trouble = stream.trouble();
        stream.close().await;
        display.finish(answers.synced, answers.failed);
        answers.end(input.fault, trouble, stopped.get().copied(), console)
    }
}

/// What comes in.
struct Input {
    lines: mpsc::Receiver<io::Result<Line>>,
    /// A document whose key the batch before had already.
    next: Option<OutgoingDocument>,
    fault: Option<io::Error>,
}

/// Lines that came together.
#[derive(Default)]
struct Batch {
    documents: Vec<OutgoingDocument>,
    senseless: Vec<(u64, Option<Value>, NasSyncError)>,
}

impl Input {
    /// The lines that come until none has come for a moment; `None` at the end. Dropping the future loses lines.
    async fn batch(&mut self) -> Option<Batch> {
        let (mut batch, mut keys) = (Batch::default(), HashSet::new());
        if let Some(document) = self.next.take() {
            keys.insert(document.id.clone());
            batch.documents.push(document);
        } else {
            let first = self.lines.recv().await?;
            self.take(first, &mut batch, &mut keys);
        }
        let longest = Instant::now() + LONGEST;
        while batch.documents.len() + batch.senseless.len() < MOST && self.next.is_none() && self.fault.is_none() {
            let moment = longest.min(Instant::now() + MOMENT);
            let Ok(Some(line)) = timeout_at(moment, self.lines.recv()).await else { break };
            self.take(line, &mut batch, &mut keys);
        }
        Some(batch)
    }

    fn take(&mut self, line: io::Result<Line>, batch: &mut Batch, keys: &mut HashSet<DocumentId>) {
        match line {
            Ok(Line::Document(document)) if keys.insert(document.id.clone()) => batch.documents.push(document),
            Ok(Line::Document(document)) => self.next = Some(document),
            Ok(Line::Senseless { number, key, error }) => batch.senseless.push((number, key, error)),
            Err(error) => self.fault = Some(error),
        }
    }
}

/// What goes out.
struct Answers {
    /// Asks for the end.
    ask: watch::Sender<bool>,
    /// Why answers can no longer be written.
    fault: Option<NasSyncError>,
    synced: usize,
    failed: usize,
}

impl Answers {
    async fn outcomes(&mut self, outcomes: &[DocumentOutcome]) {
        let synced = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
        self.give(outcomes.iter().map(json::answer), synced).await;
    }

    /// Writes answers, so many of which say that a document is synced. Once one cannot be written there is nobody to work for.
    async fn give(&mut self, answers: impl ExactSizeIterator<Item = Value>, synced: usize) {
        self.synced += synced;
        self.failed += answers.len() - synced;
        let lines: String = answers.map(|answer| text::escape_json(&answer.to_string()) + "\n").collect();
        if lines.is_empty() || self.fault.is_some() {
            return;
        }
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(lines.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
                let message = format!("the answers cannot be written: {error}");
                NasSyncError::new(ErrorKind::LocalFile, message).with_source(error)
            })
        };
        if let Err(error) = blocking::run(write).await {
            self.fault = Some(error);
            self.ask.send_replace(true);
        }
    }

    /// Says how it ended. What kept the last documents from being sent outranks what was wrong with any.
    fn end(
        self,
        input: Option<io::Error>,
        trouble: Option<ErrorKind>,
        signal: Option<Stop>,
        console: &Console,
    ) -> Result<u8> {
        let all = text::counted((self.synced + self.failed) as u64, "document", "documents");
        console.note(&format!("{} of {all} synced, {} failed", self.synced, self.failed));
        if let Some(error) = self.fault {
            return Err(error);
        }
        if let Some(signal) = signal {
            return Ok(signal.exit_code());
        }
        if let Some(error) = input {
            let message = format!("standard input cannot be read: {error}");
            return Err(NasSyncError::new(ErrorKind::LocalFile, message).with_source(error));
        }
        Ok(match trouble {
            Some(kind) => kind.exit_code(),
            None if self.failed > 0 => DOCUMENTS_FAILED,
            None => 0,
        })
    }
}

//! The log: a line on stderr for each event, for people or as an object for programs.

use std::fmt;
use std::io::Write as _;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::console::Console;
use crate::config::LogFormat;
use crate::text;

/// Log lines go to stderr, from warnings on, or from errors on when quiet (`None`); `-v` and `NAS_SYNC_LOG` ask for more.
pub fn start(console: &Console, verbose: Option<u8>, format: LogFormat) {
    let warnings = Targets::new().with_default(LevelFilter::WARN);
    let default = match verbose {
        None => Targets::new().with_default(LevelFilter::ERROR),
        Some(0) => warnings,
        Some(1) => warnings.with_target("nas_sync", LevelFilter::INFO),
        Some(2) => warnings.with_target("nas_sync", LevelFilter::DEBUG),
        Some(_) => Targets::new().with_default(LevelFilter::DEBUG).with_target("nas_sync", LevelFilter::TRACE),
    };
    let asked = std::env::var("NAS_SYNC_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = asked.and_then(|filter| match filter.parse::<Targets>() {
        Ok(filter) => Some(filter),
        Err(error) => {
            console.note(&format!("warning: NAS_SYNC_LOG is not understood: {}", text::escape(&error.to_string())));
            None
        }
    });
    let writer = console.clone();
    // Which module says it helps only those who choose among modules.
    let targets = verbose.is_some_and(|verbose| verbose > 1) || filter.is_some();
    let lines = tracing_subscriber::fmt::layer().with_timer(Clock).with_ansi(false).with_target(targets);
    let lines = lines.with_writer(move || writer.clone());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.event_format(Objects { targets }).boxed(),
    };
    let log = tracing_subscriber::registry().with(lines).with(filter.unwrap_or(default));
    // Only fails when there is a log already, which then stays.
    let _ = tracing::subscriber::set_global_default(log);
    let _ = std::io::stderr().flush();
}

/// What time it is, in UTC, to the millisecond.
struct Clock;

impl Clock {
    fn now() -> String {
        Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&Self::now())
    }
}

/// A line of the log as an object.
pub fn object(level: &str, message: &str) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("timestamp".to_owned(), Clock::now().into());
    object.insert("level".to_owned(), level.into());
    object.insert("message".to_owned(), message.into());
    object
}

/// Writes each event as an object.
struct Objects {
    targets: bool,
}

impl<S, N> FormatEvent<S, N> for Objects
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = Fields(object(&metadata.level().as_str().to_ascii_lowercase(), ""));
        event.record(&mut fields);
        if self.targets {
            fields.0.insert("target".to_owned(), metadata.target().into());
        }
        writeln!(writer, "{}", text::escape_json(&Value::Object(fields.0).to_string()))
    }
}

/// The fields of an event; its message is one of them.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

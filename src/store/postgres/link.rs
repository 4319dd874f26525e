//! The connection, and transactions over it.
//!
//! Guarantees: every statement ends by a deadline, which the server keeps and this side behind it, and soon where the server stands
//! still; a transaction that was cut or that met another one is begun again; where the answer to a commit was lost, the server is asked whether it took place.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Row, Socket};

use super::fault::Fault;
use super::login::Login;
use super::schema::Schema;
use super::tls::Connector;
use super::values::Value;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::store::model::AT_ONCE;

/// How long a transaction is begun again after its connection was lost: longer than a server takes to restart.
const RECONNECTING: Duration = Duration::from_secs(25);
/// How long a first connection waits for a server that is there and takes nobody.
const STARTING: Duration = Duration::from_secs(5);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a lock is waited for, in milliseconds: longer than somebody who stands still can keep one.
const LOCK_TIMEOUT: u32 = 20_000;
/// After so many milliseconds without a word in a transaction the server ends it.
const IDLE_TIMEOUT: u32 = 15_000;
/// How long after the server's deadline an answer is still waited for.
const GRACE: Duration = Duration::from_secs(15);
/// After so long without an answer a server is asked over another connection whether it is there: a statement may take its
/// time, and one that stands still would be waited for as long.
const QUIET: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It sees one state of the database, and changes nothing.
    Read,
    /// Others may have to wait for it.
    Write,
}

impl Mode {
    /// How long one statement may take.
    fn limit(self) -> Duration {
        match self {
            Self::Read => Duration::from_secs(600),
            Self::Write => Duration::from_secs(60),
        }
    }

    /// Begins a transaction, with all that it needs set for it alone: the session may be another one next time.
    fn begin(self) -> String {
        let kind = match self {
            Self::Read => "REPEATABLE READ READ ONLY",
            // Not `READ WRITE`: that would write to what is read-only by default.
            Self::Write => "READ COMMITTED",
        };
        let limit = self.limit().as_millis();
        let durable = match self {
            Self::Read => "",
            // What is reported as synced has to stay so after a power cut.
            Self::Write => {
                "; SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
            }
        };
        format!(
            "BEGIN ISOLATION LEVEL {kind}; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {LOCK_TIMEOUT}; \
             SET LOCAL idle_in_transaction_session_timeout = {IDLE_TIMEOUT}{durable}"
        )
    }
}

/// How much is done in one transaction: [`AT_ONCE`], and half of it with each time that it is begun again, so that it gets
/// through however short connections last.
#[derive(Debug)]
pub(super) struct Part {
    size: usize,
    is_begun: bool,
}

impl Default for Part {
    fn default() -> Self {
        Self { size: AT_ONCE, is_begun: false }
    }
}

impl Part {
    /// Before another transaction.
    pub fn begin(&mut self) {
        self.is_begun = false;
    }

    /// How much this try of a transaction is about.
    pub fn size(&mut self) -> usize {
        if std::mem::replace(&mut self.is_begun, true) {
            self.size = (self.size / 2).max(1);
        }
        self.size
    }
}

/// The connection to a database. Where it is lost, the next transaction makes another one.
#[derive(Debug)]
pub(super) struct Link {
    pub login: Login,
    runtime: Option<Runtime>,
    connection: Option<(Client, JoinHandle<()>)>,
    /// Whether there was one, so that the settings are right, and it was not waited for in vain since.
    has_been: bool,
    /// Whether this connection is told of changes.
    pub listens: bool,
    /// Notifications so far, and connections: a new one has missed what came before.
    heard: Arc<AtomicI64>,
}

impl Link {
    /// Nothing is connected yet.
    pub fn new(login: Login) -> Result<Self> {
        // All of it happens on the thread that waits for an answer.
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(|error| {
            let message = format!("what talks to the database cannot be started: {error}");
            NasSyncError::new(ErrorKind::ResourceShortage, message).with_source(error)
        })?;
        Ok(Self {
            login,
            runtime: Some(runtime),
            connection: None,
            has_been: false,
            listens: false,
            heard: Arc::default(),
        })
    }

    /// Runs `work` in one transaction: all of it is committed, or nothing. It may run several times.
    pub fn run<T>(
        &mut self,
        schema: Option<&Schema>,
        mode: Mode,
        doing: &str,
        work: &mut dyn FnMut(&Tx<'_>) -> Result<T, Fault>,
    ) -> Result<T> {
        let (began, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let fault = match self.attempt(schema, mode, work) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            let was_connected = self.has_been;
            if fault.is_lost() && self.connection.take().is_some() {
                tracing::warn!("the connection to the database was lost: {}", fault.words());
            }
            let patience = if was_connected { RECONNECTING } else { STARTING };
            let may_pass =
                fault.is_conflict() || fault.is_momentary() || (was_connected && fault.is_lost() && !fault.is_final());
            if !may_pass || matches!(fault, Fault::Silent | Fault::Unknown) || began.elapsed() + pause > patience {
                // The next use need not wait as long again.
                self.has_been &= !fault.is_lost();
                return Err(fault.into_error(doing, &self.login));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).clamp(Duration::from_millis(10), LONGEST_PAUSE);
        }
    }

    /// Runs one statement outside any transaction, for as long as it takes.
    pub fn alone(&mut self, doing: &str, sql: &str) -> Result<()> {
        let run = |link: &mut Self| {
            link.connect()?;
            link.tx(None, Duration::MAX)?.batch(sql)
        };
        run(self).map_err(|fault| fault.into_error(doing, &self.login))
    }

    /// Has the connection told of what is notified of on a channel.
    pub fn listen(&mut self, doing: &str, channel: &str) -> Result<()> {
        self.alone(doing, &format!("LISTEN {channel}"))?;
        self.listens = true;
        Ok(())
    }

    /// How much was heard, what arrives within this time included; `None` where the connection is not told.
    pub fn heard(&self, within: Duration) -> Option<i64> {
        let (runtime, (client, _)) = (self.runtime.as_ref()?, self.connection.as_ref()?);
        if !self.listens {
            return None;
        }
        runtime.block_on(async { sleep(within).await });
        (!client.is_closed()).then(|| self.heard.load(Ordering::Relaxed))
    }

    fn attempt<T>(
        &mut self,
        schema: Option<&Schema>,
        mode: Mode,
        work: &mut dyn FnMut(&Tx<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.connect()?;
        let tx = self.tx(schema, mode.limit() + GRACE)?;
        let mut run = |tx: &Tx<'_>| -> Result<_, Fault> {
            tx.batch(&mode.begin())?;
            let value = work(tx)?;
            // Of a transaction that wrote nothing it does not matter how it ends.
            let number = if mode == Mode::Write { tx.number()? } else { None };
            Ok((value, number))
        };
        let (value, number) = match run(&tx) {
            Ok(done) => done,
            Err(fault) => {
                // If not even that is possible, the connection is of no use and the server rolls back by itself.
                let rolled_back = fault.is_lost() || tx.batch("ROLLBACK").is_ok();
                if !rolled_back {
                    self.connection = None;
                }
                return Err(fault);
            }
        };
        match (tx.batch("COMMIT"), number) {
            (Ok(()), _) => Ok(value),
            (Err(fault), Some(number)) if fault.is_lost() => {
                self.connection = None;
                if self.took_place(number)? { Ok(value) } else { Err(fault) }
            }
            (Err(fault), _) => Err(fault),
        }
    }

    /// Whether a transaction took place whose answer was lost.
    fn took_place(&mut self, number: i64) -> Result<bool, Fault> {
        let began = Instant::now();
        while began.elapsed() < RECONNECTING {
            match self.status_of(number) {
                Ok(Some(status)) if status == "committed" => return Ok(true),
                Ok(Some(status)) if status == "aborted" => return Ok(false),
                // It may still be under way.
                Ok(Some(_)) => {}
                Ok(None) => return Err(Fault::Unknown),
                Err(fault) if fault.is_final() => return Err(fault),
                Err(_) => self.connection = None,
            }
            std::thread::sleep(LONGEST_PAUSE / 5);
        }
        Err(Fault::Unknown)
    }

    fn status_of(&mut self, number: i64) -> Result<Option<String>, Fault> {
        self.connect()?;
        let row = self.tx(None, GRACE)?.one("SELECT txid_status($1)", &[Value::integer(number)])?;
        Ok(row.try_get(0)?)
    }

    /// Makes the connection, unless there is one.
    fn connect(&mut self) -> Result<(), Fault> {
        if self.connection.as_ref().is_some_and(|(client, _)| !client.is_closed()) {
            return Ok(());
        }
        self.connection = None;
        let runtime = self.runtime.as_ref().ok_or(Fault::Silent)?;
        let (client, mut connection) = runtime.block_on(reach(&self.login))?;
        let heard = Arc::clone(&self.heard);
        let task = runtime.spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => drop(heard.fetch_add(1, Ordering::Relaxed)),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return tracing::debug!("the connection to the database ended: {error}"),
                    None => return,
                }
            }
        });
        self.connection = Some((client, task));
        self.heard.fetch_add(1, Ordering::Relaxed);
        (self.has_been, self.listens) = (true, false);
        Ok(())
    }

    fn tx<'a>(&'a self, schema: Option<&'a Schema>, limit: Duration) -> Result<Tx<'a>, Fault> {
        match (&self.runtime, &self.connection) {
            (Some(runtime), Some((client, _))) => Ok(Tx { runtime, client, login: &self.login, schema, limit }),
            _ => Err(Fault::Silent),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if let Some((client, task)) = self.connection.take() {
            drop(client);
            // Within another runtime nothing may be waited for; then the server sees the connection end without a word.
            if tokio::runtime::Handle::try_current().is_err() {
                let _ = runtime.block_on(async { timeout(GOODBYE, task).await });
            }
        }
        runtime.shutdown_background();
    }
}

/// A transaction.
pub(super) struct Tx<'a> {
    runtime: &'a Runtime,
    client: &'a Client,
    login: &'a Login,
    schema: Option<&'a Schema>,
    limit: Duration,
}

impl Tx<'_> {
    /// Runs a statement; its `{names}` are those of the schema. It is never prepared by name: another session would not
    /// know it.
    pub fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Fault> {
        let (sql, values) = (self.expanded(sql), typed(values));
        self.wait(self.client.query_typed(&sql, &values))
    }

    /// Runs a statement that gives one row.
    pub fn one(&self, sql: &str, values: &[Value]) -> Result<Row, Fault> {
        let (sql, values) = (self.expanded(sql), typed(values));
        self.wait(self.client.query_typed_one(&sql, &values))
    }

    /// Runs a statement that gives one row or none.
    pub fn first(&self, sql: &str, values: &[Value]) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Runs a statement, and says how many rows it changed.
    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Fault> {
        let (sql, values) = (self.expanded(sql), typed(values));
        self.wait(self.client.execute_typed(&sql, &values))
    }

    /// Runs statements without parameters.
    pub fn batch(&self, sql: &str) -> Result<(), Fault> {
        let sql = self.expanded(sql);
        self.wait(self.client.batch_execute(&sql))
    }

    /// The number by which the server knows this transaction, if it has written anything.
    fn number(&self) -> Result<Option<i64>, Fault> {
        Ok(self.one("SELECT txid_current_if_assigned()", &[])?.try_get(0)?)
    }

    fn expanded(&self, sql: &str) -> String {
        self.schema.map_or_else(|| sql.to_owned(), |schema| schema.expand(sql))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
        self.runtime.block_on(async {
            tokio::select! {
                answered = answer => Ok(answered?),
                () = is_gone(self.login) => Err(Fault::Silent),
                () = sleep(self.limit) => Err(Fault::Silent),
            }
        })
    }
}

type TlsOf = <Connector as MakeTlsConnect<Socket>>::Stream;

/// Another connection.
async fn reach(login: &Login) -> Result<(Client, Connection<Socket, TlsOf>), Fault> {
    let (config, tls) = (login.config()?, Connector::new(login)?);
    let made = timeout(login.patience(), config.connect(tls)).await;
    Ok(made.map_err(|_| Fault::Silent)??)
}

/// Is ready when the server does not answer any more, to nobody.
async fn is_gone(login: &Login) {
    loop {
        sleep(QUIET).await;
        // That it lets nobody in is an answer, too.
        if reach(login).await.is_err_and(|fault| fault.is_lost() && !fault.is_final()) {
            return;
        }
    }
}

fn typed(values: &[Value]) -> Vec<(&(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type)> {
    values.iter().map(Value::typed).collect()
}

//! The database of a trial, of whichever kind: what the harnesses ask of it, and copies of it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::{Postgres, Site, until};

/// How long a server may take to notice that a client is dead.
const NOTICE: Duration = Duration::from_secs(20);

/// Keeps every change of a row to synced in a table `witness`, whoever makes it.
const SQLITE_WITNESS: &str = "
    CREATE TABLE witness (document INTEGER NOT NULL);
    CREATE TRIGGER witness_of_marks AFTER UPDATE OF synced_to_nas ON documents
        WHEN NEW.synced_to_nas IS NOT 0 AND OLD.synced_to_nas IS 0
        BEGIN INSERT INTO witness VALUES (NEW.id); END;";
pub const POSTGRES_WITNESS: &str = "
    CREATE TABLE witness (document bigint NOT NULL);
    CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO witness VALUES (NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER witness_of_marks AFTER UPDATE OF synced_to_nas ON documents FOR EACH ROW
        WHEN (NEW.synced_to_nas IS NOT FALSE AND NOT OLD.synced_to_nas IS NOT FALSE) EXECUTE FUNCTION witness();";

/// A database with documents.
#[derive(Clone)]
pub enum Database {
    /// An SQLite file.
    File(PathBuf),
    /// A database of this name on a server.
    Server(Arc<Postgres>, String),
}

impl Database {
    /// The usual one of a site: a file there.
    pub fn file(site: &Site) -> Self {
        Self::File(site.path("documents.db"))
    }

    /// The database `app` of a server.
    pub fn server(server: Postgres) -> Self {
        Self::Server(Arc::new(server), "app".to_owned())
    }

    /// What `NAS_DB` says of it.
    pub fn setting(&self) -> OsString {
        match self {
            Self::File(path) => path.into(),
            Self::Server(server, name) => server.url_of("postgres", name).into(),
        }
    }

    /// The same for the library.
    pub fn documents(&self) -> nas_sync::Database {
        match self {
            Self::File(path) => nas_sync::Database::sqlite(path),
            Self::Server(server, name) => {
                nas_sync::PostgresUrl::parse(&server.url_of("postgres", name)).expect("a URL").into()
            }
        }
    }

    /// Runs statements.
    #[track_caller]
    pub fn run(&self, sql: &str) {
        match self {
            Self::File(path) => {
                let database = Connection::open(path).expect("the database");
                database.busy_timeout(NOTICE).and_then(|()| database.execute_batch(sql)).expect(sql);
            }
            Self::Server(server, name) => drop(server.psql("postgres", name, sql).expect(sql)),
        }
    }

    /// Keeps every change of a row to synced in a table `witness`, whoever makes it.
    pub fn watch_marks(&self) {
        self.run(match self {
            Self::File(_) => SQLITE_WITNESS,
            Self::Server(..) => POSTGRES_WITNESS,
        });
    }

    /// Writes down that these documents were tried before, so that an older version on the NAS may be what that left: nothing was
    /// acknowledged.
    pub fn were_tried(&self, ids: impl Iterator<Item = String>) {
        self.run(&format!(
            "INSERT INTO nas_sync_attempts (document_id, started_at, duration_ms, bytes, outcome)
             SELECT id, '2024-01-15 12:00:00.000000', 1, 1, 'cut' FROM documents WHERE id IN ({})",
            ids.collect::<Vec<_>>().join(",")
        ));
    }

    /// A copy; if it is a file, this one. Nothing may work on the original meanwhile.
    pub fn copy(&self, file: PathBuf) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        match self {
            Self::File(path) => {
                fs::copy(path, &file).expect("a copy of the database");
                Self::File(file)
            }
            Self::Server(server, name) => {
                let copy = format!("trial{}", NUMBER.fetch_add(1, Ordering::Relaxed));
                let sql = format!("CREATE DATABASE {copy} TEMPLATE {name}");
                server.psql("postgres", "postgres", &sql).expect("a copy of the database");
                Self::Server(Arc::clone(server), copy)
            }
        }
    }

    /// Looks into it when nobody works on it any more. A file is not touched, so that the next one to open it finds what the
    /// last one left; a server goes on with what a client asked for that is dead by now, and is waited for.
    pub fn look<T>(&self, at: impl FnOnce(&Self) -> T) -> T {
        match self {
            Self::File(path) => {
                let folder = path.with_extension("look");
                fs::create_dir_all(&folder).expect("a folder");
                for suffix in ["", "-wal"] {
                    let file = PathBuf::from(format!("{}{suffix}", path.display()));
                    if file.exists() {
                        fs::copy(&file, folder.join(format!("copy{suffix}"))).expect("a copy");
                    }
                }
                let copy = Self::File(folder.join("copy"));
                assert_eq!(copy.texts("PRAGMA integrity_check"), ["ok"]);
                let seen = at(&copy);
                fs::remove_dir_all(folder).expect("it is gone");
                seen
            }
            Self::Server(server, name) => {
                let others = format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
                );
                until("the server is done with the dead", NOTICE, || server.number_in("postgres", &others) == 0);
                at(self)
            }
        }
    }

    /// The numbers that a statement gives, which SQLite and PostgreSQL read alike: column by column, row by row.
    #[track_caller]
    pub fn numbers(&self, sql: &str) -> Vec<i64> {
        let number = |text: String| text.parse().unwrap_or_else(|error| panic!("{sql}: {text}: {error}"));
        self.texts(sql).into_iter().map(number).collect()
    }

    /// The rows that are marked: id and whether there is a time beside the mark.
    pub fn marked(&self) -> Vec<(i64, bool)> {
        let sql = "SELECT id, CASE WHEN synced_at IS NOT NULL THEN 1 ELSE 0 END FROM documents
                   WHERE synced_to_nas IS NOT FALSE OR synced_at IS NOT NULL ORDER BY id";
        self.numbers(sql).chunks(2).map(|row| (row[0], row[1] == 1)).collect()
    }

    /// The same as texts.
    #[track_caller]
    fn texts(&self, sql: &str) -> Vec<String> {
        match self {
            Self::File(path) => {
                let database = Connection::open(path).expect("the database");
                let mut statement = database.prepare(sql).expect("a statement");
                let columns = statement.column_count();
                let mut rows = statement.query([]).expect("rows");
                let mut texts = Vec::new();
                while let Some(row) = rows.next().expect("a row") {
                    for column in 0..columns {
                        texts.push(match row.get_ref(column).expect("a column") {
                            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                            other => other.as_str().expect("text").to_owned(),
                        });
                    }
                }
                texts
            }
            Self::Server(server, name) => {
                let rows = server.psql("postgres", name, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                rows.split(['\n', '|']).filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect()
            }
        }
    }

    /// Takes a copy away.
    pub fn remove(&self) {
        match self {
            Self::File(path) => drop(fs::remove_file(path)),
            Self::Server(server, name) => {
                drop(server.psql("postgres", "postgres", &format!("DROP DATABASE {name} WITH (FORCE)")));
            }
        }
    }
}

//! What a process that watches the database asks again and again.

use super::connection::SqliteStore;
use crate::error::Result;

impl SqliteStore {
    /// A number that differs from the last one exactly when another connection has changed the database meanwhile.
    /// Costs next to nothing.
    pub fn data_version(&self) -> Result<i64> {
        let read = || self.conn.query_row("PRAGMA data_version", [], |row| row.get(0));
        read().map_err(self.fault("look for changes in"))
    }
}

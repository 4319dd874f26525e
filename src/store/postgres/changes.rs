//! What a process that watches the database asks again and again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::schema::PostgresStore;
use crate::error::Result;

impl PostgresStore {
    /// A number that differs from the last one where anybody has changed anything on the server meanwhile, or, where there
    /// are notifications, anything that matters. Costs next to nothing.
    pub fn data_version(&mut self) -> Result<i64> {
        if let Some(heard) = self.heard()? {
            return Ok(heard);
        }
        self.read("look for changes in", |tx, _| {
            // Every transaction that writes has a number, and a snapshot says which of them it sees.
            let snapshot: String = tx.one("SELECT txid_current_snapshot()::text", &[])?.try_get(0)?;
            let mut hasher = DefaultHasher::new();
            snapshot.hash(&mut hasher);
            Ok(hasher.finish().cast_signed())
        })
    }
}

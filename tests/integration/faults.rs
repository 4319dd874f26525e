//! What may go wrong, made on purpose and for real, and the promises that hold all the same.
//!
//! Whatever the fault: a document that is marked lies on the NAS under its name, byte for byte as it was read; no row is
//! lost or marked twice; everything ends; no run that left something undone says that all is well; and what is left on
//! the NAS are rsync's own temporary files at most. Draws are made from `NAS_SYNC_SEED`; `NAS_SYNC_LONG=1` asks for
//! many more runs.

mod cuts;
mod database;
mod ground;
mod here;
mod pending;
mod there;

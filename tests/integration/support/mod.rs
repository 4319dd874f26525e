//! Real parts for tests.

use std::time::{Duration, Instant};

pub mod account;
pub mod browser;
pub mod chaos;
pub mod cli;
pub mod database;
#[path = "../../../benches/vs_rsync/link.rs"]
pub mod link;
pub mod lone_network;
pub mod mock_ssh;
pub mod mounted;
pub mod postgres;
pub mod python;
pub mod random;
pub mod severed;
pub mod site;
pub mod sshd;
pub mod terminal;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod tracer;
pub mod trial;
pub mod volume;

pub use account::Account;
pub use chaos::Chaos;
pub use cli::Cli;
pub use database::Database;
pub use lone_network::on_lone_network;
pub use mounted::Mounted;
pub use postgres::Postgres;
pub use site::Site;
pub use sshd::Sshd;

/// A value with some of its fields set. What may grow cannot be written out outside its crate.
macro_rules! with {
    ($value:expr, $($field:ident: $to:expr),+ $(,)?) => {{
        let mut value = $value;
        $(value.$field = $to;)+
        value
    }};
}
pub(crate) use with;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until something is so. That it takes longer than the deadline fails; no test passes because time went by.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < deadline, "{what}: not so after {deadline:?}");
        std::thread::sleep(LOOK);
    }
}

/// Says that a test is not run because this machine lacks something: root's rights, a device, a program. A build machine,
/// which sets `CI`, lacks nothing; there the test fails instead.
pub fn skip(why: &str) {
    let is_build_machine = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!is_build_machine, "CI is set, so this may not be skipped: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether a test may go on that only root can run.
pub fn is_root_or_skipped() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("only root can change the rights of a process, and look into one that closes its memory");
    }
    is_root
}

/// Whether a test may go on that is run for `NAS_SYNC_LONG=1` only. To leave it out is never a failure.
pub fn is_long_or_skipped() -> bool {
    let is_long = random::long();
    if !is_long {
        eprintln!("SKIPPED: NAS_SYNC_LONG=1 runs it");
    }
    is_long
}

/// Bytes that no compressor shrinks, the same for the same seed.
pub fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(seed ^ (seed >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

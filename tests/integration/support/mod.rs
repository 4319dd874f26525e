//! Real parts for tests.
pub mod chaos;
pub mod cli;
pub mod mounted;
pub mod random;
pub mod site;
pub mod sshd;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod tracer;
pub mod trial;
pub mod volume;

pub use chaos::Chaos;
pub use cli::Cli;
pub use mounted::Mounted;
pub use site::Site;
pub use sshd::Sshd;

/// Says loudly that a test cannot run here for want of rights, a device or a program. Where `CI` is set, all of them are
/// to be had: there it fails.
pub fn skip(why: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "this test must not be skipped here: {why}");
    eprintln!("SKIPPED: {why}");
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

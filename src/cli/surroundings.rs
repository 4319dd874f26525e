//! What the program asks of the system that it runs on, before it does anything else.
//!
//! Only the program does this, not the library: it concerns the whole process.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use seccompiler::sock_filter;

/// The number of clone3 on every architecture.
const CLONE3: u32 = 435;
/// Answers clone3 with "no such system call", and leaves all others alone.
const CLONE3_IS_UNKNOWN: [sock_filter; 4] = [
    // Load the number of the call.
    sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
    // The next instruction where it is clone3, else the one after that.
    sock_filter { code: 0x15, jt: 0, jf: 1, k: CLONE3 },
    // SECCOMP_RET_ERRNO with ENOSYS; SECCOMP_RET_ALLOW.
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0026 },
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
];

/// Keeps the memory of this process, where keys are for a while, from core dumps and from all other processes but those of
/// root. For its whole life: passphrases of variables are there from the start, and nothing here reads its own memory.
pub fn close_memory() {
    // A kernel that does not take it leaves things as they are for every other program.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Gets around runtimes of containers that refuse every thread without meaning to: old versions of Docker answer clone3,
/// which they do not know, with EPERM. The C library takes it that threads are forbidden; told that there is no such call, it
/// uses the old one. Of two filters that answer, the newer one is heard.
///
/// Where no thread can be had all the same, whatever needs one says so.
pub fn allow_threads() {
    let first = std::thread::Builder::new().spawn(|| {});
    match first {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if let Err(error) = seccompiler::apply_filter(&CLONE3_IS_UNKNOWN) {
                tracing::debug!("clone3 is refused, and cannot be hidden: {error}");
            }
        }
        // It does nothing that could fail.
        first => drop(first.map(std::thread::JoinHandle::join)),
    }
}

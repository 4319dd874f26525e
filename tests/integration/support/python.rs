//! Python with packages from PyPI, for the parts of tests that are programs of others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Tests that need the same packages wait for the first of them.
static INSTALLING: Mutex<()> = Mutex::new(());

/// An interpreter that has the packages of `tests/NAME/requirements.txt`, in a folder below `target/` that is made once. Fails
/// with the reason where Python, its `venv` or PyPI cannot be had.
pub fn interpreter(name: &str) -> Result<PathBuf, String> {
    interpreter_with(name, &source(name, "requirements.txt"))
}

/// The same, with the packages of a list.
pub fn interpreter_with(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(requirements).expect("the list of packages");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    let _alone = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if fs::read_to_string(&complete).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{command:?}: {error}")),
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    run(Command::new(&python).args(pip).arg(requirements))?;
    fs::write(&complete, wanted).expect("a mark");
    Ok(python)
}

/// A file of `tests/NAME`.
pub fn source(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).join(file)
}

//! The Python package: its wheel is built, installed into an environment of its own, and does what `python/tests` ask, with a
//! real sshd as the NAS and a real PostgreSQL.
//!
//! Where Python, its `venv` or PyPI cannot be had, the test is skipped, unless `CI` is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::cli::PROGRAM;
use crate::support::python::interpreter_with;
use crate::support::{Postgres, Site, Sshd, skip};

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
    println!("{said}");
}

/// Builds the wheel as `make wheel` does, but for the profile: optimising all of it at once takes minutes.
fn wheel(root: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheels");
    let _ = fs::remove_dir_all(&folder);
    let mut make = Command::new("make");
    make.args(["wheel", "WHEEL_FLAGS=--profile dev"]).arg(format!("WHEELS={}", folder.display())).current_dir(root);
    run(&mut make);
    let mut wheels = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let wheel = wheels.next().unwrap();
    assert_eq!(wheels.next(), None);
    wheel
}

#[test]
fn the_wheel_does_in_a_fresh_environment_what_its_tests_ask() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = match interpreter_with("wheel", &root.join("python/tests/requirements.txt")) {
        Ok(python) => python,
        Err(reason) => {
            skip(&format!("the packages that the tests of the wheel need cannot be had: {reason}"));
            return;
        }
    };
    let began = Instant::now();
    let wheel = wheel(root);
    println!("the wheel was built in {:?}", began.elapsed());
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--force-reinstall"];
    run(Command::new(&python).args(pip).arg(&wheel));

    // In another time zone, in which a time in UTC that is taken for a local one is a wrong one.
    let Some(postgres) = Postgres::with("timezone = 'Asia/Kolkata'", "") else { return };
    let url = postgres.url("postgres").replacen("postgresql:", "postgresql+psycopg:", 1);
    let site = Site::with(Sshd::setup().line("MaxStartups 100").start());
    let mut pytest = Command::new(python.with_file_name("pytest"));
    pytest.args(["-q", "--timeout=300", "--durations=5", "-p", "no:cacheprovider", "-c"]);
    pytest.arg(root.join("python/pyproject.toml")).arg(root.join("python/tests"));
    // Elsewhere, so that what is installed is imported, not its source.
    pytest.current_dir(site.path("uploads")).envs(site.variables.iter().filter(|(name, _)| **name != "NAS_DB"));
    pytest.env("NAS_SYNC_TEST_POSTGRES", url).env("NAS_SYNC_TEST_PROGRAM", PROGRAM);
    run(pytest.env("PYTHONDONTWRITEBYTECODE", "1"));
}

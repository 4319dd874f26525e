use chrono::TimeZone as _;

use super::*;

fn report(state: State) -> Report {
    Report { state, last_success: None, last_error: None }
}

/// A health file in a folder of its own.
fn place() -> (tempfile::TempDir, HealthFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = HealthFile::new(folder.path().join("documents.db.health"));
    (folder, file)
}

fn verdict(file: &HealthFile) -> Option<String> {
    check_health(&file.path, MAX_HEALTH_AGE).fault
}

/// Writes the file as another one would have.
fn altered(file: &HealthFile, from: &str, to: &str) {
    let text = fs::read_to_string(&file.path).unwrap();
    let line = text.lines().find(|line| line.starts_with(from)).unwrap();
    fs::write(&file.path, text.replace(line, to)).unwrap();
}

#[test]
fn it_lies_beside_the_database() {
    assert_eq!(default_health_file(&Database::sqlite("/data/nas-sync.db")), Path::new("/data/nas-sync.db.health"));
    assert_eq!(default_health_file(&Database::sqlite("nas-sync.db")), Path::new("nas-sync.db.health"));
}

#[test]
fn what_goes_on_by_itself_is_healthy() {
    let (folder, file) = place();
    let noon = Utc.with_ymd_and_hms(2024, 1, 15, 12, 0, 0).unwrap();
    for state in [State::Starting, State::Idle, State::Syncing, State::Paused(noon), State::Stopping] {
        file.write(&report(state.clone())).unwrap();
        let checkup = check_health(&file.path, MAX_HEALTH_AGE);
        assert_eq!(checkup.fault, None, "{state:?}");
        let beat = checkup.beat.unwrap();
        assert_eq!((beat.state.as_str(), beat.pid), (state.as_str(), std::process::id()));
        let until = matches!(state, State::Paused(_)).then_some("2024-01-15T12:00:00Z");
        assert_eq!(beat.until.as_deref(), until);
    }
    // Only the file itself is left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_needs_a_person_is_not() {
    let (_folder, file) = place();
    let error = NasSyncError::new(ErrorKind::LoginRefused, "the NAS refused\npid=1\u{202e}");
    let blocked = Report { last_error: Some(error), ..report(State::Blocked(ErrorKind::LoginRefused)) };
    file.write(&blocked).unwrap();
    let checkup = check_health(&file.path, MAX_HEALTH_AGE);
    let fault = checkup.fault.unwrap();
    assert_eq!(fault, "somebody has to see to it (login_refused): the NAS refused\\npid=1\\u{202e}");
    assert_eq!(checkup.beat.unwrap().pid, std::process::id(), "an error's text is not a line of its own");
    // What passes by itself needs nobody.
    let away = Report { state: State::Blocked(ErrorKind::ConnectionRefused), ..blocked.clone() };
    file.write(&away).unwrap();
    assert!(
        verdict(&file).unwrap().starts_with("it is tried again by itself, in vain until now (connection_refused): ")
    );
    // An error that is over does not matter.
    file.write(&Report { state: State::Idle, ..blocked }).unwrap();
    assert_eq!(verdict(&file), None);
    file.write(&report(State::Stopped)).unwrap();
    assert!(verdict(&file).unwrap().contains("was stopped"));
}

#[test]
fn no_file_and_another_file_are_not_healthy() {
    let (folder, file) = place();
    assert!(verdict(&file).unwrap().contains("does not run"));
    for text in ["", "state=idle\n", "nas-sync-health=2\nstate=idle\n", "nas-sync-health=1\nstate=idle\n", "\0\x1b[2J"]
    {
        fs::write(&file.path, text).unwrap();
        assert!(verdict(&file).unwrap().contains("is not a health file"), "{text:?}");
    }
    let odd = folder.path().join("a\x1b[2J");
    assert!(!check_health(&odd, MAX_HEALTH_AGE).fault.unwrap().contains('\x1b'));
}

#[test]
fn an_old_sign_of_life_counts_by_the_clock_that_nobody_sets() {
    let (_folder, file) = place();
    file.write(&report(State::Idle)).unwrap();
    let ago = |seconds| now().saturating_sub(Duration::from_secs(seconds)).as_millis();
    // The time of day may be anything.
    altered(&file, "written_at=", "written_at=1970-01-01T00:00:00Z");
    assert_eq!(verdict(&file), None);
    altered(&file, "beat_ms=", &format!("beat_ms={}", ago(30)));
    assert_eq!(verdict(&file), None);
    assert!(check_health(&file.path, Duration::from_secs(20)).fault.unwrap().contains("more than 20 s"));
    altered(&file, "beat_ms=", &format!("beat_ms={}", now().as_millis() + 100_000));
    assert!(verdict(&file).unwrap().contains("another one"));
}

#[test]
fn a_process_that_is_gone_is_noticed_at_once() {
    let (_folder, file) = place();
    file.write(&report(State::Idle)).unwrap();
    altered(&file, "process_start=", "process_start=1");
    assert!(verdict(&file).unwrap().contains("is gone"));
    // A process of another container cannot be seen from here.
    altered(&file, "space=", "space=another");
    assert_eq!(verdict(&file), None);
    altered(&file, "clock=", "clock=another");
    assert!(verdict(&file).unwrap().contains("another one"));
    // Neither side knows where it is: only the clock is left.
    altered(&file, "clock=", "clock=unknown 0");
    assert_eq!(verdict(&file), None);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = HealthFile::new(folder.path().join("missing/health"));
    let error = file.write(&report(State::Idle)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalFile);
    assert!(error.message().contains("missing/health"), "{error}");
}

#[test]
fn a_link_that_was_planted_is_not_written_through() {
    let (folder, file) = place();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let temporary = folder.path().join(format!(".documents.db.health.{}", std::process::id()));
    for planted in [&temporary, &file.path] {
        std::os::unix::fs::symlink(&precious, planted).unwrap();
        file.write(&report(State::Idle)).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert!(fs::symlink_metadata(&file.path).unwrap().is_file());
        fs::remove_file(&file.path).unwrap();
    }
    // One that cannot be removed, as in a folder where everybody may only remove what is theirs.
    fs::create_dir(&temporary).unwrap();
    file.write(&report(State::Idle)).unwrap();
    assert_eq!(verdict(&file), None);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn a_pipe_in_its_place_is_not_waited_for() {
    let (_folder, file) = place();
    let made = std::process::Command::new("mkfifo").arg(&file.path).status().unwrap();
    assert!(made.success());
    assert!(verdict(&file).unwrap().contains("it is a pipe"));
    file.write(&report(State::Idle)).unwrap();
    assert_eq!(verdict(&file), None);
}

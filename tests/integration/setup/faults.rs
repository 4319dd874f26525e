//! What stands in the way of a set-up is named with what to do; once that is done it goes through.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::Place;
use crate::support::Account;

/// The error of a set-up that fails.
#[track_caller]
fn fails(place: &Place, more: &[&str], kind: &str, code: i32, solution: &str) -> Value {
    let run = place.setup(&[&["--json"], more].concat());
    let error = run.ends(code).json()["error"].clone();
    assert_eq!(error["kind"], kind, "{}", run.all());
    assert!(error["solution"].as_str().unwrap().contains(solution), "{solution}: {}", run.all());
    error
}

fn said(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

#[test]
fn a_home_that_others_can_write_to_is_named_with_the_command_that_mends_it() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    place.account.own(&place.account.home(), 0o777);
    let remedy = format!("chmod g-w,o-w {}", place.account.home().display());
    let error = fails(&place, &[], "key_not_installed", 3, &remedy);
    assert!(said(&error).contains("(drwxrwxrwx"), "{error}");
    assert!(!place.here(".env").exists());
    assert!(Command::new("sh").args(["-c", &remedy]).status().unwrap().success());
    // The key lies there by now.
    place.setup(&["--password-file=/nonexistent"]).ends(0);
    place.a_document_arrives();
}

#[test]
fn what_others_can_write_in_the_folder_of_keys_is_closed() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let ssh = place.account.home().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("authorized_keys"), "# mine").unwrap();
    place.account.own(&ssh, 0o777);
    place.account.own(&ssh.join("authorized_keys"), 0o666);
    let run = place.setup(&[]);
    assert_eq!(run.ends(0).stdout.matches("to which others could write").count(), 2, "{}", run.all());
    assert!(place.authorized_keys().starts_with("# mine\nrestrict "), "{}", place.authorized_keys());
}

#[test]
fn a_user_without_a_home_or_a_shell_is_named_as_such() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let home = place.account.home();
    place.account.modify(&["--home", "/nonexistent"]);
    let error = fails(&place, &[], "key_not_installed", 3, "user home service");
    assert!(said(&error).contains("/nonexistent"), "{error}");
    place.account.modify(&["--home", home.to_str().unwrap(), "--shell", "/usr/sbin/nologin"]);
    let error = fails(&place, &[], "exec_refused", 3, "/bin/sh");
    assert!(said(&error).contains("not available"), "{error}");
    place.account.modify(&["--shell", "/bin/sh"]);
    place.setup(&[]).ends(0);
}

#[test]
fn an_account_for_sftp_alone_is_named_as_such() {
    let Some(place) = Place::new(|| Account::sshd_with_passwords().line("ForceCommand internal-sftp")) else { return };
    fails(&place, &[], "exec_refused", 3, "not SFTP only");
}

#[test]
fn where_no_key_is_taken_the_password_can_stay() {
    let Some(place) = Place::new(|| Account::sshd_with_passwords().line("PubkeyAuthentication no")) else { return };
    let error = fails(&place, &[], "key_not_installed", 3, "setup --keep-password");
    assert!(said(&error).contains("stands in"), "{error}");
    let run = place.setup(&["--keep-password"]);
    assert!(run.ends(0).stdout.contains("NAS_PASSWORD_FILE"), "{}", run.all());
    place.a_document_arrives();
}

#[test]
fn where_passwords_are_answers_to_questions_it_goes_as_well() {
    let Some(place) = Place::new(|| Account::sshd().line("UsePAM yes").line("KbdInteractiveAuthentication yes")) else {
        return;
    };
    place.setup(&[]).ends(0);
    assert_eq!((place.logins("keyboard-interactive/pam"), place.logins("publickey")), (1, 2));
}

#[test]
fn what_was_given_wrongly_is_named_and_nothing_is_left_behind() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let closed = format!("--port={}", crate::support::sshd::free_port());
    fails(&place, &[&closed], "connection_refused", 3, "NAS_PORT");
    fails(&place, &["--nas-host=nas.invalid"], "name_not_resolved", 3, "NAS_HOST");
    fails(&place, &["--password-file=/nonexistent"], "key_unusable", 2, "--password-file");
    fails(&place, &["--nas-user="], "not_configured", 2, "--nas-user");
    let wrong = place.here("wrong");
    fs::write(&wrong, "not that one").unwrap();
    let wrong = format!("--password-file={}", wrong.display());
    let error = fails(&place, &[&wrong], "login_refused", 3, "the password in ");
    assert!(said(&error).contains("refused the password") && !error.to_string().contains("authorized_keys"), "{error}");
    let words: Vec<String> =
        place.words(&["--json"]).into_iter().filter(|word| word != "--accept-new-host-key").collect();
    let run = place.cli.run(&words);
    let error = run.ends(3).json()["error"].clone();
    assert_eq!(error["kind"], "host_key_unknown", "{}", run.all());
    assert!(error["solution"].as_str().unwrap().contains("NAS_HOST_KEY=SHA256:"), "{error}");
    assert!(!place.here(".env").exists() && !place.here("nas_key").exists());
    assert_eq!(place.authorized_keys(), "");

    // The fingerprint that was shown is a way in.
    let print = error["solution"].as_str().unwrap().rsplit("NAS_HOST_KEY=").next().unwrap().to_owned();
    let mut place = place;
    place.cli.set("NAS_HOST_KEY", print);
    let run = place.cli.run(&words);
    assert_eq!(run.ends(0).json()["success"], true, "{}", run.all());
}

#[test]
fn a_folder_that_does_not_do_is_named_with_one_that_does() {
    let Some(place) = Place::new(Account::sshd_with_passwords) else { return };
    let home = place.account.home();
    let missing = format!("--nas-path={}/nowhere", home.display());
    fails(&place, &[&missing], "destination_missing", 3, home.to_str().unwrap());
    fails(&place, &["--lock-down", &missing], "destination_missing", 3, home.to_str().unwrap());
    fails(&place, &["--nas-path=/etc"], "permission_denied", 3, home.to_str().unwrap());
    // Neither got into the file, so that the next try is not held to it.
    assert!(!place.here(".env").exists());
    place.setup(&[]).ends(0);
    // What it says by now is not replaced.
    let error = fails(&place, &["--nas-path=/etc"], "usage", 2, ".env");
    assert!(said(&error).contains("NAS_PATH is") && said(&error).contains("/etc here"), "{error}");
}

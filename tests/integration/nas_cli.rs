//! The program from the first `add` to the last `status`, as a person and as a script uses it.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{PROGRAM, Run, word};
use crate::support::{Cli, Site, noise, skip};

/// Total, synced, failed, pending of a `sync --json`.
fn counts(run: &Run) -> [u64; 4] {
    let object = run.json();
    ["total", "synced", "failed", "pending"].map(|key| object[key].as_u64().unwrap_or_else(|| panic!("{}", run.all())))
}

/// Invoices with blanks and accents in their names; the eighth is empty, and one is larger than all buffers.
fn invoices(site: &Site, count: usize) -> Vec<PathBuf> {
    let content = |number| match number {
        7 => Vec::new(),
        11 => noise(5_000_000, 11),
        _ => format!("Facture {number}\n").repeat(number * 40).into_bytes(),
    };
    (0..count).map(|number| site.upload(&format!("Facture n° {number} à régler.pdf"), &content(number))).collect()
}

#[test]
fn of_121_documents_one_is_gone_and_120_arrive_with_neither_ssh_nor_rsync_here() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let paths = invoices(&site, 121);
    let ids = cli.add(1, &paths);
    assert_eq!(ids, (1..=121).collect::<Vec<_>>());
    fs::remove_file(&paths[60]).unwrap();

    let run = cli.line("sync --json");
    run.ends(1);
    assert_eq!(counts(&run), [121, 120, 1, 0]);
    let object = run.json();
    let errors = object["errors"].as_array().unwrap();
    let said = errors[0].as_str().unwrap();
    assert!(errors.len() == 1 && said.starts_with("Document 61: "), "{}", run.all());
    assert!(said.contains("Facture n° 60 à régler.pdf"), "{said}");
    assert!(object["bytes_sent"].as_u64().unwrap() > 5_000_000, "{}", run.all());
    for path in paths.iter().filter(|path| path.exists()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(site.stored(name) == Some(fs::read(path).unwrap()), "{name}");
    }
    assert_eq!(site.stored_names().len(), 120);
    assert_eq!(site.marked().len(), 120);
    assert!(site.marked().iter().all(|(id, timed)| *id != 61 && *timed));
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1);

    let status = cli.line("status --json").ends(0).json();
    for (key, expected) in [("total_documents", 121), ("synced", 120), ("pending", 1)] {
        assert_eq!(status[key], expected, "{status}");
    }
    assert_eq!(status["sync_percentage"], 99.2);
    assert_eq!(status["nas_configured"], true);
    let last = status["last_sync"].as_str().unwrap();
    assert!(last.len() == 20 && last.ends_with('Z') && last.as_bytes()[10] == b'T', "{last}");
    assert!(cli.line("status").ends(0).stdout.contains("120 (99.2%)"));

    // The failed one waits for its next try and is still told, and without it there is nothing to log in for.
    let again = cli.line("sync --json");
    again.ends(1);
    assert_eq!(counts(&again), [1, 0, 1, 0]);
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1);
    fs::write(&paths[60], "found again").unwrap();
    assert_eq!(cli.line("retry --json").ends(0).json()["retried"], 1);
    assert_eq!(counts(cli.line("sync --json").ends(0)), [1, 1, 0, 0]);
    assert_eq!(counts(cli.line("sync --json").ends(0)), [0, 0, 0, 0]);
}

#[test]
fn what_changed_travels_as_a_delta() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let mut content = noise(5_000_000, 3);
    let path = site.upload("book.pdf", &content);
    cli.add(1, std::slice::from_ref(&path));
    let sent = |run: &Run| run.ends(0).json()["bytes_sent"].as_u64().unwrap();
    assert!(sent(&cli.line("sync --json")) > 5_000_000);
    content[2_500_000] ^= 1;
    content.splice(100..100, *b"inserted");
    fs::write(&path, &content).unwrap();
    // A backend that knows of the change asks for the document again.
    site.database().execute("UPDATE documents SET synced_to_nas = 0", []).unwrap();
    let again = sent(&cli.line("sync --json"));
    assert!(again < 100_000, "{again} bytes for a changed byte and eight more");
    assert!(site.stored("book.pdf").unwrap() == content);
    assert_eq!(site.marked(), [(1, true)]);
}

/// Stops and continues the receiver in turn, so that a run takes long enough to be interrupted.
pub const SLOW: &str = "exec 3<&0; setsid rsync \"$@\" <&3 3<&- & p=$!; exec 3<&-\n\
    while kill -s CONT -- -$p 2>/dev/null; do sleep 0.01; kill -s STOP -- -$p 2>/dev/null; sleep 0.05; done\n\
    wait $p";

fn interrupted_by(signal: &str, code: i32) {
    let mut site = Site::new();
    let paths: Vec<PathBuf> =
        (0..400).map(|number| site.upload(&format!("{number:03}.pdf"), &noise(100_000, number))).collect();
    site.wrap_rsync(SLOW);
    let cli = Cli::new(&site);
    cli.add(1, &paths);
    let mut running = cli.start(&["sync", "--json"]);
    running.until(|| site.stored_names().iter().filter(|name| !name.starts_with('.')).count() >= 100);
    running.signal(signal);
    let run = running.wait();
    run.ends(code);
    assert_eq!(run.json()["error"]["kind"], "interrupted", "{}", run.all());
    let [total, synced, failed, pending] = counts(&run);
    assert_eq!((total, failed, synced + pending), (400, 0, 400), "{}", run.all());
    assert!(synced > 0 && pending > 0, "{}", run.all());
    let marked = site.marked();
    assert_eq!(marked.len() as u64, synced);
    for (id, timed) in marked {
        let path = &paths[usize::try_from(id).unwrap() - 1];
        let there = site.stored(path.file_name().unwrap().to_str().unwrap());
        assert!(timed && there == Some(fs::read(path).unwrap()), "{id} is marked and not there");
    }
    // The rest goes with the next run.
    site.variables.remove("NAS_RSYNC_PATH");
    let rest = Cli::new(&site).line("sync --json");
    assert_eq!(counts(rest.ends(0)), [pending, pending, 0, 0]);
    assert_eq!(site.marked().len(), 400);
}

#[test]
fn sigterm_ends_a_sync_with_143_and_what_was_acknowledged_is_recorded() {
    interrupted_by("TERM", 143);
}

#[test]
fn sigint_ends_a_sync_with_130_and_what_was_acknowledged_is_recorded() {
    interrupted_by("INT", 130);
}

#[test]
fn one_user_or_some_documents() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let file = |name: &str| [site.upload(name, name.as_bytes())];
    let (one, two, three, four) =
        (cli.add(1, &file("1"))[0], cli.add(2, &file("2"))[0], cli.add(2, &file("3"))[0], cli.add(3, &file("4"))[0]);
    assert_eq!(counts(cli.line(&format!("sync --json --document {two}")).ends(0)), [1, 1, 0, 0]);
    assert_eq!(site.marked(), [(two, true)]);
    assert_eq!(counts(cli.line("sync --json --user 2").ends(0)), [1, 1, 0, 0]);
    assert_eq!(site.marked(), [(two, true), (three, true)]);
    // Another user's document is not found among one's own.
    let run = cli.line(&format!("sync --json --user 1 --document {four} --document {one}"));
    assert_eq!(counts(run.ends(1)), [2, 1, 1, 0]);
    assert_eq!(run.json()["failures"][0]["error"]["kind"], "document_not_found", "{}", run.all());
    assert_eq!(cli.line("status --json --user 2").ends(0).json()["sync_percentage"], 100.0);
    assert_eq!(cli.line("status --json --user 3").ends(0).json()["pending"], 1);
    let nobody = cli.line("status --json --user 99").ends(0).json();
    assert_eq!((&nobody["total_documents"], &nobody["last_sync"]), (&Value::from(0), &Value::Null));
    assert_eq!(site.stored_names(), ["1", "2", "3"]);
}

#[test]
fn as_quiet_or_as_talkative_as_asked() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let mut number = 0;
    let mut sync = |flag: &str| {
        number += 1;
        cli.add(1, &[site.upload(&format!("{number}.pdf"), b"content")]);
        let run = cli.line(&format!("sync {flag}"));
        run.ends(0);
        if flag == "--quiet" {
            assert_eq!(run.stdout, "", "{}", run.all());
        } else {
            assert!(run.stdout.starts_with("1 of 1 document synced; "), "{}", run.all());
            assert_eq!(run.stdout.lines().count(), 1, "{}", run.all());
        }
        run.stderr
    };
    assert_eq!(sync("--quiet"), "");
    assert_eq!(sync(""), "");
    assert!(sync("-v").contains("sent 3.pdf"));
    let debug = sync("-vv");
    assert!(debug.contains("starting rsync on the NAS") && debug.contains("--server"), "{debug}");
    sync("-vvv");
    // Quiet is about progress, not about errors.
    site.insert(Path::new("/no/such/file"));
    let run = cli.line("sync -q");
    assert!(run.ends(1).stderr.contains("error: Document 6: "), "{}", run.all());
    assert!(run.stderr.lines().count() == 1, "{}", run.all());
    let run = cli.line("sync -v");
    assert!(run.ends(1).stderr.contains("solution: "), "{}", run.all());
}

#[test]
fn colours_are_for_terminals_and_only_where_wanted() {
    let mut site = Site::new();
    site.set("NAS_RSYNC_PATH", "not-there");
    let cli = Cli::new(&site);
    let terminal = |no_colour: bool, term: &str| {
        let mut command = Command::new("/usr/bin/script");
        command.args(["-qec", &format!("{PROGRAM} test"), "/dev/null"]).env_clear().envs(&cli.variables);
        command.env("SHELL", "/bin/sh").env("TERM", term);
        if no_colour {
            command.env("NO_COLOR", "1");
        }
        let output = command.output().expect("script runs");
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stdout).unwrap()
    };
    if !Path::new("/usr/bin/script").exists() {
        skip("without `script` there is no terminal to show colours");
        return;
    }
    let coloured = terminal(false, "xterm");
    assert!(coloured.contains("\x1b[1;31merror:\x1b[0m the NAS has no program of the name"), "{coloured:?}");
    for plain in [terminal(true, "xterm"), terminal(false, "dumb")] {
        assert!(plain.contains("error: the NAS has no program of the name") && !plain.contains('\x1b'), "{plain:?}");
    }
}

#[test]
fn names_that_would_harm_a_terminal_arrive_and_are_shown_escaped() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let names: [&[u8]; 9] = [
        b"-rf",
        b"--delete",
        b"line\nend.pdf",
        b"\x1b[2Jclear.pdf",
        b"caf\xe9.pdf",
        "rtl\u{202e}fdp.exe".as_bytes(),
        b"$(touch pwned) `id`; 'x' \"y\" *?[].pdf",
        b" blank ",
        b"host:path",
    ];
    let paths: Vec<PathBuf> = names.iter().map(|name| site.path("uploads").join(word(name))).collect();
    for path in &paths {
        fs::write(path, path.as_os_str().as_bytes()).unwrap();
    }
    cli.add(1, &paths);
    let gone = site.path("uploads").join(word(b"gone\x1b]0;t\x07\xff.pdf"));
    fs::write(&gone, "").unwrap();
    cli.add(1, std::slice::from_ref(&gone));
    fs::remove_file(gone).unwrap();
    let run = cli.line("sync -v");
    run.ends(1);
    for shown in ["line\\nend.pdf", "\\x1b[2Jclear.pdf", "caf\\xe9.pdf", "rtl\\u{202e}fdp.exe"] {
        assert!(run.stderr.contains(&format!("sent {shown}\n")), "{shown}: {}", run.all());
    }
    assert!(run.stderr.contains("gone\\x1b]0;t\\x07"), "{}", run.all());
    for (name, path) in names.iter().zip(&paths) {
        let there = fs::read(site.path("nas").join(word(name))).unwrap();
        assert_eq!(there, path.as_os_str().as_bytes());
    }
    assert_eq!(site.stored_names().len(), names.len());
    cli.line("sync --json").ends(1);
}

#[test]
fn a_tree_below_the_upload_folder() {
    let mut site = Site::new();
    let uploads = site.path("uploads");
    let cli = {
        site.set("UPLOAD_DIR", &uploads);
        site.set("NAS_LAYOUT", "tree");
        Cli::new(&site)
    };
    for name in ["2024/01/a b.pdf", "2024/02/a b.pdf", "top.pdf"] {
        site.upload(name, name.as_bytes());
    }
    fs::create_dir(site.path("nas/2024")).unwrap();
    // Relative paths are below the folder, wherever the program runs.
    let mut elsewhere = Cli::new(&site);
    elsewhere.working_in("/");
    elsewhere.add(1, &["2024/01/a b.pdf".into(), uploads.join("2024/02/a b.pdf"), "./top.pdf".into()]);
    assert_eq!(counts(cli.line("sync --json").ends(0)), [3, 3, 0, 0]);
    for name in ["2024/01/a b.pdf", "2024/02/a b.pdf", "top.pdf"] {
        assert_eq!(site.stored(name).as_deref(), Some(name.as_bytes()));
    }
    // One in an existing folder, whose mode and time stay as they are.
    let before = fs::metadata(site.path("nas/2024/01")).unwrap();
    site.upload("2024/01/later.pdf", b"later");
    cli.add(1, &["2024/01/later.pdf".into()]);
    cli.line("sync --json").ends(0);
    assert_eq!(site.stored("2024/01/later.pdf").unwrap(), b"later");
    assert_eq!(fs::metadata(site.path("nas/2024/01")).unwrap().permissions(), before.permissions());
}

#[test]
fn a_template_names_documents_by_their_rows() {
    let mut site = Site::new();
    site.set("NAS_LAYOUT", "u{user_id}/{type}/{year}-{month}/{id}_{name}");
    let cli = Cli::new(&site);
    let ids = cli.add(7, &[site.upload("x/scan.pdf", b"one"), site.upload("y/scan.pdf", b"two")]);
    let database = site.database();
    let sql =
        "UPDATE documents SET doc_type = '../facture', date = '2024-01-15', original_name = '../Été.pdf' WHERE id = ?1";
    database.execute(sql, [ids[0]]).unwrap();
    database.execute("UPDATE documents SET doc_type = 'devis', date = '2023-12-31' WHERE id = ?1", [ids[1]]).unwrap();
    assert_eq!(counts(cli.line("sync --json").ends(0)), [2, 2, 0, 0]);
    assert_eq!(site.stored(&format!("u7/.._facture/2024-01/{}_Été.pdf", ids[0])).unwrap(), b"one");
    assert_eq!(site.stored(&format!("u7/devis/2023-12/{}_scan.pdf", ids[1])).unwrap(), b"two");
    assert!(!site.path("Été.pdf").exists() && site.stored_names() == ["u7"]);
}

#[test]
fn a_file_that_is_rewritten_while_it_is_read_is_not_believed() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let old = noise(3_000_000, 1);
    let path = site.upload("ledger.pdf", &old);
    cli.add(1, &[path.clone(), site.upload("quiet.pdf", b"quiet")]);
    cli.line("sync --json").ends(0);
    site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (asked, file) = (Arc::clone(&stop), fs::File::options().append(true).open(&path).unwrap());
    let writer = std::thread::spawn(move || {
        let mut file = file;
        while !asked.load(Ordering::Relaxed) {
            file.write_all(b"one more line\n").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let run = cli.line("sync --json");
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    run.ends(1);
    assert_eq!(counts(&run), [2, 1, 1, 0], "{}", run.all());
    assert_eq!(run.json()["failures"][0]["error"]["kind"], "source_changed", "{}", run.all());
    assert_eq!(site.marked(), [(2, true)]);
    assert!(site.stored("ledger.pdf").unwrap() == old, "the old copy was touched");
    // Once the writer is quiet it goes, also before its time if it is asked for by name.
    cli.line("sync --json --document 1").ends(0);
    assert!(site.stored("ledger.pdf").unwrap() == fs::read(&path).unwrap());
}

#[test]
fn settings_come_from_a_file_a_variable_and_a_flag() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"content")]);
    let folder = site.path("work");
    fs::create_dir(&folder).unwrap();
    let port = site.sshd.port();
    fs::write(folder.join(".env"), format!("NAS_HOST=127.0.0.1\nNAS_PORT='{port}'\nNAS_USER=nobody-of-that-name\n"))
        .unwrap();
    cli.working_in(&folder).unset("NAS_HOST").unset("NAS_PORT");
    // The variable beats the file, the flag beats the variable.
    cli.set("NAS_PATH", "/nowhere");
    let config = cli.run(&["config", "--json", "--nas-path", site.path("nas").to_str().unwrap()]);
    let config = config.ends(0).json();
    assert_eq!((&config["host"], &config["port"]), (&Value::from("127.0.0.1"), &Value::from(port)));
    assert_eq!(config["path"], site.path("nas").to_str().unwrap());
    let run = cli.run(&["sync", "--json", "--nas-path", site.path("nas").to_str().unwrap()]);
    assert_eq!(counts(run.ends(0)), [1, 1, 0, 0]);

    // The text of the key itself, in a file that a container mounts.
    cli.unset("NAS_KEY_FILE").set("NAS_KEY", fs::read_to_string(site.sshd.path("user_ed25519")).unwrap());
    let run = cli.run(&["test", "-vvv", "--nas-path", site.path("nas").to_str().unwrap()]);
    run.ends(0);
    cli.line("config").ends(0);
}

#[test]
fn a_test_tells_who_is_there_and_leaves_nothing_behind() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let object = cli.line("test --json").ends(0).json();
    assert_eq!(object["success"], true);
    assert!(object["host_key"].as_str().unwrap().starts_with("SHA256:"), "{object}");
    assert!(object["ssh_server"].as_str().unwrap().starts_with("SSH-2.0-OpenSSH"), "{object}");
    let output = Command::new("rsync").arg("--version").output().expect("rsync is installed");
    let stock = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = object["rsync_version"].as_str().unwrap();
    assert!(stock.starts_with(&format!("rsync  version {version} ")), "{object}");
    assert!(object["protocol"].as_u64().unwrap() >= 27 && object["connect_ms"].is_u64(), "{object}");
    assert!(site.stored_names().is_empty());
}

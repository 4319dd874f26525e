//! The program itself, as far as it needs no NAS: what it prints where, and how it ends.

mod help;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nas-sync");
const CONFIGURED: [(&str, &str); 3] =
    [("NAS_HOST", "192.168.1.100"), ("NAS_USER", "me"), ("NAS_PATH", "/volume1/factures")];

/// A working directory of its own, and an environment that holds nothing else.
struct Place {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    fn new(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder: tempfile::tempdir().unwrap(), variables }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    /// Runs a line whose words hold no blanks.
    fn run(&self, line: &str) -> Ended {
        Ended::of(self.command(line.split_whitespace()).output().unwrap())
    }

    /// Runs the program under the name `rsync`.
    fn rsync(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).arg0("/usr/bin/rsync").output().unwrap())
    }
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The one object on stdout.
    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

#[test]
fn config_says_what_is_missing() {
    let place = Place::new(&[("NAS_HOST", "nas"), ("NAS_USER", "")]);
    let ended = place.run("config");
    assert_eq!(ended.code, 2);
    assert!(ended.stdout.contains("NAS_USER, NAS_PATH are missing"), "{}", ended.stdout);
    let ended = place.run("config --json");
    assert_eq!(ended.code, 2);
    let object = ended.json();
    assert_eq!(object["configured"], false);
    assert_eq!(
        (&object["nas_host"], &object["nas_user"], &object["nas_path"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert_eq!((&object["host"], &object["path"]), (&json!("nas"), &Value::Null));
}

#[test]
fn config_of_a_complete_environment_is_the_contracts_object() {
    let object = {
        let ended = Place::new(&CONFIGURED).run("config --json");
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        ended.json()
    };
    let promised = json!({"configured": true, "nas_host": true, "nas_user": true, "nas_path": true,
        "host": "192.168.1.100", "path": "/volume1/factures"});
    for (key, value) in promised.as_object().unwrap() {
        assert_eq!(&object[key], value, "{key}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let mut variables = CONFIGURED.to_vec();
    variables.extend([("NAS_KEY", "KEYTEXT-s3cret"), ("NAS_KEY_PASSPHRASE", "PASS-s3cret")]);
    let place = Place::new(&variables);
    for line in ["config", "config --json", "config -vvv", "test --json --port none", "status"] {
        let ended = place.run(line);
        assert!(!(ended.stdout + &ended.stderr).contains("s3cret"), "{line}");
    }
    // A secret in a file with a broken line is not quoted either.
    place.write(".env", "NAS_KEY_PASSPHRASE='s3cret\n");
    let ended = place.run("config");
    assert_eq!(ended.code, 2);
    assert!(!(ended.stdout + &ended.stderr).contains("s3cret"));
}

/// The `.env` of another program in the working directory.
const OF_ANOTHER: &str = "APP_NAME=My App\nJSON={\"a\": \"b c\"}\nGREETING='hello\nNAS_HSOT=nas\nMOTTO=it's fine\n";

#[test]
fn the_env_file_of_another_program_stops_nothing() {
    let mut place = Place::new(&CONFIGURED);
    place.write(".env", OF_ANOTHER);
    place.write("file", "x");
    let ended = place.run("health");
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    assert!(ended.stdout.contains("there is no health file"), "{}", ended.stdout);
    let ended = place.run("config --json");
    assert_eq!((ended.code, &ended.json()["configured"]), (0, &json!(true)));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("warning: NAS_HSOT in .env is not a setting") && ended.stderr.contains("NAS_HOST")
    );
    assert_eq!(place.run("config -q").stderr, "");
    // What a push does not use cannot stop it either.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    place.variables.extend([("NAS_PORT".into(), "tcp://10.0.0.1:22".into()), ("NAS_RETRIES".into(), "x".into())]);
    let key = place.path("key");
    crate::support::sshd::keygen(&key, "ed25519", "");
    let shell = format!("ssh -p {port} -i {}", key.display());
    let ended = place.rsync(&["-e", &shell, "file", "me@127.0.0.1:/p"]);
    assert_eq!(ended.code, 10, "{}", ended.stderr);
    assert!(ended.stderr.contains("--port") && !ended.stderr.contains("NAS_PORT"), "{}", ended.stderr);
    assert_eq!(place.run("config").code, 2, "here it matters");
}

#[test]
fn an_unknown_variable_is_warned_about() {
    let mut place = Place::new(&CONFIGURED);
    place.variables.push(("NAS_KEYFILE".into(), "/x".into()));
    place.variables.push(("NAS_SYNC_LOG".into(), "warn".into()));
    let ended = place.run("config");
    assert_eq!(ended.code, 0);
    let warning = "warning: NAS_KEYFILE is not a setting of nas-sync and has no effect; the nearest is NAS_KEY_FILE\n";
    assert_eq!(ended.stderr, warning);
}

#[test]
fn an_env_file_that_is_a_folder_is_said_to_be_one() {
    let place = Place::new(&CONFIGURED);
    fs::create_dir(place.path(".env")).unwrap();
    let ended = place.run("config");
    assert!(ended.code == 0 && ended.stderr.starts_with("warning: .env is a folder, "), "{}", ended.stderr);
}

#[test]
fn names_and_places_of_documents_that_make_no_sense_are_said_before_anything_is_registered() {
    let mut place = Place::new(&CONFIGURED);
    place.write("one.pdf", "1");
    place.variables.push(("NAS_LAYOUT".into(), "{foo}_{id}".into()));
    for line in ["config --json", "add --json one.pdf --user 7"] {
        let ended = place.run(line);
        assert_eq!((ended.code, &ended.json()["error"]["kind"]), (2, &json!("usage")), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("{foo} is not known"), "{line}: {}", ended.stderr);
    }
    place.variables.pop();
    place.variables.push(("UPLOAD_DIR".into(), place.path("nowhere").to_str().unwrap().into()));
    for line in ["config --json", "add --json one.pdf --user 7"] {
        let ended = place.run(line);
        assert!(ended.code == 2 && ended.stderr.contains("nowhere"), "{line}: {}", ended.stderr);
    }
    assert!(!place.path("nas-sync.db").exists());
}

#[test]
fn a_secret_in_an_env_file_that_everybody_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(&CONFIGURED);
    let file = place.write(".env", "NAS_KEY_PASSPHRASE=s3cret\n");
    for (mode, code, said) in
        [(0o666, 2, "error: NAS_KEY_PASSPHRASE"), (0o644, 0, "warning: NAS_KEY_PASSPHRASE"), (0o600, 0, "")]
    {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let ended = place.run("config");
        assert!(ended.code == code && ended.stderr.starts_with(said), "{mode:o}: {}", ended.stderr);
        assert!(!(ended.stdout + &ended.stderr).contains("s3cret"));
        assert_eq!(place.run("health").code, 1, "it needs no secret");
    }
}

#[test]
fn a_pipe_that_stays_silent_does_not_hang_anything() {
    let mut place = Place::new(&CONFIGURED);
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let started = std::time::Instant::now();
    let ended = Ended::of(place.command(["health", "--health-file"]).arg(&pipe).output().unwrap());
    assert!(ended.code == 1 && ended.stdout.contains("it is a pipe"), "{}", ended.stdout);
    place.variables.push(("NAS_KEY_PASSPHRASE_FILE".into(), pipe.to_str().unwrap().into()));
    let ended = place.run("config");
    assert!(ended.code == 2 && ended.stderr.contains("it is a pipe"), "{}", ended.stderr);
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn config_does_not_call_it_configured_without_a_key() {
    let mut place = Place::new(&CONFIGURED);
    let ended = place.run("config");
    assert!(!ended.stdout.contains("\nConfigured.") && ended.stdout.contains("no private key"), "{}", ended.stdout);
    place.variables.push(("NAS_KEY_FILE".into(), "gone".into()));
    assert!(place.run("config").stdout.contains("gone (does not exist)"));
    place.write("gone", "");
    assert!(place.run("config").stdout.contains("\nConfigured."));
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let place = Place::new(&CONFIGURED);
    let database = rusqlite::Connection::open(place.path("nas-sync.db")).unwrap();
    database.execute_batch("CREATE TABLE users (id INTEGER)").unwrap();
    for line in ["sync --json", "status --json", "retry --json", "watch --once --json"] {
        let ended = place.run(line);
        assert_eq!((ended.code, &ended.json()["error"]["kind"]), (4, &json!("database_unusable")), "{line}");
        assert!(ended.stderr.contains("it has no table documents"), "{line}: {}", ended.stderr);
    }
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
    let ended = place.run("status --json --db .");
    assert!(ended.code == 4 && ended.stderr.contains("is a folder"), "{}", ended.stderr);
    let ended = place.run("status --json --db mysql://u:s3cret@h/d");
    assert!(ended.code == 2 && ended.stderr.contains("SQLite") && !ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[test]
fn config_refuses_ids_that_are_text() {
    let place = Place::new(&CONFIGURED);
    let database = rusqlite::Connection::open(place.path("nas-sync.db")).unwrap();
    let table =
        "CREATE TABLE documents (id CHAR(36) PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_to_nas, synced_at)";
    database.execute_batch(table).unwrap();
    for line in ["config --json", "status --json", "sync --json"] {
        let ended = place.run(line);
        assert_eq!(ended.code, 4, "{line}");
        assert!(ended.stderr.contains("id of its table documents is text (CHAR(36))"), "{line}: {}", ended.stderr);
    }
    assert_eq!(place.run("config --json").json()["configured"], true);
    assert_eq!(place.run("config --db other.db").code, 0, "one that is not there yet is no fault");
}

#[test]
fn numbers_that_are_none_are_told_what_they_must_be() {
    let place = Place::new(&CONFIGURED);
    for (line, said) in [
        ("sync --retries x", "a whole number from 0 to 1000"),
        ("sync --user x", "it must be a whole number"),
        ("watch --interval soon", "whole seconds from 1 to 86400"),
        ("health --max-age x", "whole seconds"),
        ("config --connect-timeout 30x", "such as 30, 30s or 5m"),
    ] {
        let ended = place.run(line);
        assert!(ended.code == 2 && ended.stderr.contains(said), "{line}: {}", ended.stderr);
        assert!(!ended.stderr.contains("invalid digit"), "{line}: {}", ended.stderr);
    }
    assert_eq!(place.run("config --connect-timeout 30s --file-timeout 5m").code, 0);
    assert_eq!(place.run("health --max-age 1m").code, 1);
}

#[test]
fn flags_beat_the_environment_and_that_beats_the_file() {
    let mut place = Place::new(&[]);
    place.write(".env", "NAS_HOST=from-file\nNAS_USER=me\nNAS_PATH=/p\n");
    let host = |place: &Place, line: &str| place.run(line).json()["host"].clone();
    assert_eq!(host(&place, "config --json"), "from-file");
    place.variables.push(("NAS_HOST".into(), "from-environment".into()));
    assert_eq!(host(&place, "config --json"), "from-environment");
    assert_eq!(host(&place, "config --json --nas-host from-flag"), "from-flag");
    assert_eq!(host(&place, "--nas-host from-flag config --json"), "from-flag");
}

#[test]
fn values_may_stand_in_files() {
    let mut place = Place::new(&[("NAS_USER", "me"), ("NAS_PATH", "/p")]);
    let file = place.write("host", "from-secret\n");
    place.variables.push(("NAS_HOST_FILE".into(), file.to_str().unwrap().into()));
    let ended = place.run("config --json");
    assert_eq!((ended.code, &ended.json()["host"]), (0, &json!("from-secret")));
    fs::remove_file(file).unwrap();
    let ended = place.run("config --json");
    assert_eq!((ended.code, &ended.json()["error"]["kind"]), (2, &json!("usage")));
    assert!(ended.json()["error"]["cause"].as_str().unwrap().contains("may not read it"), "{}", ended.stdout);
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new(&CONFIGURED);
    for line in
        ["", "frobnicate", "add", "add file", "sync --user me", "config --frob", "config --port 0", "sync --jobs x"]
    {
        let ended = place.run(line);
        assert_eq!(ended.code, 2, "{line}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{line}");
    }
    let ended = place.run("frobnicate --json");
    assert_eq!((ended.code, &ended.json()["error"]["kind"]), (2, &json!("usage")));
    let ended = place.run("sync --json --file-timeout soon");
    assert_eq!((ended.code, &ended.json()["error"]["kind"], &ended.json()["total"]), (2, &json!("usage"), &json!(0)));
}

#[test]
fn an_unconfigured_nas_is_said_before_anything_is_tried() {
    let place = Place::new(&[]);
    let ended = place.run("test --json");
    assert_eq!(ended.code, 2);
    let object = ended.json();
    assert_eq!((&object["success"], &object["error"]["kind"]), (&json!(false), &json!("not_configured")));
    assert_eq!(object["message"], object["error"]["message"]);
    for key in ["details", "cause", "solution"] {
        assert!(object["error"].get(key).is_some(), "{key}");
    }
    let ended = place.run("sync");
    assert_eq!(ended.code, 2);
    for part in ["error: ", "NAS_HOST", "cause: ", "solution: "] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn add_prints_ids_and_status_counts() {
    let place = Place::new(&[]);
    place.write("one.pdf", "1");
    place.write("two\u{1b}.pdf", "2");
    let ended = place.run("add one.pdf --user 7");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "1\n", ""));
    let ended = place.run("add --json two\u{1b}.pdf one.pdf --user 8");
    let object = ended.json();
    assert_eq!((ended.code, &object["ids"], &object["known"]), (0, &json!([2, 3]), &json!([])));
    // A name on the NAS is the first one's.
    assert_eq!(
        (&object["clashes"][0]["id"], &object["clashes"][0]["error"]["kind"]),
        (&json!(3), &json!("name_clash"))
    );

    let ended = place.run("status --json");
    assert_eq!(ended.code, 0);
    let promised = json!({"total_documents": 3, "synced": 0, "pending": 3, "sync_percentage": 0.0, "last_sync": null,
        "nas_configured": false});
    let object = ended.json();
    for (key, value) in promised.as_object().unwrap() {
        assert_eq!(&object[key], value, "{key}");
    }
    assert_eq!(place.run("status --user 8 --json").json()["total_documents"], 2);
    assert!(place.run("status").stdout.contains("documents   3\n"));
}

#[test]
fn nothing_is_added_when_one_file_is_missing() {
    let place = Place::new(&[]);
    place.write("one.pdf", "1");
    let ended = place.run("add --json one.pdf gone\u{1b}[2J.pdf --user 7");
    assert_eq!((ended.code, &ended.json()["error"]["kind"]), (1, &json!("source_missing")));
    assert!(!ended.stderr.contains('\u{1b}') && ended.stderr.contains("gone\\x1b[2J.pdf"), "{}", ended.stderr);
    assert_eq!(place.run("add one.pdf --user 7").stdout, "1\n");
}

#[test]
fn a_database_that_cannot_be_used_ends_with_4() {
    let place = Place::new(&CONFIGURED);
    place.write("broken.db", "this is not a database, whatever its name says");
    for line in
        ["status --json", "status --json --db broken.db", "sync --json --db broken.db", "sync --json --db no/such.db"]
    {
        let ended = place.run(line);
        assert_eq!((ended.code, &ended.json()["error"]["kind"]), (4, &json!("database_unusable")), "{line}");
        assert!(ended.stderr.starts_with("error: "), "{line}");
    }
    let ended = place.run("config --json --db broken.db");
    assert_eq!((ended.code, &ended.json()["configured"]), (4, &json!(true)));
    assert_eq!(ended.json()["error"]["kind"], "database_unusable");
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let place = Place::new(&CONFIGURED);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = Ended::of(place.command(["config"]).stdout(full).output().unwrap());
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("could not be written"));
    // A reader that has gone away is not a failure, and nothing panics.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Ended::of(place.command(["config"]).stdout(writer).output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn push_refuses_with_rsyncs_exit_status() {
    let place = Place::new(&[]);
    for (arguments, code, named) in [
        (&[][..], 1, "source and a destination"),
        (&["-a", "--iconv=.", "a", "nas:b"], 1, "--iconv of rsync is not supported yet"),
        (&["-a", "--frobnicate", "a", "nas:b"], 1, "--frobnicate: unknown option"),
        (&["-a", "a", "nas::module"], 4, "daemons"),
        (&["-a", "a", "b"], 4, "itself"),
        (&["-e", "rsh -l me", "a", "nas:b"], 1, "\"rsh\""),
        (&["-e", "ssh -o ProxyCommand=nc", "a", "nas:b"], 1, "ProxyCommand"),
        (&["-e", "ssh -o SendEnv=X", "a", "nas:b"], 1, "SendEnv"),
        (&["--port=none", "a", "nas:b"], 1, "--port"),
        (&["--protocol=99", "a", "nas:b"], 2, "--protocol"),
    ] {
        let ended = place.rsync(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(named) && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stderr);
        let ended = Ended::of(place.command([&["push", "--json"][..], arguments].concat()).output().unwrap());
        assert_eq!((ended.code, &ended.json()["exit_code"]), (code, &json!(code)), "{arguments:?}");
    }
}

#[test]
fn rsync_rsh_is_read_too() {
    let place = Place::new(&[("RSYNC_RSH", "plink -batch")]);
    let ended = place.rsync(&["a", "nas:b"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("RSYNC_RSH") && ended.stderr.contains("plink"), "{}", ended.stderr);
}

#[test]
fn a_closed_port_ends_push_with_rsyncs_10_and_test_with_3() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut place = Place::new(&[("NAS_HOST", "127.0.0.1"), ("NAS_USER", "me"), ("NAS_PATH", "/p")]);
    place.variables.push(("NAS_PORT".into(), port.clone()));
    let key = place.path("key");
    crate::support::sshd::keygen(&key, "ed25519", "");
    place.variables.push(("NAS_KEY_FILE".into(), key.to_str().unwrap().into()));
    place.write("file", "x");
    let remote_shell = format!("ssh -p {port} -i {} -o BatchMode=yes -o ConnectTimeout=30", key.display());
    let ended = place.rsync(&["-avz", "--progress", "-e", &remote_shell, "file", "me@127.0.0.1:/p"]);
    assert_eq!(ended.code, 10, "{}", ended.stderr);
    let ended = place.run("test --json");
    assert_eq!((ended.code, &ended.json()["error"]["kind"]), (3, &json!("connection_refused")));
    assert!(!Path::new(&place.path("nas-sync.db")).exists(), "test makes no database");
}

#[test]
fn index_is_added_to_somebody_elses_table_on_request_and_is_theirs_to_drop() {
    let place = Place::new(&[]);
    let database = || rusqlite::Connection::open(place.path("nas-sync.db")).unwrap();
    let has_index = || {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'nas_sync_pending')";
        database().query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap()
    };
    let sql =
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, user_id INTEGER, file_path TEXT, synced_to_nas, synced_at);
               INSERT INTO documents (user_id, file_path, synced_to_nas) VALUES
                   (1, '/1', 1), (1, '/2', 'true'), (1, '/3', NULL), (2, '/4', 'x'), (1, '/5', 0.0), (2, '/6', x'01');";
    database().execute_batch(sql).unwrap();
    let before = place.run("status --json").json();
    assert_eq!((&before["pending"], &before["due"]), (&json!(4), &json!(4)));
    place.run("retry");
    assert!(!has_index(), "nothing else adds it");

    let ended = place.run("index");
    assert_eq!((ended.code, &*ended.stdout), (0, "the index nas_sync_pending was added\n"));
    for said in ["pending rows only", "DROP INDEX nas_sync_pending", "costs a little more"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(has_index());
    assert_eq!(place.run("status --json").json(), before);
    let ended = place.run("index --json -q");
    assert_eq!((ended.code, &*ended.stderr), (0, ""));
    assert_eq!(ended.json(), json!({ "index": "nas_sync_pending", "created": false }));

    database().execute("DROP INDEX nas_sync_pending", []).unwrap();
    assert_eq!(place.run("status --json").json(), before);
    assert_eq!(place.run("index --json").json(), json!({ "index": "nas_sync_pending", "created": true }));

    let nowhere = Place::new(&[]).run("index --json");
    assert_eq!((nowhere.code, &nowhere.json()["error"]["kind"]), (4, &json!("database_unusable")));
}

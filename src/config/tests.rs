mod env_file;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::table::SETTINGS;
use super::web_url::WebUrl;
use super::*;
use crate::database::Database;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::jobs::Jobs;
use crate::proof::Level;
use crate::rate::Rate;
use crate::secret::Secret;
use crate::transport::ssh::ssh_config::SshConfigFile;

/// An environment of these variables and this `.env`, with the home folder `/home/me`.
fn environment(variables: &[(&str, &str)], dot_env: &str) -> Result<Environment> {
    let variables: Vec<(String, OsString)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    let look = move |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    Environment::new(look, dot_env, Some(PathBuf::from("/home/me")))
}

fn resolve(flags: &Flags, variables: &[(&str, &str)], dot_env: &str) -> Result<Settings> {
    Settings::resolve(flags, &environment(variables, dot_env)?)
}

/// With variables alone.
fn with(variables: &[(&str, &str)]) -> Result<Settings> {
    resolve(&Flags::default(), variables, "")
}

fn flag(text: &str) -> OsString {
    OsString::from(text)
}

/// The message of a `Usage` error.
fn usage<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    error.message().to_owned()
}

#[test]
fn defaults_are_the_contracts() {
    let home = |name: &str| PathBuf::from("/home/me/.ssh").join(name);
    assert_eq!(
        with(&[]).unwrap(),
        Settings {
            host: None,
            user: None,
            path: None,
            port: None,
            key: KeySource::FirstOf(vec![home("id_ed25519"), home("id_ecdsa"), home("id_rsa")]),
            key_passphrase: None,
            password: None,
            known_hosts: None,
            ssh_config: SshConfigFile::Usual,
            host_key: None,
            accept_new_host_key: None,
            legacy_ssh: false,
            db: Database::sqlite("nas-sync.db"),
            upload_dir: None,
            layout: "flat".to_owned(),
            connect_timeout: None,
            file_timeout: Duration::from_secs(300),
            rsync_path: "rsync".to_owned(),
            durability: None,
            retries: 5,
            jobs: Jobs::Auto,
            bwlimit: None,
            metrics_addr: None,
            api_addr: Listen::Address("127.0.0.1:8730".parse().unwrap()),
            api_token: None,
            api_hosts: Vec::new(),
            scan_filter: "- @eaDir/; - #recycle/; - .DS_Store; - Thumbs.db; - ~$*; - *.part".to_owned(),
            log_format: LogFormat::Text,
            on_success: None,
            on_failure: None,
            webhook_url: None,
            ping_url: None,
        }
    );
}

#[test]
fn every_variable_is_read() {
    let hash = format!("SHA256:{}", "aB3+/".repeat(9).split_at(43).0);
    let settings = with(&[
        ("NAS_HOST", "[fe80::1%eth0]"),
        ("NAS_USER", "me"),
        ("NAS_PATH", "/volume1/it's mine"),
        ("NAS_PORT", "2222"),
        ("NAS_KEY_FILE", "~/keys/nas"),
        ("NAS_KEY_PASSPHRASE", "pass word"),
        ("NAS_KNOWN_HOSTS", "~/hosts"),
        ("NAS_SSH_CONFIG", "~/ssh"),
        ("NAS_HOST_KEY", &hash),
        ("NAS_ACCEPT_NEW_HOST_KEY", "1"),
        ("NAS_LEGACY_SSH", "True"),
        ("NAS_DB", "~/nas.db"),
        ("UPLOAD_DIR", "uploads"),
        ("NAS_LAYOUT", "{id}_{name}"),
        ("NAS_CONNECT_TIMEOUT", "10"),
        ("NAS_FILE_TIMEOUT", "60"),
        ("NAS_RSYNC_PATH", "/opt/bin/rsync"),
        ("NAS_DURABILITY", "stored"),
        ("NAS_RETRIES", "0"),
        ("NAS_JOBS", "4"),
        ("NAS_BWLIMIT", "1.5m"),
        ("NAS_METRICS_ADDR", "127.0.0.1:9100"),
        ("NAS_API_ADDR", "unix:~/api.sock"),
        ("NAS_API_TOKEN", "a token"),
        ("NAS_API_HOSTS", "docs.example.org, Other"),
        ("NAS_SCAN_FILTER", "- *.tmp\n: .rules"),
        ("NAS_LOG_FORMAT", "json"),
        ("NAS_ON_SUCCESS", "~/good"),
        ("NAS_ON_FAILURE", "bad"),
        ("NAS_WEBHOOK_URL", "https://hooks.example/1"),
        ("NAS_PING_URL", "http://[::1]:8000/2"),
    ])
    .unwrap();
    assert_eq!(
        settings,
        Settings {
            host: Some("fe80::1%eth0".to_owned()),
            user: Some("me".to_owned()),
            path: Some("/volume1/it's mine".to_owned()),
            port: Some(2222),
            key: KeySource::File(PathBuf::from("/home/me/keys/nas")),
            key_passphrase: Some(Secret::new("pass word".to_owned())),
            password: None,
            known_hosts: Some(PathBuf::from("/home/me/hosts")),
            ssh_config: SshConfigFile::At(PathBuf::from("/home/me/ssh")),
            host_key: Some(hash),
            accept_new_host_key: Some(true),
            legacy_ssh: true,
            db: Database::sqlite("/home/me/nas.db"),
            upload_dir: Some(PathBuf::from("uploads")),
            layout: "{id}_{name}".to_owned(),
            connect_timeout: Some(Duration::from_secs(10)),
            file_timeout: Duration::from_secs(60),
            rsync_path: "/opt/bin/rsync".to_owned(),
            durability: Some(Level::Stored),
            retries: 0,
            jobs: Jobs::Number(4),
            bwlimit: Rate::parse("1536").unwrap(),
            metrics_addr: Some("127.0.0.1:9100".parse().unwrap()),
            api_addr: Listen::Unix("/home/me/api.sock".into()),
            api_token: Some(Secret::new("a token".to_owned())),
            api_hosts: vec!["docs.example.org".to_owned(), "other".to_owned()],
            scan_filter: "- *.tmp\n: .rules".to_owned(),
            log_format: LogFormat::Json,
            on_success: Some("/home/me/good".into()),
            on_failure: Some("bad".into()),
            webhook_url: WebUrl::parse("https://hooks.example/1"),
            ping_url: WebUrl::parse("http://[::1]:8000/2"),
        }
    );
}

#[test]
fn every_flag_beats_its_variable() {
    // Values that would be refused where they are checked: a flag that did not win would show.
    let broken: Vec<(&str, &str)> = SETTINGS
        .iter()
        .filter(|setting| {
            setting.flag.is_some() && !["--accept-new-host-key", "--legacy-ssh"].contains(&setting.flag.unwrap())
        })
        .map(|setting| (setting.variable, "from\nenv"))
        .collect();
    let flags = Flags {
        nas_host: Some(flag("flag")),
        nas_user: Some(flag("flag")),
        nas_path: Some(flag("flag")),
        port: Some(flag("1")),
        identity: Some(flag("flag")),
        known_hosts: Some(flag("flag")),
        ssh_config: Some(flag("flag")),
        accept_new_host_key: true,
        legacy_ssh: true,
        db: Some(flag("flag")),
        table: Some(flag("documents")),
        upload_dir: Some(flag("flag")),
        layout: Some(flag("flag")),
        connect_timeout: Some(flag("1")),
        file_timeout: Some(flag("1")),
        rsync_path: Some(flag("flag")),
        durability: Some(flag("sent")),
        retries: Some(flag("1")),
        jobs: Some(flag("1")),
        bwlimit: Some(flag("1")),
        metrics: Some(flag("[::1]:1")),
        listen: Some(flag("[::1]:1")),
        scan_filter: Some(flag("- flag")),
        log_format: Some(flag("text")),
        on_success: Some(flag("flag")),
        on_failure: Some(flag("flag")),
        webhook_url: Some(flag("http://flag/")),
        ping_url: Some(flag("http://flag/")),
    };
    let settings = resolve(&flags, &broken, "").unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("env"), "{shown}");
    assert_eq!(settings.key, KeySource::File(PathBuf::from("flag")));
    assert!(settings.accept_new_host_key == Some(true) && settings.legacy_ssh);
}

#[test]
fn flags_beat_the_environment_that_beats_the_file() {
    let file = "NAS_HOST=file\nNAS_USER=file\nNAS_PATH=/file\n";
    let variables = [("NAS_HOST", "variable"), ("NAS_USER", "variable"), ("NAS_PATH", "")];
    let flags = Flags { nas_host: Some(flag("flag")), nas_user: Some(flag("")), ..Flags::default() };
    let settings = resolve(&flags, &variables, file).unwrap();
    assert_eq!(settings.host.as_deref(), Some("flag"));
    assert_eq!(settings.user.as_deref(), Some("variable"), "an empty flag is unset");
    assert_eq!(settings.path.as_deref(), Some("/file"), "an empty variable is unset");
}

#[test]
fn what_is_missing_is_named() {
    let settings = with(&[("NAS_USER", "me"), ("NAS_HOST", "")]).unwrap();
    assert_eq!(settings.missing(), ["NAS_HOST", "NAS_PATH"]);
    assert!(!settings.is_configured());
    let settings = with(&[("NAS_USER", "me"), ("NAS_HOST", "nas"), ("NAS_PATH", "/p")]).unwrap();
    assert!(settings.is_configured());
    let status = settings.status();
    assert!(status.configured && status.nas_host && status.nas_user && status.nas_path);
    assert_eq!((status.host.as_deref(), status.path.as_deref()), (Some("nas"), Some("/p")));
}

#[test]
fn wrong_values_name_their_place_and_what_is_accepted() {
    for (variable, wrong, accepted) in [
        ("NAS_PORT", "0", "from 1 to 65535"),
        ("NAS_PORT", "65536", "from 1 to 65535"),
        ("NAS_PORT", "ssh", "from 1 to 65535"),
        ("NAS_CONNECT_TIMEOUT", "0", "from 1 to 604800"),
        ("NAS_FILE_TIMEOUT", "-1", "from 1 to 604800"),
        ("NAS_FILE_TIMEOUT", "99999999999999999999", "from 1 to 604800"),
        ("NAS_JOBS", "0", "from 1 to 64"),
        ("NAS_JOBS", "many", "from 1 to 64, or auto"),
        ("NAS_BWLIMIT", "fast", "a rate in KiB a second"),
        ("NAS_BWLIMIT", "0.1", "a rate in KiB a second"),
        ("NAS_RETRIES", "many", "from 0 to 1000"),
        ("NAS_DURABILITY", "safe", "one of sent, stored, durable, verified"),
        ("NAS_ACCEPT_NEW_HOST_KEY", "perhaps", "1, true, yes or on"),
        ("NAS_LEGACY_SSH", "2", "1, true, yes or on"),
        ("NAS_PATH", "/a\nb", "without NUL, carriage return and line feed"),
        ("NAS_RSYNC_PATH", "rsync\r", "without NUL, carriage return and line feed"),
        ("NAS_HOST", "me@nas", "a host name or address alone"),
        ("NAS_HOST", "[]", "a host name or address alone"),
        ("NAS_HOST", "nas\r", "a host name or address alone"),
        ("NAS_HOST", "nas:22", "without a port"),
        ("NAS_HOST", "192.168.1.100:2222", "without a port"),
        ("NAS_HOST", "nas:", "without a port"),
        ("NAS_USER", " ", "a user name"),
        ("NAS_HOST_KEY", "MD5:00:11", "SHA256: and 43 characters"),
        ("NAS_HOST_KEY", "SHA256:short", "SHA256: and 43 characters"),
        ("NAS_METRICS_ADDR", "9100", "an IP address and a port"),
        ("NAS_API_ADDR", "8730", "an IP address and a port"),
        ("NAS_API_ADDR", "unix:", "unix: and a path"),
        ("NAS_API_HOSTS", "docs.example.org:443", "without ports"),
    ] {
        let message = usage(with(&[(variable, wrong)]));
        assert!(message.starts_with(&format!("{variable} is ")) && message.contains(accepted), "{message}");
        assert!(!message.contains(['\n', '\r']), "{message:?}");
    }
    let message = usage(resolve(&Flags { port: Some(flag("x")), ..Flags::default() }, &[("NAS_PORT", "22")], ""));
    assert!(message.starts_with("--port is \"x\""), "{message}");
    let message = usage(resolve(&Flags::default(), &[], "NAS_PORT=x"));
    assert!(message.starts_with("NAS_PORT in .env is \"x\""), "{message}");
}

#[test]
fn an_argument_beats_variables_and_is_named_as_it_was_given() {
    let given = |name: &str, value: &str, variables: &[(&str, &str)]| {
        environment(variables, "").and_then(|environment| environment.with_argument(name, value))
    };
    let settings = |environment: Result<Environment>| Settings::resolve(&Flags::default(), &environment?);
    let variables = [("NAS_PORT", "22"), ("NAS_KEY_FILE", "/key"), ("UPLOAD_DIR", "/up"), ("NAS_PORT_FILE", "")];
    assert_eq!(settings(given("port", "2222", &variables)).unwrap().port, Some(2222));
    assert_eq!(settings(given("port", "", &variables)).unwrap().port, Some(22));
    assert_eq!(settings(given("upload_dir", "/else", &variables)).unwrap().upload_dir, Some("/else".into()));
    let key = settings(given("key", "sesame", &variables)).unwrap().key;
    assert!(matches!(key, KeySource::Text(_)), "it beats a key file of a lower layer");
    let message = usage(settings(given("port", "x", &variables)));
    assert!(message.starts_with("port is \"x\", but must be"), "{message}");
    let message = usage(given("hots", "nas", &[]));
    assert_eq!(message, "hots is not a setting; the nearest is host");
    assert!(usage(given("uplaod_dir", "x", &[])).ends_with("the nearest is upload_dir"));
    assert_eq!(usage(given("colour", "x", &[])), "colour is not a setting");
}

#[test]
fn a_host_with_a_port_is_told_where_the_port_goes() {
    let error = with(&[("NAS_HOST", "nas.local:2222")]).unwrap_err();
    assert_eq!(error.solution(), "Set NAS_HOST=nas.local and NAS_PORT=2222.");
    assert_eq!(with(&[("NAS_HOST", "fe80::1")]).unwrap().host.as_deref(), Some("fe80::1"));
}

#[test]
fn times_have_units() {
    let timeout = |text| {
        with(&[("NAS_CONNECT_TIMEOUT", text)]).map(|settings| settings.connect_timeout.unwrap_or_default().as_secs())
    };
    for (text, seconds) in
        [("30", 30), ("30s", 30), (" 30 s ", 30), ("5m", 300), ("2H", 7200), ("1d", 86_400), ("10 min", 600)]
    {
        assert_eq!(timeout(text).unwrap(), seconds, "{text}");
    }
    for text in ["30x", "s", "-1s", "1.5s", "8d", "0m", "500ms", "1m30s", "99999999999999999999d"] {
        assert!(usage(timeout(text)).contains("such as 30, 30s or 5m"), "{text}");
    }
}

#[test]
fn a_url_is_no_path() {
    let db = |text| with(&[("NAS_DB", text)]).map(|settings| settings.db);
    for (text, path) in [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:////srv/app.db", "/srv/app.db"),
        ("sqlite+aiosqlite:////srv/app.db?timeout=5", "/srv/app.db"),
        ("sqlite:///~/app.db", "/home/me/app.db"),
        ("a:b.db", "a:b.db"),
        ("C:/x.db", "C:/x.db"),
    ] {
        assert_eq!(db(text).unwrap().file(), Some(Path::new(path)), "{text}");
    }
    let message = usage(db("mysql://u:s3cret@h/d"));
    assert!(message.contains("must be SQLite or PostgreSQL") && !message.contains("s3cret"), "{message}");
    for text in ["sqlite://", "sqlite:///", "sqlite:///:memory:"] {
        assert!(usage(db(text)).contains("without the path"), "{text}");
    }
}

#[test]
fn values_that_are_not_utf8_are_paths_or_refused() {
    let bytes = OsStr::from_bytes(b"/up/\xff");
    let look = |wanted: &'static str| move |name: &str| (name == wanted).then(|| bytes.to_owned());
    let of = |wanted| Settings::resolve(&Flags::default(), &Environment::new(look(wanted), "", None).unwrap());
    assert_eq!(of("UPLOAD_DIR").unwrap().upload_dir.unwrap().as_os_str(), bytes);
    assert!(usage(of("NAS_PATH")).starts_with("NAS_PATH is "));
    assert_eq!(usage(of("NAS_KEY_PASSPHRASE")), "NAS_KEY_PASSPHRASE is not UTF-8 text");
}

#[test]
fn a_setting_that_a_command_does_not_use_cannot_stop_it() {
    let of = |variables: &[(&str, &str)]| environment(variables, "").unwrap().of_a_login();
    let broken = [("NAS_PORT", "tcp://10.0.0.1:22"), ("NAS_LAYOUT", "a\nb"), ("NAS_HOST", "nas/x"), ("NAS_USER", "me")];
    let settings = Settings::resolve(&Flags::default(), &of(&broken)).unwrap();
    assert_eq!((settings.port, settings.host, settings.user), (None, None, None));
    usage(Settings::resolve(&Flags::default(), &of(&[("NAS_CONNECT_TIMEOUT", "soon")])));
    let only = environment(&[("NAS_DB", "mysql://h/d"), ("NAS_TABLE", "\"Mes factures\"")], "").unwrap();
    assert!(Settings::resolve(&Flags::default(), &only).is_err());
    let settings = Settings::resolve(&Flags::default(), &only.of_documents()).unwrap();
    assert_eq!(settings.db.table_name().name(), "Mes factures");
    let only = environment(&[("NAS_DB", "/x.db"), ("NAS_JOBS", "many")], "").unwrap().of_the_database();
    assert_eq!(Settings::resolve(&Flags::default(), &only).unwrap().db.file(), Some(Path::new("/x.db")));
}

#[test]
fn values_may_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (pass, host, empty) = (write("pass", " two words \r\n"), write("host", "nas\n"), write("empty", "\n"));
    let settings = resolve(
        &Flags::default(),
        &[("NAS_KEY_PASSPHRASE_FILE", &pass), ("NAS_HOST_FILE", &host), ("NAS_USER_FILE", &empty)],
        "NAS_HOST=file\nNAS_USER=file",
    )
    .unwrap();
    assert_eq!(settings.key_passphrase, Some(Secret::in_file(&pass)), "it stays in its file");
    assert_eq!(settings.key_passphrase.unwrap().text().unwrap().as_str(), " two words ");
    assert_eq!(settings.host.as_deref(), Some("nas"), "the environment's file beats .env");
    assert_eq!(settings.user.as_deref(), Some("file"), "an empty file is unset");

    let message = usage(with(&[("NAS_HOST_FILE", "/no/such/file")]));
    assert!(message.starts_with("NAS_HOST_FILE: cannot read /no/such/file: "), "{message}");
    let message = usage(with(&[("NAS_HOST_FILE", &write("big", &"x".repeat(70_000)))]));
    assert!(message.contains("larger than 64 KiB"), "{message}");
    let message = usage(with(&[("NAS_HOST", "nas"), ("NAS_HOST_FILE", &host)]));
    assert_eq!(message, "NAS_HOST and NAS_HOST_FILE are both set, and only one may be");
    let message = usage(with(&[("NAS_PORT_FILE", &write("port", "x\n"))]));
    assert!(message.starts_with("NAS_PORT_FILE is \"x\""), "{message}");
}

#[test]
fn the_key_is_a_text_or_a_file() {
    let key = |flags: &Flags, variables: &[(&str, &str)], file: &str| resolve(flags, variables, file).unwrap().key;
    let none = Flags::default();
    let identity = Flags { identity: Some(flag("~/id")), ..Flags::default() };
    let text = KeySource::Text(Secret::new("text".to_owned()));
    let file = |path: &str| KeySource::File(PathBuf::from(path));
    assert_eq!(key(&none, &[("NAS_KEY", "text")], ""), text);
    assert_eq!(key(&none, &[("NAS_KEY", "text")], "NAS_KEY_FILE=/k"), text);
    assert_eq!(key(&none, &[("NAS_KEY_FILE", "/k")], "NAS_KEY=text"), file("/k"));
    assert_eq!(key(&identity, &[("NAS_KEY", "text"), ("NAS_KEY_FILE", "/k")], ""), file("/home/me/id"));
    let message = usage(with(&[("NAS_KEY", "text"), ("NAS_KEY_FILE", "/k")]));
    assert_eq!(message, "NAS_KEY and NAS_KEY_FILE are both set, and only one may be");
}

#[test]
fn without_a_home_nothing_is_guessed() {
    let environment = |file: &str| Environment::new(|_: &str| None, file, None).unwrap();
    let settings = Settings::resolve(&Flags::default(), &environment("")).unwrap();
    assert_eq!((settings.known_hosts, settings.key), (None, KeySource::FirstOf(Vec::new())));
    let message = usage(Settings::resolve(&Flags::default(), &environment("NAS_DB='~/nas.db'")));
    assert!(message.contains("HOME is not set"), "{message}");
    let other = Settings::resolve(&Flags::default(), &environment("NAS_DB='~other/nas.db'")).unwrap();
    assert_eq!(other.db.file(), Some(Path::new("~other/nas.db")));
}

#[test]
fn secrets_are_not_shown() {
    let file = "NAS_KEY=hidden\nNAS_KEY_PASSPHRASE=hidden";
    let environment = environment(&[], file).unwrap();
    let settings = Settings::resolve(&Flags::default(), &environment).unwrap();
    let shown = format!("{environment:?} {settings:?} {:?}", settings.status());
    assert!(!shown.contains("hidden") && shown.contains("Secret(…)"), "{shown}");
}

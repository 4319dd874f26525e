//! Logging in: passwords, TLS, PgBouncer, and what is said when it does not work.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{all_sent_once, documents, site};
use crate::support::postgres::as_nobody;
use crate::support::{Cli, Postgres, Site, until};

const PASSWORD: &str = "s3cret-p@ss:word";
const ENCODED: &str = "s3cret-p%40ss%3Aword";

/// A server with the user `app`, who has a password, and the table of another program.
fn server(settings: &str, hba: &str) -> Option<Postgres> {
    let server = Postgres::with(settings, hba)?;
    server.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE app OWNER TO app; GRANT ALL ON SCHEMA public TO app"));
    Some(server)
}

fn status(site: &mut Site, url: String) -> crate::support::cli::Run {
    site.set("NAS_DB", url);
    let mut cli = Cli::new(site);
    cli.keep_secret(PASSWORD);
    cli.keep_secret(ENCODED);
    cli.line("status --json")
}

#[test]
fn the_password_may_stand_in_several_places() {
    let Some(server) = server("", "") else { return };
    let mut site = site(&server);
    Cli::new(&site).add(1, &[site.upload("a.pdf", b"a")]);
    server.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO app");
    status(&mut site, server.tcp(&format!("app:{ENCODED}"), "")).ends(0);
    let none = status(&mut site, server.tcp("app", ""));
    none.ends(4);
    let wrong = status(&mut site, server.tcp("app:wrong", ""));
    assert!(wrong.ends(4).json()["error"]["solution"].as_str().unwrap().contains("PGPASSFILE"), "{}", wrong.all());
    site.set("PGPASSWORD", PASSWORD);
    status(&mut site, server.tcp("app", "")).ends(0);
    site.variables.remove("PGPASSWORD");
    // A file, which nobody else may read.
    let file = site.path("passwords");
    fs::write(&file, format!("127.0.0.1:{}:app:app:{}\n", server.port(), PASSWORD.replace(':', "\\:"))).unwrap();
    site.set("PGPASSFILE", file.clone());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = status(&mut site, server.tcp("app", ""));
    assert!(open.ends(4).stderr.contains("chmod 600"), "{}", open.all());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    status(&mut site, server.tcp("app", "")).ends(0);
    site.variables.remove("PGPASSFILE");
    fs::rename(&file, site.path(".pgpass")).unwrap();
    status(&mut site, server.tcp("app", "")).ends(0);
    // It shows nowhere.
    site.set("NAS_DB", server.tcp(&format!("app:{ENCODED}"), ""));
    let mut cli = Cli::new(&site);
    cli.keep_secret(PASSWORD);
    cli.keep_secret(ENCODED);
    let config = cli.line("config --json");
    assert_eq!(config.ends(0).json()["db"], format!("postgresql://app@127.0.0.1:{}/app", server.port()));
}

#[test]
fn tls_is_what_libpq_means_by_each_mode() {
    let hba = "hostssl all app 127.0.0.1/32 scram-sha-256\nhostnossl all app 127.0.0.1/32 reject\nhostssl all app ::1/128 scram-sha-256";
    let Some(server) = server("listen_addresses = 'localhost'\n", hba) else { return };
    let mut site = site(&server);
    Cli::new(&site).add(1, &[site.upload("a.pdf", b"a")]);
    server.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO app");
    let ca = server.path("ca.crt").display().to_string();
    let own = server.path("server.crt").display().to_string();
    let other = site.path("other.crt");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null", "-out"])
        .arg(&other)
        .output()
        .unwrap();
    assert!(made.status.success());
    let other = other.display().to_string();
    let by =
        |host: &str, parameters: &str| server.tcp(&format!("app:{ENCODED}"), parameters).replace("127.0.0.1", host);
    for (host, parameters, works) in [
        ("127.0.0.1", String::from("sslmode=disable"), false),
        ("127.0.0.1", String::new(), true),
        ("127.0.0.1", String::from("sslmode=require"), true),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={own}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), false),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), false),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), false),
        ("localhost", String::from("sslmode=verify-full"), false),
        ("localhost", String::from("sslmode=verify-full&sslrootcert=system"), false),
        ("localhost", String::from("sslmode=verify-full&sslrootcert=/no/such/file"), false),
    ] {
        let run = status(&mut site, by(host, &parameters));
        assert_eq!(run.code, Some(if works { 0 } else { 4 }), "{host} {parameters}: {}", run.all());
        if !works && parameters.contains("verify") {
            let error = run.json()["error"].clone();
            assert!(error["solution"].as_str().unwrap().contains("sslrootcert"), "{}", run.all());
        }
    }
    let tls =
        "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'app' AND NOT s.ssl";
    assert_eq!(server.number(tls), 0);
}

#[test]
fn what_does_not_work_is_said_in_words_and_soon() {
    let Some(mut server) = server("max_connections = 5\nsuperuser_reserved_connections = 2\n", "") else { return };
    let mut site = site(&server);
    Cli::new(&site).add(1, &[site.upload("a.pdf", b"a")]);
    let expect = |run: crate::support::cli::Run, message: &str, solution: &str| {
        let error = run.ends(4).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(message), "{}", run.all());
        assert!(error["solution"].as_str().unwrap().contains(solution), "{}", run.all());
    };
    let url = server.url("postgres");
    expect(status(&mut site, url.replace("@/app?", "@/nothing?")), "does not exist", "last part of the URL");
    expect(status(&mut site, server.tcp("nobody:x", "")), "password authentication failed", "PGPASSWORD");
    expect(status(&mut site, "postgresql://u@127.0.0.1:1/app".to_owned()), "refused", "Nothing listens there");
    expect(status(&mut site, "postgresql://u@/app?host=/no/such/folder".to_owned()), "No such file", "socket");
    let wrong = status(&mut site, "postgresql://u:s3cret-p%40ss%3Aword@h:x/app".to_owned());
    assert_eq!(wrong.ends(2).json()["error"]["kind"], "usage");
    // Every connection is taken, by somebody who keeps them.
    let mut sleepers: Vec<Child> = Vec::new();
    let look = || Command::new("psql").args(["-X", "-d", &url, "-c", "SELECT 1"]).output().unwrap();
    until("every connection is taken", Duration::from_secs(20), || {
        let full = !look().status.success();
        if !full {
            let mut psql = Command::new("psql");
            psql.args(["-X", "-d", &url, "-c", "SELECT pg_sleep(600)"]).stdin(Stdio::null());
            sleepers.push(psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        }
        full
    });
    expect(status(&mut site, url.clone()), "too many clients", "PgBouncer");
    for mut sleeper in sleepers {
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    server.stop();
    expect(status(&mut site, url.clone()), "No such file", "start PostgreSQL");
    server.resume();
    // A standby cannot be written to, and can be looked at.
    server.stop();
    fs::write(server.path("data/standby.signal"), "").unwrap();
    server.resume();
    status(&mut site, url.clone()).ends(0);
    let sync = Cli::new(&site).line("sync --json");
    assert!(sync.ends(4).stdout.contains("read-only standby"), "{}", sync.all());
}

#[test]
fn what_is_read_only_by_default_is_left_alone_and_the_setting_is_named() {
    const SETTING: &str = "default_transaction_read_only";
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    site.upload("a.pdf", b"a");
    server.sql(
        "CREATE ROLE \"the app\" LOGIN; GRANT CREATE ON SCHEMA public TO \"the app\";
         CREATE TABLE documents (id int PRIMARY KEY, user_id int NOT NULL, file_path text NOT NULL,
                                 synced_to_nas boolean NOT NULL DEFAULT FALSE, synced_at timestamp);
         GRANT ALL ON documents TO \"the app\"",
    );
    server.sql(&format!("INSERT INTO documents VALUES (1, 7, '{}')", site.path("uploads/a.pdf").display()));
    site.set("NAS_DB", server.url("the%20app"));
    let cli = Cli::new(&site);
    for (of, whose) in [
        ("ALTER ROLE \"the app\"", "for the role \"the app\""),
        ("ALTER DATABASE \"app\"", "for the database \"app\""),
        ("ALTER ROLE \"the app\" IN DATABASE \"app\"", "for the role \"the app\" in the database \"app\""),
        ("ALTER ROLE ALL", "for all roles"),
        ("ALTER SYSTEM", "for the server (configuration file)"),
    ] {
        let change = |change: &str| {
            let sql = format!("{of} {change}");
            // Only that of the server is changed outside of transactions; the others would be read-only.
            server.sql(&if of == "ALTER SYSTEM" { sql } else { format!("BEGIN READ WRITE; {sql}; COMMIT") });
            server.sql("SELECT pg_reload_conf()");
        };
        // What is reloaded comes to new sessions in a moment.
        let until_it_is = |value: &str| {
            until(value, Duration::from_secs(20), || {
                server.psql("the app", "app", &format!("SHOW {SETTING}")).unwrap().trim() == value
            });
        };
        change(&format!("SET {SETTING} = on"));
        until_it_is("on");
        for command in ["sync --json", "retry --json", "add --user 7 uploads/a.pdf --json"] {
            let run = cli.line(command);
            let error = run.ends(4).json()["error"].clone();
            assert_eq!(error["kind"], "database_unusable", "{}", run.all());
            let said = |key: &str| error[key].as_str().unwrap().to_owned();
            assert!(said("message").contains(&format!("{SETTING} is on {whose}")), "{}", run.all());
            assert!(said("solution").contains(of) && said("solution").contains(SETTING), "{}", run.all());
        }
        let doctor = cli.line("doctor --json");
        assert!(doctor.ends(4).stdout.contains(SETTING), "{}", doctor.all());
        assert_eq!(cli.line("status --json").ends(0).json()["pending"], 1);
        assert_eq!(site.stored_names().len(), 0, "nothing is sent that could not be recorded");
        assert_eq!(server.number("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'nas_sync%'"), 0);
        change(&format!("RESET {SETTING}"));
        until_it_is("off");
    }
    cli.line("sync").ends(0);
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE synced_to_nas"), 1);
}

/// A PgBouncer that gives a connection for one transaction.
pub struct Bouncer(Child);

impl Bouncer {
    pub fn start(server: &Postgres, port: u16) -> Self {
        let folder = server.path("bouncer");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let at = server.path("");
        let settings = format!(
            "[databases]\napp = host={} port={} dbname=app user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nserver_reset_query =\n",
            at.display(),
            server.port()
        );
        fs::write(folder.join("pgbouncer.ini"), settings).unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(as_nobody(&mut command).spawn().expect("pgbouncer starts"))
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pgbouncer_may_give_each_transaction_another_connection() {
    let Some(server) = Postgres::start() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _bouncer = Bouncer::start(&server, port);
    until("PgBouncer listens", Duration::from_secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut site = site(&server);
    site.set("NAS_DB", format!("postgresql://postgres@127.0.0.1:{port}/app"));
    let cli = Cli::new(&site);
    documents(&site, &cli, 300);
    let running: Vec<_> = (0..6).map(|_| cli.start(&["sync", "--json"])).collect();
    let synced: u64 = running.into_iter().map(|run| run.wait().ends(0).json()["synced"].as_u64().unwrap()).sum();
    assert_eq!(synced, 300);
    all_sent_once(&site, &server, 300);
    for command in ["status --json", "verify --json", "retry --json", "index --json", "watch --once --json"] {
        cli.line(command).ends(0);
    }
}

//! The routes over documents in PostgreSQL, whatever their ids are, and while the server goes away and comes back.

use std::fs;

use serde_json::{Value, json};

use super::requests::answers_as_described;
use super::{LONGEST, Serve, gated};
use crate::support::browser::{Browser, Look};
use crate::support::{Cli, Postgres, Site, until};

/// Ids of one type.
struct Ids {
    kind: &'static str,
    /// Of a document that is there, of one whose file is missing, and of their user; the page shows one of them in a URL.
    rows: [Value; 3],
    /// As they stand in a URL, and are none of a document.
    strangers: &'static [&'static str],
    /// The same, and no row could have them.
    impossible: &'static [&'static str],
}

fn all_ids() -> [Ids; 3] {
    [
        Ids {
            kind: "integer",
            rows: [json!(1), json!(2), json!(7)],
            strangers: &["99", "-1"],
            impossible: &["99999999999999999999", "1e3", "7f1c", "x%27%3B", "%00"],
        },
        Ids {
            kind: "uuid",
            rows: [
                json!("0b5c1a9e-0000-4000-8000-00000000000a"),
                json!("0b5c1a9e-0000-4000-8000-00000000000b"),
                json!("0b5c1a9e-0000-4000-8000-00000000000c"),
            ],
            strangers: &["0b5c1a9e-0000-4000-8000-0000000000ff"],
            impossible: &["1", "-1", "0b5c1a9e", "x%27%3B", "%00"],
        },
        Ids {
            kind: "text",
            rows: [json!("Reçu 1/2?a=b&c"), json!("42"), json!("o'neill")],
            strangers: &["99", "042", "recu", "Re%C3%A7u", "x%27%3B"],
            impossible: &["%00"],
        },
    ]
}

/// As it stands in a URL.
fn encoded(id: &Value) -> String {
    let text = id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned);
    text.bytes().fold(String::new(), |url, byte| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' => url + &char::from(byte).to_string(),
        _ => format!("{url}%{byte:02X}"),
    })
}

/// As it stands in SQL.
fn literal(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), |text| format!("'{}'", text.replace('\'', "''")))
}

fn site_of(server: &Postgres, schema: &str, ids: &Ids) -> Site {
    let mut site = Site::new();
    site.set("NAS_DB", server.url("postgres"));
    site.set("NAS_TABLE", format!("{schema}.documents"));
    server.sql(&format!(
        "CREATE SCHEMA {schema}; CREATE TABLE {schema}.documents (id {0} PRIMARY KEY, user_id {0} NOT NULL,
             file_path text NOT NULL, synced_to_nas boolean NOT NULL DEFAULT FALSE, synced_at timestamp)",
        ids.kind
    ));
    let [there, missing, user] = &ids.rows;
    for (id, path) in [(there, site.upload("a.pdf", b"a")), (missing, site.path("uploads/gone.pdf"))] {
        server.sql(&format!(
            "INSERT INTO {schema}.documents (id, user_id, file_path) VALUES ({}, {}, '{}')",
            literal(id),
            literal(user),
            path.display()
        ));
    }
    site
}

#[test]
fn every_route_answers_about_ids_of_each_type_and_those_of_another_are_not_found() {
    let Some(server) = Postgres::start() else { return };
    for ids in all_ids() {
        let site = site_of(&server, &format!("of_{}", ids.kind), &ids);
        let serve = Serve::start(&Cli::new(&site));
        let [there, missing, user] = &ids.rows;
        let [here, gone, who] = [there, missing, user].map(encoded);
        serve.until_state("idle");
        assert_eq!(answers_as_described(&serve, &here).len(), 14);

        assert_eq!(serve.object("POST", &format!("/sync/resend/{here}")), json!({ "resent": 1 }), "{}", ids.kind);
        let ran = serve.object("POST", &format!("/sync/run?user_id={who}"));
        assert!(ran["documents"] == json!([]) || ran["documents"][0]["id"] == *there, "{ran}");
        let outcome = serve.object("POST", &format!("/sync/document/{here}"));
        assert_eq!((&outcome["success"], &outcome["document"]["id"]), (&true.into(), there), "{outcome}");
        let outcome = serve.object("POST", &format!("/sync/document/{gone}"));
        assert_eq!((&outcome["success"], &outcome["error"]["kind"]), (&false.into(), &"source_missing".into()));
        let listed = serve.object("GET", &format!("/sync/documents?user_id={who}"));
        let documents = listed["documents"].as_array().unwrap().iter();
        let mut listed: Vec<_> =
            documents.map(|one| (&one["id"], &one["user_id"], &one["state"] == "synced")).collect();
        listed.sort_by_key(|(_, _, is_synced)| !is_synced);
        assert_eq!(listed, [(there, user, true), (missing, user, false)], "{}", ids.kind);
        assert_eq!(serve.object("POST", &format!("/sync/retry?document={gone}"))["retried"], 1);
        let status = serve.object("GET", &format!("/sync/status?user_id={who}"));
        assert_eq!((&status["total_documents"], &status["synced"]), (&2.into(), &1.into()), "{status}");

        for id in ids.strangers.iter().chain(ids.impossible) {
            for path in ["/sync/document/", "/sync/resend/", "/sync/retry?document="] {
                serve.post(&format!("{path}{id}")).is_problem(404, "document_not_found");
            }
        }
        for has_index in [false, true] {
            if has_index {
                Cli::new(&site).line("index").ends(0);
            }
            for id in ids.impossible {
                serve.get(&format!("/sync/documents?user_id={id}")).is_problem(400, "usage");
                serve.get(&format!("/sync/status?user_id={id}")).is_problem(400, "usage");
                serve.post(&format!("/sync/run?user_id={id}")).is_problem(400, "usage");
                // What one asks wrongly keeps nobody else from being served.
                assert_eq!(serve.get("/health").status, 200, "{}: {id}", ids.kind);
                assert_eq!(serve.object("GET", "/sync/status")["paused"], Value::Null, "{}: {id}", ids.kind);
            }
        }
        for id in ids.strangers {
            assert_eq!(serve.object("GET", &format!("/sync/documents?user_id={id}"))["documents"], json!([]));
            assert_eq!(serve.object("GET", &format!("/sync/status?user_id={id}"))["total_documents"], 0);
            assert_eq!(serve.object("POST", &format!("/sync/run?user_id={id}"))["total"], 0);
        }
        let health = serve.get("/health");
        assert_eq!(health.status, 200, "{}: {health:?}", ids.kind);
        page_works(&serve, &site, &ids);
        serve.stop();
    }
}

/// The page's own data, and what its buttons ask for.
fn page_works(serve: &Serve, site: &Site, ids: &Ids) {
    let Some(mut browser) = Browser::start(Look::DESKTOP, &[]) else { return };
    browser.go(&super::page::address(serve));
    browser.until("document.querySelectorAll('li').length === 2 && document.querySelector('.why')");
    fs::write(site.path("uploads/gone.pdf"), b"found").unwrap();
    super::page::click(&mut browser, "Retry");
    browser.until("document.querySelector('h1').innerText === 'Everything is on the NAS'");
    let resend =
        "[...document.querySelectorAll('li')].find(row => row.innerText.includes('a.pdf')).querySelector('button')";
    browser.evaluate(&format!("{resend}.click()"));
    browser.until("document.querySelector('#said').innerText === 'It is sent again.'");
    assert_eq!(browser.complaints(), [] as [String; 0], "{}", ids.kind);
}

#[test]
fn a_postgresql_that_goes_away_is_said_and_waited_for() {
    let Some(mut server) = Postgres::start() else { return };
    server.sql("CREATE ROLE app SUPERUSER LOGIN PASSWORD 'secret-of-the-database'");
    let mut site = Site::new();
    site.set("NAS_DB", server.tcp("app:secret-of-the-database", ""));
    let cli = Cli::new(&site);
    let before = cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    until("it is sent", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 1);
    serve.until_state("idle");
    server.stop();
    until("it is noticed", LONGEST, || serve.get("/sync/status").status == 503);
    for (method, path) in [
        ("GET", "/sync/status"),
        ("GET", "/sync/documents"),
        ("POST", "/sync/document/1"),
        ("POST", "/sync/retry"),
        ("POST", "/sync/resend/1"),
        ("POST", "/sync/run"),
        ("POST", "/sync/restore"),
    ] {
        let reply = serve.ask_with(method, path, &[]);
        reply.is_problem(503, "database_unusable");
        assert!(reply.json()["solution"].as_str().unwrap().contains("start PostgreSQL"), "{path}: {reply:?}");
        assert!(!reply.body.contains("secret-of"), "{reply:?}");
    }
    let config = serve.object("GET", "/sync/config");
    assert_eq!((&config["configured"], &config["error"]["kind"]), (&true.into(), &"database_unusable".into()));
    until("the loop has noticed, too", LONGEST, || serve.get("/health").status == 503);
    assert_eq!(serve.get("/health").body, "blocked by database_unusable\n");

    server.resume();
    until("it goes on by itself", LONGEST, || serve.get("/health").status == 200);
    assert_eq!(serve.object("GET", "/sync/status")["synced"], 1);
    // Nobody has to ask it for what comes now.
    let after = cli.add(7, &[site.upload("b.pdf", b"b")]);
    until("it is sent", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 2);
    assert_eq!(site.stored("b.pdf"), Some(b"b".to_vec()));
    let attempts = server.sql("SELECT document_id, outcome FROM nas_sync_attempts ORDER BY document_id");
    assert_eq!(attempts, format!("{}|synced\n{}|synced", before[0], after[0]), "each once");
    let run = serve.stop();
    assert!(!run.all().contains("secret-of"), "{}", run.all());
}

#[test]
fn a_postgresql_that_stands_still_in_the_middle_of_a_run_is_said_and_nothing_is_lost() {
    let Some(server) = Postgres::start() else { return };
    let (mut site, gate) = gated();
    site.set("NAS_DB", server.tcp("postgres", "connect_timeout=1"));
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    until("it is sent", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 1);
    serve.until_state("idle");
    fs::write(&gate, "").unwrap();
    cli.add(7, &[site.upload("b.pdf", b"b")]);
    until("it is being sent", LONGEST, || serve.object("GET", "/sync/status")["sending"] == 1);
    // The last that is asked of the database before it goes.
    until("its name is claimed", LONGEST, || server.number("SELECT count(*) FROM nas_sync_names") == 2);
    server.freeze();
    fs::remove_file(&gate).unwrap();
    until("it is stored", LONGEST, || site.stored("b.pdf").is_some());
    assert_eq!(serve.get("/").status, 200, "the page itself needs no database");
    // What was counted a moment before may be told once more.
    until("it is noticed", LONGEST, || serve.get("/sync/status").status == 503);
    for (method, path) in [("GET", "/sync/status"), ("GET", "/sync/documents"), ("POST", "/sync/retry")] {
        let reply = serve.ask_with(method, path, &[]);
        reply.is_problem(503, "database_unusable");
        assert!(reply.json()["detail"].as_str().unwrap().contains("does not answer"), "{path}: {reply:?}");
    }
    // Far sooner than a statement may take.
    until("the loop has noticed, too", LONGEST, || serve.get("/health").status == 503);
    assert_eq!(serve.get("/health").body, "blocked by database_unusable\n");
    server.thaw();
    until("it goes on by itself", LONGEST, || serve.get("/health").status == 200);
    until("what was being sent is recorded", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 2);
    assert_eq!(server.sql("SELECT document_id, outcome FROM nas_sync_attempts ORDER BY 1"), "1|synced\n2|synced");
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE synced_to_nas <> (synced_at IS NOT NULL)"), 0);
    serve.stop();
}

#[test]
fn a_postgresql_that_becomes_read_only_is_not_written_to_and_waited_for() {
    let Some(server) = Postgres::start() else { return };
    let ids = &all_ids()[0];
    let site = site_of(&server, "of_documents", ids);
    let cli = Cli::new(&site);
    let serve = Serve::start(&cli);
    until("one is sent", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 1);
    let set = |value: &str| {
        for sql in [&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"), "SELECT pg_reload_conf()"] {
            server.sql(sql);
        }
        until("it is set", LONGEST, || server.sql("SHOW default_transaction_read_only").trim() == value);
    };
    set("on");
    let late = site.upload("late.pdf", b"late");
    let insert = format!("INSERT INTO of_documents.documents VALUES (3, 7, '{}')", late.display());
    server.sql(&format!("BEGIN READ WRITE; {insert}; COMMIT"));
    until("it is noticed", LONGEST, || serve.post("/sync/run").status == 503);
    for path in ["/sync/run", "/sync/document/3", "/sync/retry", "/sync/resend/1"] {
        let reply = serve.post(path);
        reply.is_problem(503, "database_unusable");
        assert!(reply.body.contains("default_transaction_read_only"), "{path}: {reply:?}");
    }
    let status = serve.object("GET", "/sync/status");
    assert_eq!((&status["synced"], &status["total_documents"]), (&1.into(), &3.into()), "{status}");
    assert_eq!(site.stored("late.pdf"), None, "nothing is sent that could not be recorded");
    set("off");
    until("it goes on by itself", LONGEST, || serve.object("GET", "/sync/status")["synced"] == 2);
    assert_eq!(site.stored("late.pdf"), Some(b"late".to_vec()));
    serve.stop();
}

//! Each route with good and bad input, and who may ask.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{LONGEST, Place, Serve};
use crate::support::{Cli, Site, until};

/// Insists on the keys that a schema requires, and on the types of all that it knows.
#[track_caller]
pub(super) fn fits(description: &Value, name: &str, object: &Value) {
    let schema = &description["components"]["schemas"][name];
    assert!(schema.is_object(), "{name}");
    for key in schema["required"].as_array().unwrap() {
        assert!(object.get(key.as_str().unwrap()).is_some(), "{name} lacks {key}: {object}");
    }
    for (key, value) in object.as_object().unwrap() {
        let schema = &schema["properties"][key.as_str()];
        if let (Some(parts), Some(name)) = (value.as_array(), schema["items"]["$ref"].as_str()) {
            for part in parts {
                fits(description, name.rsplit('/').next().unwrap(), part);
            }
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(types.contains(&is) || is == "integer" && types.contains(&"number"), "{name}.{key} is {value}");
    }
}

/// Asks for everything that is described, about one document, and gives the paths and methods.
#[track_caller]
pub(super) fn answers_as_described(serve: &Serve, id: &str) -> BTreeSet<(String, String)> {
    let description = serve.object("GET", "/openapi.json");
    fits(&description, "Description", &description);
    let mut described = BTreeSet::new();
    for (path, verbs) in description["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            let method = verb.to_uppercase();
            described.insert((path.clone(), method.clone()));
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            let (media_type, content) = content.iter().next().unwrap();
            if media_type == "text/event-stream" {
                serve.follow();
                continue;
            }
            let reply = serve.ask_with(&method, &path.replace("{id}", id), &[]);
            assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
            assert!(reply.head.contains(&format!("content-type: {media_type}")), "{reply:?}");
            assert!(reply.head.contains("x-content-type-options: nosniff"), "{reply:?}");
            assert!(reply.head.contains("content-security-policy: default-src 'none'"), "{reply:?}");
            if let Some(schema) = content["schema"]["$ref"].as_str() {
                fits(&description, schema.rsplit('/').next().unwrap(), &reply.json());
            }
        }
    }
    described
}

#[test]
fn every_route_answers_as_it_is_described_and_there_are_no_others() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("Reçu n° 1.pdf", b"one")]);
    cli.add(8, &[site.upload("b.pdf", b"b")]);
    let serve = Serve::start(&cli);
    let described = answers_as_described(&serve, "1");
    assert_eq!(described.len(), 14, "{described:?}");
    for (path, _) in &described {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if !described.contains(&(path.clone(), method.to_owned())) {
                let reply = serve.ask_with(method, &path.replace("{id}", "1"), &[]);
                reply.is_problem(405, "usage");
                assert!(reply.head.contains("allow: "), "{reply:?}");
            }
        }
    }
    for path in ["/sync", "/sync/", "/sync/status/", "/sync/document", "/sync/document/1/2", "/docs", "/..%2f", "//"] {
        serve.get(path).is_problem(404, "usage");
    }
    let head = serve.ask_with("HEAD", "/health", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    serve.stop();
}

#[test]
fn the_routes_of_the_backend_answer_about_their_documents() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let ids = cli.add(7, &[site.upload("Reçu <i>n° 1.pdf", b"one"), site.upload("b.pdf", b"b")]);
    let gone = site.insert(&site.path("uploads/gone.pdf"));
    let serve = Serve::start(&cli);
    let config = serve.object("GET", "/sync/config");
    assert_eq!((&config["configured"], &config["host"]), (&true.into(), &"127.0.0.1".into()));
    let tested = serve.object("POST", "/sync/test");
    assert_eq!((&tested["success"], &tested["level"]), (&true.into(), &"durable".into()), "{tested}");
    assert!(tested["room"]["available"].as_u64().is_some_and(|bytes| bytes > 0), "{tested}");

    until("the loop has sent them", LONGEST, || serve.object("GET", "/sync/status?user_id=7")["synced"] == 2);
    serve.until_state("idle");
    let status = serve.object("GET", "/sync/status");
    assert_eq!((&status["total_documents"], &status["waiting"]), (&3.into(), &1.into()), "{status}");
    assert_eq!(status["sync_percentage"], 66.7);
    assert!(
        status["last_sync"].as_str().is_some_and(|time| time.ends_with('Z')) && status["room"].is_object(),
        "{status}"
    );
    let listed = serve.object("GET", "/sync/documents?state=waiting");
    assert_eq!(listed["documents"][0]["error"]["kind"], "source_missing", "{listed}");
    let found = serve.object("GET", "/sync/documents?name=RE%C3%A7u&user_id=7&limit=5");
    assert_eq!(found["documents"][0]["name"], "Reçu <i>n° 1.pdf");

    let outcome = serve.object("POST", &format!("/sync/document/{}", ids[0]));
    assert_eq!(outcome["success"], true, "{outcome}");
    let outcome = serve.object("POST", &format!("/sync/document/{gone}"));
    assert_eq!((&outcome["success"], &outcome["error"]["kind"]), (&false.into(), &"source_missing".into()));
    site.upload("gone.pdf", b"here");
    assert_eq!(serve.object("POST", "/sync/retry")["retried"], 1);
    let outcome = serve.object("POST", &format!("/sync/document/{gone}"));
    assert_eq!((&outcome["success"], &outcome["document"]["level"]), (&true.into(), &"durable".into()), "{outcome}");

    site.upload("b.pdf", b"another b");
    assert_eq!(serve.object("POST", &format!("/sync/resend/{}", ids[1]))["resent"], 1);
    serve.object("POST", "/sync/run?user_id=7");
    assert_eq!(site.stored("b.pdf"), Some(b"another b".to_vec()));
    assert_eq!(site.marked().len(), 3);
    serve.stop();
}

#[test]
fn documents_come_back_to_their_places_and_another_file_stays() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    let [lost, newer] = [site.upload("2024/lost.pdf", b"lost"), site.upload("newer.pdf", b"older")];
    fs::File::options().write(true).open(&newer).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let ids = cli.add(7, &[lost.clone(), newer.clone()]);
    cli.line("sync").ends(0);
    let serve = Serve::start(&cli);
    fs::remove_dir_all(site.path("uploads/2024")).unwrap();
    fs::write(&newer, "newer").unwrap();
    assert_eq!(serve.object("POST", "/sync/restore?user_id=8")["total"], 0);
    let report = serve.object("POST", "/sync/restore?user_id=7");
    assert_eq!((&report["total"], &report["restored"], &report["failed"]), (&2.into(), &1.into(), &1.into()));
    let why = report["errors"][0].as_str().unwrap();
    assert!(why.starts_with(&format!("Document {}: ", ids[1])) && why.contains("stays"), "{report}");
    assert_eq!((fs::read(&lost).unwrap(), fs::read(&newer).unwrap()), (b"lost".to_vec(), b"newer".to_vec()));
    let report = serve.object("POST", &format!("/sync/restore?document={}&overwrite=true", ids[1]));
    assert_eq!(report, json!({ "total": 1, "restored": 1, "were_here": 0, "failed": 0, "errors": [] }));
    assert_eq!(fs::read(&newer).unwrap(), b"older");
    let report = serve.object("POST", "/sync/restore?document=99");
    assert_eq!((&report["total"], &report["failed"]), (&1.into(), &1.into()), "{report}");
    serve.stop();

    // Where the NAS is away nothing comes back, and that is the answer.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    site.set("NAS_PORT", closed.to_string());
    fs::remove_file(&lost).unwrap();
    let serve = Serve::start(&Cli::new(&site));
    let report = serve.object("POST", "/sync/restore");
    assert_eq!((&report["restored"], &report["error"]["kind"]), (&0.into(), &"connection_refused".into()), "{report}");
    assert!(!lost.exists());
    serve.stop();
}

#[test]
fn what_makes_no_sense_is_said_to_make_none_and_does_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let id = cli.add(7, &[site.upload("a.pdf", b"a")])[0];
    cli.line("sync").ends(0);
    let serve = Serve::start(&cli);
    let documents = "id of a document";
    for (method, path, taken) in [
        ("POST", "/sync/run?user=7", "user_id takes a user"),
        ("POST", "/sync/test?user_id=7", "takes no parameter"),
        ("POST", "/sync/run?user_id=", "user_id takes a user"),
        ("POST", "/sync/run?user_id=nobody", "user_id takes a user"),
        ("GET", "/sync/status?user_id=x", "user_id takes a user"),
        ("GET", "/sync/documents?user_id=7.5", "user_id takes a user"),
        ("POST", "/sync/retry?document=x", documents),
        ("POST", "/sync/run?user_id=7&user_id=8", "user_id takes a user"),
        ("GET", "/sync/documents?state=sent", "pending, waiting, failed, synced"),
        ("GET", "/sync/documents?limit=0", "a whole number from 1 to 1000"),
        ("GET", "/sync/documents?limit=1e3", "a whole number from 1 to 1000"),
        ("GET", "/sync/status?limit=1", "user_id takes a user"),
        ("POST", "/sync/resend/%ff", documents),
        ("POST", "/sync/restore?overwrite=1", "true or false"),
        ("POST", "/sync/restore?to=%2Ftmp", "overwrite takes true or false"),
    ] {
        let reply = serve.ask_with(method, path, &[]);
        reply.is_problem(400, "usage");
        let problem = reply.json();
        let solution = problem["solution"].as_str().unwrap();
        assert!(solution.contains(taken) && !problem.to_string().contains("command"), "{path}: {problem}");
    }
    for path in
        ["/sync/document/99", "/sync/document/x%27", "/sync/resend/99", "/sync/resend/-1", "/sync/retry?document=99"]
    {
        serve.post(path).is_problem(404, "document_not_found");
    }
    for body in ["{\"user_id\": 7}", "user_id=7", "[]"] {
        let length = body.len().to_string();
        let mut request = serve.request("POST", "/sync/run", &[("Content-Length", &length)]);
        request.extend_from_slice(body.as_bytes());
        serve.place.exchange(&request).is_problem(400, "usage");
    }
    let mut request = serve.request("POST", &format!("/sync/resend/{id}"), &[("Content-Length", "2")]);
    request.extend_from_slice(b"{}");
    assert_eq!(serve.place.exchange(&request).json()["resent"], 1, "clients that always send an object");
    // A user without documents is no error, as in `status`.
    assert_eq!(serve.object("POST", "/sync/run?user_id=99")["total"], 0);
    serve.stop();
}

#[test]
fn a_database_that_goes_away_is_said_and_comes_back() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    until("it is sent", LONGEST, || site.marked().len() == 1);
    serve.until_state("idle");
    let (here, away) = (site.path("documents.db"), site.path("away.db"));
    for extension in ["", "-wal", "-shm"] {
        let of = |path: &std::path::Path| path.with_extension(format!("db{extension}"));
        let _ = fs::rename(of(&here), of(&away));
    }
    // Where counting takes long, it may be told once more what was counted before.
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
        serve.ask_with(method, path, &[]).is_problem(503, "database_unusable");
    }
    assert!(!here.exists(), "nothing was made in its place");
    assert_eq!(serve.object("GET", "/sync/config")["configured"], true);
    for extension in ["", "-wal", "-shm"] {
        let of = |path: &std::path::Path| path.with_extension(format!("db{extension}"));
        let _ = fs::rename(of(&away), of(&here));
    }
    until("it is there again", LONGEST, || serve.get("/sync/status").status == 200);
    assert_eq!(serve.object("GET", "/sync/status")["synced"], 1);
    serve.stop();
}

#[test]
fn a_nas_that_is_away_is_an_outcome_and_no_error_of_the_request() {
    let mut site = Site::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    site.set("NAS_PORT", closed.to_string());
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let serve = Serve::start(&cli);
    let tested = serve.object("POST", "/sync/test");
    assert_eq!((&tested["success"], &tested["error"]["kind"]), (&false.into(), &"connection_refused".into()));
    let ran = serve.object("POST", "/sync/run");
    assert_eq!((&ran["pending"], &ran["error"]["kind"]), (&1.into(), &"connection_refused".into()), "{ran}");
    assert_eq!((&ran["documents"], &ran["more"]), (&json!([]), &false.into()), "nothing was tried: {ran}");
    let outcome = serve.object("POST", "/sync/document/1");
    assert_eq!((&outcome["success"], &outcome["error"]["kind"]), (&false.into(), &"connection_refused".into()));
    // It was never reached, and is tried again all the same.
    serve.until_state("blocked");
    let status = serve.object("GET", "/sync/status");
    assert!(status["trouble"]["solution"].is_string(), "{status}");
    assert_eq!(site.marked(), []);
    serve.stop();
}

#[test]
fn without_the_token_nothing_is_told() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_API_TOKEN", "sesame-sesame-sesame");
    cli.keep_secret("sesame-sesame-sesame");
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let mut serve = Serve::start(&cli);
    let description = serve.object("GET", "/openapi.json");
    assert_eq!(serve.object("GET", "/sync/status")["total_documents"], 1);
    serve.token = None;
    for (path, verbs) in description["paths"].as_object().unwrap() {
        for method in verbs.as_object().unwrap().keys() {
            let open = ["/", "/health", "/openapi.json"].contains(&path.as_str());
            for shown in ["", "Bearer ", "Bearer sesame", "Bearer sesame-sesame-sesamE", "Basic sesame-sesame-sesame"] {
                let path = path.replace("{id}", "1");
                let reply = serve.ask_with(&method.to_uppercase(), &path, &[("Authorization", shown)]);
                if open {
                    assert_eq!(reply.status, 200, "{reply:?}");
                } else {
                    reply.is_problem(401, "not_allowed");
                    assert!(reply.head.contains("www-authenticate: bearer"), "{reply:?}");
                }
                assert!(!reply.body.contains("a.pdf"), "{reply:?}");
            }
        }
    }
    // Nor is it said what there is besides.
    serve.get("/sync/other").is_problem(401, "not_allowed");
    serve.ask_with("PUT", "/sync/run", &[]).is_problem(401, "not_allowed");
    serve.stop();

    // From a file, with a line end behind it.
    fs::write(site.path("token"), "sesame-sesame-sesame\n").unwrap();
    cli.unset("NAS_API_TOKEN").set("NAS_API_TOKEN_FILE", site.path("token"));
    let mut serve = Serve::start(&cli);
    serve.get("/sync/status").is_problem(401, "not_allowed");
    serve.token = Some("sesame-sesame-sesame".to_owned());
    assert_eq!(serve.get("/sync/status").status, 200);
    assert!(!serve.stop().stderr.contains("guessed"));

    // One that can be guessed is warned about.
    fs::write(site.path("token"), "s").unwrap();
    let run = Serve::start(&cli).stop();
    assert!(run.stderr.contains("NAS_API_TOKEN is short enough to be guessed"), "{}", run.all());
}

#[test]
fn where_others_could_connect_there_is_a_token_or_nothing() {
    let site = Site::new();
    let cli = Cli::new(&site);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let run = cli.line(&format!("serve --listen {address}"));
        assert!(run.ends(2).stderr.contains("NAS_API_TOKEN"), "{}", run.all());
    }
    for address in ["here", "8730", "unix:"] {
        cli.line(&format!("serve --listen {address}")).ends(2);
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let run = cli.line(&format!("serve --listen {}", taken.local_addr().unwrap()));
    assert!(run.ends(2).stderr.contains("cannot listen on"), "{}", run.all());
    fs::write(site.path("token"), "\n").unwrap();
    let mut cli = Cli::new(&site);
    cli.set("NAS_API_TOKEN_FILE", site.path("token"));
    cli.line("serve --listen 0.0.0.0:0").ends(2);
}

#[test]
fn pages_of_others_are_refused_whatever_they_ask() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_API_HOSTS", "docs.example.org");
    cli.add(7, &[site.upload("a.pdf", b"a")]);
    let Place::Address(address) = Place::new() else { unreachable!() };
    let serve = Serve::start_at(&cli, Place::Address(address.clone()));
    for (method, path) in
        [("GET", "/"), ("GET", "/sync/status"), ("POST", "/sync/run"), ("GET", "/health"), ("GET", "/x")]
    {
        for host in ["evil.example", "127.0.0.1.evil.example:8730", ""] {
            serve.ask_with(method, path, &[("Host", host)]).is_problem(421, "not_allowed");
        }
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            serve.ask_with(method, path, &[("Origin", origin)]).is_problem(403, "not_allowed");
        }
        for site in ["cross-site", "same-site"] {
            serve.ask_with(method, path, &[("Sec-Fetch-Site", site)]).is_problem(403, "not_allowed");
        }
    }
    let allowed = |headers: &[(&str, &str)]| {
        let reply = serve.ask_with("GET", "/sync/status", headers);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(!reply.head.contains("access-control-"), "{reply:?}");
    };
    allowed(&[("Host", &address), ("Origin", &format!("http://{address}")), ("Sec-Fetch-Site", "same-origin")]);
    allowed(&[("Host", "docs.example.org"), ("Origin", "https://docs.example.org")]);
    assert_eq!(serve.place.exchange(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").status, 400, "no Host");
    assert_eq!(serve.place.exchange(b"GET /health HTTP/1.0\r\n\r\n").status, 200, "an old client, which is no browser");
    serve.stop();
}

//! `send --json-lines`: documents on standard input, outcomes on standard output, no database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::ChildStdin;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::nas_cli::SLOW;
use crate::support::chaos::{Chaos, Fault, Pace, Stop, Way};
use crate::support::cli::{Run, Running};
use crate::support::{Cli, Site, noise};

const WORDS: [&str; 2] = ["send", "--json-lines"];
/// Longer than any answer may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn line(key: &str, path: &Path, name: &str) -> String {
    json!({ "key": key, "path": path, "name": name }).to_string()
}

/// Gives it all that is to be read, and takes what it answers.
fn send(cli: &Cli, words: &[&str], input: impl Into<Vec<u8>>) -> (Run, Vec<Value>) {
    let (running, mut pipe) = cli.start_to_read(words);
    let input = input.into();
    let writing = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let run = running.wait();
    writing.join().unwrap();
    let answers = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (run, answers)
}

/// The answers by their keys, each of which has one.
fn by_key(answers: &[Value]) -> BTreeMap<&str, &Value> {
    let keyed: BTreeMap<_, _> = answers.iter().filter_map(|answer| Some((answer["key"].as_str()?, answer))).collect();
    assert_eq!(keyed.len(), answers.iter().filter(|answer| answer["key"].is_string()).count(), "{answers:?}");
    keyed
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// A run that is talked to.
struct Talk {
    running: Running,
    input: Option<ChildStdin>,
    answers: mpsc::Receiver<Value>,
}

impl Talk {
    fn start(cli: &Cli) -> Self {
        let (mut running, input) = cli.start_to_read(&WORDS);
        let (sender, answers) = mpsc::channel();
        let output = BufReader::new(running.take_stdout());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { running, input: Some(input), answers }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    #[track_caller]
    fn answer(&self) -> Value {
        self.answers.recv_timeout(DEADLINE).unwrap()
    }

    fn end(mut self) -> Run {
        drop(self.input.take());
        self.running.wait()
    }
}

#[test]
fn each_line_gets_its_answer_by_its_key_and_no_database_is_made() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let invoice = noise(300_000, 1);
    let (path, empty) = (site.upload("a b.pdf", &invoice), site.upload("empty", b""));
    let mut input = [
        line("42", &path, "2024/Facture n° 7\nà payer.pdf"),
        line("", &path, "x"),
        line("clé \u{202e}", &empty, "empty"),
        line("gone", &site.path("uploads/gone"), "gone"),
        line("folder", &site.path("uploads"), "folder"),
        line("up", &path, "../up"),
        line("twin", &path, "empty"),
        "no JSON".into(),
        json!([1]).to_string(),
        json!({ "key": 7, "path": path, "name": "seven" }).to_string(),
        json!({ "key": "half", "path": path }).to_string(),
        String::new(),
    ]
    .join("\n")
    .into_bytes();
    input.extend(b"\xff\n");
    input.extend("[".repeat(200_000).bytes());
    input.extend(format!("\n{}", line("last", &path, "last")).bytes());
    let (run, answers) = send(&cli, &WORDS, input);
    run.ends(1);
    assert_eq!(answers.len(), 14, "{}", run.all());
    let keyed = by_key(&answers);
    for (key, name, content) in [
        ("42", "2024/Facture n° 7\nà payer.pdf", &invoice),
        ("clé \u{202e}", "empty", &Vec::new()),
        ("last", "last", &invoice),
    ] {
        let expected = json!({
            "key": key, "outcome": "synced", "level": "durable", "sha256": hex(content), "bytes": content.len(),
        });
        assert_eq!(keyed[key], &expected);
        assert_eq!(site.stored(name).as_ref(), Some(content));
    }
    let failures = [
        ("", "usage"),
        ("gone", "source_missing"),
        ("folder", "source_not_regular"),
        ("up", "name_unsendable"),
        ("twin", "name_clash"),
        ("half", "usage"),
    ];
    for (key, kind) in failures {
        let error = &keyed[key]["error"];
        assert_eq!((&keyed[key]["outcome"], &error["kind"]), (&json!("failed"), &json!(kind)), "{}", run.all());
        assert!(["message", "details", "cause", "solution"].iter().all(|part| error.get(part).is_some()), "{error}");
    }
    let keyless = answers.iter().filter(|answer| !answer["key"].is_string());
    let keyless: Vec<_> = keyless.map(|answer| (answer["line"].as_u64().unwrap(), answer["key"].clone())).collect();
    let expected = [(8, Value::Null), (9, Value::Null), (10, json!(7)), (12, Value::Null), (13, Value::Null)];
    assert_eq!(keyless, expected, "{}", run.all());
    assert!(!site.path("documents.db").exists(), "there is no database");
    assert!(run.stderr.contains("3 of 14 documents synced, 11 failed"), "{}", run.all());
}

#[test]
fn a_line_is_answered_while_more_is_to_come_over_one_login_that_is_made_anew_when_it_is_lost() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|number| match number {
        0 => Fault::stop(Way::ToServer, 1_500_000, Stop::Reset),
        _ => Fault::default(),
    });
    site.through(&chaos);
    let mut talk = Talk::start(&Cli::new(&site));
    for number in 0..3 {
        talk.say(&line(&number.to_string(), &site.upload(&number.to_string(), b"small"), &number.to_string()));
        let answer = talk.answer();
        assert_eq!((&answer["key"], &answer["outcome"]), (&json!(number.to_string()), &json!("synced")));
    }
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1, "one login for three batches");
    // The connection is cut in the middle of these.
    let contents: Vec<Vec<u8>> = (0..30).map(|number| noise(100_000, number)).collect();
    for (number, content) in contents.iter().enumerate() {
        talk.say(&line(&format!("l{number}"), &site.upload(&format!("l{number}"), content), &format!("d/{number}")));
    }
    let answers: Vec<Value> = contents.iter().map(|_| talk.answer()).collect();
    assert!(answers.iter().all(|answer| answer["outcome"] == "synced"), "{answers:?}");
    assert_eq!(by_key(&answers).len(), 30);
    for (number, content) in contents.iter().enumerate() {
        assert!(site.stored(&format!("d/{number}")).as_ref() == Some(content), "{number}");
    }
    let run = talk.end();
    run.ends(0);
    assert!(run.stderr.contains("going on after a lost connection"), "{}", run.all());
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 2);
}

#[test]
fn a_long_batch_is_answered_while_it_runs() {
    let mut site = Site::new();
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(1_250_000)));
    site.through(&chaos);
    site.set("NAS_DURABILITY", "stored");
    // More than what gets its names together over a way that seems long: on a busy machine any does.
    let content = |number: u64| noise(100_000, number);
    let input: Vec<String> = (0..200)
        .map(|number| {
            line(&number.to_string(), &site.upload(&number.to_string(), &content(number)), &number.to_string())
        })
        .collect();
    let mut talk = Talk::start(&Cli::new(&site));
    talk.say(&input.join("\n"));
    let first = talk.answer();
    talk.running.signal("KILL");
    let answers: Vec<Value> = std::iter::once(first).chain(talk.answers.iter()).collect();
    assert!(answers.len() < 200, "all answers came at once");
    for answer in answers {
        assert_eq!((&answer["outcome"], &answer["level"]), (&json!("synced"), &json!("stored")));
        let number: u64 = answer["key"].as_str().unwrap().parse().unwrap();
        assert!(site.stored(&number.to_string()) == Some(content(number)), "{number} is told and not there");
    }
    talk.end();
}

#[test]
fn a_name_belongs_to_the_key_that_came_first_which_may_send_it_again() {
    let site = Site::new();
    let mut talk = Talk::start(&Cli::new(&site));
    let (one, two) = (site.upload("one", b"one"), site.upload("two", b"two"));
    let mut outcome = |key: &str, path: &Path, name: &str| {
        talk.say(&line(key, path, name));
        let answer = talk.answer();
        answer["error"]["kind"].as_str().unwrap_or("synced").to_owned()
    };
    assert_eq!(outcome("a", &one, "x/name"), "synced");
    assert_eq!(outcome("b", &two, "x/name"), "name_clash");
    assert_eq!(outcome("b", &two, "x"), "name_clash", "it is the folder of another document");
    assert_eq!(outcome("b", &two, "x/name/y"), "name_clash", "another document would be its folder");
    assert_eq!(site.stored("x/name"), Some(b"one".to_vec()));
    assert_eq!(outcome("a", &two, "x/name"), "synced");
    assert_eq!(site.stored("x/name"), Some(b"two".to_vec()));
    // One key twice in what comes at once: both, in their order.
    talk.say(&format!("{}\n{}", line("a", &one, "x/name"), line("a", &two, "x/name")));
    assert_eq!((&talk.answer()["outcome"], &talk.answer()["outcome"]), (&json!("synced"), &json!("synced")));
    assert_eq!(site.stored("x/name"), Some(b"two".to_vec()));
    talk.end().ends(1);
}

#[test]
fn nothing_outside_the_upload_folder_is_read_and_an_empty_one_is_named() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    let outside = site.path("secret");
    fs::write(&outside, "secret").unwrap();
    let (_, answers) = send(&cli, &WORDS, line("1", Path::new("gone.pdf"), "gone"));
    assert_eq!(answers[0]["error"]["kind"], "uploads_unavailable", "{answers:?}");
    std::os::unix::fs::symlink(&outside, site.path("uploads/link")).unwrap();
    site.upload("in.pdf", b"in");
    let input = [
        line("abs", &outside, "abs"),
        line("dots", Path::new("../secret"), "dots"),
        line("link", Path::new("link"), "link"),
        line("in", Path::new("in.pdf"), "in"),
    ];
    let (run, answers) = send(&cli, &WORDS, input.join("\n"));
    run.ends(1);
    let keyed = by_key(&answers);
    assert!(["abs", "dots", "link"].iter().all(|key| keyed[key]["outcome"] == "failed"), "{}", run.all());
    assert_eq!((keyed["in"]["outcome"].clone(), site.stored_names()), (json!("synced"), vec!["in".to_owned()]));
}

#[test]
fn a_nas_that_takes_no_login_is_asked_once_and_every_line_has_an_answer() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_KEY_FILE", {
        let stranger = site.path("stranger");
        crate::support::sshd::keygen(&stranger, "ed25519", "");
        stranger
    });
    let mut talk = Talk::start(&cli);
    for key in ["1", "2", "3"] {
        talk.say(&line(key, &site.upload(key, b"x"), key));
        assert_eq!(talk.answer()["error"]["kind"], "login_refused");
    }
    talk.end().ends(3);
    assert_eq!(site.sshd.log().matches("Failed publickey").count(), 1, "{}", site.sshd.log());
    let mut unset = Cli::new(&site);
    unset.unset("NAS_HOST");
    send(&unset, &WORDS, "").0.ends(2);
    send(&Cli::new(&site), &["send"], "").0.ends(2);
    let (run, answers) = send(&Cli::new(&site), &WORDS, "\n \n");
    assert!(run.ends(0).stdout.is_empty() && answers.is_empty());
}

#[test]
fn sigterm_ends_it_with_143_and_each_line_that_was_taken_has_an_answer() {
    let mut site = Site::new();
    site.wrap_rsync(SLOW);
    let input: Vec<String> = (0..400)
        .map(|number| {
            line(&number.to_string(), &site.upload(&format!("{number}"), &noise(100_000, number)), &number.to_string())
        })
        .collect();
    let mut talk = Talk::start(&Cli::new(&site));
    talk.say(&input.join("\n"));
    let names = || site.stored_names().iter().filter(|name| !name.starts_with('.')).count();
    talk.running.until(|| names() >= 100);
    talk.running.signal("TERM");
    let answers: Vec<Value> = (0..400).map(|_| talk.answer()).collect();
    let run = talk.end();
    run.ends(143);
    let (synced, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["outcome"] == "synced");
    assert!(!synced.is_empty() && !failed.is_empty(), "{}", run.all());
    assert!(failed.iter().all(|answer| answer["error"]["kind"] == "interrupted"), "{failed:?}");
    for answer in synced {
        let number: u64 = answer["key"].as_str().unwrap().parse().unwrap();
        assert!(site.stored(&number.to_string()) == Some(noise(100_000, number)), "{number} is told and not there");
    }
}

#[test]
fn after_a_kill_the_same_lines_bring_everything_there() {
    let mut site = Site::new();
    let plain = site.variables.clone();
    site.wrap_rsync(SLOW);
    let input: Vec<String> = (0..100)
        .map(|number| {
            line(&number.to_string(), &site.upload(&format!("{number}"), &noise(50_000, number)), &number.to_string())
        })
        .collect();
    let mut talk = Talk::start(&Cli::new(&site));
    talk.say(&input.join("\n"));
    talk.running.until(|| site.stored_names().len() >= 30);
    talk.running.signal("KILL");
    assert_eq!(talk.end().code, None);
    site.variables = plain;
    let (run, answers) = send(&Cli::new(&site), &WORDS, input.join("\n"));
    run.ends(0);
    assert_eq!(by_key(&answers).len(), 100);
    for number in 0..100 {
        assert!(site.stored(&number.to_string()) == Some(noise(50_000, number)), "{number}");
    }
}

#[test]
fn twenty_thousand_lines_and_a_line_without_end_take_little_memory() {
    let site = Site::new();
    let path = site.upload("small", b"small");
    let mut talk = Talk::start(&Cli::new(&site));
    let mut pipe = talk.input.take().unwrap();
    let writing = std::thread::spawn(move || {
        for number in 0..20_000 {
            // One in ten is there; the others cost their place all the same.
            let path = if number % 10 == 0 { path.clone() } else { path.with_extension("gone") };
            writeln!(pipe, "{}", line(&format!("key {number}"), &path, &format!("d{}/{number}", number % 7))).unwrap();
        }
        for _ in 0..4_000 {
            pipe.write_all(&[b'x'; 16_384]).unwrap();
        }
        writeln!(pipe).unwrap();
        pipe
    });
    let mut keys = BTreeSet::new();
    let mut synced = 0;
    while keys.len() < 20_000 {
        let answer = talk.answer();
        synced += u64::from(answer["outcome"] == "synced");
        keys.insert(answer["key"].as_str().unwrap().to_owned());
    }
    let last = talk.answer();
    assert_eq!((&last["line"], &last["error"]["kind"]), (&json!(20_001), &json!("usage")));
    let peak = talk.running.peak_memory().unwrap();
    talk.input = Some(writing.join().unwrap());
    assert_eq!(synced, 2_000);
    talk.end().ends(1);
    assert!(peak < 80_000, "{peak} KB");
}

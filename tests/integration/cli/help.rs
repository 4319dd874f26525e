//! What the program says of itself: help, answers to typos, completions, manual pages.

use super::*;

#[test]
fn help_names_the_variables() {
    let place = Place::new(&[]);
    let ended = place.run("--help");
    assert_eq!(ended.code, 0);
    for name in ["NAS_HOST", "NAS_USER", "NAS_PATH", "NAS_PORT", "NAS_KEY_FILE", "NAS_DB", "UPLOAD_DIR", "NAS_LAYOUT"] {
        assert!(ended.stdout.contains(name), "{name}");
    }
    for line in ["push --help", "push -h"] {
        let ended = place.run(line);
        assert!(ended.code == 0 && ended.stdout.contains("SRC… [USER@]HOST:DEST"), "{line}");
    }
    assert!(place.run("--version").stdout.starts_with("nas-sync "));
    assert!(place.rsync(&["--version"]).stdout.contains("protocol version 32"));
}

#[test]
fn short_help_is_the_commands_own_and_long_help_has_the_settings_once() {
    let place = Place::new(&[]);
    for command in ["sync", "add", "watch", "remove", "status", "list", "test"] {
        let short = place.run(&format!("{command} -h"));
        assert!(short.code == 0 && short.stdout.contains("Example: nas-sync "), "{command}: {}", short.stdout);
        assert!(!short.stdout.contains("--nas-host"), "{command}: {}", short.stdout);
        let long = place.run(&format!("{command} --help"));
        assert_eq!(long.stdout.matches("--nas-host").count(), 1, "{command}: {}", long.stdout);
    }
    // Each example is understood.
    let help = place.run("add -h").stdout;
    let example = help.lines().find_map(|line| line.strip_prefix("Example: nas-sync ")).unwrap();
    assert!(example.starts_with("add --user 7 "), "{example}");
}

#[test]
fn typos_are_answered_with_what_is_nearest() {
    let place = Place::new(&[]);
    for (line, nearest) in [
        ("snyc", "'sync'"),
        ("sync --dry-rnu", "'--dry-run'"),
        ("push --progres a h:b", "--progress?"),
        ("push --recursiv a h:b", "--recursive?"),
    ] {
        let ended = place.run(line);
        assert!(ended.code != 0 && ended.stderr.contains(nearest), "{line}: {}", ended.stderr);
    }
    let ended = place.run("push --nothing-like-it a h:b");
    assert!(!ended.stderr.contains("Did you mean"), "{}", ended.stderr);
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let place = Place::new(&[]);
    let help = place.run("--help").stdout;
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let names: Vec<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty() && *name != "help")
        })
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&format!("completions {shell}"));
        assert_eq!(script.code, 0, "{}", script.stderr);
        for name in names.iter().copied().chain(["dry-run", "compress-choice", "nas-host"]) {
            assert!(script.stdout.contains(name), "{shell} does not complete {name}");
        }
    }
    let run = place.run("man --to pages");
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in &names {
        let page = std::fs::read_to_string(place.path(&format!("pages/nas-sync-{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH nas-sync-{name} 1  \"nas-sync ")), "{page}");
    }
    for copy in ["push", "pull"] {
        let page = std::fs::read_to_string(place.path(&format!("pages/nas-sync-{copy}.1"))).unwrap();
        assert!(page.contains("compress\\-choice"), "{page}");
    }
    // Each flag is described on each page, and what it takes stands beside it.
    let page = place.run("man").stdout;
    assert!(page.contains(".TH nas-sync 1") && page.contains("\\fBnas\\-sync\\fR [OPTIONS] <COMMAND>\n"), "{page}");
    for page in [page, std::fs::read_to_string(place.path("pages/nas-sync-sync.1")).unwrap()] {
        let described = "\\fB\\-\\-nas\\-host\\fR \\fI<HOST>\\fR\nName or address of the NAS";
        assert!(page.contains(described) && !page.contains("[\\fB\\-\\-user"), "{page}");
    }
}

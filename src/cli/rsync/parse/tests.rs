use std::ffi::OsStr;
use std::time::Duration;

use super::super::progress_lines::About;
use super::super::request::Progress;
use super::*;
use crate::cli::rsync::numbers::Numbers;
use crate::wire::offer::CompressionChoice;
use crate::wire::server_args::PushOptions;
use crate::wire::token::TokenCoding;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn push(line: &str) -> TransferCommand {
    match parse(words(line), None) {
        Ok(Request::Transfer(command)) => *command,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> (u8, String) {
    let refusal = parse(words(line), None).unwrap_err();
    (refusal.exit, refusal.error.message().to_owned())
}

#[test]
fn the_contracts_example() {
    let mut arguments = words("-avz --progress -e");
    arguments.push("ssh -o BatchMode=yes -o ConnectTimeout=30".into());
    arguments.extend(words("FILE user@nas:/path"));
    let Ok(Request::Transfer(command)) = parse(arguments, None) else { panic!("no push") };
    assert_eq!(command.way, Way::Push(vec!["FILE".into()]));
    let remote = Remote { user: Some("user".into()), host: "nas".into(), path: b"/path".to_vec() };
    assert_eq!(command.remote, remote);
    let archive = PushOptions {
        recursive: true,
        links: true,
        permissions: true,
        times: true,
        group: true,
        owner: true,
        devices: true,
        specials: true,
        ..PushOptions::default()
    };
    assert_eq!(command.options, archive);
    assert_eq!(command.offer.compression, CompressionChoice::Negotiate { level: None });
    assert_eq!(command.shell.connect_timeout, Some(Duration::from_secs(30)));
    assert!(
        command.show.progress == Progress::Lines(About::Each) && command.show.verbose == 1 && command.notes.is_empty()
    );
}

#[test]
fn sources_behind_a_host_are_a_pull() {
    let command = push("-a me@nas:a me@nas:/b/*.pdf .");
    let sources = vec![b"a".to_vec(), b"/b/*.pdf".to_vec()];
    assert_eq!(command.way, Way::Pull { sources, destination: ".".into() });
    assert_eq!((command.remote.user.as_deref(), &*command.remote.host), (Some("me"), "nas"));
}

#[test]
fn later_options_undo_earlier_ones() {
    let command = push("-a --no-owner --no-g -W --no-whole-file -vv --no-v a h:");
    assert!(!command.options.owner && !command.options.group && command.options.permissions);
    assert!(!command.options.whole_file);
    assert_eq!(command.show.verbose, 0);
    assert!(push("--no-o -a a h:").options.owner);
    assert_eq!(push("-z --zl=9 --no-z a h:").offer.compression, CompressionChoice::Off);
}

#[test]
fn values_are_attached_or_apart_and_options_may_follow_operands() {
    for line in ["--port=2222 -tessh a h:d", "a --port 2222 h:d -te ssh", "-t -e=ssh --port 2222 -- a h:d"] {
        let command = push(line);
        assert_eq!(command.flags.port.as_deref(), Some(OsStr::new("2222")), "{line}");
        assert!(command.options.times && command.way == Way::Push(vec!["a".into()]), "{line}");
    }
    assert_eq!(push("-- -x --frob h:d").way, Way::Push(vec!["-x".into(), "--frob".into()]));
}

#[test]
fn algorithms() {
    let compression = |line: &str| push(&format!("{line} a h:")).offer.compression;
    assert_eq!(compression("--zc=lz4"), CompressionChoice::Fixed(TokenCoding::Lz4));
    assert_eq!(compression("--zc=zstd --zl=7"), CompressionChoice::Fixed(TokenCoding::Zstd { level: 7 }));
    assert_eq!(compression("-z --zc=none"), CompressionChoice::Off);
    assert_eq!(compression("--compress-level=3"), CompressionChoice::Negotiate { level: Some(3) });
    assert_eq!(compression("--compress-level=0"), CompressionChoice::Off);
    assert_eq!(compression("--zc auto"), CompressionChoice::Negotiate { level: None });
    assert_eq!(compression("--old-compress"), CompressionChoice::Fixed(TokenCoding::Zlib { level: 6 }));
    let (md5, xxh3) = (StrongAlgorithm::Md5, StrongAlgorithm::Xxh3);
    let checksum = |line: &str| push(&format!("{line} a h:")).offer.checksum;
    assert_eq!(checksum("--cc=md5"), ChecksumChoice::Fixed { transfer: md5, list: md5 });
    assert_eq!(checksum("--checksum-choice xxh3,md5"), ChecksumChoice::Fixed { transfer: xxh3, list: md5 });
    assert!(push("--cc=none a h:").options.whole_file);
    assert_eq!(refusal("-c --cc=none a h:").0, 1);
    assert_eq!(push("--protocol=29 a h:").offer.protocol.number(), 29);
}

#[test]
fn numbers() {
    for (line, numbers) in [
        ("", Numbers::Separated),
        ("-h", Numbers::Decimal),
        ("-hh", Numbers::Binary),
        ("-h -h -h", Numbers::Binary),
        ("--no-h", Numbers::Plain),
    ] {
        assert_eq!(push(&format!("{line} a h:")).show.numbers, numbers, "{line}");
    }
}

#[test]
fn help_and_version() {
    assert!(matches!(parse(words("-h"), None), Ok(Request::Help)));
    assert!(matches!(parse(words("--help"), None), Ok(Request::Help)));
    assert!(matches!(parse(words("-v --version"), None), Ok(Request::Version)));
}

/// The server's arguments, apart from what is always there.
fn server_words(line: &str) -> String {
    let command = push(&format!("{line} a h:d"));
    let words = command.options.arguments(&command.offer, b"d");
    let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    words[1..words.len() - 2].join(" ").replace("e.ifCvu", "").replace("e.fCvu", "")
}

#[test]
fn what_the_server_is_told() {
    for (line, expected) in [
        ("-rltub", "-bultr"),
        ("-r --delete", "-r --delete"),
        ("-r --delete --del", "-r --delete-during"),
        ("-r --delete-excluded", "-r --delete-excluded"),
        ("-r --delete-excluded --delete-after", "-r --delete-after --delete-excluded"),
        ("-r --delete-during --delete-delay", "-r --delete-delay"),
        ("-r --delete --max-delete=0", "-r --delete --max-delete=-1"),
        ("-r --max-delete=-3", "-r --max-delete=-1"),
        ("-t --append-verify", "-t --append --append"),
        ("-t --partial --inplace", "-t --inplace"),
        ("-t --partial", "-t --partial"),
        ("-t --partial-dir=.p", "-t --partial-dir .p"),
        ("-t --partial --delay-updates", "-t --delay-updates"),
        ("-tb --suffix=~", "-bt"),
        ("-t --backup-dir=old --suffix=~", "-bt --backup-dir old --suffix=~"),
        ("-t --link-dest=x --link-dest=y", "-t --link-dest x --link-dest y"),
        ("-t --chown=a:b", "-t --usermap=*:a --groupmap=*:b"),
        ("-t --chown=:b", "-t --groupmap=*:b"),
        ("-t --modify-window=2 -@-1", "-t -@-1"),
        ("-t --min-size=1.5k --max-size=2MB", "-t --min-size=1536 --max-size=2000000"),
        ("-tE", "-tE"),
        ("-tpE", "-tp"),
        ("-rmxSyKJ", "-KmJyrxS"),
        ("-r --remove-source-files", "-r --remove-source-files"),
    ] {
        assert_eq!(server_words(line), expected, "{line}");
    }
}

#[test]
fn filter_rules_stand_in_their_order() {
    let command = push("--exclude=a --filter=!_ -f+_b -FF --include=c -C a h:");
    let told: Vec<_> = command.rules.for_receiver().collect();
    let word = |prefix: &str, text: &str| (prefix.to_owned(), text.as_bytes().to_vec());
    let expected = [
        word("+", "b"),
        word(":", "/.rsync-filter"),
        word("-", ".rsync-filter"),
        word("+", "c"),
        word(":C", ".cvsignore"),
    ];
    assert_eq!(told[..5], expected);
    assert!(told[5..].len() >= 36 && told[5..].iter().all(|(prefix, _)| prefix == "-p"));
}

#[test]
fn sizes() {
    for (text, expected) in [
        ("700", Some(700)),
        ("1.5K", Some(1536)),
        ("1kb", Some(1000)),
        ("2MiB", Some(2 << 20)),
        ("1K-1", Some(1023)),
        ("5+1", Some(6)),
        (".5k", Some(512)),
        ("", None),
        ("K", None),
        ("-1", None),
        ("1Q", None),
        ("1e3", None),
        ("99999999999P", None),
    ] {
        assert_eq!(crate::rate::size(text), expected, "{text}");
    }
}

#[test]
fn the_environment_names_a_shell_too() {
    let command = parse(words("a h:"), Some("ssh -p 23".into()));
    let Ok(Request::Transfer(command)) = command else { panic!("no push") };
    assert_eq!(command.shell.port, Some(23));
    let refusal = parse(words("a h:"), Some("rsh".into())).unwrap_err();
    assert!(refusal.exit == 1 && refusal.error.message().starts_with("RSYNC_RSH: "));
    assert!(parse(words("-e ssh a h:"), Some("rsh".into())).is_ok());
    assert!(parse(words("a h:"), Some("".into())).is_ok());
}

#[test]
fn mistakes_are_named_with_rsyncs_exit_status() {
    for (line, exit, named) in [
        ("", 1, "source and a destination"),
        ("h:d", 1, "source and a destination"),
        ("--iconv=. a h:d", 1, "--iconv of rsync is not supported yet"),
        ("-a --preallocate h:d a", 1, "--preallocate of rsync is not supported for a pull yet"),
        ("-ay h:d a", 1, "-y of rsync is not supported for a pull yet"),
        ("--delete a h:d", 1, "without --recursive"),
        ("-a --delete-before --delete-after a h:d", 1, "only one of"),
        ("-a --link-dest=x --copy-dest=y a h:d", 1, "--copy-dest cannot be used with --link-dest"),
        ("-a --inplace --partial-dir=x a h:d", 1, "--inplace cannot be used with --partial-dir"),
        ("-a --append --delay-updates a h:d", 1, "--append cannot be used with --delay-updates"),
        ("-a --append -W a h:d", 1, "--append cannot be used with --whole-file"),
        ("-ab --suffix=a/b a h:d", 1, "cannot hold a slash"),
        ("-ab --suffix= a h:d", 1, "cannot be empty"),
        ("--max-delete=x a h:d", 1, "--max-delete"),
        ("--max-size=1Q a h:d", 1, "--max-size"),
        ("--chown=a:b --usermap=*:c a h:d", 1, "--chown cannot be used with --usermap"),
        ("--filter=frob a h:d", 1, "the filter rule"),
        ("--exclude-from=/no/such/file a h:d", 11, "/no/such/file cannot be read"),
        ("-aX a h:d", 1, "-X of rsync is not supported yet"),
        ("--frob a h:d", 1, "--frob: unknown option"),
        ("-aQ a h:d", 1, "-Q: unknown option"),
        ("-a=1 a h:d", 1, "-=: unknown option"),
        ("--archive=1 a h:d", 1, "--archive takes no value"),
        ("--timeout=-3 a h:d", 1, "--timeout"),
        ("--protocol=26 a h:d", 2, "--protocol"),
        ("--zc=gzip a h:d", 1, "--zc"),
        ("--cc=crc a h:d", 1, "--cc"),
        ("a h:d --port", 1, "--port needs a value"),
        ("a h:d -e", 1, "-e needs a value"),
        ("a h::m", 4, "daemons"),
        ("rsync://h/m a", 4, "daemons"),
        ("h:a g:b c", 1, "same NAS"),
        ("h:a u@h:b c", 1, "same NAS"),
        ("h:a b c", 1, "same NAS"),
        ("a b", 4, "itself"),
        ("h:a h:b", 1, "both remote"),
        ("a :b", 1, "names no host"),
    ] {
        let (status, message) = refusal(line);
        assert_eq!(status, exit, "{line}: {message}");
        assert!(message.contains(named), "{line}: {message}");
    }
}

#[test]
fn what_is_refused_is_named_and_something_else_advised() {
    for row in table::TABLE {
        let Effect::Refused(instead) = row.effect else { continue };
        let long = row.names().flat_map(|name| {
            let negated = row.negates.then(|| format!("--no-{name}"));
            [format!("--{name}")].into_iter().chain(negated)
        });
        for typed in long.chain(row.letter.map(|letter| format!("-{letter}"))) {
            for line in [format!("{typed} a h:d"), format!("-av a h:d {typed}")] {
                let refusal = parse(words(&line), None).unwrap_err();
                assert_eq!(refusal.exit, 1, "{line}");
                assert_eq!(refusal.error.message(), format!("the option {typed} of rsync is not supported yet"));
                assert!(refusal.error.solution().starts_with(instead), "{line}: {}", refusal.error.solution());
            }
        }
    }
}

#[test]
fn what_is_accepted_is_accepted_under_all_its_names() {
    for row in table::TABLE.iter().filter(|row| row.is_accepted()) {
        let is_switch = row.metavar.is_none();
        for name in row.names() {
            let refused = parse(words(&format!("-r --{name}=\u{1} a h:d")), None).err().map(|refusal| refusal.error);
            let takes_value = refused.is_none_or(|error| !error.message().ends_with(" takes no value"));
            // `--progress` is rsync's without a value, and ours with one.
            assert_eq!(takes_value, !is_switch || name == "progress", "--{name}");
            let negated = parse(words(&format!("--no-{name} a h:d")), None);
            assert_eq!(negated.is_ok(), row.negates, "--no-{name}");
            assert!(!is_switch || parse(words(&format!("-r --{name} a h:d")), None).is_ok(), "--{name}");
        }
        if let Some(letter) = row.letter.filter(|_| is_switch) {
            assert!(parse(words(&format!("-rt{letter}l a h:d")), None).is_ok(), "-{letter}");
        }
    }
}

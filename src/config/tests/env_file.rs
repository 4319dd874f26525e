//! The lines of `.env`, and names that are not ours.

use super::*;

#[test]
fn the_file_is_read_as_such_files_are_written() {
    let file = "\u{feff}# comment\nexport NAS_HOST='nas'\nNAS_USER=\"me\" # who\r\n\nNAS_PATH=/first\nNAS_PATH=/second\n\
                NAS_KEY=\"one\ntwo\"\nOTHER=x\nNAS_KEY_PASSPHRASE='a$b'\n";
    let settings = resolve(&Flags::default(), &[], file).unwrap();
    assert_eq!(settings.host.as_deref(), Some("nas"));
    assert_eq!(settings.user.as_deref(), Some("me"));
    assert_eq!(settings.path.as_deref(), Some("/first"));
    assert_eq!(settings.key, KeySource::Text(Secret::new("one\ntwo".to_owned())));
    assert_eq!(settings.key_passphrase.unwrap().text().unwrap().as_str(), "a$b");
}

#[test]
fn a_malformed_line_is_named_by_number_and_not_shown() {
    for (file, line) in [
        ("NAS_HOST=nas\n\nNAS_KEY_PASSPHRASE=open sesame\nNAS_USER=me\n", 3),
        ("# x\n\nNAS_KEY_PASSPHRASE open sesame", 3),
        ("A='1\n2'\r\n\r\nNAS_KEY_PASSPHRASE=open sesame\r\n", 4),
        ("NAS_HOST=nas\nNAS_KEY=\"open\nsesame\n\nNAS_USER=me\n", 2),
        (&format!("A={}\nexport NAS_KEY sesame", "x".repeat(20_000)), 2),
        ("NAS_USER=it's\nOTHER='x'\n", 1),
        ("BASE=/my docs\nNAS_PATH=${BASE}/x\n", 1),
    ] {
        assert_eq!(usage(environment(&[], file)), format!("line {line} of .env is not understood"), "{file:.60}");
    }
    assert!(environment(&[], "NAS_HOST=nas ").is_ok(), "a blank at the end of the file");
    for size in [8190, 8191, 8192, 8193, 16_384] {
        // Around the parser's buffer no line feed may be lost or doubled.
        let file = format!("NAS_USER={}\nNAS_HOST=nas", "x".repeat(size - 9));
        let settings = resolve(&Flags::default(), &[], &file).unwrap();
        assert_eq!((settings.user.unwrap().len(), settings.host.as_deref()), (size - 9, Some("nas")));
    }
}

/// The `.env` of somebody else's program: each way in which a line may be written that our parser does not take.
#[test]
fn lines_of_others_do_not_matter() {
    for other in [
        "APP_NAME=My App",
        "JSON={\"a\": \"b c\"}",
        "GREETING='hello",
        "GREETING=\"hello",
        "MOTTO=it's fine",
        "open sesame",
        "[section]",
        "KEY: value",
        "= nothing",
        "A='1\n2' # two lines\nB=\"three\n  four\"",
        "CERT=`one\ntwo`",
        "if [ -f x ]; then . x; fi",
        "\u{0}\u{1}",
    ] {
        let (ours, more) = ("NAS_HOST=nas\nNAS_PATH='/my docs'", "\r\nNAS_USER=me\n");
        for file in [format!("{other}\n{ours}\n{other}"), format!("{ours}\n{other}{more}")] {
            let environment = environment(&[], &file).unwrap();
            assert!(environment.warnings().is_empty(), "{:?}", environment.warnings());
            let settings = Settings::resolve(&Flags::default(), &environment).unwrap();
            assert_eq!((settings.host.as_deref(), settings.path.as_deref()), (Some("nas"), Some("/my docs")), "{file}");
            assert_eq!(settings.user.is_some(), file.contains(more), "{file}");
        }
    }
    // A value of several lines is one value, whatever stands in them.
    let file = "MAIL='Hello\nNAS_HOST=other\n'\nNAS_HOST=nas\nBASE=/volume1\nNAS_PATH=${BASE}/docs\n";
    let settings = resolve(&Flags::default(), &[], file).unwrap();
    assert_eq!((settings.host.as_deref(), settings.path.as_deref()), (Some("nas"), Some("/volume1/docs")));
}

#[test]
fn bytes_of_others_do_not_matter_either() {
    let parsed = dot_env::parse(b"NAME=f\xfcr\nNAS_HOST=nas\n", &|_| None).unwrap();
    assert_eq!(parsed.values["NAS_HOST"].as_str(), "nas");
    assert!(usage(dot_env::parse(b"NAS_HOST=f\xfcr\n", &|_| None).map(|_| ())).contains("line 1 of .env"));
    // Neither does their number.
    let many = "A='\n".repeat(100_000) + "NAS_HOST=nas\n";
    assert_eq!(dot_env::parse(many.as_bytes(), &|_| None).unwrap().values["NAS_HOST"].as_str(), "nas");
}

#[test]
fn an_unknown_name_is_warned_about_with_the_nearest() {
    let file = "NAS_HSOT=nas\nNAS_KEYFILE='x\nNAS_SYNC_LOG=debug\nNASA=1\nNAS_PORT_FILE=/x\nNAS_PASSPHRASE=open sesame\nNAS_HSOT=b\n";
    let environment = environment(&[], file).unwrap();
    let warnings = environment.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, (name, nearest)) in warnings.iter().zip([
        ("NAS_HSOT in .env", "NAS_HOST"),
        ("NAS_KEYFILE in .env", "NAS_KEY_FILE"),
        ("NAS_PASSPHRASE in .env", "NAS_KEY_PASSPHRASE"),
    ]) {
        assert!(warning.starts_with(name) && warning.ends_with(nearest) && !warning.contains("sesame"), "{warning}");
    }
}

#[test]
fn a_name_is_suggested_only_where_it_was_meant() {
    let nearest = |name: &str| {
        let environment = environment(&[], &format!("{name}=x\n")).unwrap();
        let warning = environment.warnings().concat();
        warning.split_once("; the nearest is ").map(|(_, nearest)| nearest.to_owned())
    };
    for (name, meant) in [
        ("NAS_USERNAME", "NAS_USER"),
        ("NAS_HOSTNAME", "NAS_HOST"),
        ("NAS_PASS", "NAS_PASSWORD"),
        ("NAS_PASSWD", "NAS_PASSWORD"),
        ("NAS_UPLOAD_DIR", "UPLOAD_DIR"),
        ("NAS_KEYS", "NAS_KEY"),
        ("NAS_RETRY", "NAS_RETRIES"),
    ] {
        assert_eq!(nearest(name).as_deref(), Some(meant), "{name}");
    }
    for name in ["NAS_FOO", "NAS_COMPLETELY_ELSE", "NAS_IP", "NAS_TEST", "NAS_SHARE", "NAS_", "NAS_COLOUR"] {
        assert_eq!(nearest(name), None, "{name}");
    }
}

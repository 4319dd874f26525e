use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};

use super::*;

fn keygen(path: &Path, arguments: &[&str]) {
    let status = Command::new("ssh-keygen").args(["-q", "-f"]).arg(path).args(arguments).status().unwrap();
    assert!(status.success());
}

fn failure(path: &Path, passphrase: Option<&str>) -> NasSyncError {
    let secret = passphrase.map(|text| Secret::new(text.to_owned()));
    let error = read(path, &with_passphrase(secret.as_ref())).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyUnusable);
    error
}

fn with_passphrase(passphrase: Option<&Secret>) -> SshConfig {
    let mut config = SshConfig::new("nas", "me");
    config.passphrase = passphrase.cloned();
    config
}

#[test]
fn every_form_of_openssh_and_openssl_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let secret = Secret::new(String::from("opensesame"));
    let forms: [&[&str]; 7] = [
        &["-t", "ed25519"],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "2048", "-m", "PEM"],
        &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
        &["-t", "ecdsa", "-b", "256", "-m", "PKCS8"],
    ];
    for (number, form) in forms.iter().enumerate() {
        for passphrase in ["", "opensesame"] {
            let path = folder.path().join(format!("{number}{passphrase}"));
            keygen(&path, &[form, &["-N", passphrase][..]].concat());
            let public =
                PublicKey::from_openssh(&std::fs::read_to_string(path.with_extension("pub")).unwrap()).unwrap();
            match read(&path, &with_passphrase((!passphrase.is_empty()).then_some(&secret))) {
                Ok(Credential::Key { key, .. }) => {
                    assert_eq!(key.public_key().key_data(), public.key_data(), "{form:?}");
                }
                other => panic!("{form:?} {passphrase:?}: {other:?}"),
            }
            if !passphrase.is_empty() {
                assert!(failure(&path, Some("wrong")).message().contains("passphrase"), "{form:?}");
            }
        }
    }
}

/// What variables, YAML files and web forms do to a key.
#[test]
fn a_key_is_read_however_its_text_came_here() {
    let folder = tempfile::tempdir().unwrap();
    for (number, form) in [&["-t", "ed25519"][..], &["-t", "rsa", "-b", "2048", "-m", "PEM"]].iter().enumerate() {
        let path = folder.path().join(number.to_string());
        keygen(&path, &[form, &["-N", ""][..]].concat());
        let text = std::fs::read_to_string(&path).unwrap();
        let packed = Base64::encode_string(text.as_bytes());
        let wrapped: Vec<&str> = packed.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
        for altered in [
            format!("{text}\n"),
            format!("\u{feff}\n  {text} \n\n"),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\\n"),
            text.replace('\n', "\\r\\n"),
            format!("\"{}\"", text.trim_end().replace('\n', "\\n")),
            text.replace('\n', " "),
            text.replace('\n', "\n    "),
            text.replace('\n', "\n\n"),
            text.trim_end().to_owned(),
            format!("Bag Attributes\n    friendlyName: nas\n{text}"),
            packed.clone(),
            packed.trim_end_matches('=').to_owned(),
            wrapped.join("\n") + "\n",
        ] {
            let Ok(Decoded::Key(key)) = decode(&altered, None, "it") else { panic!("{form:?}: {altered:?}") };
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            assert_eq!(key.public_key().key_data(), PublicKey::from_openssh(&public).unwrap().key_data());
        }
    }
    let body: String = std::fs::read_to_string(folder.path().join("0")).unwrap();
    let body: Vec<&str> = body.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(matches!(decode(&body.concat(), None, "it"), Ok(Decoded::Key(_))), "the body alone");
}

fn run_openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `ssh-keygen -y` reads is read; what is not is named.
#[test]
fn encryptions_of_openssl_are_undone_or_named_and_never_called_a_wrong_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plain, ec) = (place("plain"), place("ec"));
    keygen(Path::new(&plain), &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
    keygen(Path::new(&ec), &["-t", "ecdsa", "-b", "256", "-m", "PEM", "-N", ""]);
    let pass = "pass:opensesame";
    let secret = Secret::new(String::from("opensesame"));
    let sealed = |number: usize, key: &str, way: &[&str]| {
        let out = place(&number.to_string());
        let common = ["-in", key, "-out", &out, "-passout", pass];
        let command = if way[0].starts_with("-v") {
            &["pkcs8", "-topk8"][..]
        } else if key == plain {
            &["rsa", "-traditional"][..]
        } else {
            &["ec"]
        };
        run_openssl(&[command, way, &common].concat());
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o600)).unwrap();
        PathBuf::from(out)
    };
    let read_ones: [&[&str]; 8] = [
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
        &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA1"],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-iter", "1"],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"],
        &["-v2", "aes-256-cbc"],
        &["-aes128"],
        &["-aes192"],
        &["-aes256"],
    ];
    for (number, way) in read_ones.iter().enumerate() {
        for key in [&plain, &ec] {
            let path = sealed(number, key, way);
            let public = std::fs::read_to_string(Path::new(key).with_extension("pub")).unwrap();
            match read(&path, &with_passphrase(Some(&secret))) {
                Ok(Credential::Key { key: found, .. }) => {
                    let public = PublicKey::from_openssh(&public).unwrap();
                    assert_eq!(found.public_key().key_data(), public.key_data(), "{way:?} {key}");
                }
                other => panic!("{way:?} {key}: {other:?}"),
            }
            assert!(failure(&path, Some("wrong")).message().contains("the passphrase does not open"), "{way:?}");
            assert!(failure(&path, None).message().contains("no passphrase"), "{way:?}");
        }
    }
    let named: [(&[&str], &str); 4] = [
        (&["-v2", "des3", "-v2prf", "hmacWithSHA256"], "DES-EDE3-CBC"),
        (&["-v2", "camellia-256-cbc"], "1.2.392.200011.61.1.1.1.4"),
        (&["-v1", "PBE-SHA1-3DES"], "1.2.840.113549.1.12.1.3"),
        (&["-des3"], "DES-EDE3-CBC"),
    ];
    for (number, (way, name)) in named.iter().enumerate() {
        let error = failure(&sealed(number, &plain, way), Some("opensesame"));
        assert!(error.message().contains(name) && error.message().contains("not supported"), "{way:?}: {error}");
        assert!(error.solution().contains("ssh-keygen -p"), "{error}");
    }
}

/// Secrets of Kubernetes, Docker and Compose: root's, or on a mount that cannot be written to.
#[test]
fn a_key_that_nobody_else_can_have_written_is_accepted_where_it_cannot_be_closed() {
    let verdict = |own, owner, mode, read_only| {
        let error = Access { owner, mode, read_only }.check(own, Path::new("/run/secrets/key")).err();
        error.map(|error| error.solution().to_owned())
    };
    for (own, owner, mode, read_only) in [
        (1000, 1000, 0o600, false),
        (1000, 1000, 0o400, false),
        (1000, 0, 0o440, true),
        (1000, 0, 0o444, true),
        (1000, 0, 0o444, false),
        (1000, 0, 0o644, false),
        (0, 0, 0o444, true),
        (0, 0, 0o644, true),
        (1000, 1001, 0o644, true),
    ] {
        assert_eq!(verdict(own, owner, mode, read_only), None, "{own} {owner} {mode:o} {read_only}");
    }
    for (own, owner, mode, read_only, solution) in [
        (1000, 1000, 0o644, false, "chmod 600"),
        (1000, 1000, 0o640, false, "chmod 600"),
        (0, 0, 0o444, false, "chmod 600"),
        (1000, 0, 0o664, true, "chmod 600"),
        (1000, 0, 0o666, false, "chmod 600"),
        (1000, 1001, 0o600, false, "chown 1000"),
        (0, 1000, 0o400, false, "chown 0"),
    ] {
        let said = verdict(own, owner, mode, read_only).unwrap_or_default();
        assert!(said.starts_with(solution), "{own} {owner} {mode:o} {read_only}: {said}");
    }
}

#[test]
fn the_first_default_key_counts_and_then_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| folder.path().join(name));
    let mut config = SshConfig::new("nas", "me");
    config.agent = None;
    let error = first_of(&files, &config).unwrap_err();
    assert!(error.message().contains("id_rsa") && error.solution().contains("ssh-keygen"), "{error}");
    config.agent = Some(PathBuf::from("/agent"));
    assert!(matches!(first_of(&files, &config).unwrap()[..], [Credential::Agent]));
    keygen(&files[1], &["-t", "ecdsa", "-N", ""]);
    assert!(
        matches!(&first_of(&files, &config).unwrap()[..], [Credential::Key { origin, .. }] if origin.ends_with("id_ecdsa"))
    );
    // A key that is there but cannot be used is not passed over.
    std::fs::write(&files[0], "x").unwrap();
    assert_eq!(first_of(&files, &config).unwrap_err().kind(), ErrorKind::KeyUnusable);
}

#[test]
fn an_encrypted_key_without_passphrase_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (folder.path().join("new"), folder.path().join("old"));
    keygen(&new, &["-t", "ed25519", "-N", "opensesame"]);
    keygen(&old, &["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "opensesame"]);
    assert!(matches!(read(&new, &with_passphrase(None)), Ok(Credential::Locked { .. })));
    assert!(failure(&old, None).message().contains("no passphrase"));
}

#[test]
fn what_others_could_read_or_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    keygen(&path, &["-t", "ed25519", "-N", ""]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = failure(&path, None);
    assert!(error.message().contains("0640") && error.solution().starts_with("chmod 600"), "{error}");
    assert!(failure(folder.path(), None).message().contains("regular file"));
    assert!(failure(&folder.path().join("none"), None).message().contains("cannot read"));
    assert!(failure(Path::new("/dev/null"), None).message().contains("regular file"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "ssh-ed25519 AAAA me").unwrap();
    assert!(failure(&path, None).solution().contains(".pub"));
    // It may be read by everybody: that is not what is wrong with it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = failure(&path, None);
    assert!(error.message().ends_with("is a public key, not the private one"), "{error}");
    assert!(!error.solution().contains("chmod"), "{error}");
}

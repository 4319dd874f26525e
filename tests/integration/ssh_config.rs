//! What OpenSSH's configuration says about a host: OpenSSH itself (`ssh -G`) is the oracle. And that a login does so.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nas_sync::internal::transport::ssh::ssh_config::{HostOptions, Query, look_up};
use nas_sync::internal::transport::ssh::{AddressFamily, UnknownHostKey};
use nas_sync::{NasSyncError, SshConfigFile};
use tempfile::TempDir;

use crate::support::cli::PROGRAM;
use crate::support::random::{Random, long};
use crate::support::sshd::user;
use crate::support::{Cli, Site, Sshd, is_root_or_skipped};

/// What both say, in one form. The values that nobody set are left away where OpenSSH's defaults are its own affair.
#[derive(Debug, PartialEq, Eq)]
struct Said(Vec<(&'static str, String)>);

fn home() -> PathBuf {
    std::env::home_dir().expect("a home folder")
}

/// OpenSSH's answer; `None` where it refuses the file.
fn theirs(file: &Path, host: &str) -> Option<Said> {
    let output = Command::new("ssh").args(["-G", "-F"]).arg(file).arg(host).output().expect("ssh runs");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let all = |keyword: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let values: Vec<&str> = lines.filter(|(name, _)| *name == keyword).map(|(_, value)| value).collect();
        values.join(" ").replace("~/", &format!("{}/", home().display())).replace("ssh://", "")
    };
    let is_default = |keyword: &str, value: &str| match keyword {
        "identityfile" => value.contains(".ssh/id_dsa"),
        "userknownhostsfile" => value.ends_with("/.ssh/known_hosts2"),
        "globalknownhostsfile" => value.ends_with("/ssh_known_hosts2"),
        _ => value == "none",
    };
    // Nobody is asked here.
    let of_ours = |value: String| if value == "ask" { String::from("true") } else { value };
    Some(Said(
        KEYWORDS
            .map(|keyword| {
                let value = of_ours(all(keyword));
                (keyword, if is_default(keyword, &value) { String::new() } else { value })
            })
            .to_vec(),
    ))
}

const KEYWORDS: [&str; 14] = [
    "hostname",
    "user",
    "port",
    "identityfile",
    "certificatefile",
    "userknownhostsfile",
    "globalknownhostsfile",
    "identitiesonly",
    "stricthostkeychecking",
    "connecttimeout",
    "proxyjump",
    "addressfamily",
    "hostkeyalias",
    "bindaddress",
];

fn ask(file: &Path, host: &str) -> Result<HostOptions, NasSyncError> {
    let (home, user) = (home(), user());
    let query = Query { host, user: None, port: None, given: &[], home: Some(&home), local_user: Some(&user) };
    look_up(&SshConfigFile::At(file.to_owned()), &query)
}

/// Our answer in the words of OpenSSH.
fn ours(file: &Path, host: &str) -> Result<Said, NasSyncError> {
    let said = ask(file, host)?;
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    let text = |value: Option<String>| value.unwrap_or_default();
    let jumps = said.jumps.iter().map(|jump| {
        let user = jump.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = if jump.host.contains(':') { format!("[{}]", jump.host) } else { jump.host.clone() };
        format!("{user}{host}{}", jump.port.map(|port| format!(":{port}")).unwrap_or_default())
    });
    let values = [
        said.host_name.clone().unwrap_or_else(|| host.to_ascii_lowercase()),
        said.user.clone().unwrap_or_else(user),
        said.port.unwrap_or(22).to_string(),
        paths(said.identities.as_deref().unwrap_or_default()),
        paths(&said.certificates),
        paths(said.user_known_hosts.as_deref().unwrap_or_default()),
        paths(said.global_known_hosts.as_deref().unwrap_or_default()),
        if said.identities_only { "yes" } else { "no" }.to_owned(),
        match said.unknown_host_key {
            _ if said.warnings.iter().any(|warning| warning.contains("accept-new")) => "false",
            None | Some(UnknownHostKey::Refuse) => "true",
            Some(UnknownHostKey::Accept) => "accept-new",
        }
        .to_owned(),
        text(said.connect_timeout.map(|time| time.as_secs().to_string())),
        jumps.collect::<Vec<_>>().join(","),
        match said.family {
            AddressFamily::Any => "any",
            AddressFamily::Inet => "inet",
            AddressFamily::Inet6 => "inet6",
        }
        .to_owned(),
        text(said.host_key_alias.clone()),
        text(said.bind_address.map(|address| address.to_string())),
    ];
    Ok(Said(KEYWORDS.into_iter().zip(values).collect()))
}

/// A folder with files of ssh_config in it.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// `@/` in the text is the folder.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text.replace("@/", &format!("{}/", self.0.path().display()))).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }
}

const HOSTS: [&str; 5] = ["nas", "nas2", "backup.example", "NAS", "10.0.0.7"];

#[test]
fn the_answers_are_those_of_openssh() {
    let files = Files::new();
    files.write("inc/1.conf", "Port 44\nHost nas2\nUser in1\n");
    files.write("inc/2.conf", "User in2\nInclude @/inc/deep/*\n");
    files.write("inc/.hidden.conf", "Port 45\n");
    files.write("inc/deep/x", "HostName %h.deep\n");
    for text in [
        "",
        "Host nas\nHostName 192.0.2.1\nUser me\nPort 2222\nIdentityFile ~/.ssh/nas\n\nHost *\nUser other\nIdentityFile /b\n",
        "# c\n\n  Host=nas  # c\n\tPort = 2200\r\nHost n?s !nax\n  HostName \"%h.example\"\n",
        "Host * !nas\nPort 4\nHost nas NAS\nPort 5\nHost !nas\nPort 6\n",
        "Host NAS\nPort 5\nMatch host nas\nUser lower\nMatch originalhost NAS\nUser upper\n",
        "HostName nas.Example\nMatch host NAS.example,x\nPort 7\nMatch host nas\nPort 8\n",
        "Match user nobody\nPort 7\nUser nobody\nMatch user nobody\nPort 8\n",
        "Match !user nobody !host nas2\nPort 8\nMatch all\nPort 9\n",
        "Match host=nas\nPort 8\nMatch host nas*,!nas2\nUser x\n",
        "Match final\nPort 8\nHost *.real\nUser real\nHost nas\nHostName %h.real\nMatch canonical\nPort 10\n",
        "Match final host *.real\nPort 8\nMatch all\nHostName %h.REAL\n",
        "Match localuser nobody\nPort 8\nMatch localuser *\nUser all\n",
        "StrictHostKeyChecking off\nConnectTimeout 1m30s\nAddressFamily inet6\nBindAddress 127.0.0.1\n",
        "StrictHostKeyChecking YES\nConnectTimeout none\nAddressFamily inet\nHostKeyAlias Alias\n",
        "StrictHostKeyChecking accept-new\nIdentitiesOnly true\nIdentityFile a\nIdentityFile a\nIdentityFile \"b c\"\n",
        "UserKnownHostsFile ~/.ssh/a \"/b c\" /d\nGlobalKnownHostsFile /e /f\nCertificateFile ~/c\nCertificateFile /d\n",
        "UserKnownHostsFile ~/.ssh/%h %d/x /%n/%p/%r\nHostName h\n",
        "ProxyJump me@j1:22,j2,ssh://x@y:99,[::2]:98\n",
        "ProxyJump none\nProxyJump j\n",
        "ProxyJump j\nProxyCommand nc %h\n",
        "ProxyCommand none\nProxyJump j\n",
        "User 'a b'\n",
        "User a\"b c\"d\n",
        "User \"a\\\"b\"\n",
        "Host nas\nInclude @/inc/*.conf\nUser after\nHost *\nPort 9\n",
        "Include @/inc/2.conf @/inc/1.conf\n",
        "Host other\nInclude @/inc/*.conf\nHost *\nInclude @/nothing @/no/*/x\nPort 3\n",
    ] {
        let file = files.write("config", text);
        for host in HOSTS {
            let theirs = theirs(&file, host).unwrap_or_else(|| panic!("ssh refuses {text:?}"));
            assert_eq!(ours(&file, host).expect("it is understood"), theirs, "{host}, left ours: {text}");
        }
    }
}

#[test]
fn what_openssh_refuses_is_refused_here() {
    let files = Files::new();
    for text in [
        "Port\n",
        "Port 0\n",
        "Port x\n",
        "Port 22 23\n",
        "Port==22\n",
        "User \"a\n",
        "User a b\n",
        "ConnectTimeout 9x\n",
        "AddressFamily ipv6\n",
        "IdentitiesOnly maybe\n",
        "StrictHostKeyChecking perhaps\n",
        "ProxyJump ::2\n",
        "Match\n",
        "Match host\n",
        "Match all host nas\n",
        "HostName %q\n",
    ] {
        let file = files.write("config", text);
        assert!(theirs(&file, "nas").is_none(), "ssh takes {text:?}");
        let error = ours(&file, "nas").expect_err(text);
        assert!(error.message().contains("config:1"), "{text:?}: {error}");
    }
}

/// A site whose NAS is known by its settings in `~/.ssh/config` alone, and the program there.
fn known_by_config(lines: &str) -> (Site, Cli) {
    let mut site = Site::new();
    for name in ["NAS_USER", "NAS_PORT", "NAS_KEY_FILE", "NAS_KNOWN_HOSTS", "NAS_CONNECT_TIMEOUT"] {
        site.variables.remove(name);
    }
    site.set("NAS_HOST", "storage");
    let (key, known_hosts) = (site.sshd.path("user_ed25519"), site.sshd.path("known_hosts"));
    let (key, known_hosts, port, user) = (key.display(), known_hosts.display(), site.sshd.port(), user());
    fs::create_dir(site.path(".ssh")).unwrap();
    write_config(
        &site.path(".ssh/config"),
        &format!(
            "{lines}\nHost stor*\nHostName 127.0.0.1\nUser {user}\nPort {port}\nIdentityFile {key}\nUserKnownHostsFile {known_hosts}\nSendEnv LANG\n"
        ),
    );
    let cli = Cli::new(&site);
    (site, cli)
}

fn write_config(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_nas_is_reached_by_the_name_that_ssh_config_gives_it() {
    let (site, mut cli) = known_by_config("");
    let file = site.upload("a.pdf", b"one");
    let words = ["add", file.to_str().unwrap(), "--user", "1"];
    cli.run(&words).ends(0);
    assert_eq!(cli.run(&["config", "--json"]).ends(0).json()["nas_user"], true);
    let shown = cli.run(&["config"]).ends(0).all();
    assert!(shown.contains("storage (127.0.0.1 in ssh_config)"), "{shown}");
    cli.run(&["test"]).ends(0);
    assert_eq!(cli.run(&["sync", "--json"]).ends(0).json()["synced"], 1);
    assert_eq!(site.stored("a.pdf").unwrap(), b"one");
    let to = format!("storage:{}", site.path("nas/b.pdf").display());
    let from = file.to_str().unwrap();
    cli.run(&["push", from, &to]).ends(0);
    // What is set beats the file.
    let refused = cli.run(&["test", "--port", "1", "--json"]);
    assert_eq!(refused.ends(3).json()["error"]["kind"], "connection_refused");
    // Without the file, that name is no host, and nobody is named.
    assert_eq!(cli.run(&["test", "--ssh-config", "none", "--json"]).ends(2).json()["error"]["kind"], "not_configured");
    cli.set("NAS_SSH_CONFIG", site.path("other"));
    let missing = cli.run(&["push", from, &to]);
    missing.ends(1);
    assert!(missing.all().contains("other"), "{}", missing.all());
    // -F beats the variable.
    let shell = format!("ssh -F {}", site.path(".ssh/config").display());
    cli.run(&["push", "-e", &shell, from, &to]).ends(0);
}

#[test]
fn a_user_that_only_ssh_config_names_is_named_everywhere_and_logs_in_for_doctor() {
    let (site, mut cli) = known_by_config("");
    let user = user();
    let shown = cli.line("test").ends(0).all();
    assert!(shown.contains(&format!("connected to storage as {user};")), "{shown}");
    let object = cli.line("doctor --json").ends(0).json();
    let is_login = |check: &serde_json::Value| check["name"] == "login" && check["status"] == "ok";
    assert!(object["checks"].as_array().unwrap().iter().any(is_login), "{object}");
    let object = cli.line("doctor --json --port 1").ends(3).json();
    assert_eq!(object["healthy"], false, "{object}");
    let mut watch = cli.start(&["watch", "--health-file", "health"]);
    watch.until(|| site.path("health").exists());
    watch.signal("TERM");
    let said = watch.wait().ends(143).all();
    assert!(said.contains(&format!("for {user}@storage port ")), "{said}");
    // It makes a key of its own where none is set.
    cli.set("NAS_KEY_FILE", site.sshd.path("user_ed25519"));
    let said = cli.line("setup --yes").ends(0).all();
    assert!(said.contains(&format!("login      {user}, by the key that is there already")), "{said}");
}

#[test]
fn a_file_that_cannot_be_honoured_is_named_before_anything_is_sent() {
    for (lines, named) in [
        ("Host *\nProxyCommand nc %h %p", "config:2: proxycommand"),
        ("CanonicalizeHostname yes", "config:1: canonicalizehostname"),
        ("Port no", "config:1: port"),
        ("Ciphers rot13", "Ciphers of ssh_config"),
        ("KexAlgorithms diffie-hellman-group1-sha1", "KexAlgorithms of ssh_config"),
        ("IdentityFile %C", "config:1: identityfile"),
        ("ProxyJump storage", "leads from storage to storage"),
    ] {
        let (_site, cli) = known_by_config(lines);
        let run = cli.run(&["test", "--json"]);
        run.ends(2);
        assert!(run.all().contains(named), "{lines}: {}", run.all());
    }
    let (site, cli) = known_by_config("");
    fs::set_permissions(site.path(".ssh/config"), fs::Permissions::from_mode(0o620)).unwrap();
    // The user is not known then.
    let run = cli.run(&["test", "--nas-user", &user(), "--json"]);
    run.ends(2);
    assert!(run.all().contains("can be written by others (mode 0620)"), "{}", run.all());
}

/// As with ssh: a service may run as a user of its own with the home folder of another one in its environment.
#[test]
fn a_home_folder_of_another_user_says_nothing_and_ends_nothing() {
    const SOMEBODY: u32 = 12_347;
    if !is_root_or_skipped() {
        return;
    }
    let site = Site::new();
    let (program, home) = (site.path("nas-sync"), site.path("home"));
    assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    fs::create_dir_all(home.join(".ssh")).unwrap();
    write_config(&home.join(".ssh/config"), "Port no");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    chown(site.path(""), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &SOMEBODY.to_string(), "--clear-groups"])
            .arg(&program)
            .args(["test", "--json"])
            .args(more);
        let run = command.envs(&site.variables).env("HOME", &home).current_dir(site.path("")).output().unwrap();
        let object: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        (object["error"]["kind"].clone(), String::from_utf8(run.stderr).unwrap())
    };
    let (kind, said) = run(&[]);
    assert_eq!(kind, "key_unusable", "it goes on to the key, which that user may not read either: {said}");
    assert!(said.contains("which may not be read"), "{said}");
    let named = home.join(".ssh/config");
    let (kind, said) = run(&["--ssh-config", named.to_str().unwrap()]);
    assert_eq!(kind, "usage", "who names it wants it: {said}");
}

#[test]
fn nothing_in_a_file_lets_a_changed_host_key_pass() {
    let lines = "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nMatch exec true\nPort 1\nHost *";
    let (site, cli) = known_by_config(lines);
    let run = cli.run(&["test"]);
    run.ends(0);
    for said in ["is taken as accept-new", "UserKnownHostsFile /dev/null", "Match exec is not looked at"] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let recorded = site.path(".ssh/known_hosts");
    let line = fs::read_to_string(&recorded).unwrap();
    assert!(line.starts_with(&format!("[127.0.0.1]:{} ssh-ed25519 ", site.sshd.port())), "{line}");
    let other = Sshd::start();
    fs::write(
        &recorded,
        other
            .known_hosts_line(&other.host_public_keys()[0])
            .replace(&other.port().to_string(), &site.sshd.port().to_string()),
    )
    .unwrap();
    assert_eq!(cli.run(&["test", "--json"]).ends(3).json()["error"]["kind"], "host_key_changed");
}

/// A configuration of lines that both sides know.
fn anything(random: &mut Random) -> String {
    let mut text = String::new();
    let pick = |random: &mut Random, of: &[&str]| of[random.index(of.len())].to_owned();
    let names = ["nas", "nas2", "*.example", "*", "n?s*", "!nas2", "!*.example", "10.*", "NAS", "real-*"];
    for _ in 0..3 + random.below(14) {
        let kind = random.below(10);
        if kind == 0 {
            let count = 1 + random.below(3);
            let patterns: Vec<_> = (0..count).map(|_| pick(random, &names)).collect();
            text += &["Host ", &patterns.join(" "), "\n"].concat();
        } else if kind == 1 {
            let mut criteria = Vec::new();
            for _ in 0..=random.below(2) {
                let sign = if random.one_in(4) { "!" } else { "" };
                let what = pick(random, &["host", "originalhost", "user", "localuser"]);
                let patterns = if what.contains("user") {
                    pick(random, &["u1", "u?", "*,!u1", "root"])
                } else {
                    format!("{},{}", pick(random, &names), pick(random, &names))
                };
                criteria.push(format!("{sign}{what} {patterns}"));
            }
            match random.below(6) {
                0 => text += "Match all\n",
                1 => text += &["Match final ", &criteria.join(" "), "\n"].concat(),
                2 => text += "Match final all\n",
                _ => text += &["Match ", &criteria.join(" "), "\n"].concat(),
            }
        } else {
            let (keyword, values): (&str, &[&str]) = [
                ("HostName", &["real-%h", "%h.example", "192.0.2.9", "A.B"][..]),
                ("User", &["u1", "u2", "\"u 3\"", "'u4'"]),
                ("Port", &["1", "22", "2222"]),
                ("IdentityFile", &["~/.ssh/k1", "/k2", "\"/k 3\"", "k4"]),
                ("CertificateFile", &["/c1", "~/c2"]),
                ("UserKnownHostsFile", &["/u1 /u2", "~/u3", "\"/u 4\""]),
                ("GlobalKnownHostsFile", &["/g1", "/g2 /g3"]),
                ("IdentitiesOnly", &["yes", "no"]),
                ("StrictHostKeyChecking", &["yes", "no", "accept-new", "ask"]),
                ("ConnectTimeout", &["3", "2m", "1h1s"]),
                ("ProxyJump", &["j1", "me@j2:2022,j3", "none"]),
                ("AddressFamily", &["any", "inet", "inet6"]),
                ("HostKeyAlias", &["al1", "Al2"]),
                ("BindAddress", &["127.0.0.1", "127.0.0.2"]),
                ("SendEnv", &["LANG LC_*"]),
                ("ForwardAgent", &["yes"]),
            ][random.index(16)];
            let keyword = if random.one_in(5) { keyword.to_uppercase() } else { keyword.to_owned() };
            let space = pick(random, &[" ", "\t", "=", " = ", "  "]);
            let indent = pick(random, &["", "  ", "\t"]);
            let comment = pick(random, &["", "", " # why", "  "]);
            let value = pick(random, values);
            text += &[indent, keyword, space, value, comment, String::from("\n")].concat();
        }
        if random.one_in(12) {
            text += &pick(random, &["\n", "# a comment\n", "Include @/inc/*\n"]);
        }
    }
    text
}

#[test]
fn any_configuration_is_read_as_openssh_reads_it() {
    let files = Files::new();
    let mut random = Random::of_environment("ssh_config");
    let rounds = if long() { 3000 } else { 150 };
    let mut refused = 0;
    for round in 0..rounds {
        files.write("inc/a", &anything(&mut random).replace("Include @/inc/*\n", ""));
        let text = anything(&mut random);
        let file = files.write("config", &text);
        let host = HOSTS[random.index(HOSTS.len())];
        match theirs(&file, host) {
            Some(theirs) => {
                let included = fs::read_to_string(files.0.path().join("inc/a")).unwrap();
                let ours = ours(&file, host).unwrap_or_else(|error| panic!("round {round}: {error}\n{text}"));
                assert_eq!(ours, theirs, "round {round}, {host}, left ours:\n{text}\nincluded:\n{included}");
            }
            None => refused += 1,
        }
    }
    assert!(refused * 10 < rounds, "OpenSSH refuses {refused} of {rounds}");
}

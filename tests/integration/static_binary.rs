//! The static binary in a root folder of its own: no libraries, no /dev, no /proc, no name service but /etc/hosts.

mod serve;
mod setup;
mod threads;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::sshd::user;
use crate::support::{Site, lone_network, on_lone_network, skip};

/// `make test` builds the binary and says here where it is.
const VARIABLE: &str = "NAS_SYNC_STATIC";
/// A name that only `/etc/hosts` inside the empty folder knows.
const NAS: &str = "nas.test";
/// The program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// The binary that `make static` builds.
fn binary() -> PathBuf {
    let built = format!("target/{}-unknown-linux-gnu/release/nas-sync", std::env::consts::ARCH);
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join(built);
    let path = std::env::var_os(VARIABLE).map_or_else(default, PathBuf::from);
    assert!(path.is_file(), "{} is not there: run `make static` first, or `make test`", path.display());
    path
}

/// Copies it into a root folder. By a process of its own: while this one writes, a child of another test may hold it open, and it
/// could not be started.
fn put_binary(root: &Path) {
    assert!(Command::new("cp").arg(binary()).arg(root.join("nas-sync")).status().unwrap().success());
}

/// The types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(elf: &[u8]) -> Vec<u32> {
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "not a 64-bit little-endian ELF file");
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let (offset, size, count) = (u64::from_le_bytes(elf[32..40].try_into().unwrap()), half(54), half(56));
    let start = usize::try_from(offset).unwrap();
    elf[start..].chunks(size).take(count).map(|header| u32::from_le_bytes(header[..4].try_into().unwrap())).collect()
}

#[test]
fn it_needs_no_loader() {
    assert!(!program_headers(&fs::read(binary()).unwrap()).contains(&PT_INTERP));
    // The test itself is an ordinary program: what is looked for can be found.
    let this = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(program_headers(&this).contains(&PT_INTERP));
}

/// A root folder that holds the binary and its data, and a NAS outside of it.
struct Cell {
    site: Site,
    root: PathBuf,
    enter: Vec<&'static str>,
}

impl Cell {
    /// `None`, with the reason on stderr, where this user may not change the root folder.
    fn new() -> Option<Self> {
        let enter = enter()?;
        let site = Site::new();
        let root = site.path("root");
        for folder in ["data", "etc", "uploads"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        put_binary(&root);
        fs::write(root.join("etc/hosts"), format!("127.0.0.1 {NAS}\n")).unwrap();
        let key = root.join("data/key");
        fs::copy(site.sshd.path("user_ed25519"), &key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let known: String = site
            .sshd
            .host_public_keys()
            .iter()
            .flat_map(|key| [NAS, "127.0.0.1"].map(|name| format!("[{name}]:{} {key}\n", site.sshd.port())))
            .collect();
        fs::write(root.join("data/known_hosts"), known).unwrap();
        Some(Self { site, root, enter })
    }

    /// Runs the binary inside, with NAS_HOST set to `host`, and gives its `--json` object.
    fn run(&self, host: &str, arguments: &[&str]) -> Value {
        self.run_by(Command::new("/usr/bin/env"), host, arguments)
    }

    /// The same, by a program that is given what it is to start.
    fn run_by(&self, starter: Command, host: &str, arguments: &[&str]) -> Value {
        let mut command = self.command(starter, host);
        let output = command.arg("--json").args(arguments).output().expect("the program to enter the root folder runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}: {said}{:?}", output.status, output.stdout);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    /// The binary inside, without arguments.
    fn command(&self, mut starter: Command, host: &str) -> Command {
        starter
            .args(&self.enter)
            .arg(&self.root)
            .arg("/nas-sync")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs([("NAS_HOST", host), ("NAS_USER", &user()), ("NAS_PORT", &self.site.sshd.port().to_string())])
            .env("NAS_PATH", self.site.path("nas"))
            .envs([("NAS_KEY_FILE", "/data/key"), ("NAS_KNOWN_HOSTS", "/data/known_hosts")])
            .envs([("NAS_DB", "/data/documents.db"), ("UPLOAD_DIR", "/uploads"), ("NAS_LAYOUT", "tree")]);
        starter
    }
}

/// How to start a program in another root folder: as root directly, else as root of a user namespace.
fn enter() -> Option<Vec<&'static str>> {
    let works = |words: &[&str]| {
        Command::new(words[0]).args(&words[1..]).args(["/", "/bin/true"]).output().is_ok_and(|run| run.status.success())
    };
    let ways: [&[&str]; 2] = [&["chroot"], &["unshare", "--map-root-user", "chroot"]];
    let way = ways.into_iter().find(|way| works(way));
    if way.is_none() {
        skip("neither chroot nor a user namespace is allowed here");
    }
    way.map(<[_]>::to_vec)
}

#[test]
fn it_adds_syncs_and_counts_in_a_root_folder_that_holds_nothing_else() {
    let Some(cell) = Cell::new() else { return };
    let documents = [("Reçu n° 7 – café.pdf", 300_000), ("2024/Facture été.pdf", 70_000), ("empty.txt", 0)];
    let content = |size: usize| (0..size).map(|at| u8::try_from(at * at % 251).unwrap()).collect::<Vec<_>>();
    for (name, size) in documents {
        let path = cell.root.join("uploads").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(size)).unwrap();
    }
    let names = documents.map(|(name, _)| name);

    let added = cell.run(NAS, &[&["add", "--user", "7"], &names[..]].concat());
    assert_eq!(added["ids"].as_array().map(Vec::len), Some(3));
    let synced = cell.run(NAS, &["sync"]);
    assert_eq!((&synced["total"], &synced["synced"], &synced["failed"]), (&3.into(), &3.into(), &0.into()), "{synced}");
    for (name, size) in documents {
        assert_eq!(cell.site.stored(name), Some(content(size)), "{name}");
    }
    let status = cell.run(NAS, &["status", "--user", "7"]);
    assert_eq!((&status["synced"], &status["pending"]), (&3.into(), &0.into()), "{status}");
    assert!(status["last_sync"].is_string(), "{status}");
}

/// No module of the C library is asked for such a name.
#[test]
fn it_finds_a_machine_that_answers_to_its_name_by_multicast() {
    let Some(cell) = Cell::new() else { return };
    let Some(network) = on_lone_network(&cell.site) else { return };
    let tested = cell.run_by(network, lone_network::NAME, &["test", "--accept-new-host-key"]);
    assert_eq!(tested["success"], true, "{tested}");
}

#[test]
fn it_finds_hosts_by_name_and_by_number() {
    let Some(cell) = Cell::new() else { return };
    for host in [NAS, "127.0.0.1"] {
        assert_eq!(cell.run(host, &["test"])["success"], true, "{host}");
    }
}

//! Logins that go through other hosts (`ProxyJump`): each hop a real sshd with a host key of its own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nas_sync::ErrorKind;
use nas_sync::internal::transport::ssh::{Identity, SshClient, SshConfig, UnknownHostKey};

use crate::ssh::{connect, refused};
use crate::support::sshd::{collect, user};
use crate::support::{Cli, Site, Sshd};

/// A login on the last of these servers that goes through the others.
fn through(jumps: &[&Sshd], last: &Sshd) -> SshConfig {
    let mut config = last.config();
    config.jumps = jumps.iter().map(|jump| jump.config()).collect();
    config
}

/// Where a connection comes from, as the server sees it, and who made it.
async fn peer_port(client: &SshClient) -> String {
    let outcome = collect(client.exec(b"echo $SSH_CONNECTION").await.unwrap()).await;
    String::from_utf8(outcome.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_login_goes_over_two_and_three_hops() {
    let (first, second, last) = (Sshd::start(), Sshd::start(), Sshd::start());
    for jumps in [vec![&first], vec![&first, &second]] {
        let client = connect(&through(&jumps, &last)).await;
        let port = peer_port(&client).await;
        let forwarder = jumps.last().unwrap();
        let seen = format!("from 127.0.0.1 port {port} ");
        assert!(last.log().contains(&seen), "{}", last.log());
        // Each hop let exactly the next one be reached.
        for (jump, next) in jumps.iter().zip(jumps[1..].iter().copied().chain([&last])) {
            let target = format!("direct-tcpip to 127.0.0.1 port {}", next.port());
            assert!(jump.log().contains(&target) || jump.log().contains("Accepted publickey"), "{}", jump.log());
        }
        assert!(!forwarder.log().contains(&seen));
        // More than fits into any window, there and back.
        let sum = collect(client.exec(b"head -c 30000000 /dev/zero").await.unwrap()).await;
        assert_eq!(sum.stdout.len(), 30_000_000);
        client.disconnect().await;
    }
    assert_eq!(first.log().matches("Accepted publickey").count(), 2);
    assert_eq!(second.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn the_key_of_each_host_on_the_way_is_checked() {
    let (first, second, last) = (Sshd::start(), Sshd::start(), Sshd::start());
    let unknown = first.path("nobody_is_known");
    for number in 0..2 {
        let mut config = through(&[&first, &second], &last);
        config.jumps[number].known_hosts = vec![unknown.clone()];
        let error = refused(&config, ErrorKind::HostKeyUnknown).await;
        let port = config.jumps[number].port.to_string();
        assert!(error.message().contains(&port), "{error}");
        assert!(error.solution().contains("on the way to the NAS"), "{}", error.solution());
        config.jumps[number].unknown_host_key = UnknownHostKey::Accept;
        connect(&config).await;
        fs::remove_file(&unknown).unwrap();
        // A changed key is not let in by that.
        let other = Sshd::start();
        let line = format!("[127.0.0.1]:{port} {}\n", other.host_public_keys()[0]);
        fs::write(&unknown, line).unwrap();
        assert!(refused(&config, ErrorKind::HostKeyChanged).await.message().contains(&port));
        fs::remove_file(&unknown).unwrap();
    }
    let logins = |sshd: &Sshd| sshd.log().matches("Accepted publickey").count();
    // Nobody logged in behind a host that was refused.
    assert_eq!((logins(&first), logins(&second), logins(&last)), (4, 2, 2));
}

#[tokio::test]
async fn what_is_wrong_on_the_way_is_told_from_what_is_wrong_at_its_end() {
    let (first, last) = (Sshd::start(), Sshd::start());
    let good = through(&[&first], &last);
    let mut config = good.clone();
    config.port = 1;
    let error = refused(&config, ErrorKind::Unreachable).await;
    assert!(error.message().contains(&format!("127.0.0.1:{} cannot connect to 127.0.0.1:1", first.port())), "{error}");
    let mut config = good.clone();
    config.jumps[0].identity = Identity::Files(vec![last.path("user_ed25519")]);
    let error = refused(&config, ErrorKind::LoginRefused).await;
    assert!(error.message().contains(&first.port().to_string()) && error.solution().contains("on the way"), "{error}");
    let mut config = good.clone();
    config.jumps[0].port = 1;
    assert!(refused(&config, ErrorKind::ConnectionRefused).await.message().contains("127.0.0.1:1"));
    let closed = Sshd::setup().line("AllowTcpForwarding no").start();
    let error = refused(&through(&[&closed], &last), ErrorKind::Unreachable).await;
    assert!(error.message().contains("lets nobody through"), "{error}");
    assert!(error.solution().contains("AllowTcpForwarding"), "{}", error.solution());
}

#[tokio::test]
async fn a_connection_ends_with_the_host_that_it_goes_through() {
    let (mut first, last) = (Sshd::start(), Sshd::start());
    let client = connect(&through(&[&first], &last)).await;
    let exec = client.exec(b"sleep 1000").await.unwrap();
    first.kill();
    let outcome = tokio::time::timeout(Duration::from_secs(60), collect(exec)).await.expect("it ends");
    assert!(outcome.exit.is_none());
    assert!(client.lost().is_some());
}

#[test]
fn a_sync_goes_the_way_that_ssh_config_says() {
    let (first, second) = (Sshd::start(), Sshd::start());
    let mut site = Site::new();
    let mut known_hosts = fs::read_to_string(site.sshd.path("known_hosts")).unwrap();
    let mut lines = String::new();
    for (name, sshd) in [("one", &first), ("two", &second)] {
        let key = sshd.path("user_ed25519");
        let (port, key) = (sshd.port(), key.display());
        writeln!(lines, "Host {name}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {key}").unwrap();
        known_hosts += &sshd.known_hosts_line(&sshd.host_public_keys()[0]);
    }
    // The nearer host is known to the other alone.
    let user = user();
    writeln!(lines, "Host two\nProxyJump one\nHost storage\nHostName 127.0.0.1\nProxyJump {user}@two").unwrap();
    let config = site.path("ssh_config");
    fs::write(&config, lines).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let known = site.path("known_hosts");
    fs::write(&known, known_hosts).unwrap();
    site.set("NAS_HOST", "storage");
    site.set("NAS_SSH_CONFIG", &config);
    site.set("NAS_KNOWN_HOSTS", &known);
    let cli = Cli::new(&site);
    let file = site.upload("a.pdf", b"one");
    cli.run(&["add", file.to_str().unwrap(), "--user", "1"]).ends(0);
    let shown = cli.run(&["config"]).ends(0).all();
    assert!(shown.contains(&format!("127.0.0.1:{}, 127.0.0.1:{}", first.port(), second.port())), "{shown}");
    assert_eq!(cli.run(&["sync", "--json"]).ends(0).json()["synced"], 1);
    assert_eq!(site.stored("a.pdf").unwrap(), b"one");
    for sshd in [&first, &second] {
        assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    }
    // `-J` takes another way than the file.
    let shell = format!("ssh -p {} -J one -i {}", site.sshd.port(), site.sshd.path("user_ed25519").display());
    let to = format!("storage:{}", site.path("nas/b.pdf").display());
    cli.run(&["push", "-e", &shell, file.to_str().unwrap(), &to]).ends(0);
    let logins = [&first, &second].map(|sshd| sshd.log().matches("Accepted publickey").count());
    assert_eq!(logins, [2, 1]);
}

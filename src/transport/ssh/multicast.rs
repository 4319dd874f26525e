//! Names that end in `.local`, which machines of the local network answer to themselves (RFC 6762).
//!
//! The system's resolver knows them only where somebody set it up for them, and a static binary never does. Guarantees: both
//! are asked side by side, and the first that knows the name is believed; no other name is asked for by multicast.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::pin::pin;
use std::time::{Duration, Instant};

use mdns_sd::{HostnameResolutionEvent, ScopedIp, ServiceDaemon};

use crate::blocking;
use crate::error::Result;

/// How long machines may take to answer.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the other addresses of a machine are waited for behind the first.
const OTHERS: Duration = Duration::from_millis(200);

/// What the system finds, or the machines of the local network, where the name is one of theirs.
pub(super) async fn or_ask_the_network(
    host: &str,
    port: u16,
    system: impl Future<Output = Result<io::Result<Vec<SocketAddr>>>>,
) -> Result<io::Result<Vec<SocketAddr>>> {
    let Some(name) = local_name(host) else { return system.await };
    let knows =
        |found: &Result<io::Result<Vec<SocketAddr>>>| matches!(found, Ok(Ok(addresses)) if !addresses.is_empty());
    let mut network = pin!(blocking::run(move || Ok(ask(&name, port))));
    let mut system = pin!(system);
    tokio::select! {
        found = &mut system => {
            if knows(&found) {
                return found;
            }
            match network.await {
                Ok(addresses) if !addresses.is_empty() => Ok(Ok(addresses)),
                _ => found,
            }
        }
        found = &mut network => match found {
            Ok(addresses) if !addresses.is_empty() => Ok(Ok(addresses)),
            _ => system.await,
        },
    }
}

/// The name with the dot behind it, where it is one that is asked for so.
fn local_name(host: &str) -> Option<String> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let label = name.strip_suffix(".local")?;
    (!label.is_empty()).then(|| format!("{name}."))
}

/// Asks all machines of the networks that this one is in; nothing where none answers, or nobody can be asked.
fn ask(name: &str, port: u16) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let asked = ServiceDaemon::new().and_then(|daemon| {
        let answers = daemon.resolve_hostname(name, u64::try_from(LONGEST.as_millis()).ok())?;
        let mut deadline = Instant::now() + LONGEST;
        while let Ok(event) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            match event {
                HostnameResolutionEvent::AddressesFound(_, addresses) => {
                    if found.is_empty() {
                        deadline = deadline.min(Instant::now() + OTHERS);
                    }
                    found.extend(addresses.iter().map(|address| with_port(address, port)));
                }
                HostnameResolutionEvent::SearchTimeout(_) | HostnameResolutionEvent::SearchStopped(_) => break,
                _ => {}
            }
        }
        daemon.shutdown()
    });
    if let Err(error) = asked {
        tracing::debug!(%error, "nobody can be asked by multicast");
    }
    // The older kind first: an address of one link alone is worth less.
    found.sort_unstable();
    found.dedup();
    found
}

/// An address of one link alone says which.
fn with_port(address: &ScopedIp, port: u16) -> SocketAddr {
    match address {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        other => SocketAddr::new(other.to_ip_addr(), port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_local_network_are_asked_for() {
        for (host, name) in [
            ("NAS.local", Some("nas.local.")),
            ("nas.local.", Some("nas.local.")),
            ("nas", None),
            ("local", None),
            (".local", None),
            ("nas.local.example.org", None),
            ("192.0.2.1", None),
        ] {
            assert_eq!(local_name(host).as_deref(), name, "{host}");
        }
    }
}

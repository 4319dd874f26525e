//! Which algorithms are offered, and in which order.
//!
//! Guarantees: no SHA-1 key exchange, MAC or signature unless the user allows legacy algorithms, no CBC unless the user
//! allows those or names it; never the
//! `none` cipher or MAC; nothing that needs strict key exchange (`kex-strict-*-v00@openssh.com`) to be safe against a
//! cut prefix is used with a server that lacks it. See `protocol-notes/13-ssh.md`.

use std::borrow::Cow;

use russh::client::GexParams;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Names, Preferred, cipher, kex, mac};

use super::ciphers::{AES_GCM, CipherList};
use super::config::{LegacyAlgorithms, SshConfig};

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G14_SHA256,
];
const LEGACY_KEX: &[kex::Name] = &[kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1];
const KEX_SIGNALS: &[kex::Name] = &[kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

const MACS_ETM: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
const MACS_PLAIN: &[mac::Name] = &[mac::HMAC_SHA256, mac::HMAC_SHA512];
const LEGACY_MACS: &[mac::Name] = &[mac::HMAC_SHA1];

/// What is known about the server before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrictKex {
    /// It probably has strict key exchange; [`is_covered`] finds out.
    Assumed,
    /// It has not, so nothing that depends on it is offered.
    Missing,
}

/// The lists for one connection. `accepts` says which host key types, by their known_hosts name, may be offered.
pub(super) fn preferred(config: &SshConfig, strict: StrictKex, accepts: impl Fn(&str) -> bool) -> Preferred {
    let legacy = config.legacy == LegacyAlgorithms::Allow;
    let mut kex = KEX.to_vec();
    let mut ciphers = CipherList::or_default(config.ciphers.as_ref(), legacy);
    let mut macs = [MACS_ETM, MACS_PLAIN].concat();
    if legacy {
        kex.extend(LEGACY_KEX);
        macs.extend(LEGACY_MACS);
    }
    kex.extend(KEX_SIGNALS);
    if strict == StrictKex::Missing {
        ciphers.retain(|&cipher| cipher != cipher::CHACHA20_POLY1305);
        macs.retain(|&mac| !is_etm(mac));
    }
    let mut keys = host_key_algorithms(legacy);
    keys.retain(|algorithm| accepts(&key_type(algorithm)));
    Preferred { kex: kex.into(), key: keys.into(), cipher: ciphers.into(), mac: macs.into(), ..plain_preferred() }
}

/// No certificates, no compression: rsync compresses better, and before encryption it leaks lengths.
fn plain_preferred() -> Preferred {
    Preferred { host_key_certificates: Cow::Borrowed(&[]), ..Preferred::DEFAULT }
}

fn host_key_algorithms(legacy: bool) -> Vec<Algorithm> {
    let mut algorithms = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    if legacy {
        algorithms.push(Algorithm::Rsa { hash: None });
    }
    algorithms
}

/// The type of a key as known_hosts and key blobs name it: RSA is `ssh-rsa`, however it signs.
pub(super) fn key_type(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::Rsa { .. } => String::from("ssh-rsa"),
        other => other.to_string(),
    }
}

/// Old servers know no group of 3,072 bits or more.
pub(super) fn group_exchange(legacy: LegacyAlgorithms) -> GexParams {
    match legacy {
        LegacyAlgorithms::Refuse => GexParams::default(),
        LegacyAlgorithms::Allow => GexParams::new(2048, 4096, 8192).unwrap_or_default(),
    }
}

/// Whether the agreed algorithms are safe although packets before the first encrypted one may have been cut:
/// either both sides reset their counters (strict key exchange), or the cipher notices by itself.
pub(super) fn is_covered(names: &Names) -> bool {
    let aead = AES_GCM.contains(&names.cipher);
    let needs_strict =
        names.cipher == cipher::CHACHA20_POLY1305 || (!aead && (is_etm(names.client_mac) || is_etm(names.server_mac)));
    names.strict_kex() || !needs_strict
}

fn is_etm(mac: mac::Name) -> bool {
    mac.as_ref().ends_with("-etm@openssh.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn nothing_old_is_offered_unless_allowed() {
        let mut config = SshConfig::new("nas", "me");
        let old = |preferred: &Preferred| {
            let all = [names(&preferred.kex), names(&preferred.cipher), names(&preferred.mac)].concat().join(" ");
            (all.contains("sha1"), all.contains("cbc"), preferred.key.contains(&Algorithm::Rsa { hash: None }))
        };
        assert_eq!(old(&preferred(&config, StrictKex::Assumed, |_| true)), (false, false, false));
        config.legacy = LegacyAlgorithms::Allow;
        assert_eq!(old(&preferred(&config, StrictKex::Assumed, |_| true)), (true, true, true));
    }

    #[test]
    fn without_strict_key_exchange_only_what_protects_itself_is_left() {
        let left = preferred(&SshConfig::new("nas", "me"), StrictKex::Missing, |_| true);
        assert!(!left.cipher.contains(&cipher::CHACHA20_POLY1305) && !left.cipher.is_empty());
        assert!(!left.mac.iter().any(|&mac| is_etm(mac)) && !left.mac.is_empty());
    }

    #[test]
    fn only_accepted_host_key_types_are_offered() {
        let rsa = preferred(&SshConfig::new("nas", "me"), StrictKex::Assumed, |name| name == "ssh-rsa");
        assert!(rsa.key.iter().all(|key| matches!(key, Algorithm::Rsa { hash: Some(_) })) && rsa.key.len() == 2);
    }
}

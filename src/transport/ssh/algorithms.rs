//! Which algorithms are offered, and in which order.
//!
//! Guarantees: no SHA-1 key exchange, MAC or signature unless the user allows legacy algorithms, no CBC unless the user
//! allows those or names it; never the
//! `none` cipher or MAC; nothing that needs strict key exchange (`kex-strict-*-v00@openssh.com`) to be safe against a
//! cut prefix is used with a server that lacks it. Lists of ssh_config choose and order, and let nothing in that is not
//! allowed without them. See `protocol-notes/13-ssh.md`.

use russh::client::GexParams;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Names, Preferred, cipher, kex, mac};

use super::algorithm_list::AlgorithmList;
use super::ciphers::{AES_GCM, CipherList};
use super::config::{LegacyAlgorithms, SshConfig};
use crate::error::{ErrorKind, NasSyncError, Result};

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

/// The lists for one connection. `accepts` says which host key types, by their known_hosts name, may be offered, and
/// `certificates` whether an authority is known that signs the host's keys.
pub(super) fn preferred(
    config: &SshConfig,
    strict: StrictKex,
    certificates: Certificates,
    accepts: impl Fn(&str) -> bool,
) -> Preferred {
    let Lists { mut kex, mut ciphers, mut macs, mut keys, mut certified } = Lists::of(config);
    kex.extend(KEX_SIGNALS);
    if strict == StrictKex::Missing {
        ciphers.retain(|&cipher| cipher != cipher::CHACHA20_POLY1305);
        macs.retain(|&mac| !is_etm(mac));
    }
    keys.retain(|algorithm| accepts(&key_type(algorithm)));
    if certificates == Certificates::Unwanted {
        certified.clear();
    }
    Preferred {
        kex: kex.into(),
        key: keys.into(),
        host_key_certificates: certified.into(),
        cipher: ciphers.into(),
        mac: macs.into(),
        // rsync compresses better, and before encryption it leaks lengths.
        ..Preferred::DEFAULT
    }
}

/// Whether a server may show a certificate in place of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificates {
    /// An authority is known that can have signed it.
    Wanted,
    /// None is, so it would prove nothing.
    Unwanted,
}

/// What a person's lists leave of what is allowed.
struct Lists {
    kex: Vec<kex::Name>,
    ciphers: Vec<cipher::Name>,
    macs: Vec<mac::Name>,
    keys: Vec<Algorithm>,
    certified: Vec<Algorithm>,
}

impl Lists {
    fn of(config: &SshConfig) -> Self {
        let legacy = config.legacy == LegacyAlgorithms::Allow;
        let (mut kex, mut macs) = (KEX.to_vec(), [MACS_ETM, MACS_PLAIN].concat());
        if legacy {
            kex.extend(LEGACY_KEX);
            macs.extend(LEGACY_MACS);
        }
        let (ciphers, keys) = (CipherList::or_default(config.ciphers.as_ref(), legacy), host_key_algorithms(legacy));
        let chosen = &config.algorithms;
        Self {
            kex: changed(chosen.kex.as_ref(), &kex, |kex| kex.as_ref().to_owned()),
            ciphers: changed(chosen.ciphers.as_ref().filter(|_| config.ciphers.is_none()), &ciphers, |cipher| {
                cipher.as_ref().to_owned()
            }),
            macs: changed(chosen.macs.as_ref(), &macs, |mac| mac.as_ref().to_owned()),
            keys: changed(chosen.host_keys.as_ref(), &keys, ToString::to_string),
            certified: changed(chosen.host_keys.as_ref(), &keys, Algorithm::to_certificate_type),
        }
    }
}

fn changed<T: Clone + PartialEq>(list: Option<&AlgorithmList>, ours: &[T], name: impl Fn(&T) -> String) -> Vec<T> {
    list.map_or_else(|| ours.to_vec(), |list| list.apply(ours, ours, name))
}

/// Fails with `Usage` for lists that leave nothing.
pub(super) fn check(config: &SshConfig) -> Result<()> {
    let Lists { kex, ciphers, macs, keys, certified } = Lists::of(config);
    let lists = [
        ("KexAlgorithms", kex.is_empty()),
        ("Ciphers", ciphers.is_empty()),
        ("MACs", macs.is_empty()),
        ("HostKeyAlgorithms", keys.is_empty() && certified.is_empty()),
    ];
    match lists.into_iter().find(|(_, is_empty)| *is_empty) {
        None => Ok(()),
        Some((keyword, _)) => {
            let message =
                format!("{keyword} of ssh_config leaves no algorithm that can be used with {}", config.address());
            Err(NasSyncError::new(ErrorKind::Usage, message)
                .with_solution("Add others to that list, or take it out. Old ones also need --legacy-ssh."))
        }
    }
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
        assert_eq!(
            old(&preferred(&config, StrictKex::Assumed, Certificates::Unwanted, |_| true)),
            (false, false, false)
        );
        config.legacy = LegacyAlgorithms::Allow;
        assert_eq!(old(&preferred(&config, StrictKex::Assumed, Certificates::Unwanted, |_| true)), (true, true, true));
    }

    #[test]
    fn without_strict_key_exchange_only_what_protects_itself_is_left() {
        let left = preferred(&SshConfig::new("nas", "me"), StrictKex::Missing, Certificates::Unwanted, |_| true);
        assert!(!left.cipher.contains(&cipher::CHACHA20_POLY1305) && !left.cipher.is_empty());
        assert!(!left.mac.iter().any(|&mac| is_etm(mac)) && !left.mac.is_empty());
    }

    #[test]
    fn only_accepted_host_key_types_are_offered() {
        let rsa = preferred(&SshConfig::new("nas", "me"), StrictKex::Assumed, Certificates::Unwanted, |name| {
            name == "ssh-rsa"
        });
        assert!(rsa.key.iter().all(|key| matches!(key, Algorithm::Rsa { hash: Some(_) })) && rsa.key.len() == 2);
    }
}

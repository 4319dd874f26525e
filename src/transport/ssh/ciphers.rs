//! Ciphers, and the list of them that a person may give.

use russh::cipher;

use crate::error::{ErrorKind, NasSyncError, Result};

pub(super) const AES_GCM: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM];
const AES_CTR: &[cipher::Name] = &[cipher::AES_128_CTR, cipher::AES_192_CTR, cipher::AES_256_CTR];
const LEGACY_CIPHERS: &[cipher::Name] = &[cipher::AES_128_CBC, cipher::AES_192_CBC, cipher::AES_256_CBC];

/// Ciphers in order of preference, as `ssh -c` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherList(Vec<cipher::Name>);

impl CipherList {
    /// Reads a comma-separated list. Names we cannot do are left out; a list without any other fails with `Usage`.
    pub fn parse(list: &str) -> Result<Self> {
        let usable = |name: &str| match cipher::Name::try_from(name) {
            Ok(cipher::NONE | cipher::CLEAR) | Err(()) => None,
            Ok(cipher) => Some(cipher),
        };
        let ciphers: Vec<_> = list.split(',').filter_map(|name| usable(name.trim())).collect();
        if ciphers.is_empty() {
            let known: Vec<_> =
                AES_GCM.iter().chain([&cipher::CHACHA20_POLY1305]).chain(AES_CTR).map(AsRef::as_ref).collect();
            return Err(NasSyncError::new(ErrorKind::Usage, format!("{list:?} names no cipher that is supported"))
                .with_solution(format!("Choose from {}, or leave the option away.", known.join(", "))));
        }
        Ok(Self(ciphers))
    }

    /// These, or without a list those that are offered by default.
    pub(super) fn or_default(list: Option<&Self>, legacy: bool) -> Vec<cipher::Name> {
        list.map_or_else(|| default_ciphers(legacy), |list| list.0.clone())
    }
}

fn default_ciphers(legacy: bool) -> Vec<cipher::Name> {
    let mut ciphers = if has_aes_instructions() {
        [AES_GCM, &[cipher::CHACHA20_POLY1305]].concat()
    } else {
        [&[cipher::CHACHA20_POLY1305], AES_GCM].concat()
    };
    ciphers.extend(AES_CTR);
    if legacy {
        ciphers.extend(LEGACY_CIPHERS);
    }
    ciphers
}

/// Without these instructions AES is slow, and hard to make independent of its data.
fn has_aes_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_lists_keep_their_order_and_must_name_something() {
        let list = CipherList::parse("arcfour, aes256-ctr,aes128-gcm@openssh.com").unwrap();
        assert_eq!(list.0.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["aes256-ctr", "aes128-gcm@openssh.com"]);
        for bad in ["", "none", "clear", "arcfour,blowfish-cbc"] {
            assert_eq!(CipherList::parse(bad).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}

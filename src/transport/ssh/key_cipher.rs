//! Encrypted private keys in the forms of OpenSSL: PKCS#8 (PBES2) and the older `DEK-Info`.
//!
//! Guarantees: an encryption that cannot be undone here is named and never taken for a wrong passphrase. What is decrypted
//! is wiped from memory when it is dropped. OpenSSH's own form is not looked at: russh reads it.

use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use russh::keys::ssh_key::Cipher;
use sha1::Sha1;
use zeroize::Zeroizing;

/// Turns of PBKDF2 beyond which a key is refused instead of keeping a CPU busy for minutes.
const MAX_TURNS: u32 = 20_000_000;

/// Why a key stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closed {
    WrongPassphrase,
    /// The name of the encryption, or its number where it has no name here.
    Unsupported(String),
    /// The key is damaged.
    Damaged,
}

/// What is to be done with an encrypted key.
pub(super) enum Way {
    /// It is open now: a key of PKCS#8.
    Opened(Zeroizing<Vec<u8>>),
    /// russh knows how.
    ByRussh,
}

/// Opens a key of the label `ENCRYPTED PRIVATE KEY`.
pub(super) fn open_pkcs8(sealed: &[u8], passphrase: &str) -> Result<Way, Closed> {
    let scheme = Scheme::of(sealed).ok_or(Closed::Damaged)?;
    let cipher = match scheme.cipher {
        oid::AES_128_CBC => Cipher::Aes128Cbc,
        oid::AES_192_CBC => Cipher::Aes192Cbc,
        oid::AES_256_CBC => Cipher::Aes256Cbc,
        other => return Err(Closed::Unsupported(oid::name(other))),
    };
    let (size, _) = cipher.key_and_iv_size().ok_or(Closed::Damaged)?;
    match scheme.derivation {
        Derivation::Pbkdf2 { function: oid::HMAC_SHA1, salt, turns } => {
            let mut key = Zeroizing::new(vec![0; size]);
            pbkdf2::<Sha1>(passphrase.as_bytes(), salt, turns, &mut key);
            undo(cipher, &key, scheme.vector, scheme.sealed).map(Way::Opened)
        }
        Derivation::Pbkdf2 {
            function: oid::HMAC_SHA224 | oid::HMAC_SHA256 | oid::HMAC_SHA384 | oid::HMAC_SHA512,
            ..
        }
        | Derivation::Other(oid::SCRYPT) => Ok(Way::ByRussh),
        Derivation::Pbkdf2 { function: other, .. } | Derivation::Other(other) => {
            Err(Closed::Unsupported(oid::name(other)))
        }
    }
}

/// Opens a key with a line `DEK-Info: CIPHER,VECTOR`, which is what stands in `info`.
pub(super) fn open_dek(sealed: &[u8], info: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let (name, vector) = info.split_once(',').ok_or(Closed::Damaged)?;
    let cipher = match name.trim() {
        "AES-128-CBC" => Cipher::Aes128Cbc,
        "AES-192-CBC" => Cipher::Aes192Cbc,
        "AES-256-CBC" => Cipher::Aes256Cbc,
        other => return Err(Closed::Unsupported(other.to_owned())),
    };
    let vector = from_hex(vector.trim()).filter(|vector| vector.len() == 16).ok_or(Closed::Damaged)?;
    let (size, _) = cipher.key_and_iv_size().ok_or(Closed::Damaged)?;
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    let mut last: Zeroizing<Vec<u8>> = Zeroizing::default();
    while key.len() < size {
        let sum = Md5::new().chain_update(&*last).chain_update(passphrase).chain_update(&vector[..8]).finalize();
        last = Zeroizing::new(sum.to_vec());
        key.extend_from_slice(&last);
    }
    undo(cipher, &key[..size], &vector, sealed)
}

/// Decrypts and takes the padding off. A padding that makes no sense is what a wrong passphrase leaves.
fn undo(cipher: Cipher, key: &[u8], vector: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
    if sealed.is_empty() || !sealed.len().is_multiple_of(16) || vector.len() != 16 {
        return Err(Closed::Damaged);
    }
    let mut open = Zeroizing::new(sealed.to_vec());
    cipher.decrypt(key, vector, &mut open, None).map_err(|_| Closed::Unsupported(cipher.as_str().to_owned()))?;
    let padding = usize::from(*open.last().ok_or(Closed::Damaged)?);
    let length = open.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding));
    let length = length.filter(|&length| open[length..].iter().all(|&byte| usize::from(byte) == padding));
    open.truncate(length.ok_or(Closed::WrongPassphrase)?);
    // DER of a key is one sequence to its end.
    match element(&open) {
        Some((0x30, _, [])) => Ok(open),
        _ => Err(Closed::WrongPassphrase),
    }
}

/// RFC 8018, 5.2.
fn pbkdf2<D: EagerHash>(passphrase: &[u8], salt: &[u8], turns: u32, key: &mut [u8])
where
    Hmac<D>: Clone + hmac::KeyInit + hmac::Mac,
{
    let Ok(mac) = Hmac::<D>::new_from_slice(passphrase) else { return };
    for (block, number) in key.chunks_mut(<Hmac<D> as hmac::digest::OutputSizeUser>::output_size()).zip(1_u32..) {
        let mut turn = mac.clone().chain_update(salt).chain_update(number.to_be_bytes()).finalize().into_bytes();
        let mut sum = turn.clone();
        for _ in 1..turns {
            turn = mac.clone().chain_update(&turn).finalize().into_bytes();
            sum.iter_mut().zip(&turn).for_each(|(sum, byte)| *sum ^= byte);
        }
        block.copy_from_slice(&sum[..block.len()]);
    }
}

/// How a PKCS#8 key is encrypted.
struct Scheme<'a> {
    derivation: Derivation<'a>,
    /// An object identifier.
    cipher: &'a [u8],
    vector: &'a [u8],
    sealed: &'a [u8],
}

enum Derivation<'a> {
    Pbkdf2 { function: &'a [u8], salt: &'a [u8], turns: u32 },
    Other(&'a [u8]),
}

impl<'a> Scheme<'a> {
    /// Reads an `EncryptedPrivateKeyInfo`. An encryption other than PBES2 has its own identifier for a cipher.
    fn of(der: &'a [u8]) -> Option<Self> {
        let (algorithm, rest) = expect(0x30, expect(0x30, der)?.0)?;
        let (sealed, _) = expect(0x04, rest)?;
        let (kind, parameters) = expect(0x06, algorithm)?;
        if kind != oid::PBES2 {
            return Some(Self { derivation: Derivation::Other(kind), cipher: kind, vector: &[], sealed });
        }
        let (derivation, rest) = expect(0x30, expect(0x30, parameters)?.0)?;
        let (cipher, parameters) = expect(0x06, expect(0x30, rest)?.0)?;
        // Other ciphers have other parameters, which do not matter then.
        let vector = expect(0x04, parameters).map_or(&[][..], |(vector, _)| vector);
        let (kind, parameters) = expect(0x06, derivation)?;
        let derivation = if kind == oid::PBKDF2 { Self::pbkdf2(parameters)? } else { Derivation::Other(kind) };
        Some(Self { derivation, cipher, vector, sealed })
    }

    fn pbkdf2(parameters: &'a [u8]) -> Option<Derivation<'a>> {
        let (salt, rest) = expect(0x04, expect(0x30, parameters)?.0)?;
        let (turns, mut rest) = expect(0x02, rest)?;
        let turns = turns.iter().try_fold(0_u32, |sum, &byte| sum.checked_mul(256)?.checked_add(u32::from(byte)))?;
        if let Some((_, behind)) = expect(0x02, rest) {
            rest = behind; // The length of the key, which the cipher says too.
        }
        let function = match expect(0x30, rest) {
            Some((function, _)) => expect(0x06, function)?.0,
            None => oid::HMAC_SHA1,
        };
        (turns <= MAX_TURNS).then_some(Derivation::Pbkdf2 { function, salt, turns })
    }
}

/// One element of DER: its tag, its content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length =
            bytes.iter().try_fold(0_usize, |sum, &byte| sum.checked_mul(256)?.checked_add(usize::from(byte)))?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// An element that must have this tag: its content and what follows.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    digits
        .filter(|digits| digits.len().is_multiple_of(2))
        .map(|digits| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Object identifiers, as they stand in DER.
mod oid {
    pub const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
    pub const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
    pub const SCRYPT: &[u8] = b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b";
    pub const HMAC_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x07";
    pub const HMAC_SHA224: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x08";
    pub const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
    pub const HMAC_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a";
    pub const HMAC_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b";
    pub const AES_128_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
    pub const AES_192_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x16";
    pub const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
    const DES_EDE3_CBC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x03\x07";
    const DES_CBC: &[u8] = b"\x2b\x0e\x03\x02\x07";

    /// The name that OpenSSL has for it, else the number.
    pub fn name(oid: &[u8]) -> String {
        match oid {
            DES_EDE3_CBC => String::from("DES-EDE3-CBC"),
            DES_CBC => String::from("DES-CBC"),
            _ => format!("the object identifier {}", dotted(oid)),
        }
    }

    fn dotted(oid: &[u8]) -> String {
        let mut numbers = Vec::new();
        let mut number = 0_u64;
        for &byte in oid {
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                if numbers.is_empty() {
                    let first = (number / 40).min(2);
                    numbers.push(first.to_string());
                    number -= first * 40;
                }
                numbers.push(number.to_string());
                number = 0;
            }
        }
        numbers.join(".")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn numbers_are_those_that_openssl_prints() {
            assert_eq!(dotted(PBES2), "1.2.840.113549.1.5.13");
            assert_eq!(dotted(SCRYPT), "1.3.6.1.4.1.11591.4.11");
            assert_eq!(dotted(AES_256_CBC), "2.16.840.1.101.3.4.1.42");
            assert_eq!(name(b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03"), "the object identifier 1.2.840.113549.1.5.3");
        }
    }
}

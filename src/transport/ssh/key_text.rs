//! The text of a private key, however it came here.
//!
//! Guarantees: a key survives what variables, YAML files and web forms do to it: literal `\n` for line ends, Base64 around
//! the whole, quotes that were kept, lost or doubled line ends, blanks before and behind. What is no private key is told by
//! what it looks like, and never shown.

use russh::keys::ssh_encoding::base64::{Base64Unpadded, Encoding as _};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
/// How the body of OpenSSH's own form begins, unpacked.
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";
/// The label of OpenSSH's own form.
pub(super) const OPENSSH: &str = "OPENSSH PRIVATE KEY";

/// A private key in one of the two families of text.
pub(super) enum KeyText {
    Pem(Pem),
    /// PuTTY's own form.
    Putty(Zeroizing<String>),
}

/// What stands between `-----BEGIN …-----` and `-----END …-----`.
pub(super) struct Pem {
    /// Such as `OPENSSH PRIVATE KEY`.
    pub(super) label: String,
    /// The lines before the body, such as `DEK-Info: AES-128-CBC,…`.
    pub(super) headers: Vec<String>,
    /// What the Base64 of the body stands for.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Finds the key in a text. The error says what the text looks like instead, as the end of a sentence.
pub(super) fn find(text: &str) -> Result<KeyText, &'static str> {
    let text = bare(text);
    let lines;
    let text = if text.contains("\\n") && text.contains(BEGIN) {
        lines = with_line_ends(text);
        lines.as_str()
    } else {
        text
    };
    if let Some(key) = in_clear(text) {
        return key;
    }
    if let Some(bytes) = unpack(text) {
        if bytes.starts_with(OPENSSH_MAGIC) {
            return Ok(KeyText::Pem(Pem { label: OPENSSH.to_owned(), headers: Vec::new(), body: bytes }));
        }
        if let Some(key) = str::from_utf8(&bytes).ok().and_then(|text| in_clear(bare(text))) {
            return key;
        }
    }
    Err(looks_like(text))
}

/// Without a byte order mark, blanks around it, and quotes that should have gone.
fn bare(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim();
    let unquoted = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    unquoted('"').or_else(|| unquoted('\'')).unwrap_or(text).trim()
}

/// With real line ends in place of literal ones.
fn with_line_ends(text: &str) -> Zeroizing<String> {
    // Never longer than the text: a buffer that grows leaves copies behind.
    let mut whole = Zeroizing::new(String::with_capacity(text.len()));
    for (number, line) in text.split("\\n").enumerate() {
        if number > 0 {
            whole.push('\n');
        }
        line.split("\\r").for_each(|part| whole.push_str(part));
    }
    whole
}

/// The bytes of Base64, whatever blanks and line ends are in it.
fn unpack(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut packed = Zeroizing::new(String::with_capacity(text.len()));
    text.split_whitespace().for_each(|word| packed.push_str(word));
    let packed = packed.trim_end_matches('=');
    let mut bytes = Zeroizing::new(vec![0; packed.len()]);
    let length = Base64Unpadded::decode(packed, &mut bytes).ok()?.len();
    bytes.truncate(length);
    (!bytes.is_empty()).then_some(bytes)
}

/// A key that stands there as text, with whatever before and behind it. `None` where there is none.
fn in_clear(text: &str) -> Option<Result<KeyText, &'static str>> {
    if text.starts_with("PuTTY-User-Key-File-") {
        return Some(Ok(KeyText::Putty(Zeroizing::new(text.to_owned()))));
    }
    let (label, rest) = text.match_indices(BEGIN).find_map(|(at, _)| {
        let (label, rest) = text[at + BEGIN.len()..].split_once(DASHES)?;
        label.ends_with("PRIVATE KEY").then_some((label, rest))
    })?;
    let Some((inside, _)) = rest.split_once("-----END ") else {
        return Some(Err("a private key whose end is missing"));
    };
    let mut headers = Vec::new();
    let mut body = Zeroizing::new(String::with_capacity(inside.len()));
    for line in inside.lines().map(str::trim) {
        if line.contains(": ") && body.is_empty() {
            headers.push(line.to_owned());
        } else {
            line.split_whitespace().for_each(|word| body.push_str(word));
        }
    }
    let key = |body| KeyText::Pem(Pem { label: label.to_owned(), headers, body });
    Some(unpack(&body).map(key).ok_or("a private key that is damaged"))
}

/// What a text that holds no private key looks like.
fn looks_like(text: &str) -> &'static str {
    let first = text.lines().next().unwrap_or_default();
    let label = first.strip_prefix(BEGIN).unwrap_or_default();
    let is_key_type =
        |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start));
    let mut words = first.split_whitespace();
    let (one, two) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if text.is_empty() {
        "empty"
    } else if one.contains("-cert-v0") && is_key_type(one) {
        "a certificate, not a private key"
    } else if is_key_type(one) || text.contains("PUBLIC KEY-----") || text.starts_with("---- BEGIN SSH2 PUBLIC") {
        "a public key, not the private one"
    } else if is_key_type(two) {
        "a line of known_hosts or authorized_keys, not a private key"
    } else if label.contains("CERTIFICATE") {
        "a certificate, not a private key"
    } else if label.starts_with("PGP") {
        "a key of PGP, not one of SSH"
    } else if one.starts_with("SHA256:") || one.starts_with("MD5:") {
        "a fingerprint, not a private key"
    } else if text.starts_with('<') {
        "a web page, not a private key"
    } else if text.lines().count() == 1 && ["/", "~/", "./", "../"].iter().any(|start| text.starts_with(start)) {
        "the path of a file, not a private key (NAS_KEY_FILE takes a path)"
    } else {
        "not a private key of OpenSSH, OpenSSL or PuTTY"
    }
}

/// Whether a text can be read by everybody without harm. It is then worth more to say so than to ask for `chmod`.
pub(super) fn is_public(text: &str) -> bool {
    let what = find(text).err().unwrap_or_default();
    what.contains("public") || what.contains("certificate") || what.contains("known_hosts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_by_what_it_looks_like() {
        for (text, what) in [
            ("", "empty"),
            ("ssh-ed25519 AAAA me", "a public key"),
            ("  ecdsa-sha2-nistp256 AAAA", "a public key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "a public key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "a public key"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA", "a certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "a certificate"),
            ("nas ssh-ed25519 AAAA", "known_hosts"),
            ("SHA256:Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM", "a fingerprint"),
            ("<!DOCTYPE html>", "a web page"),
            ("/run/secrets/nas_key", "the path of a file"),
            ("~/.ssh/id_ed25519", "the path of a file"),
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "PGP"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn", "end is missing"),
            ("-----BEGIN PRIVATE KEY-----\nb3Bl!n\n-----END PRIVATE KEY-----", "damaged"),
            ("hunter2", "not a private key"),
        ] {
            let said = find(text).err().unwrap_or_default();
            assert!(said.contains(what), "{text:?}: {said}");
            assert_eq!(is_public(text), what.contains("public") || what.contains("cert") || what.contains("hosts"));
        }
    }
}

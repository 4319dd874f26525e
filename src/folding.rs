//! Names as the most forgiving file systems compare them.
//!
//! Many shares take `Scan.pdf` and `scan.pdf` for one file, many the composed and the decomposed spelling of `é`. Each has
//! rules of its own. Guarantees: names that any of them takes for one have one folded form; whether a share does so is
//! found out there. Nothing else may be concluded from a folded form, and nothing is ever called by it.

use unicode_normalization::UnicodeNormalization as _;

/// The form that is the same for all names that may be one file: case and composition folded, characters left out that
/// some file systems ignore. Bytes that are no UTF-8, and slashes, stay as they are.
pub fn folded(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_uppercase();
    }
    each_valid_part(name, |text| {
        let kept: String = text.nfd().filter(|&c| !is_ignored(c)).collect();
        // In this order `ẞ`, `ß` and `ss` become one, and all three forms of sigma.
        kept.to_lowercase().to_uppercase().nfd().collect()
    })
}

/// The decomposed form (NFD), by which names differ that are told apart by more than their composition.
pub fn decomposed(name: &[u8]) -> Vec<u8> {
    each_valid_part(name, |text| text.nfd().collect())
}

/// Another spelling of `name` in other letters, which may be the same file as `name` where case makes no difference, and
/// is not `other` either. Only its last component that differs from `other`'s is spelt anew. `None` where the two differ in
/// something else than case there, or where there are too few letters.
pub fn respelt(name: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let split = |name| <[u8]>::split(name, |&byte| byte == b'/');
    let at = split(name).zip(split(other)).enumerate().filter(|(_, (one, two))| one != two).last()?.0;
    let (ours, theirs) = (split(name).nth(at)?, split(other).nth(at)?);
    if decomposed(ours) == decomposed(theirs) {
        return None;
    }
    let respell = || -> Vec<u8> {
        ours.iter()
            .map(|&byte| if byte.is_ascii_alphabetic() && fastrand::bool() { byte ^ 0x20 } else { byte })
            .collect()
    };
    // By chance, so that it is no name that somebody uses. Of two letters already every second try is one.
    let spelt = (0..64).map(|_| respell()).find(|spelt| spelt != ours && spelt != theirs)?;
    let parts: Vec<&[u8]> = split(name).enumerate().map(|(n, part)| if n == at { &spelt } else { part }).collect();
    Some(parts.join(&b'/'))
}

fn each_valid_part(name: &[u8], fold: impl Fn(&str) -> String) -> Vec<u8> {
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        folded.extend_from_slice(fold(chunk.valid()).as_bytes());
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// What Unicode calls default ignorable: file systems that fold by its rules do not look at it.
fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_file_system_takes_for_one_have_one_form() {
        let alike = [
            ["Scan.pdf", "sCAN.PDF"],
            ["Invoices/É.pdf", "invoices/e\u{301}.PDF"],
            ["Stra\u{df}e", "STRASSE"],
            ["\u{1e9e}", "ss"],
            ["ΟΔΟΣ", "οδος"],
            ["ΟΔΟΣ", "οδοσ"],
            ["\u{212a}", "k"],
            ["\u{1fb3}", "\u{391}\u{345}"],
            ["re\u{ad}port\u{200b}", "Report"],
            ["\u{1100}\u{1161}", "\u{ac00}"],
        ];
        for [one, two] in alike {
            assert_eq!(folded(one.as_bytes()), folded(two.as_bytes()), "{one:?} {two:?}");
        }
        for [one, two] in [["a", "b"], ["a.pdf", "a pdf"], ["a/b", "ab"], ["e", "é"]] {
            assert_ne!(folded(one.as_bytes()), folded(two.as_bytes()), "{one:?} {two:?}");
        }
        assert_eq!(folded(b"\xe9Stra\xdfe"), b"\xe9STRA\xdfE", "bytes of an older encoding");
    }

    #[test]
    fn only_composition_is_undone_by_decomposing() {
        assert_eq!(decomposed("é".as_bytes()), "e\u{301}".as_bytes());
        assert_ne!(decomposed(b"A"), decomposed(b"a"));
        assert_eq!(decomposed(b"\xe9"), b"\xe9");
    }

    #[test]
    fn a_third_spelling_differs_in_case_alone_and_only_where_the_names_do() {
        for _ in 0..100 {
            let third = respelt(b"Inv/Scan/a.pdf", b"inv/scan/a.pdf").expect("there are letters");
            assert!(third.starts_with(b"Inv/") && third.ends_with(b"/a.pdf"), "{}", third.escape_ascii());
            assert_eq!(third.to_ascii_lowercase(), b"inv/scan/a.pdf");
            assert!(third[4..8] != *b"Scan" && third[4..8] != *b"scan");
        }
        assert_eq!(respelt(b"a", b"A"), None, "there is no third");
        assert_eq!(respelt("é.pdf".as_bytes(), "e\u{301}.pdf".as_bytes()), None, "case says nothing about composition");
        assert!(respelt("Éa.pdf".as_bytes(), "éa.pdf".as_bytes()).is_some());
    }
}

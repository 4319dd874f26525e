//! Names as the most forgiving file systems compare them.
//!
//! Many shares take `Scan.pdf` and `scan.pdf` for one file, many the composed and the decomposed spelling of `é`. Each has
//! rules of its own. Guarantees: names that any of them takes for one have one folded form; whether a share does so is
//! found out there. Nothing else may be concluded from a folded form, and nothing is ever called by it.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization as _;

/// The form that is the same for all names that may be one file: case and composition folded, characters left out that
/// some file systems ignore, and dots and blanks at the ends of names. Bytes that are no UTF-8, and slashes, stay as they are.
pub fn folded(name: &[u8]) -> Vec<u8> {
    let folded = if name.is_ascii() {
        name.to_ascii_uppercase()
    } else {
        each_valid_part(name, |text| {
            let kept: String = text.nfd().filter(|&c| !is_ignored(c)).collect();
            // In this order `ẞ`, `ß` and `ss` become one, and all three forms of sigma.
            kept.to_lowercase().to_uppercase().nfd().collect()
        })
    };
    let parts: Vec<&[u8]> = folded.split(|&byte| byte == b'/').map(without_end).collect();
    parts.join(&b'/')
}

/// Without the dots and blanks at the end, which Windows and FAT drop.
fn without_end(part: &[u8]) -> &[u8] {
    let end = part.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |last| last + 1);
    &part[..end]
}

/// The decomposed form (NFD), by which names differ that are told apart by more than their composition.
pub fn decomposed(name: &[u8]) -> Vec<u8> {
    each_valid_part(name, |text| text.nfd().collect())
}

/// Other spellings of `name`, up to three, which are the same file as `name` where case makes no difference, and are not `other`
/// either. Only its last component that differs from `other`'s is spelt anew. None where the two differ in something else
/// than case there, or where there are too few letters.
pub fn respelt(name: &[u8], other: &[u8]) -> BTreeSet<Vec<u8>> {
    let split = |name| <[u8]>::split(name, |&byte| byte == b'/');
    let differing = split(name).zip(split(other)).enumerate().filter(|(_, (ours, theirs))| ours != theirs).last();
    let end = |part: &[u8]| part.len() - without_end(part).len();
    let same_ends = split(name).map(end).eq(split(other).map(end));
    // Whether case matters says nothing about composition, nor about dots at the end.
    let Some((at, (ours, theirs))) =
        differing.filter(|(_, (ours, theirs))| same_ends && decomposed(ours) != decomposed(theirs))
    else {
        return BTreeSet::new();
    };
    let by_chance = |byte: &u8| if byte.is_ascii_alphabetic() && fastrand::bool() { byte ^ 0x20 } else { *byte };
    let mut respelt = BTreeSet::new();
    // By chance, and several, so that not all of them are names that somebody uses. Of few letters many tries are in vain.
    for _ in 0..64 {
        let spelt: Vec<u8> = ours.iter().map(by_chance).collect();
        if respelt.len() < 3 && spelt != ours && spelt != theirs {
            let parts: Vec<&[u8]> =
                split(name).enumerate().map(|(n, part)| if n == at { &spelt } else { part }).collect();
            respelt.insert(parts.join(&b'/'));
        }
    }
    respelt
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
            ["a. /Scan", "A/scan..."],
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
    fn other_spellings_differ_in_case_alone_and_only_where_the_names_do() {
        for _ in 0..100 {
            let others = respelt(b"Inv/Scan/a.pdf", b"inv/scan/a.pdf");
            assert_eq!(others.len(), 3);
            for other in others {
                assert!(other.starts_with(b"Inv/") && other.ends_with(b"/a.pdf"), "{}", other.escape_ascii());
                assert_eq!(other.to_ascii_lowercase(), b"inv/scan/a.pdf");
                assert!(other[4..8] != *b"Scan" && other[4..8] != *b"scan");
            }
        }
        assert!(respelt(b"a", b"A").is_empty(), "there is no third");
        assert!(
            respelt(b"scan.", b"scan").is_empty() && respelt(b"Scan.", b"scan").is_empty(),
            "case says nothing about dots"
        );
        let composed = respelt("é.pdf".as_bytes(), "e\u{301}.pdf".as_bytes());
        assert!(composed.is_empty(), "case says nothing about composition");
        assert!(!respelt("Éa.pdf".as_bytes(), "éa.pdf".as_bytes()).is_empty());
    }
}

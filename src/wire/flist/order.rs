//! The order in which both ends number the file list, `protocol-notes/06-file-list.md#order`.
//!
//! An index in the transfer phase is a position in this order, so the two ends must agree to the last byte.

use std::cmp::Ordering;

/// Which order a session uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOrder {
    /// Whole paths compared byte by byte (protocols 27 and 28).
    Bytewise,
    /// In each folder files first, then folders, each directly followed by its content (29 and later).
    FilesFirst,
}

impl ListOrder {
    /// Compares two names; the flag says whether the entry is a directory.
    pub fn compare(self, (a, a_is_dir): (&[u8], bool), (b, b_is_dir): (&[u8], bool)) -> Ordering {
        match self {
            Self::Bytewise => a.cmp(b),
            Self::FilesFirst => {
                let dot = |name: &[u8], is_dir| is_dir && name == b".";
                match (dot(a, a_is_dir), dot(b, b_is_dir)) {
                    (true, true) => Ordering::Equal,
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                    (false, false) => by_component(a, a_is_dir, b, b_is_dir),
                }
            }
        }
    }
}

/// Compares the first components that differ. One that is a directory counts as its name with a slash behind it, and sorts
/// after every file beside it. What both begin with decides nothing, so it is not looked at again.
fn by_component(a: &[u8], a_is_dir: bool, b: &[u8], b_is_dir: bool) -> Ordering {
    let shared = shared_len(a, b);
    let (rest_a, rest_b) = (&a[shared..], &b[shared..]);
    let (a_goes_on, b_goes_on) = (rest_a.contains(&b'/'), rest_b.contains(&b'/'));
    let or_slash = |rest: &[u8]| rest.first().copied().unwrap_or(b'/');
    match (a_goes_on || a_is_dir, b_goes_on || b_is_dir) {
        (true, true) => or_slash(rest_a).cmp(&or_slash(rest_b)).then(a_goes_on.cmp(&b_goes_on)),
        (false, false) => rest_a.first().cmp(&rest_b.first()),
        (a_is_dir, b_is_dir) => a_is_dir.cmp(&b_is_dir),
    }
}

/// How many bytes two names begin with that are the same: eight at a time, as paths of one folder have many.
fn shared_len(a: &[u8], b: &[u8]) -> usize {
    let (blocks_a, blocks_b) = (a.as_chunks().0, b.as_chunks().0);
    let mut shared = 0;
    for (block_a, block_b) in blocks_a.iter().zip(blocks_b) {
        let differ = u64::from_le_bytes(*block_a) ^ u64::from_le_bytes(*block_b);
        if differ != 0 {
            return shared + differ.trailing_zeros() as usize / 8;
        }
        shared += size_of::<u64>();
    }
    shared + a[shared..].iter().zip(&b[shared..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(order: ListOrder, mut names: Vec<(&str, bool)>) -> Vec<&str> {
        names.sort_by(|a, b| order.compare((a.0.as_bytes(), a.1), (b.0.as_bytes(), b.1)));
        names.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn files_come_before_folders_and_content_follows_its_folder() {
        let names = vec![
            ("b", true),
            ("b/z", false),
            ("b.x", true),
            ("b.x/a", false),
            ("zz", false),
            (".", true),
            ("!y", false),
            ("b/d", true),
            ("b/d/e", false),
        ];
        assert_eq!(
            sorted(ListOrder::FilesFirst, names.clone()),
            [".", "!y", "zz", "b.x", "b.x/a", "b", "b/z", "b/d", "b/d/e"]
        );
        assert_eq!(sorted(ListOrder::Bytewise, names), ["!y", ".", "b", "b.x", "b.x/a", "b/d", "b/d/e", "b/z", "zz"]);
    }

    /// The rule as it is told: component by component.
    fn as_told((a, a_is_dir): (&str, bool), (b, b_is_dir): (&str, bool)) -> Ordering {
        let (first_a, rest_a) = a.split_once('/').map_or((a, None), |(first, rest)| (first, Some(rest)));
        let (first_b, rest_b) = b.split_once('/').map_or((b, None), |(first, rest)| (first, Some(rest)));
        match (rest_a.is_some() || a_is_dir, rest_b.is_some() || b_is_dir) {
            (true, true) if first_a == first_b => match (rest_a, rest_b) {
                (Some(rest_a), Some(rest_b)) => as_told((rest_a, a_is_dir), (rest_b, b_is_dir)),
                (rest_a, rest_b) => rest_a.is_some().cmp(&rest_b.is_some()),
            },
            (true, true) => format!("{first_a}/").cmp(&format!("{first_b}/")),
            (false, false) => first_a.cmp(first_b),
            (dir_a, dir_b) => dir_a.cmp(&dir_b),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn the_order_is_the_one_that_is_told(
            a in "(aaaa/aaa|aaaa/aaaaaaa/)?[a.0]{1,2}(/[a.0]{1,2}){0,3}", a_is_dir: bool,
            b in "(aaaa/aaa|aaaa/aaaaaaa/)?[a.0]{1,2}(/[a.0]{1,2}){0,3}", b_is_dir: bool,
        ) {
            let order = ListOrder::FilesFirst.compare((a.as_bytes(), a_is_dir), (b.as_bytes(), b_is_dir));
            let [a, b] = [(&*a, a_is_dir), (&*b, b_is_dir)];
            let is_root = |(name, is_dir): (&str, bool)| is_dir && name == ".";
            prop_assert_eq!(order, is_root(b).cmp(&is_root(a)).then_with(|| as_told(a, b)));
        }
    }
}

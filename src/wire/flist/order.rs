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

/// Compares component by component. A component that is a directory counts as its name with a slash behind it, and
/// sorts after every file beside it.
fn by_component(mut a: &[u8], a_is_dir: bool, mut b: &[u8], b_is_dir: bool) -> Ordering {
    loop {
        let (first_a, rest_a) = split(a);
        let (first_b, rest_b) = split(b);
        let dir_a = rest_a.is_some() || a_is_dir;
        let dir_b = rest_b.is_some() || b_is_dir;
        let order = match (dir_a, dir_b) {
            (true, true) => with_slash(first_a).cmp(with_slash(first_b)),
            (false, false) => first_a.cmp(first_b),
            (dir_a, dir_b) => dir_a.cmp(&dir_b),
        };
        match (order, rest_a, rest_b) {
            (Ordering::Equal, Some(next_a), Some(next_b)) => (a, b) = (next_a, next_b),
            (Ordering::Equal, rest_a, rest_b) => return rest_a.is_some().cmp(&rest_b.is_some()),
            (order, _, _) => return order,
        }
    }
}

fn split(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match name.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&name[..slash], Some(&name[slash + 1..])),
        None => (name, None),
    }
}

fn with_slash(component: &[u8]) -> impl Iterator<Item = &u8> {
    component.iter().chain(std::iter::once(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

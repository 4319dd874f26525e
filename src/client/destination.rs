//! The destination folder, as rsync gets it.

/// A destination as rsync gets it. The `/./` behind it keeps rsync from making the folder: a folder that is not there is
/// more often a volume that is not mounted than a wish. The root folder, and the one in which commands start, are there;
/// wrappers that keep an account in a folder of its own call those so, and do not like `/./` behind them.
pub fn destination_of(path: &str) -> Vec<u8> {
    match path.trim_end_matches('/') {
        "" => b"/".to_vec(),
        "." => b".".to_vec(),
        path => format!("{path}/./").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::destination_of;

    #[test]
    fn only_a_folder_that_may_be_missing_is_kept_from_being_made() {
        for (path, destination) in [("/", "/"), (".", "."), ("./", "."), ("/vol/a//", "/vol/a/./"), ("a", "a/./")] {
            assert_eq!(destination_of(path), destination.as_bytes(), "{path}");
        }
    }
}

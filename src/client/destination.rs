//! The destination folder, as rsync gets it.

/// A destination as rsync gets it. The `/./` behind it keeps rsync from making the folder: a folder that is not there is
/// more often a volume that is not mounted than a wish.
pub fn destination_of(path: &str) -> Vec<u8> {
    format!("{}/./", path.trim_end_matches('/')).into_bytes()
}

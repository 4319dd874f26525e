//! Counts that travel at the end of a session, `protocol-notes/10-phases-and-goodbye.md#statistics`.
//!
//! A pushing client receives none but those of deleted entries, and only from servers that delete.

use super::int::varint;
use super::reader::{Decode, Reader};

/// How many entries of each kind a receiver deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteStats {
    /// Regular files.
    pub files: i32,
    /// Folders.
    pub directories: i32,
    /// Symlinks.
    pub symlinks: i32,
    /// Devices.
    pub devices: i32,
    /// Pipes and sockets.
    pub specials: i32,
}

impl DeleteStats {
    /// Reads the five counts behind [`super::ndx::DELETE_STATS`].
    pub fn decode(reader: &mut Reader<'_>) -> Decode<Self> {
        Ok(Self {
            files: varint(reader)?,
            directories: varint(reader)?,
            symlinks: varint(reader)?,
            devices: varint(reader)?,
            specials: varint(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_captured() {
        let stats = DeleteStats::decode(&mut Reader::new(&[3, 2, 1, 0, 0]));
        assert_eq!(stats, Ok(DeleteStats { files: 3, directories: 2, symlinks: 1, devices: 0, specials: 0 }));
    }
}

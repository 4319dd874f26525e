//! Counts that travel at the end of a session, `protocol-notes/10-phases-and-goodbye.md#statistics`.
//!
//! A pushing client receives none but those of deleted entries, and only from servers that delete; a pulling one hears what
//! the sender counted.

use super::int::{IntCoding, varint};
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

/// What a sending server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderStats {
    /// The length of all files in its list, in bytes.
    pub total_size: i64,
}

/// Whether a sending server also says how long it took to make and to send its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderTimes {
    /// It does.
    Said,
    /// It does not (protocols 27 and 28).
    NotSaid,
}

impl SenderStats {
    /// Reads the counts behind the last phase.
    pub fn decode(ints: IntCoding, times: SenderTimes, reader: &mut Reader<'_>) -> Decode<Self> {
        let mut next = || ints.long(reader, 3);
        let (_read, _written, total_size) = (next()?, next()?, next()?);
        if times == SenderTimes::Said {
            next()?;
            next()?;
        }
        Ok(Self { total_size })
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

    #[test]
    fn a_senders_counts_as_captured() {
        let bytes = b"\0\x4c\0\0\xfa\0\0\x12\0\0\x01\0\0\0\0";
        let mut reader = Reader::new(bytes);
        let stats = SenderStats::decode(IntCoding::Variable, SenderTimes::Said, &mut reader);
        assert_eq!((stats, reader.is_empty()), (Ok(SenderStats { total_size: 18 }), true));
        let bytes = [1_u8, 0, 0, 0, 2, 0, 0, 0, 18, 0, 0, 0];
        let mut reader = Reader::new(&bytes);
        let stats = SenderStats::decode(IntCoding::Fixed, SenderTimes::NotSaid, &mut reader);
        assert_eq!((stats, reader.is_empty()), (Ok(SenderStats { total_size: 18 }), true));
    }
}

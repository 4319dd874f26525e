//! Counts that travel at the end of a session, `protocol-notes/10-phases-and-goodbye.md#statistics`.
//!
//! A pushing client receives none but those of deleted entries, and only from servers that delete; a pulling one hears what
//! the sender counted.

use super::flist::KindCounts;
use super::int::{IntCoding, varint};
use super::reader::{Decode, Reader};

/// Reads the counts of deleted entries behind [`super::ndx::DELETE_STATS`]. Less than nothing is nothing: they are told and no more.
pub fn decode_deleted(reader: &mut Reader<'_>) -> Decode<KindCounts> {
    let mut next = || Ok(u64::try_from(varint(reader)?).unwrap_or(0));
    Ok(KindCounts { files: next()?, directories: next()?, symlinks: next()?, devices: next()?, specials: next()? })
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
        let counts = decode_deleted(&mut Reader::new(&[3, 2, 1, 0, 4])).unwrap();
        assert_eq!(counts, KindCounts { files: 3, directories: 2, symlinks: 1, devices: 0, specials: 4 });
        assert_eq!(counts.total(), 10);
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

//! The flag word of an entry: which fields are the same as before, and which follow
//! (`protocol-notes/06-file-list.md#flag-words`).

use crate::wire::int::IntCoding;
use crate::wire::reader::{Decode, Reader};

pub const TOP_DIR: u32 = 0x0001;
pub const SAME_MODE: u32 = 0x0002;
/// With protocol 27 alone.
pub const SAME_DEVICE: u32 = 0x0004;
const EXTENDED: u32 = 0x0004;
pub const SAME_UID: u32 = 0x0008;
pub const SAME_GID: u32 = 0x0010;
pub const SAME_NAME: u32 = 0x0020;
pub const LONG_NAME: u32 = 0x0040;
pub const SAME_TIME: u32 = 0x0080;
pub const NO_CONTENT: u32 = 0x0100;
/// The entry is a name of a file that has several.
pub const LINKED: u32 = 0x0200;
/// The first of them, from protocol 30 on.
pub const LINK_FIRST: u32 = 0x1000;
/// Its file system is that of the one before, until protocol 29.
pub const SAME_FILE_SYSTEM: u32 = 0x0400;
/// The user's name follows its id.
pub const USER_NAME: u32 = 0x0400;
/// The group's name follows its id.
pub const GROUP_NAME: u32 = 0x0800;
/// Of devices; of folders the same bit is [`NO_CONTENT`].
pub const SAME_MAJOR: u32 = 0x0100;
pub const SHORT_MINOR: u32 = 0x0800;
pub const NANOSECONDS: u32 = 0x2000;
pub const SAME_ATIME: u32 = 0x4000;
/// In place of an entry: the list ends, and error bits follow.
pub const END_WITH_ERRORS: u32 = 0x1000 | EXTENDED;

/// How the flag word of an entry travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XflagCoding {
    /// One byte (protocol 27).
    Byte,
    /// One or two bytes.
    Word,
    /// A varint.
    Varint,
}

impl XflagCoding {
    /// Writes the flags of an entry and gives those that count. A word of 0 would end the list, so each coding has a bit
    /// to set instead; with protocol 27 that of a folder changes how its name's length travels.
    pub fn put(self, flags: u32, is_dir: bool, out: &mut Vec<u8>) -> u32 {
        let flags = match self {
            Self::Byte if flags == 0 && is_dir => LONG_NAME,
            Self::Byte | Self::Word if flags == 0 && !is_dir => TOP_DIR,
            _ => flags,
        };
        match self {
            Self::Word if flags > 0xff || flags == 0 => put_word(flags | EXTENDED, out),
            Self::Byte | Self::Word => out.push(flags.to_le_bytes()[0]),
            Self::Varint => {
                let flags = if flags == 0 { EXTENDED } else { flags };
                IntCoding::Variable.put_int(out, flags.cast_signed());
            }
        }
        flags
    }

    /// Reads a flag word; 0 ends the list.
    pub fn take(self, reader: &mut Reader<'_>) -> Decode<u32> {
        Ok(match self {
            Self::Varint => IntCoding::Variable.int(reader)?.cast_unsigned(),
            Self::Byte => u32::from(reader.u8()?),
            Self::Word => {
                let low = u32::from(reader.u8()?);
                if low & EXTENDED == 0 { low } else { low | u32::from(reader.u8()?) << 8 }
            }
        })
    }
}

/// The low 16 bits of a flag word; no flag that is sent this way lies above them.
pub fn put_word(flags: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&flags.to_le_bytes()[..2]);
}

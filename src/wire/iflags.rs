//! Item records: what a generator asks for and a sender echoes, `protocol-notes/07-transfer.md#item-records`.

use super::int::{put_vstring, vstring};
use super::reader::{Decode, DecodeError, Reader};

/// The longest alternate basis name a peer may send.
const MAX_XNAME: usize = 4095;

/// Whether item records carry flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemCoding {
    /// An index alone, which always asks for the file's data (protocols 27 and 28).
    Bare,
    /// Index, flags, and what the flags announce.
    Flagged,
}

/// What differs, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemFlags(pub u32);

impl ItemFlags {
    /// The time of the last access differs.
    pub const ATIME: u32 = 0x0001;
    /// The content or value changed.
    pub const CHANGED: u32 = 0x0002;
    /// The size differs.
    pub const SIZE: u32 = 0x0004;
    /// The modification time differs.
    pub const TIME: u32 = 0x0008;
    /// The permissions differ.
    pub const PERMISSIONS: u32 = 0x0010;
    /// The owner differs.
    pub const OWNER: u32 = 0x0020;
    /// The group differs.
    pub const GROUP: u32 = 0x0040;
    /// A basis type byte follows.
    const BASIS_TYPE_FOLLOWS: u32 = 0x0800;
    /// A name follows: of the basis, or of what the item was linked to.
    pub const XNAME_FOLLOWS: u32 = 0x1000;
    /// The item does not exist there yet.
    pub const NEW: u32 = 0x2000;
    /// The item was made from local data alone.
    pub const LOCAL_CHANGE: u32 = 0x4000;
    /// Sums and data follow.
    pub const TRANSFER: u32 = 0x8000;
    /// Bare records do not say what differs. Not on the wire.
    pub const UNSAID: u32 = 0x1_0000;

    /// Whether all bits of `mask` are set.
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask == mask
    }
}

/// The part of an item record between its index and its sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What differs, and what follows.
    pub flags: ItemFlags,
    /// Which file the generator used as basis, where it says so. A sender echoes it.
    pub basis_type: Option<u8>,
    /// The name of that basis. A sender echoes it and never opens it.
    pub xname: Option<Box<[u8]>>,
}

impl Item {
    /// A request, and which file is the basis where it is not the one of that name.
    pub fn request(ItemFlags(flags): ItemFlags, basis_type: Option<u8>) -> Self {
        let follows = if basis_type.is_some() { ItemFlags::BASIS_TYPE_FOLLOWS } else { 0 };
        Self { flags: ItemFlags(flags | follows), basis_type, xname: None }
    }

    /// Reads the record after its index.
    pub fn decode(coding: ItemCoding, reader: &mut Reader<'_>) -> Decode<Self> {
        if coding == ItemCoding::Bare {
            let flags = ItemFlags(ItemFlags::TRANSFER | ItemFlags::UNSAID);
            return Ok(Self { flags, basis_type: None, xname: None });
        }
        let flags = ItemFlags(reader.u16()?.into());
        let basis_type = flags.has(ItemFlags::BASIS_TYPE_FOLLOWS).then(|| reader.u8()).transpose()?;
        let xname = flags
            .has(ItemFlags::XNAME_FOLLOWS)
            .then(|| vstring(reader, MAX_XNAME, "alternate basis name").map(Box::from))
            .transpose()?;
        if xname.as_deref().is_some_and(|name: &[u8]| name.contains(&0)) {
            return Err(DecodeError::malformed("alternate basis name", "it holds a NUL byte"));
        }
        Ok(Self { flags, basis_type, xname })
    }

    /// Writes the record after its index: what was decoded, unchanged.
    pub fn encode(&self, coding: ItemCoding, out: &mut Vec<u8>) {
        if coding == ItemCoding::Bare {
            return;
        }
        out.extend_from_slice(&self.flags.0.to_le_bytes()[..2]);
        out.extend(self.basis_type);
        if let Some(name) = &self.xname {
            put_vstring(out, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_the_request_byte_for_byte() {
        for record in [&[0x00_u8, 0xa0][..], &[0x0c, 0x80], &[0x00, 0x98, 0x83, 3, b'o', b'l', b'd']] {
            let mut reader = Reader::new(record);
            let item = Item::decode(ItemCoding::Flagged, &mut reader).expect("a valid record");
            reader.expect_end("item").expect("nothing left");
            let mut out = Vec::new();
            item.encode(ItemCoding::Flagged, &mut out);
            assert_eq!(out, record);
        }
    }

    #[test]
    fn a_short_record_needs_more() {
        assert_eq!(
            Item::decode(ItemCoding::Flagged, &mut Reader::new(&[0x00, 0x98, 0x83])),
            Err(DecodeError::NeedMore)
        );
    }
}

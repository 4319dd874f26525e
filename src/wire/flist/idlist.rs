//! The names of user and group ids behind the file list, `protocol-notes/06-file-list.md#id-lists`.

use super::coder::ListCoding;
use crate::wire::reader::{Decode, DecodeError, Reader};

/// One id and its name, at most 255 bytes.
pub type NamedId = (u32, Box<[u8]>);

/// Writes one list. `names` holds the ids that occur and have a name; id 0 travels only as the name behind the end,
/// where the coding has a place for it.
pub fn encode(coding: &ListCoding, names: &[NamedId], out: &mut Vec<u8>) {
    for (id, name) in names.iter().filter(|(id, _)| *id != 0) {
        coding.ints.put_int(out, id.cast_signed());
        put_name(name, out);
    }
    coding.ints.put_int(out, 0);
    if coding.zero_id_names {
        let root = names.iter().find(|(id, _)| *id == 0).map_or(&[][..], |(_, name)| name);
        put_name(root, out);
    }
}

pub(super) fn put_name(name: &[u8], out: &mut Vec<u8>) {
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(&name[..usize::from(len)]);
}

/// What [`decode`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An id and its name.
    Id(NamedId),
    /// The end of the list, with the name of id 0 where the coding has a place for it.
    End(Option<Box<[u8]>>),
}

/// Reads one id, or the end of the list.
pub fn decode(coding: &ListCoding, reader: &mut Reader<'_>) -> Decode<Listed> {
    let id = coding.ints.int(reader)?.cast_unsigned();
    if id == 0 && !coding.zero_id_names {
        return Ok(Listed::End(None));
    }
    let len = usize::from(reader.u8()?);
    let name = reader.bytes(len)?;
    if name.contains(&0) {
        return Err(DecodeError::malformed("id name", "it holds a NUL byte"));
    }
    Ok(if id == 0 { Listed::End(Some(name.into())) } else { Listed::Id((id, name.into())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{DeviceCoding, EndOfList, LinkCoding, XflagCoding};
    use crate::wire::int::IntCoding;

    #[test]
    fn the_terminator_carries_the_name_of_root() {
        let coding = ListCoding {
            ints: IntCoding::Variable,
            xflags: XflagCoding::Varint,
            end: EndOfList::ErrorsAlways,
            devices: DeviceCoding::DevicesAlone,
            links: LinkCoding::FirstEntry,
            nanoseconds: true,
            content_flags: true,
            zero_id_names: true,
            digest_for_every_entry: false,
        };
        let names: Vec<NamedId> = vec![(0, Box::from(&b"root"[..])), (1000, Box::from(&b"ada"[..]))];
        let mut out = Vec::new();
        encode(&coding, &names, &mut out);
        assert_eq!(out, b"\x83\xe8\x03ada\x00\x04root");
        let mut reader = Reader::new(&out);
        assert_eq!(decode(&coding, &mut reader), Ok(Listed::Id((1000, Box::from(&b"ada"[..])))));
        assert_eq!(decode(&coding, &mut reader), Ok(Listed::End(Some(Box::from(&b"root"[..])))));
        let old = ListCoding { ints: IntCoding::Fixed, zero_id_names: false, ..coding };
        out.clear();
        encode(&old, &names, &mut out);
        assert_eq!(out, b"\xe8\x03\x00\x00\x03ada\x00\x00\x00\x00");
    }
}

//! Integers on the wire, `protocol-notes/05-integers.md`.
//!
//! Two families: fixed little-endian numbers (protocols 27 to 29) and variable ones (30 and later), whose first byte
//! tells by its leading one-bits how many bytes follow. Decoders accept what stock encoders produce, and longer forms
//! of the same number as stock decoders do.

use super::reader::{Decode, DecodeError, Reader};

/// Which family a session uses for counts, ids, sizes and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntCoding {
    /// 32-bit numbers, with an escape to 64 bits.
    Fixed,
    /// varint and varlong.
    Variable,
}

impl IntCoding {
    /// Writes a 32-bit number: `varint` or fixed.
    pub fn put_int(self, out: &mut Vec<u8>, value: i32) {
        match self {
            Self::Fixed => out.extend_from_slice(&value.to_le_bytes()),
            Self::Variable => put_varint(out, value),
        }
    }

    /// Reads a 32-bit number.
    pub fn int(self, reader: &mut Reader<'_>) -> Decode<i32> {
        match self {
            Self::Fixed => reader.i32(),
            Self::Variable => varint(reader),
        }
    }

    /// Writes a 64-bit number: `varlong` of at least `min` bytes, or the fixed form with its escape.
    pub fn put_long(self, out: &mut Vec<u8>, value: i64, min: usize) {
        match self {
            Self::Fixed => put_longint(out, value),
            Self::Variable => put_varlong(out, value, min),
        }
    }

    /// Reads a 64-bit number.
    pub fn long(self, reader: &mut Reader<'_>, min: usize) -> Decode<i64> {
        match self {
            Self::Fixed => longint(reader),
            Self::Variable => varlong(reader, min),
        }
    }
}

/// Writes 0 to 2^31-1 as four bytes, anything else as four `ff` and eight bytes.
pub fn put_longint(out: &mut Vec<u8>, value: i64) {
    if let Ok(small) = i32::try_from(value)
        && small >= 0
    {
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        out.extend_from_slice(&[0xff; 4]);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Reads what [`put_longint`] writes.
pub fn longint(reader: &mut Reader<'_>) -> Decode<i64> {
    match reader.i32()? {
        -1 => reader.i64(),
        small => Ok(i64::from(small)),
    }
}

/// Writes a `varint`: one to five bytes.
pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_variable(out, &value.to_le_bytes(), 1);
}

/// Reads a `varint`.
pub fn varint(reader: &mut Reader<'_>) -> Decode<i32> {
    let bytes: [u8; 4] = variable(reader, 1)?;
    Ok(i32::from_le_bytes(bytes))
}

/// Writes a `varlong`: at least `min` bytes (3 for sizes, 4 for times), at most nine.
pub fn put_varlong(out: &mut Vec<u8>, value: i64, min: usize) {
    put_variable(out, &value.to_le_bytes(), min);
}

/// Reads a `varlong` of at least `min` bytes.
pub fn varlong(reader: &mut Reader<'_>, min: usize) -> Decode<i64> {
    let bytes: [u8; 8] = variable(reader, min)?;
    Ok(i64::from_le_bytes(bytes))
}

/// The form shared by both: the first byte holds `n` leading ones, a zero, and the value's top bits; then follow the
/// `min - 1 + n` low bytes, least significant first. A top byte that does not fit beside the ones costs one byte more.
fn put_variable(out: &mut Vec<u8>, value: &[u8], min: usize) {
    let significant = value.iter().rposition(|&byte| byte != 0).map_or(min, |last| (last + 1).max(min));
    let extra = significant - min;
    let top = value[significant - 1];
    // With `extra` ones and a zero in front, the first byte has 7 - extra bits left.
    if u32::from(top) < 1 << (7 - extra) {
        out.push(ones(extra) | top);
        out.extend_from_slice(&value[..significant - 1]);
    } else {
        out.push(ones(extra + 1));
        out.extend_from_slice(&value[..significant]);
    }
}

fn variable<const N: usize>(reader: &mut Reader<'_>, min: usize) -> Decode<[u8; N]> {
    let first = reader.u8()?;
    let extra = first.leading_ones() as usize;
    let low = min - 1 + extra;
    if low > N {
        return Err(DecodeError::malformed("variable integer", format!("{low} bytes follow, at most {N} fit")));
    }
    let mut value = [0; N];
    value[..low].copy_from_slice(reader.bytes(low)?);
    let top = if extra >= 7 { 0 } else { first & (0x7f >> extra) };
    match value.get_mut(low) {
        Some(byte) => *byte = top,
        None if top == 0 => {}
        None => return Err(DecodeError::malformed("variable integer", "more bits than the number has")),
    }
    Ok(value)
}

/// `count` leading ones, at most 8.
fn ones(count: usize) -> u8 {
    !u8::try_from(0xff_u16 >> count).unwrap_or(u8::MAX)
}

/// The longest `vstring`.
pub const MAX_VSTRING: usize = 0x7fff;

/// Writes a `vstring`: its length in one or two bytes, then the bytes. Longer text than [`MAX_VSTRING`] is cut.
pub fn put_vstring(out: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(MAX_VSTRING)];
    let [low, high, ..] = text.len().to_le_bytes();
    if text.len() < 0x80 {
        out.push(low);
    } else {
        out.extend_from_slice(&[high | 0x80, low]);
    }
    out.extend_from_slice(text);
}

/// Reads a `vstring` of at most `max` bytes.
pub fn vstring<'a>(reader: &mut Reader<'a>, max: usize, field: &'static str) -> Decode<&'a [u8]> {
    let first = reader.u8()?;
    let len =
        if first & 0x80 == 0 { usize::from(first) } else { usize::from(first & 0x7f) << 8 | usize::from(reader.u8()?) };
    if len > max {
        return Err(DecodeError::malformed(field, format!("{len} bytes, at most {max} are allowed")));
    }
    reader.bytes(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn varint_as_captured() {
        for (value, wire) in [
            (0, "00"),
            (127, "7f"),
            (128, "8080"),
            (255, "80ff"),
            (300, "812c"),
            (511, "81ff"),
            (16383, "bfff"),
            (16384, "c00040"),
            (65534, "c0feff"),
            (65536, "c10000"),
            (2_097_152, "e0000020"),
            (123_456_789, "e715cd5b"),
            (593_551_757, "f08de16023"),
            (4_000_000_000_u32.cast_signed(), "f000286bee"),
            (-1, "f0ffffffff"),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(hex(&out), wire, "{value}");
            assert_eq!(varint(&mut Reader::new(&out)), Ok(value));
        }
    }

    #[test]
    fn varlong_as_captured() {
        for (min, value, wire) in [
            (3, 0, "000000"),
            (3, 6, "000600"),
            (3, 4096, "000010"),
            (3, 65536, "010000"),
            (3, 8_388_608, "80000080"),
            (3, 16_777_216, "81000000"),
            (3, 5_368_709_120, "c100000040"),
            (4, 1_704_164_647, "65277d93"),
            (4, 2_147_483_647, "7fffffff"),
            (4, 2_208_988_800, "80807eaa83"),
            (4, -1, "f8ffffffffffffffff"),
            (4, -315_619_200, "f8800830edffffffff"),
        ] {
            let mut out = Vec::new();
            put_varlong(&mut out, value, min);
            assert_eq!(hex(&out), wire, "{value}");
            assert_eq!(varlong(&mut Reader::new(&out), min), Ok(value));
        }
    }

    #[test]
    fn longint_as_captured() {
        for (value, wire) in
            [(6, "06000000"), (2_147_483_648, "ffffffff0000008000000000"), (5_368_709_120, "ffffffff0000004001000000")]
        {
            let mut out = Vec::new();
            put_longint(&mut out, value);
            assert_eq!(hex(&out), wire);
        }
    }

    #[test]
    fn too_many_extra_bytes_are_malformed_not_short() {
        assert!(matches!(varint(&mut Reader::new(&[0xff])), Err(DecodeError::Malformed { .. })));
        assert_eq!(varint(&mut Reader::new(&[0xf0, 1, 2])), Err(DecodeError::NeedMore));
    }

    proptest! {
        #[test]
        fn every_number_survives(value: i64, small: i32, min in 3_usize..=4) {
            let mut out = Vec::new();
            put_varlong(&mut out, value, min);
            prop_assert_eq!(varlong(&mut Reader::new(&out), min), Ok(value));
            out.clear();
            put_longint(&mut out, value);
            prop_assert_eq!(longint(&mut Reader::new(&out)), Ok(value));
            out.clear();
            put_varint(&mut out, small);
            prop_assert_eq!(varint(&mut Reader::new(&out)), Ok(small));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = varint(&mut Reader::new(&bytes));
            let _ = varlong(&mut Reader::new(&bytes), 3);
            let _ = vstring(&mut Reader::new(&bytes), 255, "text");
        }

        #[test]
        fn vstrings_survive(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut out = Vec::new();
            put_vstring(&mut out, &text);
            prop_assert_eq!(vstring(&mut Reader::new(&out), MAX_VSTRING, "text"), Ok(&text[..]));
        }
    }
}

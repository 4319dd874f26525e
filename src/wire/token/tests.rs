//! What holds for every coding: a round trip over any fragmentation, the worked examples, hostile input.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::wire::reader::DecodeError;

/// What a sender does to one file.
#[derive(Debug, Clone)]
enum Op {
    Literal(Vec<u8>),
    /// Copies consecutive blocks.
    Copy {
        first: usize,
        count: usize,
    },
}

/// What a receiver can see of it.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    files: Vec<Vec<u8>>,
    blocks: Vec<u32>,
}

/// A basis in blocks that share much with each other and with the literals below.
struct Basis {
    bytes: Vec<u8>,
    block: usize,
}

impl Basis {
    fn new(block: usize) -> Self {
        let mut bytes = Vec::new();
        let mut number = 0_u32;
        while bytes.len() < 40 * block {
            number = number.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let mut line = String::new();
            writeln!(line, "<li class=\"entry\">{} of {number:x}</li>", number >> 27).unwrap();
            bytes.extend_from_slice(line.as_bytes());
        }
        Self { bytes, block }
    }

    /// Forty blocks, the last one short.
    fn get(&self, number: usize) -> &[u8] {
        let end = if number == 39 { 39 * self.block + self.block / 3 + 1 } else { (number + 1) * self.block };
        &self.bytes[number * self.block..end]
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn encode(coding: TokenCoding, history: ZlibHistory, basis: &Basis, files: &[Vec<Op>]) -> (Vec<u8>, Received) {
    let mut encoder = TokenEncoder::new(coding, history).unwrap();
    let mut out = Vec::new();
    let mut sent = Received { files: Vec::new(), blocks: Vec::new() };
    for ops in files {
        let mut content = Vec::new();
        for op in ops {
            match op {
                Op::Literal(data) => {
                    encoder.literal(data, &mut out).unwrap();
                    content.extend_from_slice(data);
                }
                Op::Copy { first, count } => {
                    for number in (*first..40).take(*count) {
                        let block = u32::try_from(number).unwrap();
                        encoder.copy(block, basis.get(number), &mut out).unwrap();
                        content.extend_from_slice(basis.get(number));
                        sent.blocks.push(block);
                    }
                }
            }
        }
        encoder.end(&mut out).unwrap();
        sent.files.push(content);
    }
    (out, sent)
}

/// Decodes `wire`, which arrives in pieces of the given sizes, again and again.
fn decode(
    coding: TokenCoding,
    history: ZlibHistory,
    basis: &Basis,
    wire: &[u8],
    pieces: &[usize],
) -> Decode<(Vec<Token>, Received)> {
    let mut decoder = TokenDecoder::new(coding, history).unwrap();
    let mut received = Received { files: Vec::new(), blocks: Vec::new() };
    let mut tokens = Vec::new();
    let mut content = Vec::new();
    let mut sizes = pieces.iter().cycle();
    let (mut start, mut end) = (0, 0);
    loop {
        let mut reader = Reader::new(&wire[start..end]);
        let token = match decoder.next(&mut reader) {
            Err(DecodeError::NeedMore) if end == wire.len() => break,
            Err(DecodeError::NeedMore) => {
                end = wire.len().min(end + sizes.next().unwrap());
                continue;
            }
            other => other?,
        };
        start += reader.position();
        match &token {
            Token::Literal(data) => {
                assert!(data.len() <= MAX_PIECE);
                content.extend_from_slice(data);
            }
            Token::Copy { block } => {
                let number = usize::try_from(*block).unwrap().min(39);
                decoder.history(basis.get(number));
                content.extend_from_slice(basis.get(number));
                received.blocks.push(*block);
            }
            Token::End => received.files.push(std::mem::take(&mut content)),
        }
        tokens.push(token);
    }
    assert!(start == wire.len() && content.is_empty(), "bytes are left over");
    Ok((tokens, received))
}

const CODINGS: [TokenCoding; 9] = [
    TokenCoding::Plain,
    TokenCoding::Zlib { level: 1 },
    TokenCoding::Zlib { level: 4 },
    TokenCoding::Zlib { level: 6 },
    TokenCoding::Zlib { level: 9 },
    TokenCoding::Zlibx { level: 6 },
    TokenCoding::Zstd { level: 3 },
    TokenCoding::Zstd { level: -5 },
    TokenCoding::Lz4,
];

fn coding() -> impl Strategy<Value = TokenCoding> {
    prop::sample::select(CODINGS.to_vec())
}

fn history() -> impl Strategy<Value = ZlibHistory> {
    prop::sample::select(vec![ZlibHistory::Whole, ZlibHistory::RepeatsStart])
}

/// Operations whose literals repeat parts of the basis, so that they refer back over copied blocks.
fn op(block: usize) -> impl Strategy<Value = Op> {
    let all = 39 * block;
    prop_oneof![
        (0..all, 0..3000_usize).prop_map(move |(from, len)| {
            let basis = Basis::new(block);
            Op::Literal(basis.bytes[from..(from + len).min(all)].to_vec())
        }),
        (any::<u64>(), 0..2000_usize).prop_map(|(seed, len)| Op::Literal(noise(seed, len))),
        (any::<u64>(), 0..70_000_usize).prop_map(|(seed, len)| Op::Literal(noise(seed, len))),
        (any::<u8>(), 0..200_000_usize).prop_map(|(byte, len)| Op::Literal(vec![byte; len])),
        (0..40_usize, 1..6_usize).prop_map(|(first, count)| Op::Copy { first, count }),
        (0..40_usize, 1..40_usize).prop_map(|(first, count)| Op::Copy { first, count }),
        (0..40_usize).prop_map(|first| Op::Copy { first, count: 1 }),
    ]
}

fn session() -> impl Strategy<Value = (usize, Vec<Vec<Op>>)> {
    prop::sample::select(vec![1_usize, 700, 5000, 70_000])
        .prop_flat_map(|block| (Just(block), prop::collection::vec(prop::collection::vec(op(block), 0..12), 1..5)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_session_comes_back(
        (block, files) in session(),
        coding in coding(),
        history in history(),
        pieces in prop::collection::vec(1..40_000_usize, 1..6),
    ) {
        let basis = Basis::new(block);
        let (wire, sent) = encode(coding, history, &basis, &files);
        let (tokens, received) = decode(coding, history, &basis, &wire, &[usize::MAX >> 1]).unwrap();
        prop_assert!(received == sent);
        let (again, _) = decode(coding, history, &basis, &wire, &pieces).unwrap();
        prop_assert!(again == tokens, "the pieces make a difference");
    }

    #[test]
    fn one_byte_at_a_time_is_enough(
        ops in prop::collection::vec(
            prop_oneof![
                (any::<u64>(), 0..300_usize).prop_map(|(seed, len)| Op::Literal(noise(seed, len))),
                (0..9_000_usize).prop_map(|len| Op::Literal(vec![b'x'; len])),
                (0..40_usize, 1..6_usize).prop_map(|(first, count)| Op::Copy { first, count }),
            ],
            0..8,
        ),
        coding in coding(),
    ) {
        let basis = Basis::new(700);
        let files = [ops.clone(), Vec::new(), ops];
        let (wire, sent) = encode(coding, ZlibHistory::Whole, &basis, &files);
        let (_, received) = decode(coding, ZlibHistory::Whole, &basis, &wire, &[1]).unwrap();
        prop_assert!(received == sent);
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..4000),
        first in prop::sample::select(vec![0x40_u8, 0x41, 0x20, 0x80, 0xc0, 0x00]),
        coding in coding(),
    ) {
        let wire = [&[first][..], &garbage].concat();
        drop(decode_bounded(coding, &wire));
    }

    #[test]
    fn a_damaged_session_never_panics(
        (block, files) in session(),
        coding in coding(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut wire, _) = encode(coding, ZlibHistory::Whole, &Basis::new(block), &files);
        for (place, byte) in damage {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        drop(decode_bounded(coding, &wire));
    }
}

/// Decodes what may be anything, up to an amount that a receiver would have refused by then.
fn decode_bounded(coding: TokenCoding, wire: &[u8]) -> Decode<()> {
    let mut decoder = TokenDecoder::new(coding, ZlibHistory::Whole).unwrap();
    let mut reader = Reader::new(wire);
    for _ in 0..20_000 {
        match decoder.next(&mut reader)? {
            Token::Literal(data) => assert!(data.len() <= MAX_PIECE),
            Token::Copy { block } => {
                assert!(i32::try_from(block).is_ok());
                decoder.history(b"a block");
            }
            Token::End => {}
        }
    }
    Ok(())
}

/// The text of the worked example.
const TEXT: &str = "A line that is in neither file, put between the second and the third block of the basis, so that \
    a literal stands between two runs of copied blocks. It has no great length, some three hundred bytes, and does \
    not repeat itself very much, which is why lz4 makes little of it, while deflate and zstd save about one half.\n";

/// Blocks 0 and 1, the text, blocks 2 and 3, `Q`, block 4; then a second file of 120 bytes.
fn worked_example(coding: TokenCoding) -> Vec<Vec<u8>> {
    let basis = Basis::new(700);
    let first = vec![
        Op::Copy { first: 0, count: 2 },
        Op::Literal(TEXT.as_bytes().to_vec()),
        Op::Copy { first: 2, count: 2 },
        Op::Literal(b"Q".to_vec()),
        Op::Copy { first: 4, count: 1 },
    ];
    let second = vec![Op::Literal(b"0123456789".repeat(12))];
    let (wire, _) = encode(coding, ZlibHistory::Whole, &basis, &[first, second]);
    let mut records = Vec::new();
    let mut rest = &wire[..];
    while let Some(control) = rest.first() {
        let len = match control {
            0x00 | 0x80..0xc0 => 1,
            0x40..0x80 => 2 + (usize::from(control & 0x3f) << 8) + usize::from(rest[1]),
            0xc0.. => 3,
            _ => panic!("{control:x} has no place in the example"),
        };
        records.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    records
}

fn assert_worked_example(coding: TokenCoding, text: std::ops::Range<usize>, q: &[u8]) {
    let records = worked_example(coding);
    assert_eq!(records.len(), 8, "{records:x?}");
    assert_eq!(records[0], [0xc0, 1, 0]);
    assert!(text.contains(&(records[1].len() - 2)), "{}", records[1].len() - 2);
    assert_eq!(records[2], [0xc1, 1, 0]);
    assert_eq!(records[3], q);
    assert_eq!(records[4], [0x81]);
    assert_eq!(records[5], [0x00]);
    assert!(records[6][0] == 0x40 && records[6].len() < 35, "{:x?}", records[6]);
    assert_eq!(records[7], [0x00]);
}

#[test]
fn the_worked_examples_have_the_bytes_of_stock_peers() {
    assert_worked_example(TokenCoding::Zlib { level: 6 }, 140..220, &[0x40, 3, 0x0a, 4, 0]);
    assert_worked_example(TokenCoding::Zlibx { level: 6 }, 140..220, &[0x40, 3, 0x0a, 4, 0]);
    assert_worked_example(TokenCoding::Zstd { level: 3 }, 160..240, &[0x40, 4, 0x08, 0, 0, b'Q']);
    assert_worked_example(TokenCoding::Lz4, 250..330, &[0x40, 2, 0x10, b'Q']);
    // The header of the zstd frame comes once, not in the second file.
    let records = worked_example(TokenCoding::Zstd { level: 3 });
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    assert!(records[1][2..].starts_with(&magic) && !records[6][2..].starts_with(&magic));
}

#[test]
fn the_plain_stream_has_the_bytes_of_stock_peers() {
    let files = [vec![Op::Literal(b"hello\n".to_vec())], vec![Op::Copy { first: 0, count: 2 }]];
    let (wire, _) = encode(TokenCoding::Plain, ZlibHistory::Whole, &Basis::new(700), &files);
    let hello = [&[6, 0, 0, 0][..], b"hello\n", &[0; 4]].concat();
    assert_eq!(wire, [&hello[..], &[0xff; 4], &[0xfe, 0xff, 0xff, 0xff], &[0; 4]].concat());
    let (wire, _) = encode(
        TokenCoding::Plain,
        ZlibHistory::Whole,
        &Basis::new(700),
        &[vec![Op::Literal(vec![1; plain::MAX_LITERAL + 1])]],
    );
    assert_eq!(wire.len(), 4 + plain::MAX_LITERAL + 4 + 1 + 4);
    assert_eq!(wire[..4], plain::literal_header(plain::MAX_LITERAL));
}

#[test]
fn a_long_plain_literal_of_a_peer_comes_in_pieces() {
    let wire = [&100_000_i32.to_le_bytes()[..], &vec![5; 100_000], &[0; 4]].concat();
    let basis = Basis::new(1);
    let (tokens, received) = decode(TokenCoding::Plain, ZlibHistory::Whole, &basis, &wire, &[999]).unwrap();
    assert_eq!(tokens.len(), 5);
    assert_eq!(received.files, [vec![5; 100_000]]);
    // The announced length alone allocates nothing.
    let huge = i32::MAX.to_le_bytes();
    let mut decoder = TokenDecoder::new(TokenCoding::Plain, ZlibHistory::Whole).unwrap();
    assert_eq!(decoder.next(&mut Reader::new(&huge)), Err(DecodeError::NeedMore));
    let far = i32::MIN.to_le_bytes();
    assert_eq!(decoder.next(&mut Reader::new(&far)), Ok(Token::Copy { block: i32::MAX.unsigned_abs() }));
}

#[test]
fn copied_blocks_shorten_later_literals_only_with_zlib() {
    let basis = Basis::new(5000);
    let files = [vec![Op::Copy { first: 0, count: 2 }, Op::Literal(basis.get(0).to_vec())]];
    let size = |coding| encode(coding, ZlibHistory::Whole, &basis, &files).0.len();
    let (with, without) = (size(TokenCoding::Zlib { level: 6 }), size(TokenCoding::Zlibx { level: 6 }));
    assert!(with < 100 && without > 500, "{with} and {without}");
}

#[test]
fn zstd_remembers_the_file_before() {
    let page = noise(1, 20_000);
    let files = [vec![Op::Literal(page.clone())], vec![Op::Literal(page)]];
    let (wire, _) = encode(TokenCoding::Zstd { level: 3 }, ZlibHistory::Whole, &Basis::new(1), &files);
    assert!(wire.len() < 20_200, "{}", wire.len());
}

#[test]
fn a_bomb_is_given_out_in_bounded_pieces() {
    for coding in [TokenCoding::Zlib { level: 9 }, TokenCoding::Zstd { level: 3 }] {
        let files = [vec![Op::Literal(vec![0; 10_000_000])]];
        let (wire, sent) = encode(coding, ZlibHistory::Whole, &Basis::new(1), &files);
        assert!(wire.len() < 16_000, "{}", wire.len());
        let (tokens, received) = decode(coding, ZlibHistory::Whole, &Basis::new(1), &wire, &[100_000]).unwrap();
        assert!(tokens.len() > 10_000_000 / MAX_PIECE);
        assert!(received == sent);
    }
}

fn records(coding: TokenCoding, wire: &[u8]) -> Decode<()> {
    decode(coding, ZlibHistory::Whole, &Basis::new(700), wire, &[1000]).map(drop)
}

fn assert_malformed(coding: TokenCoding, wire: &[u8]) {
    let answer = records(coding, wire);
    assert!(matches!(answer, Err(DecodeError::Malformed { .. })), "{coding:?} {wire:x?}: {answer:?}");
}

#[test]
fn deflate_must_be_synchronised_at_each_token() {
    let zlib = TokenCoding::Zlib { level: 6 };
    assert_eq!(records(zlib, &[0x40, 3, 0x0a, 4, 0, 0x80, 0x00]), Ok(()));
    // The four bytes were left in: a copied block does not fit in behind them.
    assert_malformed(zlib, &[0x40, 7, 0x0a, 4, 0, 0, 0, 0xff, 0xff, 0x80, 0x40, 3, 0x0a, 4, 0, 0x00]);
    // A stored block that is not complete: the missing bytes must not be taken from the copied block.
    assert_malformed(zlib, &[0x40, 6, 0, 10, 0, 0xf5, 0xff, b'x', 0x80, 0x00]);
    // A final block, with and without more behind it.
    assert_malformed(zlib, &[0x40, 2, 3, 0, 0x00]);
    assert_malformed(zlib, &[0x40, 5, 3, 0, 0x0a, 4, 0, 0x00]);
    // The end of a final block, and code tables, made of the bytes that are put back.
    assert_malformed(zlib, &[0x40, 1, 3, 0x00]);
    assert_malformed(zlib, &[0x40, 1, 4, 0x80, 0x40, 3, 0x0a, 4, 0, 0x00]);
}

#[test]
fn a_file_cannot_refer_to_the_file_before() {
    let zlibx = TokenCoding::Zlibx { level: 6 };
    let text = Op::Literal(b"abcdefgh".to_vec());
    let files = [vec![text.clone(), Op::Copy { first: 0, count: 1 }, text]];
    let (mut wire, _) = encode(zlibx, ZlibHistory::Whole, &Basis::new(700), &files);
    assert_eq!(records(zlibx, &wire), Ok(()));
    let copy = wire.iter().position(|byte| *byte == 0x80).unwrap();
    wire[copy] = 0x00;
    assert_malformed(zlibx, &wire);
}

#[test]
fn damaged_chunks_are_malformed() {
    assert_malformed(TokenCoding::Zlibx { level: 6 }, &[0x40, 1, 0x07]);
    assert_malformed(TokenCoding::Zstd { level: 3 }, &[0x40, 5, 1, 2, 3, 4, 5]);
    assert_malformed(TokenCoding::Lz4, &[0x40, 1, 0]);
    for coding in CODINGS.into_iter().filter(|coding| *coding != TokenCoding::Plain) {
        assert_malformed(coding, &[0x40, 0]);
        assert_malformed(coding, &[0x3f]);
        assert_malformed(coding, &[0x20, 0, 0, 0, 0x80]);
    }
}

#[test]
fn many_zstd_frames_are_accepted_from_a_peer() {
    let frame = |text: &[u8]| ::zstd::bulk::compress(text, 3).unwrap();
    let file = |data: Vec<u8>| [&[0x40, u8::try_from(data.len()).unwrap()], &data[..], &[0x00]].concat();
    let together = [frame(b"three, "), frame(b""), frame(b"four")].concat();
    let wire = [file(frame(b"one")), file(frame(b"")), file(frame(b"two")), file(together)].concat();
    let basis = Basis::new(1);
    let (_, received) = decode(TokenCoding::Zstd { level: 3 }, ZlibHistory::Whole, &basis, &wire, &[7]).unwrap();
    assert_eq!(received.files, [&b"one"[..], b"", b"two", b"three, four"]);
}

#[test]
fn names_and_levels() {
    for name in TokenCoding::NAMES {
        assert_eq!(TokenCoding::from_name(name, None).unwrap().name(), name);
    }
    let of = |name, level| TokenCoding::from_name(name, level).unwrap();
    assert_eq!(of("zlib", None), TokenCoding::Zlib { level: 6 });
    assert_eq!(of("zlib", Some(0)), TokenCoding::Plain);
    assert_eq!(of("zlibx", Some(0)), TokenCoding::Plain);
    assert_eq!(of("zlibx", Some(99)), TokenCoding::Zlibx { level: 9 });
    assert_eq!(of("zlib", Some(-1)), TokenCoding::Zlib { level: 1 });
    assert_eq!(of("zstd", None), TokenCoding::Zstd { level: 3 });
    assert_eq!(of("zstd", Some(0)), TokenCoding::Zstd { level: 3 });
    assert_eq!(of("zstd", Some(i32::MAX)), TokenCoding::Zstd { level: 22 });
    assert_eq!(of("zstd", Some(i32::MIN)), TokenCoding::Zstd { level: -131_072 });
    assert_eq!(TokenCoding::from_name("ZSTD", None), None);
    for coding in [TokenCoding::Zlib { level: 0 }, TokenCoding::Zlibx { level: 10 }, TokenCoding::Zstd { level: 23 }] {
        assert!(matches!(TokenEncoder::new(coding, ZlibHistory::Whole).err(), Some(TokenError::Level { .. })));
        assert!(matches!(TokenDecoder::new(coding, ZlibHistory::Whole).err(), Some(TokenError::Level { .. })));
    }
    // The ends of the range are levels that the library really takes.
    for level in [-131_072, 22] {
        TokenEncoder::new(TokenCoding::Zstd { level }, ZlibHistory::Whole).unwrap();
    }
}

#[test]
fn coders_can_move_to_the_thread_of_a_role() {
    fn assert_send<T: Send>() {}
    assert_send::<TokenEncoder>();
    assert_send::<TokenDecoder>();
}

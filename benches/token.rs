//! Speed of the token coders, encode and decode, on data that compresses and on data that does not.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nas_sync::internal::wire::reader::{DecodeError, Reader};
use nas_sync::internal::wire::token::{Token, TokenCoding, TokenDecoder, TokenEncoder, ZlibHistory};

const SIZE: usize = 16 << 20;
/// What a sender reads and hands over at a time.
const READ: usize = 256 << 10;

/// A xorshift generator: the same data in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 40).expect("24 bits") % end
    }
}

fn noise() -> Vec<u8> {
    let mut random = Random(1);
    (0..SIZE / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Pages of markup around words, of which few are frequent and most are rare, as in generated documentation.
fn html() -> Vec<u8> {
    let mut random = Random(2);
    let words: Vec<String> = (0..4000)
        .map(|_| (0..2 + random.below(9)).map(|_| char::from(b"etaoinsrhldcumfpgwybvk"[random.below(22)])).collect())
        .collect();
    let mut page = String::with_capacity(SIZE + 4096);
    while page.len() < SIZE {
        let id = random.below(1 << 20);
        write!(page, "<section id=\"s{id:05x}\" class=\"doc item\">\n  <h3><a href=\"#s{id:05x}\">").ok();
        for _ in 0..20 + random.below(80) {
            let rank = random.below(63).min(random.below(63));
            let word = &words[random.below(63 * (rank + 1))];
            match random.below(16) {
                0 => write!(page, "<code class=\"name\">{word}</code> "),
                1 => write!(page, "{word}</p>\n  <p>"),
                _ => write!(page, "{word} "),
            }
            .ok();
        }
        page.push_str("</p>\n</section>\n");
    }
    page.truncate(SIZE);
    page.into_bytes()
}

/// Codes all of `data`; with `copies`, each other piece of 4,000 bytes is a copied block.
fn encode(coding: TokenCoding, data: &[u8], copies: bool, out: &mut Vec<u8>) {
    let mut encoder = TokenEncoder::new(coding, ZlibHistory::Whole).expect("a valid level");
    out.clear();
    if copies {
        for (number, block) in (0_u32..).zip(data.chunks(4000)) {
            if number % 2 == 0 {
                encoder.literal(block, out).expect("encodes");
            } else {
                encoder.copy(number, block, out).expect("encodes");
            }
        }
    } else {
        for piece in data.chunks(READ) {
            encoder.literal(piece, out).expect("encodes");
        }
    }
    encoder.end(out).expect("encodes");
}

fn decode(coding: TokenCoding, wire: &[u8], basis: &[u8]) -> usize {
    let mut decoder = TokenDecoder::new(coding, ZlibHistory::Whole).expect("a valid level");
    let mut reader = Reader::new(wire);
    let mut len = 0;
    loop {
        match decoder.next(&mut reader) {
            Ok(Token::Literal(piece)) => len += black_box(piece).len(),
            Ok(Token::Copy { block }) => {
                let start = block as usize * 4000;
                decoder.history(&basis[start..basis.len().min(start + 4000)]);
            }
            Ok(Token::End) => return len,
            Err(DecodeError::NeedMore) => panic!("the stream is cut short"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn coders(criterion: &mut Criterion) {
    let codings = [
        ("plain", TokenCoding::Plain),
        ("zlib 6", TokenCoding::Zlib { level: 6 }),
        ("zlibx 6", TokenCoding::Zlibx { level: 6 }),
        ("zstd 3", TokenCoding::Zstd { level: 3 }),
        ("zstd 1", TokenCoding::Zstd { level: 1 }),
        ("lz4", TokenCoding::Lz4),
    ];
    let inputs = [("html", html()), ("noise", noise())];
    let mut out = Vec::new();
    for (what, data, copies) in inputs.iter().flat_map(|(what, data)| [(what, data, false), (what, data, true)]) {
        let mut group = criterion.benchmark_group(format!("{what}{}", if copies { ", half copied" } else { "" }));
        group.sample_size(10).throughput(Throughput::Bytes(SIZE as u64));
        for (name, coding) in codings {
            encode(coding, data, copies, &mut out);
            eprintln!("{what} {name}: {} bytes become {}", data.len(), out.len());
            group.bench_function(format!("encode {name}"), |bencher| {
                let mut out = Vec::new();
                bencher.iter(|| encode(coding, black_box(data), copies, &mut out));
            });
            group.bench_function(format!("decode {name}"), |bencher| {
                bencher.iter(|| decode(coding, black_box(&out), data));
            });
        }
    }
}

criterion_group!(benches, coders);
criterion_main!(benches);

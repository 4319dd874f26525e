//! The rooms of this floor together: fast against slow, delta against patch, and what a hostile peer can cost.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// An operation that outlives the search.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Literal(Vec<u8>),
    Copy(u32, Vec<u8>),
}

const PLAIN: StrongSum = StrongSum::unseeded(StrongAlgorithm::Xxh128);

fn run(index: &BlockIndex<'_>, basis_use: BasisUse, pieces: &[&[u8]]) -> (Vec<Step>, SearchTotals) {
    let mut steps = Vec::new();
    let mut sink = |op: Op<'_>| {
        steps.push(match op {
            Op::Literal(data) => Step::Literal(data.to_vec()),
            Op::Copy { block, data } => Step::Copy(block, data.to_vec()),
        });
        Ok::<_, Infallible>(())
    };
    let mut search = Search::new(index, basis_use);
    for piece in pieces {
        search.feed(piece, &mut sink).unwrap();
    }
    let totals = search.finish(&mut sink).unwrap();
    (steps, totals)
}

fn patched(head: SumHead, basis: &[u8], steps: &[Step]) -> Vec<u8> {
    let mut patch = Patch::new(head, u64::MAX);
    let mut content = Vec::new();
    for step in steps {
        let op = match step {
            Step::Literal(data) => PatchOp::Literal(data),
            Step::Copy(block, _) => PatchOp::Copy(*block),
        };
        let read_at = |offset: u64, piece: &mut [u8]| {
            let offset = usize::try_from(offset).unwrap();
            piece.copy_from_slice(&basis[offset..offset + piece.len()]);
            Ok::<_, Infallible>(())
        };
        let write = |piece: &[u8]| {
            content.extend_from_slice(piece);
            Ok(())
        };
        patch.apply(op, read_at, write).unwrap();
    }
    content
}

/// What the search is to find, in the plainest words: at each offset any block that equals the window, short ones only
/// at the end. Returns the lengths of alternating literals and copies.
fn naive(head: SumHead, basis: &[u8], new: &[u8]) -> (u64, Vec<(usize, usize)>) {
    let blocks: Vec<&[u8]> = if head.is_empty() { Vec::new() } else { basis.chunks(head.block_len as usize).collect() };
    let (mut offset, mut literal, mut matched, mut found) = (0, 0, 0, Vec::new());
    while offset < new.len() {
        let rest = &new[offset..];
        let equal = blocks.iter().find(|block| {
            rest.starts_with(block) && (block.len() == head.block_len as usize || block.len() == rest.len())
        });
        if let Some(block) = equal {
            found.push((literal, block.len()));
            matched += block.len() as u64;
            offset += block.len();
            literal = 0;
        } else {
            offset += 1;
            literal += 1;
        }
    }
    found.push((literal, 0));
    (matched, found)
}

fn lengths(steps: &[Step]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut literal = 0;
    for step in steps {
        match step {
            Step::Literal(data) => {
                assert!(!data.is_empty() && data.len() <= MAX_LITERAL);
                literal += data.len();
            }
            Step::Copy(_, data) => {
                found.push((literal, data.len()));
                literal = 0;
            }
        }
    }
    found.push((literal, 0));
    found
}

fn cut<'a>(data: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = data;
    let mut pieces = Vec::new();
    for &len in lengths {
        let (piece, later) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces.push(rest);
    pieces
}

/// Bytes without pattern, the same each time.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..len).map(|_| next()).collect()
}

/// An edit of the basis: where (in 1/2^16 of the length), how many bytes go, what comes.
type Edit = (u16, usize, Vec<u8>);

fn edited(basis: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = basis.to_vec();
    for (place, removed, inserted) in edits {
        let at = new.len() * usize::from(*place) / 65_536;
        let end = (at + removed).min(new.len());
        new.splice(at..end, inserted.iter().copied());
    }
    new
}

fn content(max: usize) -> impl Strategy<Value = Vec<u8>> {
    // A small alphabet makes blocks equal, periodic and alike in their weak sums.
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..max),
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..max),
        (prop::collection::vec(any::<u8>(), 1..9), 0..max)
            .prop_map(|(unit, len)| { unit.iter().copied().cycle().take(len).collect() }),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<u16>(), 0..40usize, prop::collection::vec(any::<u8>(), 0..40)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patch_undoes_delta_and_fast_finds_what_slow_finds(
        basis in content(1500),
        edits in edits(),
        unrelated in prop::option::weighted(0.1, content(1500)),
        block_len in 1..120u32,
        seed in any::<i32>(),
        splits in prop::collection::vec(0..300usize, 0..12),
    ) {
        let new = unrelated.unwrap_or_else(|| edited(&basis, &edits));
        let strong = StrongSum { algorithm: StrongAlgorithm::Xxh3, placement: SeedPlacement::Parameter, seed };
        let head = SumHead::with_block_len(basis.len() as u64, block_len, 8).redo(8);
        let sums = BlockSums::of_basis(head, &basis, strong);
        let index = BlockIndex::new(&sums, strong);

        let (steps, totals) = run(&index, BasisUse::Kept, &[&new]);
        prop_assert_eq!(patched(head, &basis, &steps), &new[..]);
        for step in &steps {
            if let Step::Copy(block, data) = step {
                let start = usize::try_from(head.block_offset(*block)).unwrap();
                prop_assert_eq!(&basis[start..start + data.len()], &data[..]);
            }
        }
        let (matched, expected) = naive(head, &basis, &new);
        prop_assert_eq!(lengths(&steps), expected);
        prop_assert_eq!((totals.matched, totals.literal), (matched, new.len() as u64 - matched));

        let (fragmented, again) = run(&index, BasisUse::Kept, &cut(&new, &splits));
        prop_assert_eq!(&fragmented, &steps);
        prop_assert_eq!(again, totals);
        let bytewise: Vec<&[u8]> = new.chunks(1).collect();
        prop_assert_eq!(run(&index, BasisUse::Kept, &bytewise), (steps, totals));
    }

    #[test]
    fn an_overwritten_basis_is_never_read_behind_the_offset_reached(
        basis in content(1500),
        edits in edits(),
        block_len in 1..120u32,
    ) {
        let new = edited(&basis, &edits);
        let head = SumHead::with_block_len(basis.len() as u64, block_len, 16).redo(16);
        let sums = BlockSums::of_basis(head, &basis, PLAIN);
        let (steps, _) = run(&BlockIndex::new(&sums, PLAIN), BasisUse::Overwritten, &[&new]);
        // The receiver's view: each step is read from the file that the earlier ones have already overwritten.
        let mut file = basis.clone();
        file.resize(basis.len().max(new.len()), 0);
        let mut offset = 0;
        for step in &steps {
            let data = match step {
                Step::Literal(data) => data.clone(),
                Step::Copy(block, data) => {
                    let start = usize::try_from(head.block_offset(*block)).unwrap();
                    prop_assert!(start >= offset);
                    file[start..start + data.len()].to_vec()
                }
            };
            file[offset..offset + data.len()].copy_from_slice(&data);
            offset += data.len();
        }
        prop_assert_eq!(&file[..offset], &new[..]);
    }

    #[test]
    fn the_rolling_sum_is_the_sum_of_the_window(data in prop::collection::vec(any::<u8>(), 1..300), len in 1..200usize) {
        let len = len.min(data.len());
        let mut rolling = Rolling::new(&data[..len]);
        for start in 0..data.len() - len {
            prop_assert_eq!(rolling.value(), defined_sum(&data[start..start + len]));
            prop_assert_eq!(rolling.value(), weak_sum(&data[start..start + len]));
            rolling.roll(data[start], data[start + len]);
        }
        for start in data.len() - len..data.len() {
            prop_assert_eq!(rolling.value(), defined_sum(&data[start..]));
            rolling.shrink(data[start]);
        }
        prop_assert_eq!(rolling.value(), 0);
    }
}

/// The definition: `a` is the sum of signed bytes, `b` that of all values of `a`.
fn defined_sum(data: &[u8]) -> u32 {
    let (mut a, mut b) = (0i64, 0i64);
    for &byte in data {
        a += i64::from(byte.cast_signed());
        b += a;
    }
    u32::try_from(b.rem_euclid(65_536) << 16 | a.rem_euclid(65_536)).unwrap()
}

#[test]
fn weak_sums_of_long_blocks_wrap_as_defined() {
    for (len, byte) in [(131_072, 0x80), (131_072, 0x7f), (65_537, 0xff), (700, 1), (31, 200), (0, 0)] {
        let block = vec![byte; len];
        assert_eq!(weak_sum(&block), defined_sum(&block), "{len} times {byte}");
    }
    let block = noise(100_003, 5);
    assert_eq!(weak_sum(&block), defined_sum(&block));
}

#[test]
fn long_content_with_scattered_edits_is_the_same_however_it_is_fed() {
    let basis = noise(3_000_000, 1);
    let edits: Vec<Edit> =
        (0..40u16).map(|n| (n * 1600, usize::from(n % 3), noise(usize::from(n % 5), n.into()))).collect();
    let mut new = edited(&basis, &edits);
    // A literal of several pieces.
    new.splice(1_000_000..1_000_000, noise(200_000, 9));
    let head = SumHead::for_basis(basis.len() as u64, sum_head::MAX_BLOCK_LEN, 16);
    let sums = BlockSums::of_basis(head, &basis, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    let (steps, totals) = run(&index, BasisUse::Kept, &[&new]);
    assert!(patched(head, &basis, &steps) == new);
    assert!(totals.literal < 200_000 + 45 * u64::from(head.block_len), "{totals:?}");
    assert!(steps.iter().any(|step| matches!(step, Step::Literal(data) if data.len() == MAX_LITERAL)));
    for piece_len in [997, 4096, 32_768, 262_144] {
        let pieces: Vec<&[u8]> = new.chunks(piece_len).collect();
        assert!(run(&index, BasisUse::Kept, &pieces) == (steps.clone(), totals), "{piece_len}");
    }
    // Far into the content the search still knows where it is: content that lost its beginning may be copied over the
    // basis, content that gained one may not.
    let (_, totals) = run(&index, BasisUse::Overwritten, &[&basis[100..]]);
    assert!(totals.literal < 2 * u64::from(head.block_len), "{totals:?}");
    let (_, totals) = run(&index, BasisUse::Overwritten, &[&[1], &basis]);
    assert_eq!(totals.copies, 0);
}

#[test]
fn memory_depends_on_the_block_length_only() {
    let basis = noise(1_000_000, 3);
    let head = SumHead::for_basis(basis.len() as u64, sum_head::MAX_BLOCK_LEN, 16);
    let sums = BlockSums::of_basis(head, &basis, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    assert!(index.byte_len() <= 28 * sums.len(), "{}", index.byte_len());
    let mut search = Search::new(&index, BasisUse::Kept);
    for seed in 0..40 {
        search.feed(&noise(1 << 20, seed), |_| Ok::<_, Infallible>(())).unwrap();
        assert!(search.byte_len() <= 3 * head.block_len as usize + (512 << 10), "{}", search.byte_len());
    }
    // A peer below protocol 30 may name blocks of half a GiB.
    let head = SumHead { count: 1, block_len: sum_head::MAX_BLOCK_LEN_BEFORE_30, remainder: 0, strong_len: 2 };
    let mut sums = BlockSums::with_capacity(head);
    sums.push(0, &[0; 2]);
    let index = BlockIndex::new(&sums, PLAIN);
    let mut search = Search::new(&index, BasisUse::Kept);
    search.feed(&basis, |_| Ok::<_, Infallible>(())).unwrap();
    assert!(index.is_empty() && search.byte_len() <= MAX_LITERAL);
}

#[test]
fn runs_go_on_and_blocks_stay_in_place_when_several_are_equal() {
    let unit = noise(100, 1);
    let odd = noise(100, 2);
    let basis = [&unit, &unit, &odd, &unit, &unit].map(|block| &block[..]).concat();
    let head = SumHead::with_block_len(500, 100, 16);
    let sums = BlockSums::of_basis(head, &basis, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    let blocks = |new: &[u8], basis_use| {
        let (steps, _) = run(&index, basis_use, &[new]);
        let block = |step: &Step| if let Step::Copy(block, _) = step { Some(*block) } else { None };
        steps.iter().map(block).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&basis, BasisUse::Kept), [0, 1, 2, 3, 4].map(Some));
    // Behind an edit that keeps offsets: block 3 at its own place, not block 0.
    let changed = [&unit[..], &unit, &[7; 100], &unit, &unit].concat();
    assert_eq!(blocks(&changed, BasisUse::Kept), [Some(0), Some(1), None, Some(3), Some(4)]);
    // Moved to where no equal block is left in front: an overwritten basis offers only later ones.
    let moved = [&odd[..50], &unit, &unit, &unit].concat();
    assert_eq!(blocks(&moved, BasisUse::Kept), [None, Some(0), Some(1), Some(0)]);
    assert_eq!(blocks(&moved, BasisUse::Overwritten), [None, Some(1), Some(3), Some(4)]);
}

#[test]
fn the_short_block_matches_at_the_end_only() {
    let basis = noise(250, 4);
    let head = SumHead::with_block_len(250, 100, 16);
    let sums = BlockSums::of_basis(head, &basis, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    let tail = &basis[200..];
    let inside = [tail, &basis[..100], tail].concat();
    let expected = [Step::Literal(tail.into()), Step::Copy(0, basis[..100].into()), Step::Copy(2, tail.into())];
    assert_eq!(run(&index, BasisUse::Kept, &[&inside]).0, expected);
    // A basis shorter than a block, as of most small files.
    let small = SumHead::for_basis(50, sum_head::MAX_BLOCK_LEN, 16);
    let sums = BlockSums::of_basis(small, tail, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    let (steps, _) = run(&index, BasisUse::Kept, &[&basis[..100], tail]);
    assert_eq!(steps, [Step::Literal(basis[..100].into()), Step::Copy(0, tail.into())]);
    assert_eq!(run(&index, BasisUse::Overwritten, &[&basis[..100], tail]).1.copies, 0);
}

#[test]
fn sums_that_prove_nothing_match_nothing() {
    let basis = noise(300, 4);
    let head = SumHead::with_block_len(300, 100, 16);
    let none = StrongSum::unseeded(StrongAlgorithm::None);
    let cases = [
        (SumHead { strong_len: 1, ..head }, none),
        (SumHead { strong_len: 0, ..head }, PLAIN),
        (SumHead { count: 0, ..head }, PLAIN),
    ];
    for (head, strong) in cases {
        let sums = BlockSums::of_basis(head, &basis, strong);
        let index = BlockIndex::new(&sums, strong);
        assert!(index.is_empty());
        assert_eq!(run(&index, BasisUse::Kept, &[&basis]).0, [Step::Literal(basis.clone())]);
    }
    // More bytes announced than the digest has: the surplus is not compared.
    let strong = StrongSum::unseeded(StrongAlgorithm::Xxh3);
    let mut sums = BlockSums::with_capacity(SumHead { strong_len: 16, ..head });
    for block in basis.chunks(100) {
        sums.push(weak_sum(block), &[strong.digest(block).as_bytes(), &[0xee; 8]].concat());
    }
    assert_eq!(run(&BlockIndex::new(&sums, strong), BasisUse::Kept, &[&basis]).1.copies, 3);
}

/// Sums crafted so that every window of zeros looks like any of 100,000 blocks and is none of them.
#[test]
fn equal_weak_sums_cost_a_bounded_number_of_steps() {
    const BLOCKS: u32 = 100_000;
    const LEN: usize = 4 << 20;
    let head = SumHead { count: BLOCKS, block_len: 4096, remainder: 0, strong_len: 16 };
    let mut sums = BlockSums::with_capacity(head);
    for block in 0..BLOCKS {
        sums.push(0, PLAIN.digest(&block.to_le_bytes()).as_bytes());
    }
    let index = BlockIndex::new(&sums, PLAIN);
    let new = vec![0; LEN];
    let (_, totals) = run(&index, BasisUse::Kept, &[&new]);
    assert_eq!(totals.literal, LEN as u64);
    assert_eq!(totals.weak_hits, LEN as u64 - 4095);
    // 8 bytes may be summed for each byte of content, and 1 MiB and 64 blocks to begin with.
    assert!(totals.strong_sums * 4096 <= 8 * LEN as u64 + (1 << 20) + 64 * 4096, "{totals:?}");
    assert!(totals.compared <= 20 * totals.strong_sums, "{totals:?}");
}

#[test]
fn equal_blocks_match_in_one_step_each() {
    let basis: Vec<u8> = b"periodic".iter().copied().cycle().take(100_000 * 64).collect();
    let head = SumHead::with_block_len(basis.len() as u64, 64, 16);
    let sums = BlockSums::of_basis(head, &basis, PLAIN);
    let index = BlockIndex::new(&sums, PLAIN);
    let (steps, totals) = run(&index, BasisUse::Kept, &[&basis]);
    assert!(steps.iter().zip(0..).all(|(step, n)| matches!(step, Step::Copy(block, _) if *block == n)));
    assert_eq!((totals.copies, totals.strong_sums, totals.compared), (100_000, 100_000, 100_000));
    // Out of step with the blocks, each match has to be looked up, and the run is still found.
    let shifted = [b"x", &basis[3..]].concat();
    let (_, totals) = run(&index, BasisUse::Kept, &[&shifted]);
    assert!(totals.literal < 70 && totals.compared < 2 * 100_000 + 40, "{totals:?}");
}

#[test]
fn the_sink_s_error_comes_back() {
    let sums = BlockSums::EMPTY;
    let index = BlockIndex::new(&sums, PLAIN);
    let mut search = Search::new(&index, BasisUse::Kept);
    assert_eq!(search.feed(&[0; 1000], |_| Err("full")), Ok(()));
    assert_eq!(search.feed(&vec![0; MAX_LITERAL], |_| Err("full")), Err("full"));
    let mut search = Search::new(&index, BasisUse::Kept);
    search.feed(b"x", |_| Err("full")).unwrap();
    assert_eq!(search.finish(|_| Err("full")), Err("full"));
}

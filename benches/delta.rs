//! How fast the sender's search and the strong sums are.
//!
//! The content is 64 MiB cut as 512 MiB would be, fed in pieces of 256 KiB as a reader of files does.

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nas_sync::internal::delta::{
    BasisUse, BlockIndex, BlockSums, Op, Search, SearchTotals, SeedPlacement, StrongAlgorithm, StrongSum, SumHead,
    weak_sum,
};

const LEN: usize = 64 << 20;
const BLOCK_LEN: u32 = 23_168;
const STRONG: StrongSum =
    StrongSum { algorithm: StrongAlgorithm::Xxh128, placement: SeedPlacement::Parameter, seed: 0x1234_5678 };

/// Bytes without pattern, the same each time.
fn noise(len: usize, mut state: u64) -> Vec<u8> {
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}

fn search(index: &BlockIndex<'_>, new: &[u8]) -> SearchTotals {
    let mut sink = |op: Op<'_>| {
        black_box(op);
        Ok::<_, Infallible>(())
    };
    let mut search = Search::new(index, BasisUse::Kept);
    for piece in new.chunks(256 << 10) {
        let Ok(()) = search.feed(piece, &mut sink);
    }
    let Ok(totals) = search.finish(&mut sink);
    totals
}

fn searches(criterion: &mut Criterion) {
    let basis = noise(LEN, 1);
    let mut scattered = basis.clone();
    // Half of the edits keep the length, half insert a byte.
    for edit in (0..50).rev() {
        let at = edit * LEN / 50 + 4321;
        scattered[at] ^= 0xff;
        if edit % 2 == 0 {
            scattered.insert(at, 0x55);
        }
    }
    let unrelated = noise(LEN, 2);
    let head = SumHead::with_block_len(LEN as u64, BLOCK_LEN, 16);
    let sums = BlockSums::of_basis(head, &basis, STRONG);
    let index = BlockIndex::new(&sums, STRONG);
    // As many blocks as a basis of 512 MiB has, none of which occurs.
    let elsewhere = noise(8 * LEN, 3);
    let many = SumHead::with_block_len(8 * LEN as u64, BLOCK_LEN, 16);
    let many_sums = BlockSums::of_basis(many, &elsewhere, STRONG);
    drop(elsewhere);
    let many = BlockIndex::new(&many_sums, STRONG);
    let empty = BlockSums::EMPTY;
    let nothing = BlockIndex::new(&empty, STRONG);

    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(LEN as u64));
    let cases = [
        ("all match", &index, &basis),
        ("scattered edits", &index, &scattered),
        ("no match, 2,897 blocks", &index, &unrelated),
        ("no match, 23,173 blocks", &many, &unrelated),
        ("no basis", &nothing, &unrelated),
    ];
    for (name, index, new) in cases {
        println!("{name}: {:?}", search(index, new));
        group.bench_function(name, |bencher| bencher.iter(|| search(index, new)));
    }
    group.finish();
    criterion.bench_function("index of 23,173 blocks", |bencher| {
        bencher.iter(|| BlockIndex::new(black_box(many.sums()), STRONG).byte_len());
    });
}

fn sums(criterion: &mut Criterion) {
    let data = noise(LEN, 4);
    let mut group = criterion.benchmark_group("sum");
    group.sample_size(10);
    for len in [700, BLOCK_LEN as usize, LEN] {
        let data = &data[..len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("weak", len), |bencher| bencher.iter(|| weak_sum(black_box(data))));
        for algorithm in StrongAlgorithm::ALL {
            let strong = StrongSum { algorithm, ..STRONG };
            group.bench_function(BenchmarkId::new(algorithm.name(), len), |bencher| {
                bencher.iter(|| strong.digest(black_box(data)));
            });
        }
    }
    // The digest of a whole file, which comes in pieces.
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("xxh128 in pieces", |bencher| {
        bencher.iter(|| {
            let mut hasher = STRONG.hasher();
            data.chunks(32 << 10).for_each(|piece| hasher.update(piece));
            hasher.finish()
        });
    });
    group.finish();
}

criterion_group!(benches, searches, sums);
criterion_main!(benches);

//! What the file list costs: coding and decoding 100,000 entries, and their indices.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nas_sync::internal::role::list::SendList;
use nas_sync::internal::wire::Reader;
use nas_sync::internal::wire::flist::{
    Content, DeviceCoding, EndOfList, Entries, EntryKind, FileEntry, FileMeta, LinkCoding, ListCoder, ListCoding,
    ListFields, ListOrder, Mtime, XflagCoding,
};
use nas_sync::internal::wire::int::IntCoding;
use nas_sync::internal::wire::ndx::{NdxCoder, NdxCoding};

const ENTRIES: usize = 100_000;
const FILES_IN_A_FOLDER: usize = 500;

const MODERN: ListCoding = ListCoding {
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
const OLD: ListCoding = ListCoding {
    ints: IntCoding::Fixed,
    xflags: XflagCoding::Byte,
    end: EndOfList::ErrorsAfterIds,
    devices: DeviceCoding::ShortMinor,
    links: LinkCoding::Numbers,
    nanoseconds: false,
    content_flags: false,
    zero_id_names: false,
    digest_for_every_entry: true,
};

/// Documents as people keep them: folders of some hundred files, names that share their start, times that differ.
fn entries() -> Entries {
    let mut entries = Entries::default();
    for number in 0..ENTRIES {
        let (folder, place) = (number / FILES_IN_A_FOLDER, number % FILES_IN_A_FOLDER);
        let is_folder = place == 0;
        let name = if is_folder {
            format!("archive-{folder:03}")
        } else {
            format!("archive-{folder:03}/invoice 2024-{place:04} customer.pdf")
        };
        let kind = if is_folder { EntryKind::Directory(Content::Listed) } else { EntryKind::File };
        let seconds = 1_700_000_000 + 61 * i64::try_from(number).expect("far below 2^63");
        let mut meta = FileMeta::default();
        meta.size = (number * 7919 % 5_000_000) as u64;
        meta.mtime = Mtime { seconds, nanoseconds: 0 };
        meta.permissions = if is_folder { 0o755 } else { 0o644 };
        (meta.uid, meta.gid) = (1000, 1000);
        entries.push(&FileEntry::new(name.as_bytes(), kind, meta));
    }
    entries
}

fn encode(coding: ListCoding, entries: &Entries, out: &mut Vec<u8>) {
    let mut coder = ListCoder::new(coding, ListFields::default());
    for entry in entries.iter() {
        coder.put(&entry, out);
    }
    coder.put_end(0, out);
}

fn file_list(criterion: &mut Criterion) {
    let entries = entries();
    let mut group = criterion.benchmark_group("file_list");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    for (name, coding) in [("32", MODERN), ("27", OLD)] {
        let mut wire = Vec::new();
        encode(coding, &entries, &mut wire);
        group.bench_function(format!("encode/{name}"), |bencher| {
            let mut out = Vec::with_capacity(wire.len());
            bencher.iter(|| {
                out.clear();
                encode(coding, black_box(&entries), &mut out);
                out.len()
            });
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                let mut coder = ListCoder::new(coding, ListFields::default());
                let mut reader = Reader::new(black_box(&wire));
                let mut entries = Entries::default();
                for _ in 0..ENTRIES {
                    black_box(coder.take(&mut reader, &mut entries).expect("what was just encoded"));
                }
                entries
            });
        });
    }
    for (name, order) in [("files_first", ListOrder::FilesFirst), ("bytewise", ListOrder::Bytewise)] {
        group.bench_function(format!("number/{name}"), |bencher| {
            let list = SendList { entries: entries.clone(), ..SendList::default() };
            bencher.iter_batched(|| list.clone(), |list| list.number(order), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn indices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("indices");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    let last = i32::try_from(ENTRIES).expect("far below 2^31");
    for (name, step) in [("each", 1), ("each_300th", 300)] {
        let asked = || (0..last).map(move |ndx| i64::from(ndx) * step % i64::from(last));
        let asked: Vec<i32> = asked().map(|ndx| i32::try_from(ndx).expect("below the last")).collect();
        let encode = |out: &mut Vec<u8>| {
            let mut coder = NdxCoder::new(NdxCoding::Differential);
            for &ndx in black_box(&asked) {
                coder.put(out, ndx);
            }
        };
        let mut wire = Vec::new();
        encode(&mut wire);
        group.bench_function(format!("encode/{name}"), |bencher| {
            let mut out = Vec::with_capacity(wire.len());
            bencher.iter(|| {
                out.clear();
                encode(&mut out);
                out.len()
            });
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                let mut coder = NdxCoder::new(NdxCoding::Differential);
                let mut reader = Reader::new(black_box(&wire));
                let mut sum = 0_i64;
                for _ in 0..ENTRIES {
                    sum += i64::from(coder.take(&mut reader).expect("what was just encoded"));
                }
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, file_list, indices);
criterion_main!(benches);

//! The recorded clients read as a receiver would: proves the decoders of the receiving side on what a real server
//! accepted, and our sums on those that a real server computed.

use nas_sync::internal::delta::{BlockSums, Patch, PatchOp, SumHead};
use nas_sync::internal::wire::Reader;
use nas_sync::internal::wire::flist::idlist;
use nas_sync::internal::wire::flist::{EndOfList, Entries, EntryKind, ListCoder, Listed};
use nas_sync::internal::wire::iflags::{Item, ItemFlags};
use nas_sync::internal::wire::ndx::{self, NdxCoder};
use nas_sync::internal::wire::negotiated::{Goodbye, Negotiated};
use nas_sync::internal::wire::sums::{self, HeadLimits};
use nas_sync::internal::wire::token::{Token, TokenDecoder};

use super::fixtures::{CASES, Case};
use super::replay::{arriving, errors_in_list_end, recorded_client, shake_hands};

/// One record of a generator or of the sender's answer.
struct Record {
    ndx: i32,
    item: Item,
}

/// Reads records up to DONE.
fn next_record(negotiated: &Negotiated, coder: &mut NdxCoder, reader: &mut Reader<'_>) -> Option<Record> {
    let ndx = coder.take(reader).unwrap();
    (ndx != ndx::DONE).then(|| Record { ndx, item: Item::decode(negotiated.items, reader).unwrap() })
}

fn limits(negotiated: &Negotiated) -> HeadLimits {
    HeadLimits { block_len: negotiated.max_block_len, strong_len: 16 }
}

/// The number of DONEs that end the phases and the session, for the sender.
fn sender_dones(negotiated: &Negotiated) -> u32 {
    negotiated.answered_phases + 1 + u32::from(negotiated.goodbye == Goodbye::Exchange)
}

#[test]
fn the_recorded_lists_hold_the_entries() {
    for case in CASES.map(Case::load) {
        let negotiated = shake_hands(&case, [&*case.bytes("s2c.bin")]).negotiated;
        let client = recorded_client(&case);
        take_list(&case, &negotiated, &mut Reader::new(&client.data));
    }
}

/// Reads the file list and what follows it, and checks all of it.
fn take_list(case: &Case, negotiated: &Negotiated, reader: &mut Reader<'_>) {
    let mut coder = ListCoder::new(negotiated.list_terms.coding, case.fields());
    let mut entries = Entries::default();
    for (_, entry) in arriving(case, negotiated) {
        assert_eq!(coder.take(reader, &mut entries), Ok(Listed::Entry), "{}", case.name);
        assert_eq!(entries.iter().last(), Some(entry), "{}", case.name);
    }
    assert_eq!(
        coder.take(reader, &mut entries),
        Ok(Listed::End { errors: errors_in_list_end(case, negotiated) }),
        "{}",
        case.name
    );
    if let Some(names) = &case.names {
        for names in [&names.users, &names.groups] {
            for name in names.iter().filter(|(id, _)| *id != 0) {
                assert_eq!(idlist::decode(&negotiated.list_terms.coding, reader), Ok(idlist::Listed::Id(name.clone())));
            }
            let root = names.iter().find(|(id, _)| *id == 0).map(|(_, name)| name.clone());
            let root = root.filter(|_| negotiated.list_terms.coding.zero_id_names);
            assert_eq!(idlist::decode(&negotiated.list_terms.coding, reader), Ok(idlist::Listed::End(root)));
        }
    }
    if negotiated.list_terms.coding.end == EndOfList::ErrorsAfterIds {
        assert_eq!(reader.i32(), Ok(case.errors), "{}", case.name);
    }
}

#[test]
fn the_recorded_tokens_make_the_contents() {
    for case in CASES.map(Case::load) {
        let negotiated = shake_hands(&case, [&*case.bytes("s2c.bin")]).negotiated;
        let client = recorded_client(&case);
        let mut reader = Reader::new(&client.data);
        take_list(&case, &negotiated, &mut reader);
        let numbered = arriving(&case, &negotiated);
        let mut replies = NdxCoder::new(negotiated.ndx);
        let mut tokens = TokenDecoder::new(negotiated.tokens, negotiated.zlib_history).unwrap();
        let mut tries = vec![0; numbered.len()];
        for _ in 0..sender_dones(&negotiated) {
            while let Some(record) = next_record(&negotiated, &mut replies, &mut reader) {
                if !record.item.flags.has(ItemFlags::TRANSFER) || case.options.dry_run {
                    continue;
                }
                let ndx = usize::try_from(record.ndx).unwrap();
                let planned = &case.entries[numbered[ndx].0];
                let basis = planned.basis.as_deref().unwrap_or_default();
                let (content, digest) = take_file(&negotiated, &mut tokens, basis, &mut reader);
                assert!(content == planned.content, "{}: {planned:?}", case.name);
                let right = negotiated.file_sum.digest(&content).as_bytes() == digest;
                // Only the first try of a file that changed meanwhile is spoilt.
                assert_eq!(right, planned.before.is_none() || tries[ndx] == 1, "{}", case.name);
                tries[ndx] += 1;
            }
        }
        assert_eq!(reader.expect_end("client"), Ok(()), "{}", case.name);
        for (tries, (index, entry)) in tries.iter().zip(&numbered) {
            let planned = &case.entries[*index];
            let comes = entry.kind == EntryKind::File && !planned.vanished && !case.options.dry_run;
            assert_eq!(*tries, i32::from(comes) + i32::from(planned.before.is_some()), "{} {entry:?}", case.name);
        }
    }
}

/// Reads one file's head, tokens and digest.
fn take_file<'a>(
    negotiated: &Negotiated,
    tokens: &mut TokenDecoder,
    basis: &[u8],
    reader: &mut Reader<'a>,
) -> (Vec<u8>, &'a [u8]) {
    let head = sums::decode_head(reader, limits(negotiated)).unwrap();
    assert_eq!(head.basis_len(), if head.count == 0 { 0 } else { basis.len() as u64 });
    let mut patch = Patch::new(head, 1 << 20);
    let mut content = Vec::new();
    loop {
        let literal;
        let op = match tokens.next(reader).unwrap() {
            Token::End => break,
            Token::Literal(data) => {
                literal = data;
                PatchOp::Literal(&literal)
            }
            Token::Copy { block } => {
                let start = usize::try_from(head.block_offset(block)).unwrap();
                tokens.history(&basis[start..start + head.block_size(block).unwrap() as usize]);
                PatchOp::Copy(block)
            }
        };
        let read_at = |offset: u64, piece: &mut [u8]| {
            let offset = usize::try_from(offset).unwrap();
            piece.copy_from_slice(&basis[offset..offset + piece.len()]);
            Ok::<_, ()>(())
        };
        let write = |data: &[u8]| {
            content.extend_from_slice(data);
            Ok(())
        };
        patch.apply(op, read_at, write).unwrap();
    }
    let digest = reader.bytes(negotiated.file_sum.algorithm.digest_len()).unwrap();
    (content, digest)
}

#[test]
fn the_servers_sums_are_those_that_we_compute() {
    let mut compared = 0;
    for case in CASES.map(Case::load) {
        let server = shake_hands(&case, [&*case.bytes("s2c.bin")]);
        let negotiated = server.negotiated;
        let mut reader = Reader::new(&server.direction.data);
        let numbered = arriving(&case, &negotiated);
        let mut requests = NdxCoder::new(negotiated.ndx);
        let mut tries = vec![0; numbered.len()];
        for _ in 0..=sender_dones(&negotiated) {
            // The generator says DONE once more than the sender, unless the last of both is one exchange.
            if reader.is_empty() {
                break;
            }
            while let Some(record) = next_record(&negotiated, &mut requests, &mut reader) {
                if !record.item.flags.has(ItemFlags::TRANSFER) || case.options.dry_run {
                    continue;
                }
                let ndx = usize::try_from(record.ndx).unwrap();
                let basis = case.entries[numbered[ndx].0].basis.as_deref().unwrap_or_default();
                let digest_len = negotiated.block_sum.algorithm.digest_len();
                let first = SumHead::for_basis(basis.len() as u64, negotiated.max_block_len, digest_len);
                let expected = if tries[ndx] == 0 { first } else { first.redo(digest_len) };
                tries[ndx] += 1;
                let head = sums::decode_head(&mut reader, limits(&negotiated)).unwrap();
                assert_eq!(head, expected, "{}", case.name);
                let ours = BlockSums::of_basis(expected, basis, negotiated.block_sum);
                for block in 0..head.count {
                    let theirs = sums::decode_block(&mut reader, head.strong_len).unwrap();
                    assert_eq!((ours.weak(block), ours.strong(block)), (Some(theirs.0), theirs.1), "{}", case.name);
                    compared += 1;
                }
            }
        }
        assert_eq!(reader.expect_end("server"), Ok(()), "{}", case.name);
    }
    assert!(compared > 100, "{compared}");
}

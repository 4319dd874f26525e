//! rsync's way of telling about a transfer: names, the eleven letters of `-i`, `--stats`, the last two lines of `-v`.

use super::numbers::{Numbers, count, decimal, ratio};
use crate::client::{TransferReport, TransferStats};
use crate::text;
use crate::wire::flist::{EntryKind, FileEntry, KindCounts, Special};
use crate::wire::iflags::ItemFlags;
use crate::wire::server_args::PushOptions;

/// An entry's name as rsync lists it, and what it was linked to.
pub fn name(entry: &FileEntry<'_>, linked_to: Option<&[u8]>) -> String {
    let name = text::escape_bytes(entry.name);
    if let Some(other) = linked_to.filter(|other| !other.is_empty()) {
        return format!("{name} => {}", text::escape_bytes(other));
    }
    match entry.kind {
        EntryKind::File | EntryKind::Special(_) => name,
        EntryKind::Directory(_) => format!("{name}/"),
        EntryKind::Symlink(target) => format!("{name} -> {}", text::escape_bytes(target)),
    }
}

/// Whether `-v` names an item: something is sent or made, or a folder differs. Other attributes are for `-i` alone.
pub fn is_update(entry: &FileEntry<'_>, flags: ItemFlags) -> bool {
    flags.has(ItemFlags::TRANSFER) || (is_news(flags) && (entry.kind.is_dir() || flags.has(ItemFlags::LOCAL_CHANGE)))
}

/// Whether `-i` names an item: something is sent, or differs.
pub fn is_news(flags: ItemFlags) -> bool {
    let news = [
        ItemFlags::TRANSFER,
        ItemFlags::NEW,
        ItemFlags::LOCAL_CHANGE,
        ItemFlags::CHANGED,
        ItemFlags::SIZE,
        ItemFlags::TIME,
        ItemFlags::PERMISSIONS,
        ItemFlags::OWNER,
        ItemFlags::GROUP,
        ItemFlags::ATIME,
    ];
    news.into_iter().any(|flag| flags.has(flag))
}

/// The eleven letters: what is done, to what, and which attributes differ.
pub fn letters(entry: &FileEntry<'_>, flags: ItemFlags, options: &PushOptions, received: bool) -> String {
    let mut text = String::with_capacity(11);
    text.push(match () {
        () if flags.has(ItemFlags::LOCAL_CHANGE | ItemFlags::XNAME_FOLLOWS) => 'h',
        () if flags.has(ItemFlags::LOCAL_CHANGE) => 'c',
        () if flags.has(ItemFlags::TRANSFER) && received => '>',
        () if flags.has(ItemFlags::TRANSFER) => '<',
        () => '.',
    });
    text.push(match entry.kind {
        EntryKind::File => 'f',
        EntryKind::Directory(_) => 'd',
        EntryKind::Symlink(_) => 'L',
        EntryKind::Special(Special::Pipe | Special::Socket) => 'S',
        EntryKind::Special(_) => 'D',
    });
    if flags.has(ItemFlags::NEW) {
        return text + "+++++++++";
    }
    if flags.has(ItemFlags::UNSAID) {
        return text + "?????????";
    }
    let time = if options.times { 't' } else { 'T' };
    let attributes = [
        (ItemFlags::CHANGED, 'c'),
        (ItemFlags::SIZE, 's'),
        (ItemFlags::TIME, time),
        (ItemFlags::PERMISSIONS, 'p'),
        (ItemFlags::OWNER, 'o'),
        (ItemFlags::GROUP, 'g'),
        (ItemFlags::ATIME, 'u'),
    ];
    let differs = attributes.iter().any(|(flag, _)| flags.has(*flag));
    if !differs && !flags.has(ItemFlags::TRANSFER) {
        return text + "         ";
    }
    text.extend(attributes.map(|(flag, letter)| if flags.has(flag) { letter } else { '.' }));
    // ACLs and extended attributes are not sent.
    text + ".."
}

/// The block of `--stats`.
pub fn stats(stats: &TransferStats, numbers: Numbers) -> String {
    let number = |value| count(value, numbers);
    let kinds = |total: u64, counts: KindCounts| {
        let KindCounts { files, directories, symlinks, devices, specials } = counts;
        let kinds = [("reg", files), ("dir", directories), ("link", symlinks), ("dev", devices), ("special", specials)];
        let kinds: Vec<_> = kinds
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name}: {}", number(count)))
            .collect();
        if kinds.is_empty() { number(total) } else { format!("{} ({})", number(total), kinds.join(", ")) }
    };
    [
        format!("Number of files: {}", kinds(stats.listed.total(), stats.listed)),
        format!("Number of created files: {}", kinds(stats.created.total(), stats.created)),
        format!("Number of deleted files: {}", kinds(stats.deleted, stats.deleted_kinds)),
        format!("Number of regular files transferred: {}", number(stats.transferred)),
        format!("Total file size: {} bytes", number(stats.total_size)),
        format!("Total transferred file size: {} bytes", number(stats.transferred_size)),
        format!("Literal data: {} bytes", number(stats.literal)),
        format!("Matched data: {} bytes", number(stats.matched)),
        format!("Total bytes sent: {}", number(stats.sent)),
        format!("Total bytes received: {}", number(stats.received)),
    ]
    .join("\n")
}

/// The last two lines.
pub fn trailer(report: &TransferReport, numbers: Numbers, dry_run: bool) -> String {
    let TransferStats { sent, received, total_size, .. } = report.stats;
    // rsync adds half a second too, so that a short run does not boast.
    let seconds = report.elapsed.as_secs_f64() + 0.5;
    let rate = ratio(sent + received, 1) / seconds;
    format!(
        "sent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{}",
        count(sent, numbers),
        count(received, numbers),
        decimal(rate, numbers),
        count(total_size, numbers),
        decimal(ratio(total_size, sent + received), numbers),
        if dry_run { " (DRY RUN)" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::flist::{Content, FileMeta};

    fn entry<'a>(kind: EntryKind<'a>, name: &'a [u8]) -> FileEntry<'a> {
        FileEntry::new(name, kind, FileMeta { permissions: 0o644, size: 1, ..FileMeta::default() })
    }

    #[test]
    fn letters_as_stock_rsync_prints_them() {
        let timed = PushOptions { times: true, ..PushOptions::default() };
        let file = entry(EntryKind::File, b"f");
        let dir = entry(EntryKind::Directory(Content::Listed), b"d");
        let new = ItemFlags::NEW;
        for (entry, flags, options, expected) in [
            (&file, ItemFlags::TRANSFER | new, &timed, "<f+++++++++"),
            (&file, ItemFlags::TRANSFER | ItemFlags::TIME | ItemFlags::SIZE, &timed, "<f.st......"),
            (&file, ItemFlags::TRANSFER | ItemFlags::TIME, &PushOptions::default(), "<f..T......"),
            (&file, ItemFlags::PERMISSIONS | ItemFlags::GROUP, &timed, ".f...p.g..."),
            (&file, ItemFlags::TRANSFER, &timed, "<f........."),
            (&file, ItemFlags::TRANSFER | ItemFlags::UNSAID, &timed, "<f?????????"),
            (&dir, ItemFlags::LOCAL_CHANGE | new, &timed, "cd+++++++++"),
            (&dir, ItemFlags::TIME, &timed, ".d..t......"),
            (&dir, 0, &timed, ".d         "),
        ] {
            assert_eq!(letters(entry, ItemFlags(flags), options, false), expected);
        }
    }

    #[test]
    fn names_are_for_updates_alone() {
        let file = entry(EntryKind::File, b"f");
        let dir = entry(EntryKind::Directory(Content::Listed), b"d");
        assert!(!is_update(&file, ItemFlags(ItemFlags::PERMISSIONS)) && is_news(ItemFlags(ItemFlags::PERMISSIONS)));
        assert!(is_update(&dir, ItemFlags(ItemFlags::TIME)));
        assert!(is_update(&file, ItemFlags(ItemFlags::TRANSFER)));
        assert!(!is_update(&dir, ItemFlags(0)) && !is_news(ItemFlags(0)));
    }

    #[test]
    fn names_are_marked_and_escaped() {
        assert_eq!(name(&entry(EntryKind::Directory(Content::Listed), b"d\n"), None), "d\\n/");
        assert_eq!(name(&entry(EntryKind::Symlink(b"to\x1b"), b"l"), None), "l -> to\\x1b");
    }

    #[test]
    fn stats_as_stock_rsync_prints_them() {
        let listed = KindCounts { files: 3, directories: 2, symlinks: 1, devices: 0, specials: 1_000 };
        let counts = TransferStats { listed, total_size: 1_234_574, ..TransferStats::default() };
        let text = stats(&counts, Numbers::Separated);
        assert!(
            text.starts_with(
                "Number of files: 1,006 (reg: 3, dir: 2, link: 1, special: 1,000)\nNumber of created files: 0\n"
            ),
            "{text}"
        );
        assert!(text.contains("\nTotal file size: 1,234,574 bytes\n"), "{text}");
    }
}

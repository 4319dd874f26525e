//! Entries as they are written.

use super::{DeviceCoding, EndOfList, LinkCoding, ListCoder, Previous};
use crate::wire::flist::entry::{Content, Device, EntryKind, FileEntry, FileId};
use crate::wire::flist::idlist;
use crate::wire::flist::xflags;
use crate::wire::int::IntCoding;

impl ListCoder {
    /// Writes one entry. Names must not be longer than [`MAX_NAME`](crate::wire::flist::MAX_NAME).
    pub fn put(&mut self, entry: &FileEntry<'_>, out: &mut Vec<u8>) {
        let file = self.file(entry);
        let number = self.links.next;
        self.links.next = number.saturating_add(1);
        let Some(file) = file.filter(|_| self.coding.links == LinkCoding::FirstEntry) else {
            return self.put_whole(entry, (0, None), file, out);
        };
        match self.links.written.get(&file).cloned() {
            // All that it has is that of the other name in this part.
            Some((first, state)) if first >= self.links.part => {
                self.put_name(entry, xflags::LINKED, out);
                self.coding.ints.put_int(out, first);
                let Previous { name, file_system, .. } = std::mem::take(&mut self.previous);
                self.previous = Previous { name, file_system, ..state };
                self.keep_name(entry.name);
            }
            Some((first, _)) => self.put_whole(entry, (xflags::LINKED, Some(first)), None, out),
            None => {
                self.put_whole(entry, (xflags::LINKED | xflags::LINK_FIRST, None), None, out);
                let state = Previous { name: Vec::new(), ..self.previous.clone() };
                self.links.written.insert(file, (number, state));
            }
        }
    }

    /// Of which file an entry says that it is a name.
    fn file(&mut self, entry: &FileEntry<'_>) -> Option<FileId> {
        let is_wanted = self.fields.hard_links
            && if self.coding.links == LinkCoding::NumbersOfFiles {
                entry.kind == EntryKind::File
            } else {
                entry.extras.file.is_some()
            };
        is_wanted.then(|| {
            entry.extras.file.unwrap_or_else(|| {
                self.links.single += 1;
                FileId { dev: 0, ino: self.links.single }
            })
        })
    }

    /// Writes flags and name, and gives the flags that count.
    fn put_name(&self, entry: &FileEntry<'_>, flags: u32, out: &mut Vec<u8>) -> u32 {
        let shared = entry.name.iter().zip(&self.previous.name).take_while(|(a, b)| a == b).count();
        let shared = u8::try_from(shared).unwrap_or(u8::MAX);
        let suffix = &entry.name[usize::from(shared)..];
        let same = if shared > 0 { xflags::SAME_NAME } else { 0 };
        let long = if suffix.len() > 255 { xflags::LONG_NAME } else { 0 };
        let flags = self.coding.xflags.put(flags | same | long, entry.kind.is_dir(), out);
        if flags & xflags::SAME_NAME != 0 {
            out.push(shared);
        }
        if flags & xflags::LONG_NAME != 0 {
            self.put_len(suffix.len(), out);
        } else {
            out.push(suffix.len().to_le_bytes()[0]);
        }
        out.extend_from_slice(suffix);
        flags
    }

    fn keep_name(&mut self, name: &[u8]) {
        self.previous.name.clear();
        self.previous.name.extend_from_slice(name);
    }

    /// Writes an entry with all its fields: which other one it is a name of with, or the numbers of its file.
    fn put_whole(
        &mut self,
        entry: &FileEntry<'_>,
        (link_flags, first): (u32, Option<i32>),
        numbers: Option<FileId>,
        out: &mut Vec<u8>,
    ) {
        let previous = &self.previous;
        let mode = entry.mode();
        let flag = |condition: bool, flag: u32| if condition { flag } else { 0 };
        let content_flags = match entry.kind {
            EntryKind::Directory(Content::Argument) => xflags::TOP_DIR,
            EntryKind::Directory(Content::Unlisted) if self.coding.content_flags => xflags::NO_CONTENT,
            EntryKind::Directory(Content::Implied) if self.coding.content_flags => xflags::TOP_DIR | xflags::NO_CONTENT,
            _ => 0,
        };
        let keeps_user = !self.fields.owner || previous.ids.is_some_and(|ids| ids.0 == entry.meta.uid);
        let keeps_group = !self.fields.group || previous.ids.is_some_and(|ids| ids.1 == entry.meta.gid);
        let user = if keeps_user { None } else { self.inline.users.remove(&entry.meta.uid) };
        let group = if keeps_group { None } else { self.inline.groups.remove(&entry.meta.gid) };
        let device = self.numbers(entry.kind);
        let atime = self.atime(entry);
        let flags = content_flags
            | link_flags
            | device.map_or(0, |device| self.device_flags(device))
            | numbers.map_or(0, |file| self.file_flags(file))
            | flag(mode == previous.mode, xflags::SAME_MODE)
            | flag(keeps_user, xflags::SAME_UID)
            | flag(keeps_group, xflags::SAME_GID)
            | flag(user.is_some(), xflags::USER_NAME)
            | flag(group.is_some(), xflags::GROUP_NAME)
            | flag(entry.meta.mtime.seconds == previous.mtime, xflags::SAME_TIME)
            | flag(atime.is_some_and(|atime| self.keeps_atime(atime)), xflags::SAME_ATIME)
            | flag(self.coding.nanoseconds && entry.meta.mtime.nanoseconds != 0, xflags::NANOSECONDS);
        let flags = self.put_name(entry, flags, out);
        if let Some(first) = first {
            self.coding.ints.put_int(out, first);
        }
        self.put_attributes(entry, flags, [user.as_deref(), group.as_deref()], numbers, out);
        self.keep_name(entry.name);
        self.previous.mode = mode;
        self.previous.mtime = entry.meta.mtime.seconds;
        self.previous.atime = atime.unwrap_or(self.previous.atime);
        self.previous.ids = Some((entry.meta.uid, entry.meta.gid));
        self.previous.device = self.device_after(device);
        self.previous.file_system = numbers.map_or(self.previous.file_system, |file| file.dev);
    }

    /// Of an entry with numbers of its file.
    fn file_flags(&self, file: FileId) -> u32 {
        if self.coding.links == LinkCoding::NumbersOfFiles {
            return 0;
        }
        let same = if file.dev == self.previous.file_system { xflags::SAME_FILE_SYSTEM } else { 0 };
        xflags::LINKED | same
    }

    fn device_flags(&self, device: Device) -> u32 {
        let previous = self.previous.device;
        if self.coding.devices == DeviceCoding::Whole {
            return if device == previous { xflags::SAME_DEVICE } else { 0 };
        }
        let is_short = self.coding.devices == DeviceCoding::ShortMinor && device.minor <= u8::MAX.into();
        let major = if device.major == previous.major { xflags::SAME_MAJOR } else { 0 };
        major | if is_short { xflags::SHORT_MINOR } else { 0 }
    }

    fn put_device(&self, device: Device, flags: u32, out: &mut Vec<u8>) {
        let ints = self.coding.ints;
        if self.coding.devices == DeviceCoding::Whole {
            if flags & xflags::SAME_DEVICE == 0 {
                out.extend_from_slice(&device.whole().to_le_bytes());
            }
            return;
        }
        if flags & xflags::SAME_MAJOR == 0 {
            ints.put_int(out, device.major.cast_signed());
        }
        if flags & xflags::SHORT_MINOR != 0 {
            out.push(device.minor.to_le_bytes()[0]);
        } else {
            ints.put_int(out, device.minor.cast_signed());
        }
    }

    /// Lengths are at most [`MAX_NAME`](crate::wire::flist::MAX_NAME).
    fn put_len(&self, len: usize, out: &mut Vec<u8>) {
        self.coding.ints.put_int(out, i32::try_from(len).unwrap_or(i32::MAX));
    }

    fn put_attributes(
        &self,
        entry: &FileEntry<'_>,
        flags: u32,
        [user, group]: [Option<&[u8]>; 2],
        numbers: Option<FileId>,
        out: &mut Vec<u8>,
    ) {
        let ints = self.coding.ints;
        ints.put_long(out, i64::try_from(entry.meta.size).unwrap_or(i64::MAX), 3);
        if flags & xflags::SAME_TIME == 0 {
            match ints {
                // Old receivers have 32 bits; a time before 1970 or after 2106 wraps, as it does with them.
                IntCoding::Fixed => out.extend_from_slice(&entry.meta.mtime.seconds.to_le_bytes()[..4]),
                IntCoding::Variable => ints.put_long(out, entry.meta.mtime.seconds, 4),
            }
        }
        if flags & xflags::NANOSECONDS != 0 {
            ints.put_int(out, entry.meta.mtime.nanoseconds.cast_signed());
        }
        if flags & xflags::SAME_MODE == 0 {
            out.extend_from_slice(&entry.mode().to_le_bytes());
        }
        if let Some(atime) = self.atime(entry).filter(|&atime| !self.keeps_atime(atime)) {
            // Whatever the protocol, since it came late.
            IntCoding::Variable.put_long(out, atime, 4);
        }
        if flags & xflags::SAME_UID == 0 {
            ints.put_int(out, entry.meta.uid.cast_signed());
        }
        if let Some(name) = user {
            idlist::put_name(name, out);
        }
        if flags & xflags::SAME_GID == 0 {
            ints.put_int(out, entry.meta.gid.cast_signed());
        }
        if let Some(name) = group {
            idlist::put_name(name, out);
        }
        if let Some(device) = self.numbers(entry.kind) {
            self.put_device(device, flags, out);
        }
        if self.fields.links
            && let EntryKind::Symlink(target) = entry.kind
        {
            self.put_len(target.len(), out);
            out.extend_from_slice(target);
        }
        if let Some(file) = numbers {
            if self.coding.links == LinkCoding::NumbersOfFiles || flags & xflags::SAME_FILE_SYSTEM == 0 {
                // One more than it is, so that it is never 0.
                ints.put_long(out, file.dev.wrapping_add(1).cast_signed(), 3);
            }
            ints.put_long(out, file.ino.cast_signed(), 3);
        }
        if let Some(len) = self.digest_len(entry.kind) {
            let digest = entry.digest.unwrap_or_default();
            let taken = digest.len().min(len);
            out.extend_from_slice(&digest[..taken]);
            out.resize(out.len() + len - taken, 0);
        }
    }

    /// Ends the list, with the lister's error bits where this coding tells them here.
    pub fn put_end(&self, errors: i32, out: &mut Vec<u8>) {
        match self.coding.end {
            EndOfList::ErrorsAlways => {
                out.push(0);
                self.coding.ints.put_int(out, errors);
            }
            EndOfList::ErrorsIfAny if errors != 0 => {
                xflags::put_word(xflags::END_WITH_ERRORS, out);
                self.coding.ints.put_int(out, errors);
            }
            _ => out.push(0),
        }
    }
}

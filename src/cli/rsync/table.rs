//! The names of rsync's options, and which of them are supported.

/// An option without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Archive,
    Verbose,
    Quiet,
    Recursive,
    Links,
    Times,
    Permissions,
    Owner,
    Group,
    /// Devices and pipes are always skipped; asking for them, as `-a` does, changes nothing.
    Specials,
    Compress,
    OldCompress,
    NewCompress,
    WholeFile,
    Checksum,
    IgnoreTimes,
    DryRun,
    OmitDirectoryTimes,
    NumericIds,
    Stats,
    Progress,
    Partial,
    PartialProgress,
    Itemize,
    HumanReadable,
    AcceptNewHostKey,
    LegacySsh,
    Json,
    /// What nas-sync does in any case, or what has no effect over SSH.
    Harmless,
    Help,
    Version,
}

/// An option with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Valued {
    Rsh,
    RsyncPath,
    Protocol,
    CompressChoice,
    CompressLevel,
    ChecksumChoice,
    Info,
    Timeout,
    ConnectTimeout,
    Port,
    Identity,
    KnownHosts,
}

/// Any supported option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Switch(Switch),
    Valued(Valued),
}

const fn switch(switch: Switch) -> Word {
    Word::Switch(switch)
}

const fn valued(valued: Valued) -> Word {
    Word::Valued(valued)
}

/// The long name of an option, its letter (or a blank), and whether `--no-NAME` exists.
const TABLE: &[(&str, char, bool, Word)] = &[
    ("archive", 'a', false, switch(Switch::Archive)),
    ("verbose", 'v', true, switch(Switch::Verbose)),
    ("quiet", 'q', false, switch(Switch::Quiet)),
    ("recursive", 'r', true, switch(Switch::Recursive)),
    ("links", 'l', true, switch(Switch::Links)),
    ("times", 't', true, switch(Switch::Times)),
    ("perms", 'p', true, switch(Switch::Permissions)),
    ("owner", 'o', true, switch(Switch::Owner)),
    ("group", 'g', true, switch(Switch::Group)),
    ("devices", 'D', true, switch(Switch::Specials)),
    ("specials", ' ', true, switch(Switch::Specials)),
    ("compress", 'z', true, switch(Switch::Compress)),
    ("old-compress", ' ', false, switch(Switch::OldCompress)),
    ("new-compress", ' ', false, switch(Switch::NewCompress)),
    ("whole-file", 'W', true, switch(Switch::WholeFile)),
    ("checksum", 'c', true, switch(Switch::Checksum)),
    ("ignore-times", 'I', true, switch(Switch::IgnoreTimes)),
    ("dry-run", 'n', false, switch(Switch::DryRun)),
    ("omit-dir-times", 'O', true, switch(Switch::OmitDirectoryTimes)),
    ("numeric-ids", ' ', true, switch(Switch::NumericIds)),
    ("stats", ' ', false, switch(Switch::Stats)),
    ("progress", ' ', true, switch(Switch::Progress)),
    ("partial", ' ', true, switch(Switch::Partial)),
    ("partial-progress", 'P', false, switch(Switch::PartialProgress)),
    ("itemize-changes", 'i', true, switch(Switch::Itemize)),
    ("human-readable", 'h', true, switch(Switch::HumanReadable)),
    ("accept-new-host-key", ' ', false, switch(Switch::AcceptNewHostKey)),
    ("legacy-ssh", ' ', false, switch(Switch::LegacySsh)),
    ("json", ' ', false, switch(Switch::Json)),
    ("blocking-io", ' ', true, switch(Switch::Harmless)),
    // Paths are quoted here, so that no shell over there splits them.
    ("secluded-args", 's', true, switch(Switch::Harmless)),
    ("protect-args", ' ', true, switch(Switch::Harmless)),
    // The list is always sent at once.
    ("inc-recursive", ' ', true, switch(Switch::Harmless)),
    ("i-r", ' ', true, switch(Switch::Harmless)),
    ("motd", ' ', true, switch(Switch::Harmless)),
    ("help", ' ', false, switch(Switch::Help)),
    ("version", 'V', false, switch(Switch::Version)),
    ("rsh", 'e', false, valued(Valued::Rsh)),
    ("rsync-path", ' ', false, valued(Valued::RsyncPath)),
    ("protocol", ' ', false, valued(Valued::Protocol)),
    ("compress-choice", ' ', false, valued(Valued::CompressChoice)),
    ("zc", ' ', false, valued(Valued::CompressChoice)),
    ("compress-level", ' ', false, valued(Valued::CompressLevel)),
    ("zl", ' ', false, valued(Valued::CompressLevel)),
    ("checksum-choice", ' ', false, valued(Valued::ChecksumChoice)),
    ("cc", ' ', false, valued(Valued::ChecksumChoice)),
    ("info", ' ', false, valued(Valued::Info)),
    ("timeout", ' ', false, valued(Valued::Timeout)),
    ("contimeout", ' ', false, valued(Valued::ConnectTimeout)),
    ("connect-timeout", ' ', false, valued(Valued::ConnectTimeout)),
    ("port", ' ', false, valued(Valued::Port)),
    ("identity", ' ', false, valued(Valued::Identity)),
    ("known-hosts", ' ', false, valued(Valued::KnownHosts)),
];

/// rsync's other options, so that one that is merely missing here is not called a mistake.
const NOT_YET: &[&str] = &[
    "acls",
    "address",
    "append",
    "append-verify",
    "atimes",
    "backup",
    "backup-dir",
    "block-size",
    "bwlimit",
    "checksum-seed",
    "chmod",
    "chown",
    "compare-dest",
    "config",
    "copy-as",
    "copy-dest",
    "copy-devices",
    "copy-dirlinks",
    "copy-links",
    "copy-unsafe-links",
    "crtimes",
    "cvs-exclude",
    "daemon",
    "debug",
    "del",
    "delay-updates",
    "delete",
    "delete-after",
    "delete-before",
    "delete-delay",
    "delete-during",
    "delete-excluded",
    "delete-missing-args",
    "dirs",
    "dparam",
    "early-input",
    "exclude",
    "exclude-from",
    "executability",
    "existing",
    "fake-super",
    "files-from",
    "filter",
    "force",
    "from0",
    "fsync",
    "fuzzy",
    "groupmap",
    "hard-links",
    "iconv",
    "ignore-errors",
    "ignore-existing",
    "ignore-missing-args",
    "ignore-non-existing",
    "implied-dirs",
    "include",
    "include-from",
    "inplace",
    "ipv4",
    "ipv6",
    "keep-dirlinks",
    "link-dest",
    "list-only",
    "log-file",
    "log-file-format",
    "log-format",
    "max-alloc",
    "max-delete",
    "max-size",
    "min-size",
    "mkpath",
    "modify-window",
    "munge-links",
    "no-implied-dirs",
    "old-args",
    "old-dirs",
    "omit-link-times",
    "one-file-system",
    "only-write-batch",
    "open-noatime",
    "out-format",
    "outbuf",
    "partial-dir",
    "password-file",
    "preallocate",
    "prune-empty-dirs",
    "read-batch",
    "relative",
    "remote-option",
    "remove-source-files",
    "safe-links",
    "sender",
    "server",
    "size-only",
    "skip-compress",
    "sockopts",
    "sparse",
    "stderr",
    "stop-after",
    "stop-at",
    "suffix",
    "super",
    "temp-dir",
    "time-limit",
    "trust-sender",
    "update",
    "usermap",
    "write-batch",
    "write-devices",
    "xattrs",
];
const NOT_YET_LETTERS: &str = "ABCEFHJKLMNRSTUXbdfkmuxy0468@";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// A supported option.
    Yes(Word),
    /// `--no-NAME` of a supported switch.
    Off(Switch),
    /// An option of rsync that is not supported.
    NotYet,
    /// No option of rsync.
    No,
}

/// Looks a long name up, without its dashes.
pub(super) fn long(name: &str) -> Known {
    if let Some((.., option)) = TABLE.iter().find(|(long, ..)| *long == name) {
        return Known::Yes(*option);
    }
    let positive = name.strip_prefix("no-");
    let negated = positive.and_then(|positive| {
        TABLE.iter().find(|(long, letter, negates, _)| *negates && (*long == positive || is_letter(positive, *letter)))
    });
    match negated {
        Some((.., Word::Switch(switch))) => Known::Off(*switch),
        _ if NOT_YET.contains(&positive.unwrap_or(name)) => Known::NotYet,
        _ if positive.is_some_and(|name| name.len() == 1 && NOT_YET_LETTERS.contains(name)) => Known::NotYet,
        _ => Known::No,
    }
}

/// Looks a letter up.
pub(super) fn short(letter: char) -> Known {
    match TABLE.iter().find(|(_, short, ..)| *short == letter && letter != ' ') {
        Some((.., option)) => Known::Yes(*option),
        None if NOT_YET_LETTERS.contains(letter) => Known::NotYet,
        None => Known::No,
    }
}

fn is_letter(text: &str, letter: char) -> bool {
    letter != ' ' && text.chars().eq([letter])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negation_knows_both_names() {
        assert_eq!(long("no-owner"), Known::Off(Switch::Owner));
        assert_eq!(long("no-o"), Known::Off(Switch::Owner));
        assert_eq!(long("no-D"), Known::Off(Switch::Specials));
        assert_eq!(long("no-archive"), Known::No);
        assert_eq!(long("no-rsh"), Known::No);
    }

    #[test]
    fn missing_is_told_from_mistaken() {
        assert_eq!(long("delete"), Known::NotYet);
        assert_eq!(long("no-relative"), Known::NotYet);
        assert_eq!(long("no-R"), Known::NotYet);
        assert_eq!(long("frobnicate"), Known::No);
        assert_eq!(short('H'), Known::NotYet);
        assert_eq!(short('Q'), Known::No);
        assert_eq!(short(' '), Known::No);
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> = TABLE.iter().map(|(long, ..)| *long).chain(NOT_YET.iter().copied()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(TABLE.iter().all(|(_, letter, ..)| *letter == ' ' || !NOT_YET_LETTERS.contains(*letter)));
    }
}

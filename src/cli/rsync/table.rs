//! rsync's options: one table, one row an option. What is parsed, `push --help` and the list in docs/push.md come from it.
//!
//! Guarantees: every option that rsync's own help names has a row, which says its effect, or why it has none here, or
//! what to use instead. Never: an option that would change what arrives counts as one without effect.

mod instead;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use self::Group::{Login, Sent, Shown, There, Transfer};
use self::instead::{
    ADDRESS, AFTERWARDS, BLOCKS, CHECKED, COMPRESSED, DAEMON, DEADLINE, DELETION, DEVICES, DIRS, FORMAT, LOG,
    LOG_LEVEL, LOGIN_AS, MEMORY, MOUNT, NO_SPECIALS, ONE_PATH, ONE_TIME, OTHER_SIDE, OWN_FOLDERS, PULL, RAW_NAMES,
    SEED, SELECTION, SEPARATELY, SERVER, STREAMS, STREAMS_TEXT, THREADS,
};
use super::typed::{NotAccepted, RuleWord, TypedOptions};
use crate::filter::Verdict;
use crate::wire::receiver_args::{AlternateUse, DeleteTime, Writing};

/// An option.
#[derive(Debug)]
pub struct Row {
    /// Its letter.
    pub letter: Option<char>,
    /// Its long name, without dashes; empty where rsync has only the letter.
    pub name: &'static str,
    /// Its other long names.
    pub aliases: &'static [&'static str],
    /// Whether `--no-NAME` undoes it.
    pub negates: bool,
    /// What its value is called in the help, when it takes one.
    pub metavar: Option<&'static str>,
    /// Whether it is for a push alone.
    pub push_only: bool,
    /// What it does, in one line.
    pub help: &'static str,
    /// What becomes of it here.
    pub effect: Effect,
}

/// Sets what a switch sets; `false` behind `--no-`.
pub type Set = fn(&mut TypedOptions, bool);
/// Where a value goes that is checked later, with the settings.
pub type Place = fn(&mut TypedOptions) -> &mut Option<OsString>;
/// Checks and sets a value.
pub type SetValue = fn(&mut TypedOptions, &OsStr) -> Result<(), NotAccepted>;

/// What becomes of an option.
#[derive(Debug, Clone, Copy)]
pub enum Effect {
    /// It is on, or off behind `--no-`.
    Switch(Group, Set),
    /// It takes a value.
    Value(Group, SetValue),
    /// It takes a value that is kept as it is.
    Text(Group, Place),
    /// It is accepted and changes nothing, for this reason.
    Harmless(&'static str),
    /// It is refused, and this is to be used instead.
    Refused(&'static str),
}

/// Where the help lists an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Which files, and what of them.
    Sent,
    /// The transfer.
    Transfer,
    /// What the NAS does with what is there.
    There,
    /// How the NAS is reached.
    Login,
    /// What the user is told.
    Shown,
}

impl Row {
    const fn new(letter: char, name: &'static str, effect: Effect) -> Self {
        let letter = if letter == ' ' { None } else { Some(letter) };
        Self { letter, name, aliases: &[], negates: false, metavar: None, push_only: false, help: "", effect }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn negates(self) -> Self {
        Self { negates: true, ..self }
    }

    const fn push_only(self) -> Self {
        Self { push_only: true, ..self }
    }

    const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// Its long names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name].into_iter().chain(self.aliases.iter().copied()).filter(|name| !name.is_empty())
    }

    /// Whether it may stand in a command line.
    pub fn is_accepted(&self) -> bool {
        !matches!(self.effect, Effect::Refused(_))
    }

    /// Where the help lists it, if it has an effect.
    pub fn group(&self) -> Option<Group> {
        match self.effect {
            Effect::Switch(group, _) | Effect::Value(group, _) | Effect::Text(group, _) => Some(group),
            Effect::Harmless(_) | Effect::Refused(_) => None,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

const fn switch(group: Group, letter: char, name: &'static str, set: Set) -> Row {
    Row::new(letter, name, Effect::Switch(group, set))
}

const fn value(group: Group, letter: char, name: &'static str, metavar: &'static str, set: SetValue) -> Row {
    Row { metavar: Some(metavar), ..Row::new(letter, name, Effect::Value(group, set)) }
}

const fn text(group: Group, letter: char, name: &'static str, metavar: &'static str, place: Place) -> Row {
    Row { metavar: Some(metavar), ..Row::new(letter, name, Effect::Text(group, place)) }
}

const fn harmless(letter: char, name: &'static str, reason: &'static str) -> Row {
    Row::new(letter, name, Effect::Harmless(reason))
}

const fn refused(letter: char, name: &'static str, help: &'static str, instead: &'static str) -> Row {
    Row::new(letter, name, Effect::Refused(instead)).help(help)
}

/// The row of a long name without its dashes, and whether the name switches it on: behind `no-` it does not. As in rsync a
/// letter may stand behind `no-` too.
pub fn long(name: &str) -> Option<(&'static Row, bool)> {
    if let Some(row) = TABLE.iter().find(|row| row.is_called(name)) {
        return Some((row, true));
    }
    let positive = name.strip_prefix("no-")?;
    let is_letter = |row: &Row| row.letter.is_some_and(|letter| positive.chars().eq([letter]));
    TABLE.iter().find(|row| row.negates && (row.is_called(positive) || is_letter(row))).map(|row| (row, false))
}

/// The row of a letter.
pub fn short(letter: char) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.letter == Some(letter))
}

/// A value as bytes.
fn word(value: &OsStr) -> Vec<u8> {
    value.as_bytes().to_vec()
}

/// Every option, in the order of the help; what is refused stands last.
pub const TABLE: &[Row] = &[
    switch(Sent, 'r', "recursive", TypedOptions::recursive).negates().help("folders and what is in them"),
    switch(Sent, 'a', "archive", |o, _| o.archive()).help("-rlptgoD"),
    switch(Sent, 'l', "links", |o, on| o.push.links = on).negates().help("symlinks as symlinks"),
    switch(Sent, 'H', "hard-links", |o, on| o.push.hard_links = on)
        .negates()
        .help("names of one file as names of one file"),
    switch(Sent, 'L', "copy-links", |o, on| o.push.copy_links = on)
        .help("files and folders instead of symlinks to them"),
    switch(Sent, 'k', "copy-dirlinks", |o, on| o.push.copy_dirlinks = on).help("folders instead of symlinks to them"),
    switch(Sent, ' ', "copy-unsafe-links", |o, on| o.push.copy_unsafe_links = on)
        .help("--copy-links for what lies outside"),
    switch(Sent, ' ', "safe-links", |o, on| o.push.receiver.safe_links = on)
        .help("leave out symlinks that lead outside"),
    switch(Sent, ' ', "munge-links", |o, on| o.push.munge_links = on)
        .negates()
        .help("symlinks that a daemon made unusable as they were"),
    switch(Sent, 'd', "dirs", |o, on| o.push.dirs = on).help("folders without what is in them"),
    switch(Sent, 'p', "perms", |o, on| o.push.permissions = on).negates().help("permissions"),
    switch(Sent, 't', "times", |o, on| o.push.times = on).negates().help("modification times"),
    switch(Sent, 'U', "atimes", |o, on| o.push.atimes = on)
        .negates()
        .help("times of the last access, except of folders (by rsync 3.2 there)"),
    switch(Sent, 'O', "omit-dir-times", |o, on| o.push.omit_directory_times = on)
        .negates()
        .help("leave the times of folders alone"),
    switch(Sent, 'g', "group", |o, on| o.push.group = on).negates().help("group"),
    switch(Sent, 'o', "owner", |o, on| o.push.owner = on).negates().help("owner"),
    switch(Sent, ' ', "inc-recursive", |o, on| o.incremental = Some(on))
        .also(&["i-r"])
        .negates()
        .help("have the list in parts, folder by folder, while they are sent (the default)"),
    switch(Sent, 'D', "", |o, on| (o.push.devices, o.push.specials) = (on, on)).negates().help("--devices --specials"),
    switch(Sent, ' ', "devices", |o, on| o.push.devices = on)
        .negates()
        .help("devices, which a pull makes for root alone"),
    switch(Sent, ' ', "specials", |o, on| o.push.specials = on).negates().help("named pipes and sockets"),
    switch(Sent, ' ', "numeric-ids", |o, on| o.push.numeric_ids = on)
        .negates()
        .help("send numbers only, no names of users and groups"),
    switch(Sent, 'I', "ignore-times", |o, on| o.push.ignore_times = on)
        .negates()
        .help("also files of equal size and time"),
    switch(Sent, 'c', "checksum", |o, on| o.push.checksum = on)
        .negates()
        .help("compare contents instead of size and time"),
    switch(Sent, 'u', "update", |o, _| o.push.receiver.update = true)
        .help("no files that are newer in the destination"),
    switch(Sent, ' ', "existing", |o, _| o.push.receiver.existing = true)
        .also(&["ignore-non-existing"])
        .help("no files that are new there"),
    switch(Sent, ' ', "ignore-existing", |o, _| o.push.receiver.ignore_existing = true)
        .help("no files that are there already"),
    switch(Sent, ' ', "size-only", |o, _| o.push.receiver.size_only = true).help("files of equal size are equal"),
    value(Sent, '@', "modify-window", "SECONDS", TypedOptions::modify_window)
        .help("times that differ by no more are equal; -1 counts nanoseconds"),
    value(Sent, ' ', "min-size", "SIZE", |o, value| TypedOptions::size(&mut o.push.receiver.min_size, value))
        .help("no files that are smaller"),
    value(Sent, ' ', "max-size", "SIZE", |o, value| TypedOptions::size(&mut o.push.receiver.max_size, value))
        .help("no files that are larger"),
    switch(Sent, 'R', "relative", |o, on| o.relative = Some(on))
        .negates()
        .help("whole paths as names; what stands before /./ in one is left out"),
    switch(Sent, ' ', "implied-dirs", |o, on| o.push.no_implied_dirs = !on)
        .negates()
        .help("folders on the way with their own attributes, with --relative [default]"),
    text(Sent, ' ', "files-from", "FILE", |o| &mut o.files_from)
        .help("names of sources from a file, below the one source, with --relative"),
    switch(Sent, 'm', "prune-empty-dirs", |o, on| o.push.receiver.prune_empty_directories = on)
        .negates()
        .help("no folders in which nothing would be"),
    switch(Sent, 'x', "one-file-system", |o, on| o.push.one_file_system = on)
        .negates()
        .help("nothing that is mounted below the sources"),
    value(Sent, ' ', "exclude", "PATTERN", |o, value| o.rule(RuleWord::Pattern(Verdict::Exclude, word(value))))
        .help("leave out what fits"),
    value(Sent, ' ', "include", "PATTERN", |o, value| o.rule(RuleWord::Pattern(Verdict::Include, word(value))))
        .help("do not leave out what fits"),
    value(Sent, ' ', "exclude-from", "FILE", |o, value| o.rule(RuleWord::File(Verdict::Exclude, value.into())))
        .help("--exclude with patterns from a file"),
    value(Sent, ' ', "include-from", "FILE", |o, value| o.rule(RuleWord::File(Verdict::Include, value.into())))
        .help("--include with patterns from a file"),
    value(Sent, 'f', "filter", "RULE", |o, value| o.rule(RuleWord::Filter(word(value))))
        .help("a rule: exclude, include, hide, show, protect, risk, merge, dir-merge or clear"),
    switch(Sent, 'F', "", |o, _| o.rules_of_folders())
        .help("rules from files named .rsync-filter in the folders; twice leaves those out"),
    switch(Sent, 'C', "cvs-exclude", |o, _| o.cvs_exclude = true)
        .help("leave out what CVS does, and what files named .cvsignore say"),
    switch(Sent, '0', "from0", TypedOptions::zero_ended)
        .negates()
        .help("names and patterns in files end with a zero byte"),
    switch(Sent, 'W', "whole-file", |o, on| o.push.whole_file = on).negates().help("no comparison of blocks"),
    switch(Sent, 'n', "dry-run", |o, on| o.push.dry_run = on).help("change nothing"),
    switch(Transfer, 'z', "compress", TypedOptions::compress)
        .negates()
        .help("compress, with the best method that both know"),
    value(Transfer, ' ', "compress-choice", "NAME", TypedOptions::compress_choice)
        .also(&["zc"])
        .help("zstd, lz4, zlibx, zlib, none or auto"),
    value(Transfer, ' ', "compress-level", "N", TypedOptions::compress_level)
        .also(&["zl"])
        .help("level of that method"),
    switch(Transfer, ' ', "old-compress", |o, _| o.compress_choice = Some("zlib".into()))
        .help("the same as --compress-choice=zlib"),
    switch(Transfer, ' ', "new-compress", |o, _| o.compress_choice = Some("zlibx".into()))
        .help("the same as --compress-choice=zlibx"),
    value(Transfer, ' ', "checksum-choice", "NAME", TypedOptions::checksum_choice)
        .also(&["cc"])
        .help("xxh128, xxh3, xxh64, md5, md4, sha1 or auto; NAME,NAME for files and -c"),
    switch(Transfer, ' ', "partial", |o, on| o.partial = on).negates().help("keep what came of a file"),
    text(Transfer, ' ', "partial-dir", "DIR", |o| &mut o.partial_dir)
        .help("keep it in this folder, and go on from there"),
    text(Transfer, 'T', "temp-dir", "DIR", |o| &mut o.temp_dir).help("folder for files on their way"),
    switch(Transfer, ' ', "inplace", |o, on| o.writing(Writing::InPlace, on))
        .negates()
        .help("write into the files that are there"),
    switch(Transfer, ' ', "append", |o, on| o.writing(Writing::Append, on))
        .negates()
        .help("add what is missing at the end of files, and trust the rest"),
    switch(Transfer, ' ', "append-verify", |o, _| o.writing(Writing::AppendVerify, true))
        .help("--append, and compare the whole"),
    switch(Transfer, ' ', "delay-updates", |o, on| o.push.receiver.delay_updates = on)
        .negates()
        .push_only()
        .help("put files in place at the end, together"),
    switch(Transfer, 'S', "sparse", |o, on| o.push.sparse = on).negates().help("holes instead of zeros"),
    switch(Transfer, ' ', "preallocate", |o, _| o.push.receiver.preallocate = true)
        .push_only()
        .help("take the room on the disk at first"),
    switch(Transfer, ' ', "fsync", |o, _| o.push.fsync = true)
        .help("write each file through to the disk (of a push by rsync 3.2.4 there)"),
    switch(Transfer, 'y', "fuzzy", |o, on| o.push.receiver.fuzzy = on)
        .negates()
        .push_only()
        .help("compare with files of similar names, too"),
    value(Transfer, ' ', "protocol", "N", TypedOptions::protocol).help("speak an older protocol, 27 to 32"),
    text(Transfer, ' ', "bwlimit", "RATE", |o| &mut o.flags.bwlimit)
        .help("KiB a second at most, or with a unit such as 1.5m; 0 is no bound"),
    value(Transfer, ' ', "timeout", "SECONDS", TypedOptions::timeout)
        .help("end a transfer without progress [default: 3600 s]"),
    text(Transfer, ' ', "rsync-path", "PROGRAM", |o| &mut o.flags.rsync_path)
        .help("program started on the NAS [env: NAS_RSYNC_PATH]"),
    switch(There, ' ', "delete", |o, _| o.delete(None)).help("delete in the destination what the sources lack"),
    switch(There, ' ', "delete-before", |o, _| o.delete(Some(DeleteTime::Before))).help("at first"),
    switch(There, ' ', "delete-during", |o, _| o.delete(Some(DeleteTime::During)))
        .also(&["del"])
        .help("folder by folder"),
    switch(There, ' ', "delete-delay", |o, _| o.delete(Some(DeleteTime::Delay)))
        .help("found folder by folder, and done at the end"),
    switch(There, ' ', "delete-after", |o, _| o.delete(Some(DeleteTime::After))).help("at the end"),
    switch(There, ' ', "delete-excluded", |o, _| o.delete_excluded = true).help("also what is excluded"),
    value(There, ' ', "max-delete", "N", TypedOptions::max_delete).help("no more than N"),
    switch(There, ' ', "ignore-errors", |o, on| o.push.receiver.ignore_errors = on)
        .negates()
        .help("although something of the sources could not be listed"),
    switch(There, ' ', "force", |o, on| o.push.receiver.force = on)
        .negates()
        .help("delete folders in whose places files come"),
    switch(There, 'b', "backup", |o, on| o.push.receiver.backup = on)
        .negates()
        .help("keep what is replaced or deleted"),
    text(There, ' ', "backup-dir", "DIR", |o| &mut o.backup_dir).push_only().help("in this folder"),
    text(There, ' ', "suffix", "SUFFIX", |o| &mut o.suffix).help("with this ending [default: ~]"),
    value(There, ' ', "link-dest", "DIR", |o, value| o.alternate(AlternateUse::Link, value))
        .push_only()
        .help("hard links to equal files in another folder there"),
    value(There, ' ', "copy-dest", "DIR", |o, value| o.alternate(AlternateUse::Copy, value))
        .push_only()
        .help("copies of equal files in another folder there"),
    value(There, ' ', "compare-dest", "DIR", |o, value| o.alternate(AlternateUse::Compare, value))
        .push_only()
        .help("no files that are equal in another folder there"),
    switch(There, ' ', "mkpath", |o, on| o.push.receiver.make_path = on)
        .negates()
        .help("make the folders above the destination (of a push by rsync 3.2.3 there)"),
    switch(There, 'K', "keep-dirlinks", |o, on| o.push.keep_dirlinks = on)
        .help("symlinks to folders there are folders"),
    value(There, ' ', "chown", "USER:GROUP", TypedOptions::chown)
        .push_only()
        .help("another owner than here, with --owner and --group"),
    text(There, ' ', "usermap", "MAP", |o| &mut o.user_map).push_only().help("other owners than here"),
    text(There, ' ', "groupmap", "MAP", |o| &mut o.group_map).push_only().help("other groups than here"),
    switch(There, 'E', "executability", |o, _| o.push.receiver.executability = true)
        .help("whether files are programs, without --perms"),
    switch(There, 'J', "omit-link-times", |o, on| o.push.receiver.omit_link_times = on)
        .negates()
        .help("leave the times of symlinks alone"),
    switch(There, ' ', "super", |o, on| o.push.receiver.as_super = on)
        .negates()
        .push_only()
        .help("do there what only root may"),
    switch(There, ' ', "remove-source-files", |o, _| o.push.remove_source_files = true)
        .also(&["remove-sent-files"])
        .help("delete the sources of what has come"),
    text(Login, 'e', "rsh", "\"ssh OPTIONS\"", |o| &mut o.remote_shell)
        .help("read, not run: -p -i -l -c -J -F -o … [env: RSYNC_RSH]"),
    text(Login, ' ', "port", "PORT", |o| &mut o.flags.port).help("SSH port [default: 22]"),
    text(Login, ' ', "identity", "FILE", |o| &mut o.flags.identity)
        .help("private key [env: NAS_KEY_FILE, or NAS_KEY for its text]"),
    text(Login, ' ', "known-hosts", "FILE", |o| &mut o.flags.known_hosts)
        .help("host keys [env: NAS_KNOWN_HOSTS, or NAS_HOST_KEY for one fingerprint]"),
    text(Login, ' ', "ssh-config", "FILE", |o| &mut o.flags.ssh_config)
        .help("OpenSSH's configuration, or none [env: NAS_SSH_CONFIG] [default: ~/.ssh/config]"),
    switch(Login, ' ', "accept-new-host-key", |o, on| o.flags.accept_new_host_key = on)
        .help("trust an unknown host key on first use [env: NAS_ACCEPT_NEW_HOST_KEY]"),
    switch(Login, ' ', "legacy-ssh", |o, on| o.flags.legacy_ssh = on)
        .help("allow old SSH algorithms [env: NAS_LEGACY_SSH]"),
    text(Login, ' ', "contimeout", "SECONDS", |o| &mut o.flags.connect_timeout)
        .also(&["connect-timeout"])
        .help("bound of TCP and login [env: NAS_CONNECT_TIMEOUT] [default: 30 s]"),
    switch(Shown, 'v', "verbose", TypedOptions::verbose).negates().help("names, and a summary"),
    switch(Shown, 'q', "quiet", |o, on| o.show.quiet = on).help("errors only"),
    switch(Shown, 'i', "itemize-changes", |o, on| o.show.itemize = on)
        .negates()
        .help("what differs, in rsync's eleven letters"),
    switch(Shown, ' ', "progress", TypedOptions::progress)
        .negates()
        .help("names, and how far each file is; =bar, =plain, =json or =none: as of the other commands"),
    switch(Shown, 'P', "partial-progress", |o, _| {
        o.partial = true;
        o.progress(true);
    })
    .help("--partial --progress"),
    value(Shown, ' ', "info", "FLAGS", TypedOptions::info)
        .help("progress2 (how far all is) or stats, or both parted by a comma"),
    switch(Shown, ' ', "stats", |o, on| o.show.stats = on).help("numbers at the end"),
    switch(Shown, 'h', "human-readable", TypedOptions::human_readable)
        .negates()
        .help("1.23M instead of 1,234,567; twice for units of 1024"),
    switch(Shown, ' ', "json", |o, on| o.show.json = on).help("one JSON object on stdout"),
    switch(Shown, ' ', "help", |o, on| o.help = on).help("this list, which -h alone shows too"),
    switch(Shown, 'V', "version", |o, on| o.version = on).help("version of nas-sync, and of the protocol"),
    harmless('s', "secluded-args", "they are quoted in any case")
        .also(&["protect-args"])
        .negates()
        .help("send paths inside the protocol"),
    harmless(' ', "blocking-io", "no remote shell is run").negates().help("use blocking pipes to the remote shell"),
    harmless(' ', "motd", "over SSH there is none").negates().help("show the greeting of a daemon"),
    refused('8', "8-bit-output", "names without escapes", STREAMS_TEXT).negates(),
    refused('A', "acls", "access control lists", AFTERWARDS).negates(),
    refused(' ', "address", "local address towards a daemon", DAEMON),
    refused('B', "block-size", "length of the blocks that are compared", BLOCKS),
    refused(' ', "checksum-seed", "number that all sums start from", SEED),
    refused(' ', "chmod", "other permissions than here", AFTERWARDS),
    refused(' ', "compress-threads", "threads that compress", THREADS).also(&["zt"]),
    refused(' ', "config", "configuration of a daemon", DAEMON),
    refused(' ', "confine-root", "folder that no path may leave", OWN_FOLDERS),
    refused(' ', "copy-as", "user who writes", LOGIN_AS),
    refused(' ', "copy-devices", "contents of devices", DEVICES),
    refused('N', "crtimes", "times of creation", ONE_TIME).negates(),
    refused(' ', "daemon", "be a daemon", DAEMON),
    refused(' ', "debug", "details for developers", LOG_LEVEL),
    refused(' ', "delete-missing-args", "delete what sources name that are gone", DELETION),
    refused(' ', "dparam", "setting of a daemon", DAEMON),
    refused(' ', "drop-D", "make no devices and pipes", NO_SPECIALS).negates(),
    refused(' ', "early-input", "input for a daemon", DAEMON),
    refused(' ', "fake-super", "owners and devices in extended attributes", AFTERWARDS),
    refused(' ', "iconv", "names in another character set", RAW_NAMES).negates(),
    refused(' ', "ignore-missing-args", "no error for sources that are gone", SELECTION),
    refused(' ', "insecure-links", "follow symlinks of other users", OWN_FOLDERS).negates(),
    refused('4', "ipv4", "only IPv4", ADDRESS),
    refused('6', "ipv6", "only IPv6", ADDRESS),
    refused(' ', "list-only", "names only", PULL),
    refused(' ', "log-file", "file for messages", LOG),
    refused(' ', "log-file-format", "form of the lines in --log-file", LOG),
    refused(' ', "max-alloc", "bound of the memory", MEMORY),
    refused(' ', "msgs2stderr", "messages on stderr", STREAMS).negates(),
    refused(' ', "old-args", "paths that the shell there splits", ONE_PATH).negates(),
    refused(' ', "old-dirs", "--dirs for an old rsync", DIRS).also(&["old-d"]),
    refused(' ', "only-write-batch", "--write-batch without a push", SEPARATELY),
    refused(' ', "open-noatime", "leave the times of access alone", MOUNT).negates(),
    refused(' ', "out-format", "form of the lines about files", FORMAT).also(&["log-format"]),
    refused(' ', "outbuf", "when output is written", STREAMS),
    refused(' ', "password-file", "password for a daemon", DAEMON),
    refused(' ', "read-batch", "repeat what a file recorded", SEPARATELY),
    refused('M', "remote-option", "option for the other side alone", OTHER_SIDE),
    refused(' ', "sender", "be the sending side", SERVER),
    refused(' ', "server", "be the other side", SERVER),
    refused(' ', "skip-compress", "endings of files that are not compressed", COMPRESSED),
    refused(' ', "sockopts", "settings of sockets to a daemon", DAEMON),
    refused(' ', "stderr", "where messages go", STREAMS),
    refused(' ', "stop-after", "end after some minutes", DEADLINE).also(&["time-limit"]),
    refused(' ', "stop-at", "end at a time", DEADLINE),
    refused(' ', "trust-sender", "do not check the list that comes", CHECKED),
    refused(' ', "write-batch", "record a push in a file", SEPARATELY),
    refused(' ', "write-devices", "write into devices", DEVICES).negates(),
    refused('X', "xattrs", "extended attributes", AFTERWARDS).negates(),
];

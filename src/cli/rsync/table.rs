//! rsync's options: one table, one row an option. What is parsed, `push --help` and the list in docs/push.md come from it.
//!
//! Guarantees: every option that rsync's own help names has a row, which says its effect, or why it has none here, or
//! what to use instead. Never: an option that would change what arrives counts as one without effect.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};

use self::Group::{Login, Sent, Shown, Transfer};
use super::typed::{NotAccepted, TypedOptions};

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
    /// How the NAS is reached.
    Login,
    /// What the user is told.
    Shown,
}

impl Row {
    const fn new(letter: char, name: &'static str, effect: Effect) -> Self {
        let letter = if letter == ' ' { None } else { Some(letter) };
        Self { letter, name, aliases: &[], negates: false, metavar: None, help: "", effect }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn negates(self) -> Self {
        Self { negates: true, ..self }
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

const SKIPPED: &str = "these are skipped in any case";

// What to use instead of options that are refused.
const DAEMON: &str = "Leave it out: only SSH is spoken, never with an rsync daemon.";
const DELETION: &str = "Leave it out, and delete on the NAS itself what is no longer wanted.";
const SELECTION: &str = "Leave it out, and name as sources only what is to be sent.";
const NAMES: &str = "Leave it out, and name the files as sources, for example with xargs.";
const TARGETS: &str = "Leave it out, and name as sources what the symlinks lead to.";
const NO_LINKS: &str = "Leave it out, or send no symlinks at all with --no-links.";
const OWN_FOLDERS: &str = "Leave it out, and name no source below a folder that others can write to.";
const ONE_TIME: &str = "Leave it out: of the times only that of the last change can be sent (--times).";
const AFTERWARDS: &str = "Leave it out, and set it on the NAS afterwards.";
const PERMISSIONS: &str = "Use --perms, which sends all permissions.";
const SNAPSHOTS: &str = "Leave it out, and let snapshots of the NAS keep old versions.";
const LOCATION: &str = "Leave it out: files are compared with those of their name in the destination alone.";
const FOLDERS: &str = "Leave it out, and make such folders on the NAS, or send them with --recursive.";
const PATHS: &str = "Leave it out, and name the folder in the destination, with one push for each.";
const MAKE_FOLDER: &str = "Leave it out, and make the folder on the NAS before.";
const REAL_FOLDER: &str = "Leave it out, and name the real folder in the destination.";
const DEVICES: &str = "Leave it out, and copy between device and file with dd.";
const SKIPPED_ANYWAY: &str = "Leave it out: devices and pipes are skipped in any case.";
const HARD_LINKS: &str = "Leave it out: each name is sent as a file of its own.";
const GROWN: &str = "Leave it out: of a file that has grown only the new part travels anyway.";
const WHOLE: &str = "Leave it out: each file takes its place on the NAS by itself, once it is complete.";
const PARTIAL: &str = "Leave it out: a file that is interrupted starts again next time.";
const BESIDE: &str = "Leave it out: what is not complete is kept beside its place, under a hidden name.";
const DURABLE: &str = "Leave it out, and run sync on the NAS afterwards; `nas-sync sync` does so for documents.";
const ALLOCATION: &str = "Leave it out: how files lie on its disks is left to the NAS.";
const BLOCKS: &str = "Leave it out: the NAS chooses it by the size of each file.";
const SEED: &str = "Leave it out: the NAS draws one for each session.";
const THREADS: &str = "Leave it out: one thread compresses.";
const COMPRESSED: &str = "Leave it out, and push such files without --compress.";
const MEMORY: &str = "Leave it out: memory is bounded in any case.";
const RATE: &str = "Leave it out, and limit the rate in the network.";
const COARSE_TIMES: &str = "Leave it out, or compare contents with --checksum where times are coarse.";
const KEEP_TIMES: &str = "Use --times, so that equal files are known by size and time, or --checksum.";
const REMOVE: &str = "Leave it out, and delete the sources when the push has ended with 0.";
const SEPARATELY: &str = "Leave it out, and push to each NAS by itself.";
const DEADLINE: &str = "Leave it out, and end it with timeout(1): timeout 10m rsync ….";
const STREAMS: &str = "Leave it out: results go to stdout line by line, messages to stderr.";
const STREAMS_TEXT: &str =
    "Leave it out: letters of all languages are shown, and only what no terminal should get is escaped.";
const LOG: &str = "Leave it out, and send the output to a file: rsync … > FILE 2>&1.";
const LOG_LEVEL: &str = "Use -vv or -vvv.";
const FORMAT: &str = "Use -i for people or --json for programs.";
const CHECKED: &str = "Leave it out: the list of a pull is always checked.";
const PULL: &str = "Leave it out: a pull does without it so far.";
const ADDRESS: &str = "Leave it out, and name the NAS by such an address.";
const LOGIN_AS: &str = "Leave it out, and log in as that user: USER@HOST:DEST.";
const ROOT: &str = "Leave it out, and log in as root where the NAS allows it.";
const RAW_NAMES: &str = "Leave it out: names are sent as they are, byte for byte.";
const ONE_PATH: &str = "Leave it out, and name one path; it is quoted for the NAS.";
const OTHER_SIDE: &str = "Leave it out: what the other side needs to know is told to it.";
const MOUNT: &str = "Leave it out, or mount the file system with noatime.";
const SERVER: &str = "Leave it out: it is for the rsync that is started on the other side.";

/// Every option, in the order of the help; what is refused stands last.
pub const TABLE: &[Row] = &[
    switch(Sent, 'r', "recursive", |o, on| o.push.recursive = on).negates().help("folders and what is in them"),
    switch(Sent, 'a', "archive", |o, _| o.archive()).help("-rlptgo (devices and pipes are skipped)"),
    switch(Sent, 'l', "links", |o, on| o.push.links = on).negates().help("symlinks as symlinks"),
    switch(Sent, 'p', "perms", |o, on| o.push.permissions = on).negates().help("permissions"),
    switch(Sent, 't', "times", |o, on| o.push.times = on).negates().help("modification times"),
    switch(Sent, 'O', "omit-dir-times", |o, on| o.push.omit_directory_times = on)
        .negates()
        .help("leave the times of folders alone"),
    switch(Sent, 'g', "group", |o, on| o.push.group = on).negates().help("group"),
    switch(Sent, 'o', "owner", |o, on| o.push.owner = on).negates().help("owner"),
    switch(Sent, ' ', "numeric-ids", |o, on| o.push.numeric_ids = on)
        .negates()
        .help("send numbers only, no names of users and groups"),
    switch(Sent, 'I', "ignore-times", |o, on| o.push.ignore_times = on)
        .negates()
        .help("also files of equal size and time"),
    switch(Sent, 'c', "checksum", |o, on| o.push.checksum = on)
        .negates()
        .help("compare contents instead of size and time"),
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
    switch(Transfer, ' ', "partial", |o, on| o.partial = on)
        .negates()
        .help("accepted, but partial files are not kept yet"),
    value(Transfer, ' ', "protocol", "N", TypedOptions::protocol).help("speak an older protocol, 27 to 32"),
    value(Transfer, ' ', "timeout", "SECONDS", TypedOptions::timeout)
        .help("end a transfer without progress [default: 3600 s]"),
    text(Transfer, ' ', "rsync-path", "PROGRAM", |o| &mut o.flags.rsync_path)
        .help("program started on the NAS [env: NAS_RSYNC_PATH]"),
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
    .help("--partial --progress (partial files are not kept yet)"),
    value(Shown, ' ', "info", "FLAGS", TypedOptions::info)
        .help("progress2 (how far all is) or stats, or both parted by a comma"),
    switch(Shown, ' ', "stats", |o, on| o.show.stats = on).help("numbers at the end"),
    switch(Shown, 'h', "human-readable", TypedOptions::human_readable)
        .negates()
        .help("1.23M instead of 1,234,567; twice for units of 1024"),
    switch(Shown, ' ', "json", |o, on| o.show.json = on).help("one JSON object on stdout"),
    switch(Shown, ' ', "help", |o, on| o.help = on).help("this list, which -h alone shows too"),
    switch(Shown, 'V', "version", |o, on| o.version = on).help("version of nas-sync, and of the protocol"),
    harmless('D', "devices", SKIPPED).negates().help("send devices"),
    harmless(' ', "specials", SKIPPED).negates().help("send pipes and sockets"),
    harmless(' ', "inc-recursive", "it is always sent at once").also(&["i-r"]).negates().help("send the list in parts"),
    harmless('s', "secluded-args", "they are quoted in any case")
        .also(&["protect-args"])
        .negates()
        .help("send paths inside the protocol"),
    harmless(' ', "blocking-io", "no remote shell is run").negates().help("use blocking pipes to the remote shell"),
    harmless(' ', "motd", "over SSH there is none").negates().help("show the greeting of a daemon"),
    refused('8', "8-bit-output", "names without escapes", STREAMS_TEXT).negates(),
    refused('A', "acls", "access control lists", AFTERWARDS).negates(),
    refused(' ', "address", "local address towards a daemon", DAEMON),
    refused(' ', "append", "add what is missing at the end of files", GROWN).negates(),
    refused(' ', "append-verify", "--append that sums what is there", GROWN),
    refused('U', "atimes", "times of the last access", ONE_TIME).negates(),
    refused('b', "backup", "keep what is replaced", SNAPSHOTS).negates(),
    refused(' ', "backup-dir", "folder for what is replaced", SNAPSHOTS),
    refused('B', "block-size", "length of the blocks that are compared", BLOCKS),
    refused(' ', "bwlimit", "bound of the rate", RATE).negates(),
    refused(' ', "checksum-seed", "number that all sums start from", SEED),
    refused(' ', "chmod", "other permissions than here", AFTERWARDS),
    refused(' ', "chown", "another owner than here", AFTERWARDS),
    refused(' ', "compare-dest", "another folder to compare with", LOCATION),
    refused(' ', "compress-threads", "threads that compress", THREADS).also(&["zt"]),
    refused(' ', "config", "configuration of a daemon", DAEMON),
    refused(' ', "confine-root", "folder that no path may leave", OWN_FOLDERS),
    refused(' ', "copy-as", "user who writes", LOGIN_AS),
    refused(' ', "copy-dest", "another folder to copy from", LOCATION),
    refused(' ', "copy-devices", "contents of devices", DEVICES),
    refused('k', "copy-dirlinks", "folders instead of symlinks to them", TARGETS),
    refused('L', "copy-links", "files and folders instead of symlinks to them", TARGETS),
    refused(' ', "copy-unsafe-links", "--copy-links for what lies outside", TARGETS),
    refused('N', "crtimes", "times of creation", ONE_TIME).negates(),
    refused('C', "cvs-exclude", "leave out what CVS leaves out", SELECTION),
    refused(' ', "daemon", "be a daemon", DAEMON),
    refused(' ', "debug", "details for developers", LOG_LEVEL),
    refused(' ', "del", "the same as --delete-during", DELETION),
    refused(' ', "delay-updates", "put files in place at the end, together", WHOLE).negates(),
    refused(' ', "delete", "delete what the sources lack", DELETION),
    refused(' ', "delete-after", "--delete, at the end", DELETION),
    refused(' ', "delete-before", "--delete, at first", DELETION),
    refused(' ', "delete-delay", "--delete, found early and done at the end", DELETION),
    refused(' ', "delete-during", "--delete, folder by folder", DELETION),
    refused(' ', "delete-excluded", "--delete also of what is excluded", DELETION),
    refused(' ', "delete-missing-args", "delete what sources name that are gone", DELETION),
    refused('d', "dirs", "folders without what is in them", FOLDERS).negates(),
    refused(' ', "dparam", "setting of a daemon", DAEMON),
    refused(' ', "drop-D", "make no devices and pipes", SKIPPED_ANYWAY).negates(),
    refused(' ', "early-input", "input for a daemon", DAEMON),
    refused(' ', "exclude", "leave out what fits a pattern", SELECTION),
    refused(' ', "exclude-from", "--exclude with patterns from a file", SELECTION),
    refused('E', "executability", "whether files are programs", PERMISSIONS),
    refused(' ', "existing", "no files that are new there", SELECTION).also(&["ignore-non-existing"]),
    refused(' ', "fake-super", "owners and devices in extended attributes", AFTERWARDS),
    refused(' ', "files-from", "names of sources from a file", NAMES),
    refused('f', "filter", "leave files out by rules", SELECTION),
    refused('F', "", "rules from files named .rsync-filter", SELECTION),
    refused(' ', "force", "delete folders where files come", DELETION).negates(),
    refused('0', "from0", "lists whose names end with a zero byte", NAMES).negates(),
    refused(' ', "fsync", "write each file through to the disk", DURABLE),
    refused('y', "fuzzy", "compare with files of similar names", LOCATION).negates(),
    refused(' ', "groupmap", "other groups than here", AFTERWARDS),
    refused('H', "hard-links", "names of one file as names of one file", HARD_LINKS).negates(),
    refused(' ', "iconv", "names in another character set", RAW_NAMES).negates(),
    refused(' ', "ignore-errors", "--delete in spite of errors", DELETION).negates(),
    refused(' ', "ignore-existing", "no files that are there already", SELECTION),
    refused(' ', "ignore-missing-args", "no error for sources that are gone", SELECTION),
    refused(' ', "implied-dirs", "folders above the sources, with --relative", PATHS).negates(),
    refused(' ', "include", "do not leave out what fits a pattern", SELECTION),
    refused(' ', "include-from", "--include with patterns from a file", SELECTION),
    refused(' ', "inplace", "write into the files that are there", WHOLE).negates(),
    refused(' ', "insecure-links", "follow symlinks of other users", OWN_FOLDERS).negates(),
    refused('4', "ipv4", "only IPv4", ADDRESS),
    refused('6', "ipv6", "only IPv6", ADDRESS),
    refused('K', "keep-dirlinks", "symlinks to folders there are folders", REAL_FOLDER),
    refused(' ', "link-dest", "hard links to equal files in another folder", SNAPSHOTS),
    refused(' ', "list-only", "names only", PULL),
    refused(' ', "log-file", "file for messages", LOG),
    refused(' ', "log-file-format", "form of the lines in --log-file", LOG),
    refused(' ', "max-alloc", "bound of the memory", MEMORY),
    refused(' ', "max-delete", "bound of --delete", DELETION),
    refused(' ', "max-size", "no files that are larger", SELECTION),
    refused(' ', "min-size", "no files that are smaller", SELECTION),
    refused(' ', "mkpath", "make the folders above the destination", MAKE_FOLDER).negates(),
    refused('@', "modify-window", "difference of times that counts as none", COARSE_TIMES),
    refused(' ', "msgs2stderr", "messages on stderr", STREAMS).negates(),
    refused(' ', "munge-links", "make symlinks unusable", NO_LINKS).negates(),
    refused(' ', "old-args", "paths that the shell there splits", ONE_PATH).negates(),
    refused(' ', "old-dirs", "--dirs for an old rsync", FOLDERS).also(&["old-d"]),
    refused('J', "omit-link-times", "leave the times of symlinks alone", NO_LINKS).negates(),
    refused('x', "one-file-system", "leave out what is mounted below", SELECTION).negates(),
    refused(' ', "only-write-batch", "--write-batch without a push", SEPARATELY),
    refused(' ', "open-noatime", "leave the times of access alone", MOUNT).negates(),
    refused(' ', "out-format", "form of the lines about files", FORMAT).also(&["log-format"]),
    refused(' ', "outbuf", "when output is written", STREAMS),
    refused(' ', "partial-dir", "folder for partial files", PARTIAL),
    refused(' ', "password-file", "password for a daemon", DAEMON),
    refused(' ', "preallocate", "take the room on the disk at first", ALLOCATION),
    refused('m', "prune-empty-dirs", "leave out empty folders", SELECTION).negates(),
    refused(' ', "read-batch", "repeat what a file recorded", SEPARATELY),
    refused('R', "relative", "whole paths of the sources", PATHS).negates(),
    refused('M', "remote-option", "option for the other side alone", OTHER_SIDE),
    refused(' ', "remove-source-files", "delete sources that have been sent", REMOVE).also(&["remove-sent-files"]),
    refused(' ', "safe-links", "leave out symlinks that lead outside", NO_LINKS),
    refused(' ', "sender", "be the sending side", SERVER),
    refused(' ', "server", "be the other side", SERVER),
    refused(' ', "size-only", "leave out files of equal size", KEEP_TIMES),
    refused(' ', "skip-compress", "endings of files that are not compressed", COMPRESSED),
    refused(' ', "sockopts", "settings of sockets to a daemon", DAEMON),
    refused('S', "sparse", "holes instead of zeros", ALLOCATION).negates(),
    refused(' ', "stderr", "where messages go", STREAMS),
    refused(' ', "stop-after", "end after some minutes", DEADLINE).also(&["time-limit"]),
    refused(' ', "stop-at", "end at a time", DEADLINE),
    refused(' ', "suffix", "ending for what is replaced", SNAPSHOTS),
    refused(' ', "super", "do there what only root may", ROOT).negates(),
    refused('T', "temp-dir", "folder for files that are not complete", BESIDE),
    refused(' ', "trust-sender", "do not check the list that comes", CHECKED),
    refused('u', "update", "leave out files that are newer there", SELECTION),
    refused(' ', "usermap", "other owners than here", AFTERWARDS),
    refused(' ', "write-batch", "record a push in a file", SEPARATELY),
    refused(' ', "write-devices", "write into devices", DEVICES).negates(),
    refused('X', "xattrs", "extended attributes", AFTERWARDS).negates(),
];

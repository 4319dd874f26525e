//! The arguments of the remote `rsync --server`, `protocol-notes/02-command-line.md`.
//!
//! The command line holds the program as it was configured, constants and one path. The path is quoted here, by the only
//! quoting function of the crate; names of documents never appear in it, they travel in the file list.

use super::flist::ListFields;
use super::offer::{ChecksumChoice, CompressionChoice, Offer};
use super::receiver_args::ReceiverOptions;
use super::token::TokenCoding;

/// The capabilities a client of protocol 30 and later announces: errors in the end of the list (`f`), seed-first MD5 sums
/// (`C`), varint flag words with negotiated names (`v`), and a name for id 0 (`u`).
const ABILITIES: &str = "fCvu";

/// The folder, beside each file, in which a receiver keeps what has come of it: [`PushOptions::partial_dir`].
pub const PARTIAL_DIR: &str = ".rsync-partial";

/// What a pushing client asks the receiving server to do. Each field is an rsync option.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
#[non_exhaustive]
pub struct PushOptions {
    /// `-r`: folders and what is in them.
    pub recursive: bool,
    /// `-l`: symlinks.
    pub links: bool,
    /// `--devices`: devices.
    pub devices: bool,
    /// `--specials`: pipes and sockets.
    pub specials: bool,
    /// `-L`: what symlinks point to, instead of them.
    pub copy_links: bool,
    /// `-k`: folders instead of symlinks to them.
    pub copy_dirlinks: bool,
    /// `--copy-unsafe-links`: what symlinks point to that lead out of the sources, instead of them.
    pub copy_unsafe_links: bool,
    /// `--munge-links`: symlinks that were made unusable as they were.
    pub munge_links: bool,
    /// `-d`: folders without what is in them, but for sources that end with a slash.
    pub dirs: bool,
    /// `-o`: owner.
    pub owner: bool,
    /// `-g`: group.
    pub group: bool,
    /// `-p`: permissions.
    pub permissions: bool,
    /// `-t`: modification times.
    pub times: bool,
    /// `-U`: times of the last access, except of folders. rsync 3.2 there.
    pub atimes: bool,
    /// `-H`: names of one file stay names of one file.
    pub hard_links: bool,
    /// `-O`: leaves the times of folders alone.
    pub omit_directory_times: bool,
    /// `-K`: takes a symlink to a folder over there for that folder, instead of replacing it.
    pub keep_dirlinks: bool,
    /// `-n`: changes nothing.
    pub dry_run: bool,
    /// `-W`: sends files whole.
    pub whole_file: bool,
    /// `-c`: compares contents instead of size and time.
    pub checksum: bool,
    /// `-I`: transfers every file, also those of equal size and time.
    pub ignore_times: bool,
    /// `-R`: names are paths, with the folders on the way.
    pub relative: bool,
    /// `-R --no-implied-dirs`: names are paths, and the folders on the way are made where they are missing, and else left as
    /// they are.
    pub no_implied_dirs: bool,
    /// `-S`: leaves holes where a file has zeros.
    pub sparse: bool,
    /// `--numeric-ids`: sends no names of users and groups.
    pub numeric_ids: bool,
    /// `--timeout`: seconds after which the server gives up an idle connection.
    pub timeout: Option<u32>,
    /// Asks for one message for every file that is stored, by `--remove-source-files`. The sender is who would remove,
    /// and it does not.
    pub acknowledge: bool,
    /// `--fsync`: each file is written through to the disk before it gets its name. Servers know it from 3.2.4 on.
    pub fsync: bool,
    /// `--partial-dir`: what has come of a file when the connection is cut waits in [`PARTIAL_DIR`] beside it, and the
    /// next session goes on from there. Servers know it from 2.6.3 on.
    pub partial_dir: bool,
    /// `-x`: stays on the file systems of the sources.
    pub one_file_system: bool,
    /// `--remove-source-files`: files that are stored or up to date there are removed here.
    pub remove_source_files: bool,
    /// What is the receiver's business.
    pub receiver: ReceiverOptions,
}

impl PushOptions {
    /// The same, with folders that exist left as they are by other options: not every server takes `-K` and `-O`.
    #[must_use]
    pub fn with_implied_folders(self) -> Self {
        Self { keep_dirlinks: false, omit_directory_times: false, no_implied_dirs: true, ..self }
    }

    /// The file list's optional fields under these options. The digests of `-c` come in when their algorithm is known.
    pub fn list_fields(&self) -> ListFields {
        ListFields {
            owner: self.owner,
            group: self.group,
            links: self.links,
            devices: self.devices,
            specials: self.specials,
            atimes: self.atimes,
            hard_links: self.hard_links,
            digest: None,
        }
    }

    /// The arguments after the program's name, for a push to `destination`. Nothing is quoted yet.
    pub fn arguments(&self, offer: &Offer, destination: &[u8]) -> Vec<Vec<u8>> {
        let mut arguments = vec![String::from("--server"), self.letters(offer)];
        arguments.extend(specials_argument(self.devices, self.specials));
        arguments.extend(checksum_arguments(offer.checksum));
        arguments.extend(compression_arguments(offer.compression));
        arguments.extend(self.timeout.map(|seconds| format!("--timeout={seconds}")));
        arguments.extend(self.copy_unsafe_links.then(|| String::from("--copy-unsafe-links")));
        arguments
            .extend((self.dirs && !self.recursive && self.receiver.deletion.is_some()).then(|| String::from("--no-r")));
        arguments.extend(self.numeric_ids.then(|| String::from("--numeric-ids")));
        arguments.extend(self.no_implied_dirs.then(|| String::from("--no-implied-dirs")));
        arguments.extend(self.has_receipts().then(|| String::from("--remove-source-files")));
        if self.partial_dir {
            arguments.extend(["--partial-dir", PARTIAL_DIR].map(String::from));
        }
        arguments.extend(self.fsync.then(|| String::from("--fsync")));
        let mut arguments: Vec<Vec<u8>> = arguments.into_iter().map(String::into_bytes).collect();
        arguments.extend(self.receiver.arguments());
        arguments.push(b".".to_vec());
        arguments.push(safe_path(destination));
        arguments
    }

    /// Whether the server says of every file that it is stored.
    pub fn has_receipts(&self) -> bool {
        self.acknowledge || self.remove_source_files
    }

    fn letters(&self, offer: &Offer) -> String {
        let receiver = &self.receiver;
        let letters = [
            (receiver.backup, 'b'),
            (receiver.update, 'u'),
            (self.dry_run, 'n'),
            (self.links, 'l'),
            (self.dirs && !self.recursive, 'd'),
            (self.keep_dirlinks, 'K'),
            (receiver.prune_empty_directories, 'm'),
            (self.omit_directory_times, 'O'),
            (receiver.omit_link_times, 'J'),
            (receiver.fuzzy, 'y'),
            (self.whole_file, 'W'),
            (self.hard_links, 'H'),
            (self.owner, 'o'),
            (self.group, 'g'),
            (self.devices, 'D'),
            (self.times, 't'),
            (self.atimes, 'U'),
            (self.permissions, 'p'),
            (receiver.executability && !self.permissions, 'E'),
            (self.recursive, 'r'),
            (self.checksum, 'c'),
            (self.ignore_times, 'I'),
            (self.relative || self.no_implied_dirs, 'R'),
            (self.one_file_system, 'x'),
            (self.sparse, 'S'),
        ];
        letter_word(&letters, offer)
    }
}

/// The word of single letters: those that are wanted, compression, and what this side can do.
pub(super) fn letter_word(letters: &[(bool, char)], offer: &Offer) -> String {
    let compress = matches!(
        offer.compression,
        CompressionChoice::Negotiate { .. } | CompressionChoice::Fixed(TokenCoding::Zlib { .. })
    );
    let letters =
        letters.iter().copied().chain([(compress, 'z')]).filter(|(wanted, _)| *wanted).map(|(_, letter)| letter);
    let mut word: String = ['-'].into_iter().chain(letters).collect();
    if offer.protocol.announces_capabilities() {
        word.push_str(if offer.incremental { "e.i" } else { "e." });
        word.push_str(ABILITIES);
    }
    word
}

/// What a server has to hear of one kind of special file where `-D`, which means both, does not say it.
pub(super) fn specials_argument(devices: bool, specials: bool) -> Option<String> {
    match (devices, specials) {
        (true, false) => Some(String::from("--no-specials")),
        (false, true) => Some(String::from("--specials")),
        _ => None,
    }
}

pub(super) fn checksum_arguments(choice: ChecksumChoice) -> Option<String> {
    match choice {
        ChecksumChoice::Negotiate => None,
        ChecksumChoice::Fixed { transfer, list } if transfer == list => {
            Some(format!("--checksum-choice={}", transfer.name()))
        }
        ChecksumChoice::Fixed { transfer, list } => {
            Some(format!("--checksum-choice={},{}", transfer.name(), list.name()))
        }
    }
}

/// The level is the sender's own business and never said: on its own it would even switch compression on over there.
pub(super) fn compression_arguments(choice: CompressionChoice) -> Option<String> {
    match choice {
        CompressionChoice::Off | CompressionChoice::Negotiate { .. } | CompressionChoice::Fixed(TokenCoding::Plain) => {
            None
        }
        CompressionChoice::Fixed(TokenCoding::Zlib { .. }) => Some(String::from("--old-compress")),
        CompressionChoice::Fixed(TokenCoding::Zlibx { .. }) => Some(String::from("--new-compress")),
        CompressionChoice::Fixed(coding) => Some(format!("--compress-choice={}", coding.name())),
    }
}

/// A path that no program takes for an option, and that is not empty.
pub(super) fn safe_path(path: &[u8]) -> Vec<u8> {
    match path.first() {
        None => b".".to_vec(),
        Some(b'-') => [b"./", path].concat(),
        Some(_) => path.to_vec(),
    }
}

/// Why a command line cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a remote path or program must not hold NUL or line-end characters")]
pub struct Unquotable;

/// The line for the remote shell: the program and its arguments. As with rsync, the program is words for that shell, such
/// as `sudo rsync`; each argument is quoted so that the shell hands over exactly its bytes. A leading `~` or `~user` of the last argument stays live, since that is how people write home folders.
pub fn command_line(program: &str, arguments: &[Vec<u8>]) -> Result<Vec<u8>, Unquotable> {
    let (last, others) = arguments.split_last().map_or((None, arguments), |(last, others)| (Some(last), others));
    let mut line = words(program, others)?;
    if let Some(last) = last {
        line.push(b' ');
        quote_path(last, &mut line)?;
    }
    Ok(line)
}

/// A source for [`sending_command_line`] in which no byte is a wildcard.
pub fn literal(path: &[u8]) -> Vec<u8> {
    let is_wildcard = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']');
    path.iter().flat_map(|byte| is_wildcard(byte).then_some(b'\\').into_iter().chain([*byte])).collect()
}

/// The line for a server that sends: paths as for rsync, in which the wildcards `*`, `?` and `[…]` stay live, and a backslash
/// before one of them takes that away.
pub fn sending_command_line(program: &str, arguments: &[Vec<u8>], paths: &[Vec<u8>]) -> Result<Vec<u8>, Unquotable> {
    let mut line = words(program, arguments)?;
    for path in paths {
        line.push(b' ');
        let (home, mut rest) = path.split_at(home_prefix_len(path));
        line.extend_from_slice(home);
        if home.is_empty() && rest.is_empty() {
            quote(rest, &mut line)?;
        }
        while let [first, behind @ ..] = rest {
            rest = match (first, behind) {
                (b'\\', [wildcard @ (b'*' | b'?' | b'[' | b']'), behind @ ..]) => {
                    line.extend_from_slice(&[b'\\', *wildcard]);
                    behind
                }
                (b'*' | b'?' | b'[' | b']', _) => {
                    line.push(*first);
                    behind
                }
                // Also one that would be the first of a word that is expanded.
                _ => {
                    quote(&[*first], &mut line)?;
                    behind
                }
            };
        }
    }
    Ok(line)
}

/// The program and its arguments.
fn words(program: &str, arguments: &[Vec<u8>]) -> Result<Vec<u8>, Unquotable> {
    if program.contains(['\0', '\n', '\r']) {
        return Err(Unquotable);
    }
    let mut line = program.as_bytes().to_vec();
    for argument in arguments {
        line.push(b' ');
        // Values of two-word options may begin with a home folder, too.
        quote_path(argument, &mut line)?;
    }
    Ok(line)
}

/// One path as a word for the remote shell, for commands other than rsync: quoted as in [`command_line`], and never
/// taken for an option, nor looked for in other places than rsync looks.
pub fn path_word(path: &[u8]) -> Result<Vec<u8>, Unquotable> {
    let mut word = Vec::new();
    if path.first() != Some(&b'/') && home_prefix_len(path) == 0 {
        word.extend_from_slice(b"./");
    }
    match path {
        b"" => Ok(word),
        path => quote_path(path, &mut word).map(|()| word),
    }
}

/// Appends a path whose leading `~` or `~user` stays live.
fn quote_path(path: &[u8], line: &mut Vec<u8>) -> Result<(), Unquotable> {
    let (home, rest) = path.split_at(home_prefix_len(path));
    line.extend_from_slice(home);
    if home.is_empty() || !rest.is_empty() { quote(rest, line) } else { Ok(()) }
}

/// The length of a leading `~` or `~user`, where a slash or the end follows.
fn home_prefix_len(path: &[u8]) -> usize {
    let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if path.first() == Some(&b'~') && path[1..end].iter().all(in_name) { end } else { 0 }
}

/// Appends one word. Harmless characters stay as they are, so that a filter which looks for `rsync --server` finds it;
/// others get a backslash. Bytes above 127 belong to characters that no shell treats as special.
fn quote(word: &[u8], line: &mut Vec<u8>) -> Result<(), Unquotable> {
    if word.is_empty() {
        line.extend_from_slice(b"''");
    }
    for (position, &byte) in word.iter().enumerate() {
        match byte {
            0 | b'\n' | b'\r' => return Err(Unquotable),
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'/'
            | b','
            | b':'
            | b'+'
            | b'@'
            | b'%'
            | 0x80.. => {}
            // In the middle of a word an equals sign is harmless; in front some shells expand it.
            b'=' if position > 0 => {}
            _ => line.push(b'\\'),
        }
        line.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::offer::Protocol;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    fn text(options: &PushOptions, offer: &Offer, destination: &str) -> String {
        let line = command_line("rsync", &options.arguments(offer, destination.as_bytes())).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_document_push_as_stock_servers_know_it() {
        let options = PushOptions {
            recursive: true,
            times: true,
            ignore_times: true,
            acknowledge: true,
            ..PushOptions::default()
        };
        assert_eq!(
            text(&options, &Offer::default(), "/volume1/my docs/./"),
            "rsync --server -trIe.fCvu --remove-source-files . /volume1/my\\ docs/./"
        );
        let old = Offer { protocol: Protocol::new(29).unwrap(), ..Offer::default() };
        assert_eq!(
            text(&PushOptions { times: true, ..PushOptions::default() }, &old, "-x"),
            "rsync --server -t . ./-x"
        );
    }

    #[test]
    fn safety_is_asked_for_in_the_words_of_stock_clients() {
        let offer = Offer::default();
        let fsync = PushOptions { times: true, fsync: true, ..PushOptions::default() };
        assert_eq!(text(&fsync, &offer, "d"), "rsync --server -te.fCvu --fsync . d");
        let partial = PushOptions { times: true, partial_dir: true, ..PushOptions::default() };
        assert_eq!(text(&partial, &offer, "d"), "rsync --server -te.fCvu --partial-dir .rsync-partial . d");
        let bare = PushOptions { recursive: true, no_implied_dirs: true, sparse: true, ..PushOptions::default() };
        assert_eq!(text(&bare, &offer, "d"), "rsync --server -rRSe.fCvu --no-implied-dirs . d");
        let receiver = ReceiverOptions { delay_updates: true, ..ReceiverOptions::default() };
        let all = PushOptions { acknowledge: true, fsync: true, receiver, ..partial };
        assert_eq!(
            text(&all, &offer, "~/d"),
            "rsync --server -te.fCvu --remove-source-files --partial-dir .rsync-partial --fsync --delay-updates . ~/d"
        );
    }

    #[test]
    fn compression_is_asked_for_in_the_words_of_each_age() {
        let with = |compression| text(&PushOptions::default(), &Offer { compression, ..Offer::default() }, "d");
        assert_eq!(with(CompressionChoice::Negotiate { level: None }), "rsync --server -ze.fCvu . d");
        assert_eq!(
            with(CompressionChoice::Fixed(TokenCoding::Lz4)),
            "rsync --server -e.fCvu --compress-choice=lz4 . d"
        );
        assert!(with(CompressionChoice::Fixed(TokenCoding::Zlib { level: 6 })).contains("-ze.fCvu --old-compress"));
        assert!(with(CompressionChoice::Fixed(TokenCoding::Zlibx { level: 6 })).contains("-e.fCvu --new-compress"));
        let in_parts = Offer { incremental: true, ..Offer::default() };
        assert_eq!(text(&PushOptions::default(), &in_parts, "d"), "rsync --server -e.ifCvu . d");
    }

    #[test]
    fn the_program_is_words_for_the_remote_shell() {
        for (program, words) in [
            ("sudo rsync", &["sudo", "rsync"][..]),
            ("nice -n 10 rsync", &["nice", "-n", "10", "rsync"]),
            ("'/opt/my tools/rsync'", &["/opt/my tools/rsync"]),
            ("env LANG=C \"$HOME/rsync\"", &["env", "LANG=C", "/h/rsync"]),
        ] {
            let line = command_line(program, &[b"--server".to_vec(), b"a b;$HOME".to_vec()]).unwrap();
            let script = [b"HOME=/h; printf '%s\\n' ", &line[..]].concat();
            let output = std::process::Command::new("sh").arg("-c").arg(std::ffi::OsStr::from_bytes(&script)).output();
            let expected = [words, &["--server", "a b;$HOME", ""]].concat().join("\n");
            assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), expected, "{program}");
        }
    }

    #[test]
    fn line_ends_are_refused() {
        assert_eq!(command_line("rsync", &[b"a\nb".to_vec()]), Err(Unquotable));
        assert_eq!(command_line("rsync\0", &[]), Err(Unquotable));
    }

    #[test]
    fn home_folders_stay_live() {
        let line = |path: &str| String::from_utf8(command_line("r", &[path.into()]).unwrap()).unwrap();
        assert_eq!(line("~/a b"), "r ~/a\\ b");
        assert_eq!(line("~ada"), "r ~ada");
        assert_eq!(line("~$(id)/x"), "r \\~\\$\\(id\\)/x");
    }

    #[test]
    fn paths_are_words_of_their_own() {
        let word = |path: &str| path_word(path.as_bytes()).map(|word| String::from_utf8(word).unwrap());
        assert_eq!(word("/volume1/my docs").as_deref(), Ok("/volume1/my\\ docs"));
        assert_eq!(word("-n").as_deref(), Ok("./-n"));
        assert_eq!(word("").as_deref(), Ok("./"));
        assert_eq!(word("docs;reboot").as_deref(), Ok("./docs\\;reboot"));
        assert_eq!((word("~/a b").as_deref(), word("~").as_deref()), (Ok("~/a\\ b"), Ok("~")));
        assert_eq!(word("~$(id)").as_deref(), Ok("./\\~\\$\\(id\\)"));
        assert_eq!(word("a\nb"), Err(Unquotable));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The oracle is a real shell.
        #[test]
        fn a_shell_takes_a_path_as_one_word(path in proptest::collection::vec(
                any::<u8>().prop_filter("allowed", |byte| !matches!(byte, 0 | b'\n' | b'\r')), 0..20)) {
            prop_assume!(home_prefix_len(&path) == 0);
            let line = [b"printf %s ", &path_word(&path).unwrap()[..]].concat();
            let output = std::process::Command::new("sh").arg("-c").arg(std::ffi::OsStr::from_bytes(&line)).output().unwrap();
            let expected = if path.first() == Some(&b'/') { path } else { [b"./", &path[..]].concat() };
            prop_assert_eq!(output.stdout, expected);
        }

        /// The oracle is a real shell.
        #[test]
        fn a_shell_hands_over_the_same_bytes(words in proptest::collection::vec(
                proptest::collection::vec(any::<u8>().prop_filter("allowed", |byte| !matches!(byte, 0 | b'\n' | b'\r')), 0..20), 1..4)) {
            let words: Vec<Vec<u8>> = words.into_iter().map(|word| if word.first() == Some(&b'~') { b"x".to_vec() } else { word }).collect();
            let mut line = command_line("printf", &[b"%s\\n".to_vec(), b"".to_vec()]).unwrap();
            line.truncate(line.len() - 3);
            line.push(b' ');
            let quoted = command_line("x", &words).unwrap();
            line.extend_from_slice(&quoted[2..]);
            let output = std::process::Command::new("sh").arg("-c").arg(std::ffi::OsStr::from_bytes(&line)).output().unwrap();
            let mut expected = words.join(&b"\n"[..]);
            expected.push(b'\n');
            prop_assert_eq!(output.stdout, expected);
        }
    }
}

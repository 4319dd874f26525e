//! The arguments of the remote `rsync --server --sender`, `protocol-notes/02-command-line.md`.

use super::flist::ListFields;
use super::offer::Offer;
use super::receiver_args::ReceiverOptions;
use super::server_args::{checksum_arguments, compression_arguments, letter_word, safe_path, specials_argument};

/// What a pulling client asks for. Each field is an rsync option; most of them are this side's own business, and the server
/// hears of those that change its list or its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own switches")]
#[non_exhaustive]
pub struct PullOptions {
    /// `-r`: folders and what is in them.
    pub recursive: bool,
    /// `-l`: symlinks.
    pub links: bool,
    /// `--devices`: devices, for root alone.
    pub devices: bool,
    /// `--specials`: pipes and sockets.
    pub specials: bool,
    /// `-o`: owner, for root alone.
    pub owner: bool,
    /// `-g`: group, as far as this user is a member.
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
    /// `-n`: changes nothing.
    pub dry_run: bool,
    /// `-W`: asks for files whole.
    pub whole_file: bool,
    /// `-c`: compares contents instead of size and time.
    pub checksum: bool,
    /// `-I`: transfers every file, also those of equal size and time.
    pub ignore_times: bool,
    /// `-C`: leaves out what CVS does, and what the words in this text name.
    pub cvs_exclude: Option<Vec<u8>>,
    /// `--remove-source-files`: the NAS removes each file that is here now, and each symlink. Protocol 30 at least.
    pub remove_source_files: bool,
    /// `--numeric-ids`: takes no names of users and groups.
    pub numeric_ids: bool,
    /// `--timeout`: seconds after which the server gives up an idle connection.
    pub timeout: Option<u32>,
    /// `--bwlimit`: KiB that the NAS sends in a second at most.
    pub(crate) bwlimit: Option<u64>,
    /// `--fsync`: each file is written through to the disk before it gets its name.
    pub fsync: bool,
    /// `-L`: what symlinks there point to, instead of them.
    pub copy_links: bool,
    /// `-k`: folders instead of symlinks there to them.
    pub copy_dirlinks: bool,
    /// `--copy-unsafe-links`: what symlinks point to that lead out of the sources, instead of them.
    pub copy_unsafe_links: bool,
    /// `-x`: stays on the file systems of the sources.
    pub one_file_system: bool,
    /// `-S`: leaves holes where a file has zeros.
    pub sparse: bool,
    /// `-R`: names are paths, with the folders on the way.
    pub relative: bool,
    /// `--no-implied-dirs`: with `relative` the folders on the way are made where they are missing, and else left as they are.
    pub no_implied_dirs: bool,
    /// `-d`: folders without what is in them, but for sources that end with a slash.
    pub dirs: bool,
    /// `-K`: takes a symlink here to a folder for that folder, instead of replacing it.
    pub keep_dirlinks: bool,
    /// `--munge-links`: makes symlinks unusable.
    pub munge_links: bool,
    /// What is the receiver's business, which is this side.
    pub receiver: ReceiverOptions,
    /// `--files-from=:FILE`: a file over there with names below the only source.
    pub names_there: Option<Vec<u8>>,
    /// `--from0`: the names in that file end with a zero byte.
    pub zero_ended: bool,
    /// `--files-from=- --from0`: the names of the files come over the connection, and are paths below the only source.
    pub(crate) names_follow: bool,
}

impl PullOptions {
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

    /// The arguments after the program's name and before the paths. Nothing is quoted yet.
    pub fn arguments(&self, offer: &Offer) -> Vec<Vec<u8>> {
        let mut arguments = vec![String::from("--server"), String::from("--sender")];
        // A word of no letters would be a path.
        arguments.extend(Some(self.letters(offer)).filter(|letters| letters.len() > 1));
        arguments.extend(specials_argument(self.devices, self.specials));
        arguments.extend(checksum_arguments(offer.checksum));
        arguments.extend(compression_arguments(offer.compression));
        arguments.extend(self.timeout.map(|seconds| format!("--timeout={seconds}")));
        arguments.extend(self.bwlimit.map(|kib| format!("--bwlimit={kib}")));
        arguments.extend(self.numeric_ids.then(|| String::from("--numeric-ids")));
        arguments.extend(self.copy_unsafe_links.then(|| String::from("--copy-unsafe-links")));
        arguments.extend(self.receiver.safe_links.then(|| String::from("--safe-links")));
        arguments.extend(self.receiver.writing.words().iter().map(|word| String::from(*word)));
        let mut arguments: Vec<Vec<u8>> = arguments.into_iter().map(String::into_bytes).collect();
        arguments.extend(self.names_arguments());
        arguments.extend((self.relative && self.no_implied_dirs).then(|| b"--no-implied-dirs".to_vec()));
        arguments.extend(self.remove_source_files.then(|| b"--remove-source-files".to_vec()));
        arguments.push(b".".to_vec());
        arguments
    }

    /// Where the names are that come out of a file.
    fn names_arguments(&self) -> Vec<Vec<u8>> {
        let mut arguments = match &self.names_there {
            _ if self.names_follow => vec![b"--files-from=-".to_vec(), b"--from0".to_vec()],
            Some(file) => {
                let ends = self.zero_ended.then(|| b"--from0".to_vec());
                [b"--files-from".to_vec(), safe_path(file)].into_iter().chain(ends).collect()
            }
            None => return Vec::new(),
        };
        arguments.extend((!self.relative).then(|| b"--no-relative".to_vec()));
        arguments
    }

    fn letters(&self, offer: &Offer) -> String {
        let letters = [
            (self.dry_run, 'n'),
            (self.links, 'l'),
            (self.whole_file, 'W'),
            (self.hard_links, 'H'),
            (self.owner, 'o'),
            (self.group, 'g'),
            (self.devices, 'D'),
            (self.times, 't'),
            (self.atimes, 'U'),
            (self.permissions, 'p'),
            (self.recursive, 'r'),
            (self.dirs && !self.recursive, 'd'),
            (self.cvs_exclude.is_some(), 'C'),
            (self.checksum, 'c'),
            (self.ignore_times, 'I'),
            (self.relative, 'R'),
            (self.sparse, 'S'),
            (self.copy_links, 'L'),
            (self.copy_dirlinks, 'k'),
            (self.one_file_system, 'x'),
        ];
        letter_word(&letters, offer)
    }
}

/// The paths of a pull as arguments: none is taken for an option, and none is empty.
pub fn source_paths(sources: &[Vec<u8>]) -> Vec<Vec<u8>> {
    sources.iter().map(|source| safe_path(source)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::offer::Protocol;
    use crate::wire::server_args::{Unquotable, sending_command_line};

    fn line(options: &PullOptions, offer: &Offer, sources: &[&str]) -> Result<String, Unquotable> {
        let sources: Vec<Vec<u8>> = sources.iter().map(|source| source.as_bytes().to_vec()).collect();
        let line = sending_command_line("rsync", &options.arguments(offer), &source_paths(&sources))?;
        Ok(String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_pull_as_stock_servers_know_it() {
        let options = PullOptions { recursive: true, times: true, links: true, ..PullOptions::default() };
        assert_eq!(
            line(&options, &Offer::default(), &["/volume1/my docs/", "-x", "", "~/a*[b]\\?;$(id)"]).as_deref(),
            Ok("rsync --server --sender -ltre.fCvu . /volume1/my\\ docs/ ./-x . ~/a*[b]\\?\\;\\$\\(id\\)")
        );
        let old = Offer { protocol: Protocol::new(29).unwrap(), ..Offer::default() };
        assert_eq!(line(&PullOptions::default(), &old, &["a"]).as_deref(), Ok("rsync --server --sender . a"));
        assert_eq!(line(&options, &old, &["a\nb"]), Err(Unquotable));
    }

    #[test]
    fn names_in_files_are_told_where_they_are() {
        let old = Offer { protocol: Protocol::new(29).unwrap(), ..Offer::default() };
        let options =
            PullOptions { relative: true, no_implied_dirs: true, names_follow: true, ..PullOptions::default() };
        assert_eq!(
            line(&options, &old, &["a"]).as_deref(),
            Ok("rsync --server --sender -R --files-from=- --from0 --no-implied-dirs . a")
        );
        let there =
            |zero_ended| PullOptions { names_there: Some(b"-a b".to_vec()), zero_ended, ..PullOptions::default() };
        assert_eq!(
            line(&there(true), &old, &["a"]).as_deref(),
            Ok("rsync --server --sender --files-from ./-a\\ b --from0 --no-relative . a")
        );
        assert!(!line(&there(false), &old, &["a"]).unwrap().contains("--from0"));
    }
}

//! The table of everything that can go wrong: a kind, its name, the party at fault, exit codes, a cause and a solution.

use std::fmt;

/// Who has to act when an error appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Party {
    /// The person who configured or called nas-sync.
    User,
    /// Something between here and the NAS.
    Network,
    /// The NAS: its SSH server, its rsync, its disks.
    Nas,
    /// The local disk or a document on it.
    Disk,
    /// The local database.
    Database,
    /// nas-sync itself.
    Us,
}

/// How a command that met this error ends, when nothing else decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Documents = 1,
    Usage = 2,
    Nas = 3,
    Database = 4,
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healing {
    /// It may go away by itself: worth trying again, with growing waits.
    Transient,
    /// The NAS takes nothing for now; everything stays pending until it does.
    Pausing,
    /// Somebody has to do something first.
    Permanent,
}

/// One line of the error table.
struct Row {
    name: &'static str,
    party: Party,
    exit: Exit,
    healing: Healing,
    rsync_exit: u8,
    cause: &'static str,
    solution: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $party:ident, $exit:ident, $healing:ident, $rsync:literal, $cause:literal, $solution:literal;)*) => {
        /// What went wrong, for programs to match. New kinds may be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// Every kind, for tests and documentation.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind,)*];

            const fn row(self) -> Row {
                match self {
                    $(ErrorKind::$kind => Row {
                        name: $name, party: Party::$party, exit: Exit::$exit, healing: Healing::$healing, rsync_exit: $rsync,
                        cause: $cause, solution: $solution,
                    },)*
                }
            }
        }
    };
}

kinds! {
    /// A command line, option or value that makes no sense.
    Usage = "usage", User, Usage, Permanent, 1,
        "The command or one of its values is not understood.",
        "See `nas-sync --help`, or `--help` of the command.";
    /// A request that may not be made of the API.
    NotAllowed = "not_allowed", User, Usage, Permanent, 1,
        "The request does not show the token of this API, or it comes from a web page of another origin.",
        "Send the token of NAS_API_TOKEN as `Authorization: Bearer TOKEN`; behind a proxy, name its host in NAS_API_HOSTS.";
    /// Something required is not configured.
    NotConfigured = "not_configured", User, Usage, Permanent, 1,
        "A required setting is missing or empty.",
        "Run `nas-sync setup`, which asks for what is needed; or set NAS_HOST, NAS_USER and NAS_PATH in the environment or in a .env file.";
    /// The private key cannot be used.
    KeyUnusable = "key_unusable", User, Usage, Permanent, 5,
        "The private key file is missing, not readable, open to others, of an unknown form, or its passphrase is wrong.",
        "Point NAS_KEY_FILE at an OpenSSH private key that only its owner can read (`chmod 600`), and set NAS_KEY_PASSPHRASE if it is encrypted.";
    /// The known_hosts file cannot be used; it is never treated as empty.
    KnownHostsUnusable = "known_hosts_unusable", User, Usage, Permanent, 5,
        "The known_hosts file cannot be read or holds a line that is not understood.",
        "Repair the line named above, or name another file with NAS_KNOWN_HOSTS.";
    /// The host name has no address.
    NameNotResolved = "name_not_resolved", Network, Nas, Transient, 10,
        "The name of the NAS has no address: it is misspelt, or this machine's resolver does not know it.",
        "Check NAS_HOST, or use the NAS's IP address.";
    /// Nothing listens on the port.
    ConnectionRefused = "connection_refused", Network, Nas, Transient, 10,
        "The NAS answered, but nothing listens on that port: SSH is switched off there, or uses another port.",
        "Switch the SSH service on in the NAS's settings, or set NAS_PORT to the port it uses.";
    /// No answer within the connect budget.
    ConnectionTimedOut = "connection_timed_out", Network, Nas, Transient, 35,
        "No answer in time: the NAS is off, asleep or busy, a firewall drops the packets, or what listens there is not an SSH server.",
        "Check that the NAS is on and reachable from this machine; a NAS that wakes slowly may need a larger NAS_CONNECT_TIMEOUT.";
    /// The network says there is no way there.
    Unreachable = "unreachable", Network, Nas, Transient, 10,
        "There is no network path to the NAS.",
        "Check the network, VPN or container network this machine uses to reach NAS_HOST.";
    /// An established connection broke.
    ConnectionLost = "connection_lost", Network, Nas, Transient, 12,
        "The connection broke while it was in use: the NAS restarted, the network dropped, or the remote program was killed.",
        "Run the same command again; what was acknowledged stays recorded and is not sent twice.";
    /// The SSH server takes no login for now.
    TurnedAway = "turned_away", Nas, Nas, Transient, 10,
        "The NAS takes no more logins for now: too many are under way (MaxStartups), or this machine has to wait after earlier ones failed.",
        "Wait a while and run the same command again; `watch` goes on by itself. If it stays, look at the SSH settings and the block list of the NAS.";
    /// What listens is not a usable SSH server.
    NotSsh = "not_ssh", Nas, Nas, Permanent, 5,
        "What answered on that port does not speak SSH as it should.",
        "Check that NAS_PORT is the SSH port of the NAS, not that of its web page or file service.";
    /// The host key is not known and may not be accepted silently.
    HostKeyUnknown = "host_key_unknown", User, Nas, Permanent, 5,
        "This NAS's host key is not in known_hosts, so its identity cannot be checked.",
        "Compare the fingerprint with the one the NAS shows; then run once with --accept-new-host-key, or pin it with NAS_HOST_KEY.";
    /// The host key differs from the recorded one.
    HostKeyChanged = "host_key_changed", User, Nas, Permanent, 5,
        "The NAS shows another host key than the recorded one: it was reinstalled or replaced, or somebody stands between.",
        "Find out why before anything else. If the change is genuine, remove the old line from known_hosts and accept the new key with `nas-sync test --accept-new-host-key`.";
    /// The host key is marked as revoked.
    HostKeyRevoked = "host_key_revoked", User, Nas, Permanent, 5,
        "The host key is marked @revoked in known_hosts.",
        "Do not use this key. Give the NAS a new host key and record that one.";
    /// The server did not accept the key.
    LoginRefused = "login_refused", Nas, Nas, Permanent, 5,
        "The NAS did not accept the key, or the password, of this user. Often the public key is not in ~/.ssh/authorized_keys there, or the home folder is writable by others.",
        "Run `nas-sync setup`, which lets a key in with the password, or put the public key into the user's authorized_keys on the NAS; and check NAS_USER. The folders ~ and ~/.ssh must not be writable by others.";
    /// A login works, but no key can be let in.
    KeyNotInstalled = "key_not_installed", Nas, Nas, Permanent, 5,
        "The NAS does not take a key for this user: there is no home folder to put it in, or others can write where it lies.",
        "Mend what is named above on the NAS, then run `nas-sync setup` again; where no key is taken, `nas-sync setup --keep-password` does without.";
    /// Client and server share no algorithm.
    NoCommonAlgorithm = "no_common_algorithm", Nas, Nas, Permanent, 5,
        "The SSH server offers no algorithm that is still considered safe; it is often old firmware.",
        "Update the NAS's firmware; if that is not possible, --legacy-ssh allows old algorithms for this NAS.";
    /// The server refuses to run commands.
    ExecRefused = "exec_refused", Nas, Nas, Permanent, 5,
        "The login worked, but the NAS does not let this user run commands (often an SFTP-only account or a restricted shell).",
        "Allow the user to run rsync over SSH in the NAS's settings, or use an account that may.";
    /// There is no rsync on the NAS.
    RsyncMissing = "rsync_missing", Nas, Nas, Permanent, 127,
        "The NAS has no program of that name on its PATH.",
        "Install or enable rsync on the NAS (on many models: switch on the rsync service), or name its path with NAS_RSYNC_PATH.";
    /// Vendor rsync refuses to serve although the login worked.
    ServiceDisabled = "service_disabled", Nas, Nas, Pausing, 5,
        "The login worked, but the NAS's own rsync refuses to serve. On Synology this often means that the rsync service, or the user's right to it, is switched off.",
        "On the NAS, switch on the rsync service and give the user the rsync application right; use the SSH port that the rsync service shows.";
    /// Something printed text before the rsync handshake.
    StrayOutput = "stray_output", Nas, Nas, Permanent, 2,
        "Something on the NAS printed text where rsync's handshake should be; often a start-up file of the login shell, or a menu.",
        "Make the shell's start-up files silent for non-interactive logins, or use an account without such a menu.";
    /// The server's rsync rejected an option.
    OptionRefused = "option_refused", Nas, Nas, Permanent, 4,
        "The rsync on the NAS does not know or allow one of the options.",
        "Update rsync on the NAS, or leave the option away.";
    /// The destination folder is not there.
    DestinationMissing = "destination_missing", Nas, Nas, Pausing, 3,
        "The destination folder does not exist on the NAS. Paths often differ between its web page, SFTP and the shell.",
        "Create the folder, or correct NAS_PATH. Usual roots are /volume1/SHARE, /share/SHARE and /mnt/POOL/SHARE.";
    /// The NAS user may not write there.
    PermissionDenied = "permission_denied", Nas, Nas, Transient, 23,
        "The NAS user is not allowed to write in the destination folder.",
        "Give the user write permission for that share and folder on the NAS.";
    /// No room, or the quota is used up.
    DiskFull = "disk_full", Nas, Nas, Pausing, 11,
        "The disk or the user's quota on the NAS is full.",
        "Make room on the NAS or raise the quota; the documents stay pending.";
    /// The destination is mounted read-only.
    ReadOnly = "read_only", Nas, Nas, Pausing, 23,
        "The file system on the NAS is read-only; after a disk error many systems switch to that by themselves.",
        "Look at the state of the volume on the NAS; the documents stay pending.";
    /// rsync on the NAS ended with an error that has no better name.
    RemoteFailed = "remote_failed", Nas, Nas, Transient, 12,
        "rsync on the NAS ended with an error.",
        "Read the text from the NAS above.";
    /// The peer broke the protocol.
    Protocol = "protocol", Nas, Nas, Transient, 12,
        "The other side sent something that the rsync protocol does not allow.",
        "Try again; if it stays, report it together with the rsync version of the NAS.";
    /// No progress within the limit.
    Stalled = "stalled", Network, Nas, Transient, 30,
        "The transfer made no progress for too long.",
        "Check the NAS's load and disks and the network; NAS_FILE_TIMEOUT sets the limit, --timeout that of a push.";
    /// The level of durability that was required cannot be had.
    DurabilityUnavailable = "durability_unavailable", Nas, Nas, Permanent, 4,
        "The level that NAS_DURABILITY asks for cannot be proved with this NAS.",
        "Require a lower level, or leave NAS_DURABILITY unset. After an update of the NAS run `nas-sync test`: it asks anew what the NAS can do.";
    /// The document's file does not exist.
    SourceMissing = "source_missing", Disk, Documents, Transient, 23,
        "The document's file is not there: it was moved or removed after it was registered.",
        "Restore the file, or take the document out: by `nas-sync remove`, or from its table where another program put it.";
    /// The document's file cannot be read.
    SourceUnreadable = "source_unreadable", Disk, Documents, Transient, 23,
        "The document's file cannot be read.",
        "Give this user permission to read the file, and check the disk.";
    /// The document's path leads to something that is not a regular file.
    SourceNotRegular = "source_not_regular", User, Documents, Permanent, 23,
        "The path is not a regular file (a folder, a symlink, a device or a pipe).",
        "Register the file itself; of a folder its files (`FOLDER/*`), or let `watch --scan` find them.";
    /// The document's path leaves the upload folder.
    SourceOutside = "source_outside", User, Documents, Permanent, 23,
        "The path leads outside UPLOAD_DIR, directly or through a symlink.",
        "Correct its path in the table, or UPLOAD_DIR; or move the file below UPLOAD_DIR and register it anew (`nas-sync remove`, then `nas-sync add`).";
    /// The folder of the documents is not what it should be.
    UploadsUnavailable = "uploads_unavailable", Disk, Documents, Transient, 23,
        "UPLOAD_DIR holds nothing or cannot be read, so that no document's file is there: most often a disk, share or volume that is not mounted.",
        "Mount it, or correct UPLOAD_DIR; the documents stay pending. If their files were deleted on purpose, remove their rows.";
    /// This process or machine has run out of something that opening any file needs.
    ResourceShortage = "resource_shortage", Us, Documents, Transient, 11,
        "This process may not open more files or start more threads, or this machine has no more file handles or memory; no document is to blame.",
        "Raise the limit on open files (`ulimit -n`, LimitNOFILE= of systemd, --ulimit nofile= of Docker) or on processes (`ulimit -u`, --pids-limit), or free memory; the documents stay pending.";
    /// The file changed while it was being sent.
    SourceChanged = "source_changed", Disk, Documents, Transient, 23,
        "The file was being written while it was read, so the copy proves nothing.",
        "It goes again after a wait; let it go when nobody writes to it any more.";
    /// Two documents would land on one name.
    NameClash = "name_clash", User, Documents, Permanent, 23,
        "Another document, or a file that was not sent from this database, has this name on the NAS; one would overwrite the other.",
        "Choose a layout that keeps them apart, for example NAS_LAYOUT='{id}_{name}', then run `nas-sync retry`.";
    /// The name cannot be used on the NAS.
    NameUnsendable = "name_unsendable", User, Documents, Permanent, 23,
        "The name cannot be stored on the NAS: it is empty, too long, or holds a character that no file name may have.",
        "Rename the file, or choose a layout that shortens the name.";
    /// The NAS did not acknowledge the document.
    NotAcknowledged = "not_acknowledged", Nas, Documents, Transient, 23,
        "The NAS did not confirm that this document is stored.",
        "Run sync again; if it stays, read the text from the NAS above.";
    /// Another worker took the document over.
    LeaseLost = "lease_lost", Us, Documents, Transient, 20,
        "This worker had stood still for so long that another one took its documents over.",
        "Nothing to do: the other worker sends them, or they go again.";
    /// There is no such document.
    DocumentNotFound = "document_not_found", User, Documents, Permanent, 1,
        "The database has no document with this id.",
        "Check the id with your database.";
    /// The database stayed locked.
    DatabaseLocked = "database_locked", Database, Database, Transient, 11,
        "Another process holds the database's write lock for longer than nas-sync waits.",
        "Find the process with the long transaction, then run the command again; nothing was lost.";
    /// The database cannot be used.
    DatabaseUnusable = "database_unusable", Database, Database, Transient, 11,
        "The database cannot be opened, is damaged, or its documents table lacks a column or a right that is needed.",
        "Check NAS_DB and its permissions; a table that lacks a column must be changed by its owner.";
    /// A local file or folder cannot be used.
    LocalFile = "local_file", Disk, Documents, Transient, 11,
        "A local file or folder cannot be used.",
        "Check the path, its permissions and the free space.";
    /// More than one file would have to go where a file is, or one file into a folder that is not there.
    DestinationNotFolder = "destination_not_folder", User, Documents, Permanent, 3,
        "The destination on this machine is a file where a folder is needed, or the folder that it should lie in is missing.",
        "Name a folder that is there as the destination.";
    /// What is on this machine is not what would replace it.
    NewerHere = "newer_here", User, Documents, Permanent, 23,
        "Something on this machine differs from the copy that was to take its place: it was changed since, or never sent.",
        "Keep it; or let it be replaced with --overwrite, or fetch the copy into another folder with --to DIR.";
    /// A file did not come.
    NotReceived = "not_received", Nas, Documents, Transient, 23,
        "The NAS did not send the file, or what it sent does not match its checksum: the file cannot be read there, it is gone, or it changed meanwhile.",
        "Look at what rsync on the NAS said, and run the same command again.";
    /// A signal ended the run.
    Interrupted = "interrupted", User, Documents, Transient, 20,
        "The run was interrupted.",
        "Run the command again; what was acknowledged is recorded.";
    /// A bug.
    Internal = "internal", Us, Nas, Permanent, 14,
        "nas-sync met a state that should not exist.",
        "Please report this with the message above.";
}

impl ErrorKind {
    /// The stable name used in JSON and in the database, such as `host_key_changed`.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Who has to act.
    pub const fn party(self) -> Party {
        self.row().party
    }

    /// The exit status of `config`, `test`, `add`, `sync` and `status` for this error: 1 to 4.
    pub const fn exit_code(self) -> u8 {
        self.row().exit as u8
    }

    /// The exit status of `push` and `pull`: rsync's own codes.
    pub const fn rsync_exit_code(self) -> u8 {
        self.row().rsync_exit
    }

    /// Whether trying again may help.
    pub const fn healing(self) -> Healing {
        self.row().healing
    }

    /// The kind of this stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// What this error usually means.
    pub const fn cause(self) -> &'static str {
        self.row().cause
    }

    /// What to do about it.
    pub const fn solution(self) -> &'static str {
        self.row().solution
    }

    /// Whether the trouble concerns this machine or process rather than one document: none of them is charged with it.
    #[cfg(feature = "service")]
    pub(crate) const fn concerns_this_machine(self) -> bool {
        matches!(self, Self::UploadsUnavailable | Self::ResourceShortage)
    }

    /// Whether the trouble concerns the NAS or the way there rather than one document: the batch ends with it.
    pub const fn concerns_nas(self) -> bool {
        matches!(self.row().exit, Exit::Nas)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_row_is_filled() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            assert!(kind.cause().ends_with('.') && kind.solution().ends_with('.'), "{kind}");
        }
    }

    const BEGIN: &str = "<!-- kinds of error: a test of src/error/table.rs says what belongs here -->\n";
    const END: &str = "<!-- end of the kinds -->\n";

    #[test]
    fn the_page_lists_every_kind() {
        let page = include_str!("../../docs/errors.md");
        let listed = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(listed, _)| listed);
        let row = |kind: &ErrorKind| {
            let (exit, rsync) = (kind.exit_code(), kind.rsync_exit_code());
            format!("| `{kind}` | {exit} | {rsync} | {} | {} |\n", kind.cause(), kind.solution())
        };
        let rows: String = ErrorKind::ALL.iter().map(row).collect();
        let expected =
            format!("\n| kind | ends with | `push` | cause | what to do |\n| --- | --- | --- | --- | --- |\n{rows}\n");
        assert!(
            listed == Some(expected.as_str()),
            "docs/errors.md must hold this, from the first marker to the last:\n{BEGIN}{expected}{END}"
        );
    }
}

//! What to use instead of options that are refused.

pub const DAEMON: &str = "Leave it out: only SSH is spoken, never with an rsync daemon.";
pub const DELETION: &str = "Leave it out, and delete on the NAS itself what is no longer wanted.";
pub const SELECTION: &str = "Leave it out, and name as sources only what is to be sent.";
pub const OWN_FOLDERS: &str = "Leave it out, and name no source below a folder that others can write to.";
pub const ONE_TIME: &str = "Leave it out: times of creation are not sent.";
pub const AFTERWARDS: &str = "Leave it out, and set it on the NAS afterwards.";
pub const DIRS: &str = "Use --dirs.";
pub const DEVICES: &str = "Leave it out, and copy between device and file with dd.";
pub const NO_SPECIALS: &str = "Leave it out, with --no-D behind -a.";
pub const BLOCKS: &str = "Leave it out: the NAS chooses it by the size of each file.";
pub const SEED: &str = "Leave it out: the NAS draws one for each session.";
pub const THREADS: &str = "Leave it out: one thread compresses.";
pub const COMPRESSED: &str = "Leave it out, and push such files without --compress.";
pub const MEMORY: &str = "Leave it out: memory is bounded in any case.";
pub const SEPARATELY: &str = "Leave it out, and push to each NAS by itself.";
pub const DEADLINE: &str = "Leave it out, and end it with timeout(1): timeout 10m rsync ….";
pub const STREAMS: &str = "Leave it out: results go to stdout line by line, messages to stderr.";
pub const STREAMS_TEXT: &str =
    "Leave it out: letters of all languages are shown, and only what no terminal should get is escaped.";
pub const LOG: &str = "Leave it out, and send the output to a file: rsync … > FILE 2>&1.";
pub const LOG_LEVEL: &str = "Use -vv or -vvv.";
pub const FORMAT: &str = "Use -i for people or --json for programs.";
pub const CHECKED: &str = "Leave it out: the list of a pull is always checked.";
pub const PULL: &str = "Leave it out: a pull does without it so far.";
pub const ADDRESS: &str = "Leave it out, and name the NAS by such an address.";
pub const LOGIN_AS: &str = "Leave it out, and log in as that user: USER@HOST:DEST.";
pub const RAW_NAMES: &str = "Leave it out: names are sent as they are, byte for byte.";
pub const ONE_PATH: &str = "Leave it out, and name one path; it is quoted for the NAS.";
pub const OTHER_SIDE: &str = "Leave it out: what the other side needs to know is told to it.";
pub const MOUNT: &str = "Leave it out, or mount the file system with noatime.";
pub const SERVER: &str = "Leave it out: it is for the rsync that is started on the other side.";

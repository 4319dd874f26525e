//! The options of a command line as they were typed, before they are looked at together: the later one counts.
//!
//! Guarantees: each option is checked by itself, and what it accepts is said when it is refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::ValueEnum;

use super::numbers::Numbers;
use super::progress_lines::About;
use super::request::{PROTOCOL, Progress, SYNTAX, Show};
use crate::cli::progress;
use crate::config::Flags;
use crate::delta::strong::StrongAlgorithm;
use crate::filter::Verdict;
use crate::wire::offer::{ChecksumChoice, CompressionChoice, Protocol};
use crate::wire::receiver_args::{AlternateUse, DeleteTime, Writing};
use crate::wire::server_args::PushOptions;
use crate::wire::token::TokenCoding;

/// What all options up to a word of the command line have set.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
pub struct TypedOptions {
    /// What the server is asked to do.
    pub push: PushOptions,
    /// Options that are settings too.
    pub flags: Flags,
    /// What to show.
    pub show: Show,
    /// `--protocol`.
    pub protocol: Option<Protocol>,
    /// `--inc-recursive`, or that it is not to be.
    pub incremental: Option<bool>,
    /// `-z`.
    pub compress: bool,
    /// `--compress-choice`: `auto`, or a name that is known.
    pub compress_choice: Option<String>,
    /// `--compress-level`.
    pub compress_level: Option<i32>,
    /// `--checksum-choice`.
    pub checksum_choice: Option<ChecksumChoice>,
    /// `-e`.
    pub remote_shell: Option<OsString>,
    /// `--partial`.
    pub partial: bool,
    /// `--partial-dir`.
    pub partial_dir: Option<OsString>,
    /// `--temp-dir`.
    pub temp_dir: Option<OsString>,
    /// `--backup-dir`.
    pub backup_dir: Option<OsString>,
    /// `--suffix`.
    pub suffix: Option<OsString>,
    /// `--usermap`.
    pub user_map: Option<OsString>,
    /// `--groupmap`.
    pub group_map: Option<OsString>,
    /// `--chown`, in its two parts.
    pub chown: Option<(Vec<u8>, Vec<u8>)>,
    /// When to delete, each time that it was said.
    pub deletions: Vec<Option<DeleteTime>>,
    /// `--delete-excluded`.
    pub delete_excluded: bool,
    /// `--link-dest` and its kin.
    pub alternates: Vec<(AlternateUse, Vec<u8>)>,
    /// Filter rules.
    pub rules: Vec<RuleWord>,
    /// How often `-F` was said.
    pub folder_rules: u8,
    /// `--cvs-exclude`.
    pub cvs_exclude: bool,
    /// `--files-from`.
    pub files_from: Option<OsString>,
    /// `--relative`, or the opposite; where nothing is said, `--files-from` means it.
    pub relative: Option<bool>,
    /// `--recursive`, said by itself: `--archive` does not mean it beside `--files-from`.
    pub recursive: bool,
    /// `--from0`.
    pub zero_ended: bool,
    /// `--help`.
    pub help: bool,
    /// `--version`.
    pub version: bool,
}

/// An option that adds filter rules.
#[derive(Debug)]
pub enum RuleWord {
    /// `--filter`.
    Filter(Vec<u8>),
    /// `--exclude` and `--include`.
    Pattern(Verdict, Vec<u8>),
    /// `--exclude-from` and `--include-from`.
    File(Verdict, OsString),
    /// `--from0`, which is about the files that are named behind it.
    ZeroEnded(bool),
}

/// A value that an option does not take.
#[derive(Debug)]
pub struct NotAccepted {
    /// rsync's exit status.
    pub exit: u8,
    /// What would have been accepted.
    pub accepted: String,
}

impl NotAccepted {
    fn but(accepted: impl Into<String>) -> Self {
        Self { exit: SYNTAX, accepted: accepted.into() }
    }
}

impl TypedOptions {
    /// `-a`: what it stands for, so that `--no-owner` behind it takes away a part.
    pub fn archive(&mut self) {
        let push = &mut self.push;
        (push.recursive, push.links, push.permissions) = (true, true, true);
        (push.times, push.owner, push.group) = (true, true, true);
        (push.devices, push.specials) = (true, true);
    }

    /// `-r`.
    pub fn recursive(&mut self, on: bool) {
        (self.push.recursive, self.recursive) = (on, on);
    }

    /// `--from0`.
    pub fn zero_ended(&mut self, on: bool) {
        self.zero_ended = on;
        self.rules.push(RuleWord::ZeroEnded(on));
    }

    /// `--inplace` and `--append`, or none of them.
    pub fn writing(&mut self, writing: Writing, on: bool) {
        self.push.receiver.writing = if on { writing } else { Writing::Aside };
    }

    /// `--delete` and its kin.
    pub fn delete(&mut self, when: Option<DeleteTime>) {
        self.deletions.push(when);
    }

    /// `--max-delete`; below 0 it says none either, as rsync has it.
    pub fn max_delete(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let most: i32 = text(value).parse().map_err(|_| NotAccepted::but("a whole number"))?;
        self.push.receiver.max_delete = Some(u32::try_from(most).unwrap_or(0));
        Ok(())
    }

    /// `--modify-window`.
    pub fn modify_window(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let window = text(value).parse().map_err(|_| NotAccepted::but("a whole number of seconds"))?;
        self.push.receiver.modify_window = Some(window);
        Ok(())
    }

    /// `--min-size` and `--max-size`.
    pub fn size(place: &mut Option<u64>, value: &OsStr) -> Result<(), NotAccepted> {
        let size = crate::rate::size(text(value)).ok_or_else(|| NotAccepted::but("a size such as 700, 1.5M or 2GB"))?;
        *place = Some(size);
        Ok(())
    }

    /// `--chown`.
    #[expect(clippy::unnecessary_wraps, reason = "it has the shape of all that set a value")]
    pub fn chown(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let mut parts = value.as_bytes().splitn(2, |&byte| byte == b':');
        let mut next = || parts.next().unwrap_or_default().to_vec();
        self.chown = Some((next(), next()));
        Ok(())
    }

    /// `--link-dest` and its kin.
    #[expect(clippy::unnecessary_wraps, reason = "it has the shape of all that set a value")]
    pub fn alternate(&mut self, way: AlternateUse, value: &OsStr) -> Result<(), NotAccepted> {
        self.alternates.push((way, value.as_bytes().to_vec()));
        Ok(())
    }

    /// An option that adds rules. What they say is looked at later, with all options.
    #[expect(clippy::unnecessary_wraps, reason = "it has the shape of all that set a value")]
    pub fn rule(&mut self, rule: RuleWord) -> Result<(), NotAccepted> {
        self.rules.push(rule);
        Ok(())
    }

    /// `-F`: files of rules in the folders; said twice it leaves them out.
    pub fn rules_of_folders(&mut self) {
        self.folder_rules = self.folder_rules.saturating_add(1);
        match self.folder_rules {
            1 => self.rules.push(RuleWord::Filter(b": /.rsync-filter".to_vec())),
            2 => self.rules.push(RuleWord::Filter(b"- .rsync-filter".to_vec())),
            _ => {}
        }
    }

    /// `-v`, which counts, and `--no-v`.
    pub fn verbose(&mut self, on: bool) {
        self.show.verbose = if on { self.show.verbose.saturating_add(1) } else { 0 };
    }

    /// `-h`, which has two steps, and `--no-h`.
    pub fn human_readable(&mut self, on: bool) {
        self.show.numbers = match self.show.numbers {
            _ if !on => Numbers::Plain,
            Numbers::Plain | Numbers::Separated => Numbers::Decimal,
            Numbers::Decimal | Numbers::Binary => Numbers::Binary,
        }
    }

    /// `--progress`, and `--no-progress`.
    pub fn progress(&mut self, on: bool) {
        self.show.progress = if on { Progress::Lines(About::Each) } else { Progress::No };
    }

    /// `--progress=HOW`, which rsync does not have.
    pub fn progress_as(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let how = progress::Show::from_str(text(value), false).map_err(|_| {
            let names = progress::Show::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let names: Vec<_> = names.map(|how| how.get_name().to_owned()).collect();
            NotAccepted::but(format!("without a value, or one of {}", names.join(", ")))
        })?;
        self.show.progress = Progress::Own(how);
        Ok(())
    }

    /// `-z`, and `--no-z`, which also takes back a method and a level.
    pub fn compress(&mut self, on: bool) {
        self.compress = on;
        if !on {
            (self.compress_choice, self.compress_level) = (None, None);
        }
    }

    /// `--timeout`; 0 is none.
    pub fn timeout(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let seconds = text(value).parse().ok().filter(|&seconds| seconds <= i32::MAX.unsigned_abs());
        let seconds = seconds.ok_or_else(|| NotAccepted::but("a whole number of seconds"))?;
        self.push.timeout = (seconds > 0).then_some(seconds);
        Ok(())
    }

    /// `--protocol`.
    pub fn protocol(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let protocol = text(value).parse().ok().and_then(Protocol::new);
        let refusal = || NotAccepted { exit: PROTOCOL, ..NotAccepted::but("from 27 to 32") };
        self.protocol = Some(protocol.ok_or_else(refusal)?);
        Ok(())
    }

    /// `--compress-choice`.
    pub fn compress_choice(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let method = text(value);
        if method != "auto" && !TokenCoding::NAMES.contains(&method) {
            return Err(NotAccepted::but(format!("auto or one of {}", TokenCoding::NAMES.join(", "))));
        }
        self.compress_choice = Some(method.to_owned());
        Ok(())
    }

    /// `--compress-level`.
    pub fn compress_level(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        self.compress_level = Some(text(value).parse().map_err(|_| NotAccepted::but("a whole number"))?);
        Ok(())
    }

    /// `--checksum-choice`: `auto`, one name for both uses, or two.
    pub fn checksum_choice(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        let choice = text(value);
        let (transfer, list) = choice.split_once(',').unwrap_or((choice, choice));
        self.checksum_choice = Some(match (StrongAlgorithm::from_name(transfer), StrongAlgorithm::from_name(list)) {
            _ if choice == "auto" => ChecksumChoice::Negotiate,
            (Some(transfer), Some(list)) => ChecksumChoice::Fixed { transfer, list },
            _ => {
                let all = StrongAlgorithm::ALL.map(StrongAlgorithm::name).join(", ");
                return Err(NotAccepted::but(format!("auto, or one or two of {all}, parted by a comma")));
            }
        });
        Ok(())
    }

    /// `--info`: flags with an optional digit, of which 0 is off.
    pub fn info(&mut self, value: &OsStr) -> Result<(), NotAccepted> {
        for item in text(value).split(',') {
            let flag = item.to_ascii_lowercase();
            let name = flag.trim_end_matches(|c: char| c.is_ascii_digit());
            match name {
                "progress" => {
                    self.show.progress = match &flag[name.len()..] {
                        "0" => Progress::No,
                        "" | "1" => Progress::Lines(About::Each),
                        _ => Progress::Lines(About::All),
                    }
                }
                "stats" => self.show.stats = !item.ends_with('0'),
                _ => return Err(NotAccepted::but("progress or stats; other flags are not supported yet")),
            }
        }
        Ok(())
    }

    /// What all options about compression say together: a method or a level other than 0 asks for it too.
    pub fn compression(&self) -> CompressionChoice {
        let level = self.compress_level;
        let method = self.compress_choice.as_deref().filter(|method| *method != "auto");
        match method.map(|method| TokenCoding::from_name(method, level)) {
            Some(None | Some(TokenCoding::Plain)) => CompressionChoice::Off,
            Some(Some(coding)) => CompressionChoice::Fixed(coding),
            None if self.compress || self.compress_choice.is_some() || level.is_some_and(|level| level != 0) => {
                CompressionChoice::Negotiate { level }
            }
            None => CompressionChoice::Off,
        }
    }
}

/// A value as text. What is not UTF-8 is nothing that an option of words or numbers accepts.
fn text(value: &OsStr) -> &str {
    value.to_str().unwrap_or_default()
}

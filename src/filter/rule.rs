//! One rule.

use super::pattern::{Name, Pattern};

/// A rule of a list, in which the first that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// About names.
    Names(NameRule),
    /// About files in the folders themselves that hold more rules.
    Folders(FolderRules),
}

/// What becomes of a name that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It takes part.
    Include,
    /// It does not, nor does what is in it.
    Exclude,
}

/// Which side a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is sent, and what may be deleted over there.
    Both,
    /// What is sent: `hide` and `show`.
    Sender,
    /// What may be deleted over there: `protect` and `risk`.
    Receiver,
}

/// A rule about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRule {
    pub verdict: Verdict,
    pub side: Side,
    /// As it was written, for the other side.
    pub written: Vec<u8>,
    pub pattern: Pattern,
    /// Modifier `!`: it is about names that do not match.
    pub negated: bool,
    /// Modifier `/`: the pattern is one for absolute paths.
    pub from_system: bool,
    /// Modifier `p`: it does not keep a folder that is being deleted.
    pub perishable: bool,
}

/// A rule about files of rules, one in each folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderRules {
    /// The name of the file.
    pub file: Vec<u8>,
    /// The absolute path that stands before it, without its first slash: that folder and those on the way from it to the
    /// transfer are looked at, too.
    pub from_above: Option<Vec<u8>>,
    /// How the file is read.
    pub reading: Reading,
    /// Modifier `n`: its rules are for its folder alone.
    pub not_inherited: bool,
    /// Modifier `C`: it is read as CVS reads its own.
    pub like_cvs: bool,
}

/// How the rules of a file are written, and what they all have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are rsync's own letters")]
pub struct Reading {
    /// Modifiers `-` and `+`: the file has nothing but patterns, which all mean this.
    pub only: Option<Verdict>,
    /// Modifier `w`: they are parted by any space, not by line ends.
    pub words: bool,
    /// `--from0`: they are parted by zero bytes, not by line ends.
    pub zero_ended: bool,
    pub side: Side,
    pub perishable: bool,
    pub negated: bool,
    pub from_system: bool,
}

impl Reading {
    /// Whole rules, one a line.
    pub const RULES: Self = Self {
        only: None,
        words: false,
        zero_ended: false,
        side: Side::Both,
        perishable: false,
        negated: false,
        from_system: false,
    };
}

impl NameRule {
    pub fn matches(&self, name: Name<'_>) -> bool {
        self.pattern.matches(name, self.negated)
    }

    /// What stands before the pattern in the form that travels, `protocol-notes/16-filters.md#on-the-wire`.
    pub fn prefix(&self) -> String {
        let mut prefix = String::from(match self.verdict {
            Verdict::Include => "+",
            Verdict::Exclude => "-",
        });
        push_flags(&mut prefix, &[(self.from_system, '/'), (self.negated, '!')]);
        push_flags(&mut prefix, &side_flags(self.side));
        push_flags(&mut prefix, &[(self.perishable, 'p')]);
        prefix
    }
}

impl FolderRules {
    /// The same for a rule about files of rules.
    pub fn prefix(&self) -> String {
        let reading = &self.reading;
        let mut prefix = String::from(":");
        push_flags(&mut prefix, &[(reading.from_system, '/'), (reading.negated, '!'), (self.like_cvs, 'C')]);
        if !self.like_cvs {
            let only = |verdict| reading.only == Some(verdict);
            push_flags(
                &mut prefix,
                &[
                    (self.not_inherited, 'n'),
                    (reading.words, 'w'),
                    (only(Verdict::Include), '+'),
                    (only(Verdict::Exclude), '-'),
                ],
            );
        }
        push_flags(&mut prefix, &side_flags(reading.side));
        push_flags(&mut prefix, &[(reading.perishable, 'p')]);
        prefix
    }

    /// The name of the file as the rule has it.
    pub fn written(&self) -> Vec<u8> {
        match self.from_above.as_deref() {
            None => self.file.clone(),
            Some([]) => [b"/", &*self.file].concat(),
            Some(folder) => [b"/", folder, b"/", &self.file].concat(),
        }
    }
}

fn side_flags(side: Side) -> [(bool, char); 2] {
    [(side == Side::Sender, 's'), (side == Side::Receiver, 'r')]
}

fn push_flags(prefix: &mut String, flags: &[(bool, char)]) {
    prefix.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag));
}

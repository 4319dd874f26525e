//! What OpenSSH's configuration files say about a host: `~/.ssh/config` and `/etc/ssh/ssh_config`.
//!
//! Guarantees: lines apply and the first of several counts as with ssh, whose own answers (`ssh -G`) are the oracle of the
//! tests. What changes where or how we connect is done, or is an error that names file and line; what only concerns terminals,
//! forwarding or agents has no effect here. Nothing in a file makes a check of host keys weaker than trust on first use, or
//! lets old algorithms in. No program is started. A file that others could have written is refused, as ssh refuses it.

mod criteria;
mod directives;
mod options;
mod reader;
mod tokens;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use options::loops;
pub use options::{HostOptions, IdentityAgent, Jump};

use crate::error::Result;
use reader::Reader;

/// Which files of OpenSSH's configuration are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshConfigFile {
    /// None.
    #[default]
    None,
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`, as far as they are there.
    Usual,
    /// This one alone, which has to be there.
    At(PathBuf),
}

/// What the files are asked.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The host as a person names it.
    pub host: &'a str,
    /// The user, where that does not depend on the files.
    pub user: Option<&'a str>,
    /// The port, where that does not depend on the files.
    pub port: Option<u16>,
    /// Lines that come before those of all files, as `-o` takes them.
    pub given: &'a [String],
    /// The home folder of whoever runs this.
    pub home: Option<&'a Path>,
    /// The name of whoever runs this.
    pub local_user: Option<&'a str>,
}

/// What the files say about a host. Fails with `Usage`.
pub fn look_up(file: &SshConfigFile, query: &Query<'_>) -> Result<HostOptions> {
    let mut reader = Reader::new(query)?;
    reader.read(file)?;
    HostOptions::of(&reader.said, query, reader.warnings)
}

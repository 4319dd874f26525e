//! Lists of algorithms as ssh_config has them, which change our own.

use super::known_hosts::glob_matches;

/// A list of names and patterns, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlgorithmList {
    change: Change,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// These in place of ours.
    Replace,
    /// `+`: these behind ours.
    Append,
    /// `-`: ours without these.
    Remove,
    /// `^`: these before ours.
    Prepend,
}

/// The lists that a person gave; what is not there is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// `Ciphers`.
    pub ciphers: Option<AlgorithmList>,
    /// `KexAlgorithms`.
    pub kex: Option<AlgorithmList>,
    /// `MACs`.
    pub macs: Option<AlgorithmList>,
    /// `HostKeyAlgorithms`.
    pub host_keys: Option<AlgorithmList>,
}

impl AlgorithmList {
    /// Reads a list with commas.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let changes = [('+', Change::Append), ('-', Change::Remove), ('^', Change::Prepend)];
        let found = changes.into_iter().find_map(|(sign, change)| Some((change, text.strip_prefix(sign)?)));
        let (change, names) = found.unwrap_or((Change::Replace, text));
        Self { change, names: names.split(',').map(|name| name.trim().to_owned()).collect() }
    }

    /// Our list after the change. What is put in is `allowed`; other names have no effect.
    pub(super) fn apply<T: Clone + PartialEq>(&self, ours: &[T], allowed: &[T], name: impl Fn(&T) -> String) -> Vec<T> {
        let named = |pattern: &String| {
            allowed
                .iter()
                .filter(|one| glob_matches(pattern.as_bytes(), name(one).as_bytes()))
                .cloned()
                .collect::<Vec<_>>()
        };
        let ours = ours.iter().cloned();
        let theirs: Vec<T> = self.names.iter().flat_map(named).collect();
        let all: Vec<T> = match self.change {
            Change::Replace => theirs,
            Change::Append => ours.chain(theirs).collect(),
            Change::Prepend => theirs.into_iter().chain(ours).collect(),
            Change::Remove => ours.filter(|one| !theirs.contains(one)).collect(),
        };
        let mut once = Vec::with_capacity(all.len());
        for one in all {
            if !once.contains(&one) {
                once.push(one);
            }
        }
        once
    }
}

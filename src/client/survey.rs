//! A look around on the NAS that changes nothing: what kind it is, its clock, and what the folder lies on.
//!
//! Guarantees: a NAS that runs no commands but rsync's answers nothing, and nothing depends on the answers.

use chrono::{DateTime, Utc};
use unicode_normalization::UnicodeNormalization as _;

use super::login::Client;
use super::nas::{quoted, run_script, word};
use super::vendor::{VENDORS, Vendor};

const SURVEY: &str = include_str!("survey.sh");
/// What begins each line of the script.
const MARK: &str = "nas-sync-survey ";
/// How many names are spelt anew to see whether the other spelling is the same file.
const SPELT_ANEW: usize = 5;

/// What was seen. What the NAS does not say is `None`.
#[derive(Debug, Default)]
pub struct Survey {
    /// Which kind of NAS it is.
    pub vendor: Option<&'static Vendor>,
    /// How far its clock is ahead of ours, in seconds.
    pub clock_ahead: Option<i64>,
    /// The most bytes of a name.
    pub longest_name: Option<u32>,
    /// The file system's type; foreign text.
    pub kind: Option<String>,
    /// Whether the times of the folder have a part below the second.
    pub has_fine_times: Option<bool>,
    /// Names of what lies there, some of them; foreign text.
    pub names: Vec<String>,
}

/// Looks around. `Err`: why the NAS does not say; safe to print.
pub async fn survey(client: &Client, folder: &str) -> Result<Survey, String> {
    let folder = word(folder).map_err(|error| error.message().to_owned())?;
    let sent = Utc::now();
    let lines = run(client, &String::from_utf8_lossy(&folder)).await?;
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(str::trim).filter(|value| !value.is_empty())
    };
    Ok(Survey {
        vendor: vendor_of(&lines),
        clock_ahead: value("clock").and_then(|text| text.parse().ok()).map(|clock| ahead(clock, sent, Utc::now())),
        longest_name: value("longest").and_then(|text| text.parse().ok()),
        kind: value("kind").map(ToOwned::to_owned),
        has_fine_times: value("changed").and_then(is_fine),
        names: lines.iter().filter_map(|line| line.strip_prefix("name ")).map(ToOwned::to_owned).collect(),
    })
}

/// What kind of NAS it is, where that shows.
pub async fn vendor(client: &Client) -> Option<&'static Vendor> {
    vendor_of(&run(client, "/").await.ok()?)
}

fn vendor_of(lines: &[String]) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| lines.iter().any(|line| line.strip_prefix("vendor ") == Some(vendor.name)))
}

async fn run(client: &Client, folder: &str) -> Result<Vec<String>, String> {
    let vendors = VENDORS.map(|vendor| format!("if {}; then say vendor {}; fi", vendor.mark, quoted(vendor.name)));
    let script = SURVEY.replace("@vendors@", &vendors.join("\n")).replace("@folder@", folder);
    let said = run_script(client, script).await.map_err(|error| error.message().to_owned())?;
    let lines: Vec<String> =
        said.lines.iter().filter_map(|line| line.strip_prefix(MARK)).map(ToOwned::to_owned).collect();
    if lines.first().is_some_and(|line| line == "ready") { Ok(lines) } else { Err(said.refusal) }
}

/// By how much a clock that said this at some time between two of ours is certainly ahead, or behind.
fn ahead(clock: i64, sent: DateTime<Utc>, heard: DateTime<Utc>) -> i64 {
    let (earliest, latest) = (sent.timestamp(), heard.timestamp());
    clock - clock.clamp(earliest, latest)
}

/// Whether a time such as `2024-01-15 14:30:00.123456789 +0000` has a part below the second. `None`: it does not say.
fn is_fine(time: &str) -> Option<bool> {
    let (_, fraction) = time.split_once('.')?;
    let digits = fraction.split(' ').next()?;
    Some(digits.bytes().any(|digit| digit != b'0'))
}

impl Survey {
    /// Whether the folder takes names in another case for the same; `None`: nothing lies there by which it could be seen.
    pub async fn folds_case(&self, client: &Client, folder: &str) -> Option<bool> {
        let swap = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        self.folds(client, folder, |name| name.chars().map(swap).collect()).await
    }

    /// The same for the two ways to write letters with accents.
    pub async fn folds_composition(&self, client: &Client, folder: &str) -> Option<bool> {
        let other = |name: &str| {
            let composed: String = name.nfc().collect();
            if composed == name { name.nfd().collect() } else { composed }
        };
        self.folds(client, folder, other).await
    }

    async fn folds(&self, client: &Client, folder: &str, other_way: impl Fn(&str) -> String) -> Option<bool> {
        let respelt = self.names.iter().map(|name| (name, other_way(name))).filter(|(name, spelt)| *name != spelt);
        let looks: Vec<String> = respelt
            .take(SPELT_ANEW)
            .map(|(name, spelt)| {
                let (name, spelt) = (quoted(&format!("./{name}")), quoted(&format!("./{spelt}")));
                format!("[ -e {name} ] && if [ {name} -ef {spelt} ]; then echo '{MARK}one'; else echo '{MARK}two'; fi")
            })
            .collect();
        if looks.is_empty() {
            return None;
        }
        let folder = word(folder).ok()?;
        let script = format!("cd {} || exit\n{}\n", String::from_utf8_lossy(&folder), looks.join("\n"));
        let said = run_script(client, script).await.ok()?;
        let mut answers = said.lines.iter().filter_map(|line| line.strip_prefix(MARK));
        answers.next().map(|answer| answer == "one")
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[test]
    fn a_clock_is_only_called_wrong_by_what_no_wait_explains() {
        let at = |seconds| Utc.timestamp_opt(seconds, 999).single().unwrap();
        for (clock, expected) in [(100, 0), (105, 0), (110, 0), (99, -1), (170, 60)] {
            assert_eq!(ahead(clock, at(100), at(110)), expected, "{clock}");
        }
    }

    #[test]
    fn times_with_and_without_fractions() {
        assert_eq!(is_fine("2024-01-15 14:30:00.120000000 +0000"), Some(true));
        assert_eq!(is_fine("2024-01-15 14:30:00.000000000 +0000"), Some(false));
        assert_eq!(is_fine("2024-01-15 14:30:00 +0000"), None);
    }
}

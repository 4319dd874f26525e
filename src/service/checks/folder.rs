//! What the folder on the NAS lies on: its room, and what it does to names and times.

use super::{Diagnosis, Finding};
use crate::client::Client;
use crate::client::nas::{Space, free_space};
use crate::client::survey::Survey;
use crate::error::{ErrorKind, NasSyncError};
use crate::text;

/// The longest name of a document that is asked for nothing special.
const USUAL_LONGEST: u32 = 255;
/// What rsync adds to a name while the file is under way.
const TEMPORARY: u32 = 8;
/// A clock that is off by more than this, in seconds, is worth a word.
const SKEW: i64 = 60;
/// File systems that keep every other second.
const TWO_SECONDS: [&str; 4] = ["msdos", "vfat", "fat", "exfat"];
const NOTHING_THERE: &str = "nothing lies in the folder by which it could be seen";

pub(super) async fn examine(
    diagnosis: &mut Diagnosis,
    client: &Client,
    folder: &str,
    survey: Result<&Survey, &String>,
) {
    match free_space(client, folder).await {
        Some(space) => diagnosis.note("room", room(space)),
        None => diagnosis.not_known("room", "the NAS does not say"),
    }
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => {
            for check in ["name_length", "case", "composition", "times", "clock"] {
                diagnosis.not_known(check, format!("the NAS runs no command that says it: {why}"));
            }
            return;
        }
    };
    let findings = [
        ("name_length", name_length(survey), "the NAS does not say"),
        ("case", case(survey.folds_case(client, folder).await), NOTHING_THERE),
        ("composition", composition(survey.folds_composition(client, folder).await), NOTHING_THERE),
        ("times", times(survey), "the NAS does not say"),
        ("clock", clock(survey), "the NAS does not say"),
    ];
    for (check, finding, why) in findings {
        match finding {
            Some(finding) => diagnosis.note(check, finding),
            None => diagnosis.not_known(check, why),
        }
    }
}

fn room(space: Space) -> Finding {
    let said = format!("{} of {} are free", text::size(space.available), text::size(space.total));
    if space.available == 0 {
        return Finding::Problem(NasSyncError::new(ErrorKind::DiskFull, said));
    }
    if space.is_little() {
        return Finding::warning(said, "Make room on the NAS, or raise the quota of this user.");
    }
    Finding::ok(said)
}

fn name_length(survey: &Survey) -> Option<Finding> {
    let longest = survey.longest_name?;
    Some(if longest >= USUAL_LONGEST {
        Finding::ok(format!("{longest} bytes a name"))
    } else {
        Finding::warning(
            format!("a name may have {longest} bytes (an encrypted share often is the reason)"),
            format!(
                "Longer names than {} bytes fail; shorten them by a layout such as {{year}}/{{id}}_{{type}}.",
                longest.saturating_sub(TEMPORARY)
            ),
        )
    })
}

fn case(folds: Option<bool>) -> Option<Finding> {
    Some(if folds? {
        Finding::warning(
            "names that differ in upper and lower case only are one file there",
            "The second of two such documents is refused; a layout with {id} in it keeps them apart.",
        )
    } else {
        Finding::ok("upper and lower case are told apart")
    })
}

fn composition(folds: Option<bool>) -> Option<Finding> {
    Some(if folds? {
        Finding::warning(
            "the two ways to write a letter with an accent are one file there",
            "The second of two such documents is refused; a layout with {id} in it keeps them apart.",
        )
    } else {
        Finding::ok("names are kept byte by byte")
    })
}

fn times(survey: &Survey) -> Option<Finding> {
    if let Some(kind) = survey.kind.as_deref().filter(|kind| TWO_SECONDS.contains(kind)) {
        return Some(Finding::warning(
            format!("times are kept to two seconds ({})", text::escape(kind)),
            "Documents are compared by their sums all the same; a file system of Linux keeps times whole.",
        ));
    }
    Some(Finding::ok(if survey.has_fine_times? { "finer than a second" } else { "whole seconds" }))
}

fn clock(survey: &Survey) -> Option<Finding> {
    let ahead = survey.clock_ahead?;
    let side = if ahead < 0 { "behind" } else { "ahead" };
    Some(if ahead.abs() > SKEW {
        Finding::warning(
            format!("the clock of the NAS is {} s {side}", ahead.abs()),
            "Switch time synchronisation (NTP) on there and here; documents keep their own times.",
        )
    } else {
        Finding::ok("it goes with ours")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_folder_lies_on_is_judged() {
        let status = |finding: Option<Finding>| finding.map(|finding| finding.status());
        let on = |kind: &str, fine| Survey {
            kind: Some(kind.into()),
            has_fine_times: fine,
            longest_name: Some(143),
            clock_ahead: Some(-61),
            ..Survey::default()
        };
        assert_eq!(status(times(&on("msdos", Some(true)))), Some("warning"));
        assert_eq!(status(times(&on("ext2/ext3", Some(true)))), Some("ok"));
        assert_eq!(status(times(&on("zfs", None))), None);
        let crypt = on("ecryptfs", None);
        assert!(name_length(&crypt).unwrap().solution().unwrap().contains("135 bytes"));
        assert_eq!(clock(&crypt).unwrap().message(), "the clock of the NAS is 61 s behind");
        let room = |total, available| room(Space { total, available }).status();
        assert_eq!((room(4000, 0), room(4000, 199), room(4000, 200)), ("problem", "warning", "ok"));
        assert_eq!((room(1 << 50, (1 << 30) - 1), room(1 << 50, 1 << 30)), ("warning", "ok"));
        assert_eq!((status(case(None)), status(case(Some(true)))), (None, Some("warning")));
    }
}

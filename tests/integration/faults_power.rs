//! The NAS loses power right after a run that ended well: what is recorded as durable is there when it is back.
//!
//! The NAS folder is on an ext4 of its own, which is shut down by its ioctl, unmounted and mounted again. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::support::volume::{Cut, Volume};
use crate::support::{Cli, Site, Sshd, noise};

const DOCUMENTS: usize = 50;
const LAYOUTS: [&str; 2] = ["flat", "{year}/{month}/{id}_{name}"];

/// A site whose NAS can lose its power.
struct House {
    site: Site,
    cli: Cli,
    volume: Volume,
    documents: BTreeMap<i64, PathBuf>,
}

/// What a power cut did.
#[derive(Debug, Default)]
struct Survey {
    /// Documents by the level that is recorded.
    levels: BTreeMap<String, usize>,
    /// Of those recorded as durable: neither there nor equal.
    broken_promises: Vec<String>,
    /// Of the others.
    lost: usize,
}

impl House {
    /// `None` where no volume can be had.
    fn new(sshd: Sshd, layout: &str) -> Option<Self> {
        let volume = Volume::ext4(64)?;
        let site = Site::with(sshd);
        let mut cli = Cli::new(&site);
        let nas = volume.path().join("nas");
        fs::create_dir(&nas).unwrap();
        cli.set("NAS_PATH", nas).set("NAS_LAYOUT", layout);
        let paths: Vec<PathBuf> = (0..DOCUMENTS)
            .map(|at| site.upload(&format!("document-{at:02}.pdf"), &noise(at * 997 % 40_000, at as u64)))
            .collect();
        let documents: BTreeMap<i64, PathBuf> = cli.add(1, &paths).into_iter().zip(paths).collect();
        // Months of their own, so that the template leads to many new folders.
        let spread = "UPDATE documents SET date = printf('20%02d-%02d-01', 10 + id % 7, 1 + id % 12)";
        site.database().execute(spread, []).unwrap();
        Some(Self { site, cli, volume, documents })
    }

    /// Gives every document a new content and makes it pending.
    fn rewrite(&self) {
        for (id, path) in &self.documents {
            let mut content = fs::read(path).unwrap();
            content.iter_mut().step_by(1500).for_each(|byte| *byte ^= 0x5a);
            content.extend_from_slice(format!("the second version of {id}").as_bytes());
            fs::write(path, content).unwrap();
        }
        self.site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();
    }

    /// Syncs, cuts the power at once and looks at what is left.
    #[track_caller]
    fn sync_and_cut(&self, cut: Cut) -> Survey {
        self.volume.flush();
        let run = self.cli.line("sync");
        self.volume.cut_power(cut);
        run.ends(0);
        let database = self.site.database();
        let sql = "SELECT s.document_id, s.remote_name, s.level FROM nas_sync_documents s
                   JOIN documents d ON d.id = s.document_id WHERE d.synced_to_nas = 1";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)))
            .unwrap();
        let mut survey = Survey::default();
        for row in rows {
            let (id, name, level) = row.unwrap();
            let name = String::from_utf8(name).unwrap();
            let there = fs::read(self.volume.path().join("nas").join(&name)).ok();
            let equal = there == Some(fs::read(&self.documents[&id]).unwrap());
            let promised = matches!(level.as_str(), "durable" | "verified");
            *survey.levels.entry(level).or_default() += 1;
            match (equal, promised) {
                (true, _) => {}
                (false, true) => survey.broken_promises.push(name),
                (false, false) => survey.lost += 1,
            }
        }
        assert_eq!(survey.levels.values().sum::<usize>(), DOCUMENTS, "{}", run.all());
        survey
    }
}

#[test]
fn what_is_durable_survives_a_power_cut_of_the_nas() {
    for layout in LAYOUTS {
        for cut in Cut::ALL {
            let Some(house) = House::new(Sshd::start(), layout) else { return };
            let new = house.sync_and_cut(cut);
            println!("{layout}, {cut:?}, new documents: {new:?}");
            house.rewrite();
            let replaced = house.sync_and_cut(cut);
            println!("{layout}, {cut:?}, replaced documents: {replaced:?}");
            assert!(new.broken_promises.is_empty() && replaced.broken_promises.is_empty());
        }
    }
}

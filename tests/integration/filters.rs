//! Filter rules beside stock rsync's reading of them: rules, files of rules and trees are drawn, and both programs must list the
//! same names, and have the same deleted. What fails shows the command of stock rsync and leaves its folder.

mod cases;
mod draw;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use nas_sync::{Client, ClientConfig};

use self::cases::{Case, Verdict};
use crate::support::Site;
use crate::support::cli::write_program;
use crate::support::random::Random;

/// How many rule sets are held against one tree.
const PER_TREE: u64 = 10;

/// How many cases there are, where nobody asks for another number by `NAS_SYNC_FILTER_CASES`.
const CASES: u64 = 2000;

#[test]
fn rules_leave_out_and_keep_what_they_do_for_rsync() {
    let asked = std::env::var("NAS_SYNC_FILTER_CASES").ok().and_then(|text| text.parse().ok());
    let blocks = asked.unwrap_or(CASES).div_ceil(PER_TREE);
    let seed = Random::of_environment("filters").next();
    let next = AtomicU64::new(0);
    let site = Site::new();
    let config = ClientConfig::new(site.sshd.config());
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tally = Tally::default();
        let client = runtime.block_on(Client::connect(&config)).unwrap();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks {
                return tally;
            }
            let mut random = Random::new(seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            runtime.block_on(one_tree(&mut random, &client, &mut tally));
        }
    };
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Tally::default(), Tally::plus)
    });
    println!("{tally:?}");
    assert_eq!(tally.cases, blocks * PER_TREE);
    // Drawn rules that never mattered would prove nothing.
    assert!(tally.left_out > tally.cases && tally.listed > tally.cases, "{tally:?}");
    assert!(tally.deleted > tally.cases / 4 && tally.kept > tally.cases / 4, "{tally:?}");
    assert!(tally.refused * 4 < tally.cases, "{tally:?}");
}

/// What became of the names, in all cases together.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    cases: u64,
    refused: u64,
    listed: u64,
    left_out: u64,
    deleted: u64,
    kept: u64,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            cases: self.cases + other.cases,
            refused: self.refused + other.refused,
            listed: self.listed + other.listed,
            left_out: self.left_out + other.left_out,
            deleted: self.deleted + other.deleted,
            kept: self.kept + other.kept,
        }
    }
}

async fn one_tree(random: &mut Random, client: &Client, tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_program(&root.join("shell"), "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
    let here = draw::tree(random, &root.join("up/src"));
    let there = draw::tree(random, &root.join("there/src"));
    for _ in 0..PER_TREE {
        let case = Case::draw(random, root, &here, &there);
        tally.cases += 1;
        let stock = case.stock();
        let ours = case.ours(client).await;
        if stock != ours {
            let left = folder.keep();
            panic!("{case}\nin {}\n{}", left.display(), differences(&ours, &stock));
        }
        match stock {
            Verdict::Refused => tally.refused += 1,
            Verdict::Names { listed, deleted } => {
                tally.left_out += (here.len().saturating_sub(listed.len())) as u64;
                tally.listed += listed.len() as u64;
                if case.deletes() {
                    tally.deleted += deleted.len() as u64;
                    tally.kept += there.len().saturating_sub(deleted.len()) as u64;
                }
            }
        }
    }
}

fn differences(ours: &Verdict, stock: &Verdict) -> String {
    let (Verdict::Names { listed, deleted }, Verdict::Names { listed: their_list, deleted: their_deleted }) =
        (ours, stock)
    else {
        return format!("ours {ours:?}\nstock {stock:?}");
    };
    let more = |left: &BTreeSet<String>, right: &BTreeSet<String>| left.difference(right).cloned().collect::<Vec<_>>();
    format!(
        "listed by us alone {:?}, by stock alone {:?}\ndeleted by us alone {:?}, by stock alone {:?}",
        more(listed, their_list),
        more(their_list, listed),
        more(deleted, their_deleted),
        more(their_deleted, deleted),
    )
}

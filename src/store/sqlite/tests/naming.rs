//! Names that differ only in their spelling.

use super::*;

fn claim(store: &mut SqliteStore, id: &DocumentId, name: &str) -> Claim {
    store.claim_names(&[(id.clone(), name.into())]).unwrap().remove(0)
}

/// The names of the copies that a claim meets.
fn met(claim: &Claim) -> Vec<&str> {
    match claim {
        Claim::Granted => Vec::new(),
        Claim::Meets(copies) => copies.iter().map(|copy| str::from_utf8(&copy.name).unwrap()).collect(),
        Claim::TakenBy(_) | Claim::Awaits(_) => panic!("{claim:?}"),
    }
}

#[test]
fn a_claim_is_told_of_recorded_copies_under_other_spellings() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/1", "/2", "/3"]);
    assert_eq!(claim(&mut store, &added[0], "Inv/\u{e9}.pdf"), Claim::Granted);
    assert_eq!(claim(&mut store, &added[1], "inv/E\u{301}.pdf"), Claim::Granted, "nothing is there yet");
    mark(&mut store, &[synced(added[0].clone(), "/1", "Inv/\u{e9}.pdf")]).unwrap();
    let copy = NeighbourCopy {
        id: added[0].clone(),
        name: "Inv/\u{e9}.pdf".into(),
        bytes: 7,
        mtime: Mtime { seconds: -1, nanoseconds: 999_999_999 },
    };
    assert_eq!(claim(&mut store, &added[1], "inv/E\u{301}.pdf"), Claim::Meets(vec![copy]));
    assert_eq!(met(&claim(&mut store, &added[1], "INV/\u{c9}.PDF/below")), ["Inv/\u{e9}.pdf"], "it would be a folder");
    assert_eq!(claim(&mut store, &added[1], "inv/other.pdf"), Claim::Granted);
    assert_eq!(claim(&mut store, &added[0], "inv/\u{e9}.pdf"), Claim::Granted, "its own copy");
    db.raw().execute("DELETE FROM documents WHERE id = 1", []).unwrap();
    assert_eq!(claim(&mut store, &added[1], "inv/E\u{301}.pdf"), Claim::Granted, "the other one is gone");
}

#[test]
fn of_two_copies_that_go_again_one_yields() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/1", "/2", "/3"]);
    mark(&mut store, &[synced(added[1].clone(), "/2", "a"), synced(added[2].clone(), "/3", "A")]).unwrap();
    assert_eq!(met(&claim(&mut store, &added[1], "a")), ["A"], "the other one is synced");
    db.raw().execute("UPDATE documents SET synced_to_nas = 0", []).unwrap();
    assert_eq!(claim(&mut store, &added[1], "a"), Claim::Granted);
    assert_eq!(met(&claim(&mut store, &added[2], "A")), ["a"]);
    // Who has no copy yields to those who have; the name as it is written is asked about elsewhere.
    assert_eq!(met(&claim(&mut store, &added[0], "a/b")), ["A"]);
}

#[test]
fn what_another_worker_may_be_sending_is_waited_for() {
    let db = Db::absent();
    let mut store = db.open();
    let added = add(&mut store, 1, &["/1", "/2"]);
    claim(&mut store, &added[0], "a");
    let lease = |store: &mut SqliteStore, process, id: &DocumentId| {
        let (holder, only) = (holder(process), Selection::documents([id.clone()]));
        let worker = Worker { holder: &holder, now: Duration::ZERO, life_of: &|_| Life::Possible };
        store.claim(&only, &Due::Any, 1, &worker).unwrap().fence.unwrap()
    };
    lease(&mut store, 1, &added[1]);
    let theirs = lease(&mut store, 2, &added[0]);
    assert_eq!(claim(&mut store, &added[1], "A"), Claim::Awaits(added[0].clone()));
    store.release(theirs).unwrap();
    assert_eq!(claim(&mut store, &added[1], "A"), Claim::Granted);
}

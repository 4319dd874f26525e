//! Whose each name on the NAS is.

use nas_sync::internal::store::{Claim, NeighbourCopy};

use super::*;

async fn claim(db: &Db, id: &DocumentId, name: &str) -> Claim {
    db.store.claim_names(vec![(id.clone(), name.into())]).await.unwrap().remove(0)
}

/// The names of the copies that a claim meets.
fn met(claim: &Claim) -> Vec<&str> {
    match claim {
        Claim::Granted => Vec::new(),
        Claim::Meets(copies) => copies.iter().map(|copy| str::from_utf8(&copy.name).unwrap()).collect(),
        Claim::TakenBy(_) | Claim::Awaits(_) => panic!("{claim:?}"),
    }
}

/// Whose a name is.
async fn owner(db: &Db, name: &[u8]) -> Option<i64> {
    db.store.owners(vec![name.to_vec()]).await.unwrap().get(name).map(number)
}

pub async fn a_name_belongs_to_one_document(db: &Db) {
    let added = db.add(1, &["/1/x", "/2/x", "/3/x"]).await;
    let claims = [(&added[0], "x"), (&added[1], "x"), (&added[2], "X")];
    let claims = claims.map(|(id, name)| (id.clone(), name.as_bytes().to_vec())).to_vec();
    let taken = Claim::TakenBy(added[0].clone());
    assert_eq!(db.store.claim_names(claims).await.unwrap(), [Claim::Granted, taken.clone(), Claim::Granted]);
    // Another process sees the same, and who sends without a claim is not believed.
    let other = db.open().await;
    assert_eq!(other.claim_names(vec![(added[1].clone(), b"x".to_vec())]).await.unwrap(), [taken]);
    assert_eq!(db.mark(&[synced(&added[1], "/2/x", "x")]).await, [MarkOutcome::NameTaken(added[0].clone())]);
    assert_eq!(db.mark(&[synced(&added[0], "/1/x", "x")]).await, [MarkOutcome::Marked]);
    assert_eq!((owner(db, b"x").await, owner(db, b"X").await, owner(db, b"\xff").await), (Some(1), Some(3), None));
    // Sent again under a new layout: the old copy keeps its name until the new one is stored.
    assert_eq!(db.store.resend(Selection::documents([added[0].clone()])).await.unwrap(), 1);
    assert_eq!(claim(db, &added[0], "y").await, Claim::Granted);
    assert_eq!(claim(db, &added[0], "z").await, Claim::Granted);
    assert_eq!(owner(db, b"y").await, None, "a claim that is no longer wanted is free");
    assert_eq!(owner(db, b"x").await, Some(1));
    db.mark(&[synced(&added[0], "/1/x", "z")]).await;
    assert_eq!(claim(db, &added[1], "x").await, Claim::Granted);
    // A document that is no longer there owns nothing.
    db.run("DELETE FROM documents WHERE id = 2");
    assert_eq!(owner(db, b"x").await, None);
    assert_eq!(claim(db, &added[2], "x").await, Claim::Granted);
}

pub async fn claims_are_told_of_other_spellings(db: &Db) {
    let added = db.add(1, &["/1", "/2", "/3"]).await;
    assert_eq!(claim(db, &added[0], "Inv/\u{e9}.pdf").await, Claim::Granted);
    assert_eq!(claim(db, &added[1], "inv/E\u{301}.pdf").await, Claim::Granted, "nothing is there yet");
    db.mark(&[synced(&added[0], "/1", "Inv/\u{e9}.pdf")]).await;
    let copy = NeighbourCopy {
        id: added[0].clone(),
        name: "Inv/\u{e9}.pdf".into(),
        bytes: 7,
        mtime: Mtime { seconds: -1, nanoseconds: 999_999_999 },
    };
    assert_eq!(claim(db, &added[1], "inv/E\u{301}.pdf").await, Claim::Meets(vec![copy]));
    assert_eq!(met(&claim(db, &added[1], "INV/\u{c9}.PDF/below").await), ["Inv/\u{e9}.pdf"], "it would be a folder");
    assert_eq!(claim(db, &added[1], "inv/other.pdf").await, Claim::Granted);
    assert_eq!(claim(db, &added[0], "inv/\u{e9}.pdf").await, Claim::Granted, "its own copy");
    db.run("DELETE FROM documents WHERE id = 1");
    assert_eq!(claim(db, &added[1], "inv/E\u{301}.pdf").await, Claim::Granted, "the other one is gone");
}

pub async fn of_two_copies_that_go_again_one_yields(db: &Db) {
    let added = db.add(1, &["/1", "/2", "/3"]).await;
    db.mark(&[synced(&added[1], "/2", "a"), synced(&added[2], "/3", "A")]).await;
    assert_eq!(met(&claim(db, &added[1], "a").await), ["A"], "the other one is synced");
    assert_eq!(db.store.resend(Selection::all()).await.unwrap(), 2);
    assert_eq!(claim(db, &added[1], "a").await, Claim::Granted);
    assert_eq!(met(&claim(db, &added[2], "A").await), ["a"]);
    // Who has no copy yields to those who have; the name as it is written is asked about elsewhere.
    assert_eq!(met(&claim(db, &added[0], "a/b").await), ["A"]);
}

pub async fn what_another_worker_sends_is_waited_for(db: &Db) {
    let added = db.add(1, &["/1", "/2"]).await;
    claim(db, &added[0], "a").await;
    let lease = async |process, id: &DocumentId| {
        let one = Selection::documents([id.clone()]);
        db.store.lease(one, Due::Any, 1, worker(process, Life::Possible)).await.unwrap().fence.unwrap()
    };
    lease(1, &added[1]).await;
    let theirs = lease(2, &added[0]).await;
    assert_eq!(claim(db, &added[1], "A").await, Claim::Awaits(added[0].clone()));
    db.store.release(theirs).await.unwrap();
    assert_eq!(claim(db, &added[1], "A").await, Claim::Granted);
}

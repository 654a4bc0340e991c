//! One writer at a time.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use sceau_ledger::Index;
use sceau_store::{
    CommitError, Ledger as _, SealText, Store as _, StoreError,
    mongo::lease::{Lease, LeaseError},
};

use crate::{
    base,
    contract::{
        state::put,
        writer::{Writer, lines},
    },
};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_owner_at_a_time() {
    let base = base!();
    let (one, other) = (base.look().await, base.look().await);
    assert_eq!(one.lease().await.unwrap(), None);
    let lease = one.take_lease("one", LONG).await.unwrap();
    match other.take_lease("other", LONG).await {
        Err(LeaseError::Held(note)) => {
            assert_eq!((note.owner.as_str(), note.fence), ("one", lease.fence));
            assert!(note.left > LONG / 2 && note.left <= LONG);
        }
        held => panic!("{held:?}"),
    }
    one.renew_lease(&lease).await.unwrap();
    let again = one.take_lease("one", LONG).await.unwrap();
    assert!(again.fence > lease.fence);
    one.release_lease(&again).await.unwrap();
    assert_eq!(other.lease().await.unwrap().map(|note| note.left), Some(Duration::ZERO));
    let taken = other.take_lease("other", LONG).await.unwrap();
    assert!(taken.fence > again.fence);
    assert!(matches!(one.renew_lease(&again).await, Err(LeaseError::Lost(note)) if note.owner == "other"));
    assert!(one.stopped().is_some_and(|reason| reason.contains("other")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_has_ended_is_free() {
    let base = base!();
    let (one, other) = (base.look().await, base.look().await);
    one.take_lease("one", Duration::ZERO).await.unwrap();
    let Lease { owner, .. } = other.take_lease("other", LONG).await.unwrap();
    assert_eq!(owner, "other");
}

/// Whoever lost the lease writes nothing more, though nobody told him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_out_writer_writes_nothing() {
    let base = base!();
    let (one, other) = (base.look().await, base.look().await);
    let mut writer = Writer::new();
    one.take_lease("one", Duration::ZERO).await.unwrap();
    writer.commit(&one, vec![lines(&[b"of one"])]).await.unwrap();
    other.take_lease("other", LONG).await.unwrap();
    let mut stale = writer.clone();
    match stale.commit(&one, vec![lines(&[b"stale"])]).await {
        Err(CommitError::Failed(StoreError::Stopped(reason))) => assert!(reason.contains("taken over"), "{reason}"),
        committed => panic!("{committed:?}"),
    }
    assert!(one.stopped().is_some());
    let written = one.put_seal(SealText { epoch: 0, text: "stale".into() }).await;
    assert!(matches!(written, Err(StoreError::Stopped(_))), "{written:?}");
    use sceau_store::State as _;
    assert!(one.write(vec![put("k", 1.into(), sceau_store::Expect::Any)]).await.is_err());
    writer.commit(&other, vec![lines(&[b"of other"])]).await.unwrap();
    assert_eq!(other.entries(Index(0), 10).await.unwrap().entries, writer.entries);
    assert_eq!(other.head().await.unwrap(), writer.head());
    assert_eq!(other.last_seal().await.unwrap(), None);
    // Reading goes on.
    assert_eq!(one.entries(Index(0), 10).await.unwrap().entries, writer.entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_it_one_gets_it() {
    let base = base!();
    base.look().await;
    let mut wanting = tokio::task::JoinSet::new();
    for owner in 0..4 {
        let store = base.look().await;
        wanting.spawn(async move { store.take_lease(&format!("owner {owner}"), LONG).await.is_ok() });
    }
    assert_eq!(wanting.join_all().await.into_iter().filter(|got| *got).count(), 1);
}

/// The clock of another member of the replica set ends no lease, and makes none longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_but_ones_own_ends_the_lease_of_another() {
    let base = base!();
    let (one, other) = (base.look().await, base.look().await);
    one.take_lease("one", LONG).await.unwrap();
    let leases = base.database().await.collection::<Document>("sceau_lease");
    let set = async |change: Document| {
        leases.update_one(doc! {}, doc! { "$set": change }).await.unwrap();
    };
    set(doc! { "until": DateTime::from_millis(0) }).await;
    assert!(matches!(other.take_lease("other", LONG).await, Err(LeaseError::Held(note)) if note.owner == "one"));
    set(doc! { "until": DateTime::from_millis(4_000_000_000_000), "ttl": 1_i64 }).await;
    while let Err(error) = other.take_lease("other", LONG).await {
        assert!(matches!(error, LeaseError::Held(_)), "{error}");
    }
    assert_eq!(other.lease().await.unwrap().map(|note| note.owner), Some("other".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lease_nothing_is_written() {
    let base = base!();
    let store = base.look().await;
    let refused = Writer::new().commit(&store, vec![lines(&[b"x"])]).await;
    assert!(matches!(refused, Err(CommitError::Failed(StoreError::Stopped(_)))), "{refused:?}");
    assert_eq!(store.stopped(), None);
    store.take_lease("one", LONG).await.unwrap();
    Writer::new().commit(&store, vec![lines(&[b"x"])]).await.unwrap();
}

/// A former primary that does not know yet gives old answers: no take-over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_fence_is_no_take_over() {
    let base = base!();
    let store = base.look().await;
    store.take_lease("one", LONG).await.unwrap();
    let heads = base.database().await.collection::<Document>("sceau_head");
    heads.update_one(doc! {}, doc! { "$inc": { "fence": -1_i64 } }).await.unwrap();
    let mut writer = Writer::new();
    let refused = writer.clone().commit(&store, vec![lines(&[b"x"])]).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.stopped(), None);
    heads.update_one(doc! {}, doc! { "$inc": { "fence": 1_i64 } }).await.unwrap();
    writer.commit(&store, vec![lines(&[b"x"])]).await.unwrap();
}

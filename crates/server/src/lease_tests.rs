use super::*;
use crate::testing::{Cluster, Failing, Fixture};

fn owner(name: &str) -> Arc<Owner> {
    Arc::new(Owner { name: name.to_owned(), _lock: None })
}

fn store(cluster: &Cluster) -> (Arc<Failing>, Arc<dyn Store>) {
    let store = cluster.store();
    (store.clone(), store)
}

async fn taken(store: &Arc<dyn Store>, name: &str) -> (Keeper, Arc<Health>) {
    let health = Arc::new(Health::default());
    match Keeper::take(store, &health, &owner(name)).await.unwrap() {
        Taken::Ours(keeper) => (keeper, health),
        Taken::Held(by) => panic!("held by {by:?}"),
    }
}

async fn holder(store: &Arc<dyn Store>) -> Option<String> {
    match Keeper::take(store, &Arc::default(), &owner("somebody")).await.unwrap() {
        Taken::Ours(_) => None,
        Taken::Held(holder) => Some(holder.owner),
    }
}

#[tokio::test]
async fn it_has_run_out_for_its_holder_before_others_can_have_it() {
    let cluster = Cluster::new().await;
    let ((_, ours), (_, others)) = (store(&cluster), store(&cluster));
    let before = Instant::now();
    let (keeper, health) = taken(&ours, "first").await;
    keeper.check_at(before + TIME - MARGIN - Duration::from_millis(1)).unwrap();
    let refused = keeper.check_at(Instant::now() + TIME - MARGIN).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "store_unavailable"));
    cluster.desk.pass(TIME - MARGIN);
    assert_eq!(holder(&others).await.as_deref(), Some("first"));
    assert!(keeper.inner.prolong().await.unwrap());
    cluster.desk.pass(TIME - Duration::from_millis(1));
    assert_eq!(holder(&others).await.as_deref(), Some("first"));
    cluster.desk.pass(Duration::from_millis(1));
    assert_eq!(holder(&others).await, None);
    assert_eq!(health.cause(), None, "it does not know yet");
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Lease);
    assert_eq!(health.cause(), Some(Cause::Lease));
}

#[tokio::test]
async fn one_that_nobody_took_meanwhile_is_gone_on_with() {
    let cluster = Cluster::new().await;
    let (here, ours) = store(&cluster);
    let (keeper, health) = taken(&ours, "first").await;
    here.go_away(true);
    cluster.desk.pass(TIME * 6);
    assert!(keeper.inner.prolong().await.is_err());
    here.go_away(false);
    assert!(keeper.inner.prolong().await.unwrap());
    keeper.check().unwrap();
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Changed);
    assert_eq!(health.reason(), None);
}

#[tokio::test]
async fn one_that_is_given_up_is_free_at_once() {
    let cluster = Cluster::new().await;
    let ((_, ours), (_, others)) = (store(&cluster), store(&cluster));
    let (keeper, _) = taken(&ours, "first").await;
    assert_eq!(holder(&others).await.as_deref(), Some("first"));
    keeper.release().await;
    let (_second, _) = taken(&others, "second").await;
    keeper.release().await;
    assert_eq!(holder(&ours).await.as_deref(), Some("second"), "what is not ours is left alone");
}

#[tokio::test]
async fn a_store_with_one_writer_needs_none() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let store: Arc<dyn Store> = store;
    let keys = KeyDir::open(&fixture.config.key_dir, None).unwrap();
    let keeper = Keeper::take_or_wait(&store, &Arc::default(), &keys).await.unwrap();
    keeper.check_at(Instant::now() + TIME * 1_000).unwrap();
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Changed);
    keeper.release().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_key_directory_is_used_by_one_process() {
    let fixture = Fixture::new().await;
    let keys = KeyDir::open(&fixture.config.key_dir, None).unwrap();
    let owner = Owner::of(&keys).unwrap();
    assert!(Owner::of(&keys).err().unwrap().to_string().contains("another process uses it"));
    let name = owner.name.clone();
    drop(owner);
    assert_eq!(Owner::of(&keys).unwrap().name, name, "it is known again");
    let other = Fixture::new().await;
    assert_ne!(Owner::of(&KeyDir::open(&other.config.key_dir, None).unwrap()).unwrap().name, name);
}

#[tokio::test]
async fn one_of_a_server_that_was_killed_is_waited_for_and_that_of_another_is_not() {
    for dead in [false, true] {
        let cluster = Cluster::new().await;
        let ((_, ours), (_, others)) = (store(&cluster), store(&cluster));
        let (keeper, _) = taken(&ours, "first").await;
        let keys = KeyDir::open(&cluster.fixture.config.key_dir, None).unwrap();
        let waiting = tokio::spawn(async move { Keeper::take_or_wait(&others, &Arc::default(), &keys).await });
        while cluster.desk.asked() < 2 {
            tokio::task::yield_now().await;
        }
        cluster.desk.pass(Duration::from_secs(3));
        if dead {
            drop(keeper);
            cluster.desk.pass(TIME);
            waiting.await.unwrap().unwrap().check().unwrap();
        } else {
            assert!(keeper.inner.prolong().await.unwrap());
            waiting.await.unwrap().map(drop).unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_command_writes_under_the_lease_and_gives_it_up() {
    let cluster = Cluster::new().await;
    let ((_, ours), (_, others)) = (store(&cluster), store(&cluster));
    let command = || Owner::command("sceau rebuild");
    let found = during(&others, command, async { Ok(holder(&ours).await) }).await.unwrap();
    assert!(found.unwrap().contains("sceau rebuild"));
    let (keeper, _) = taken(&ours, "first").await;
    let asked = cluster.desk.asked();
    let refused = tokio::spawn(async move { during(&others, command, async { Ok(()) }).await });
    while cluster.desk.asked() == asked {
        tokio::task::yield_now().await;
    }
    assert!(keeper.inner.prolong().await.unwrap());
    let error = refused.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("first writes to this log: stop it first"), "{error}");
}

use super::*;
use crate::testing::Cluster;

fn owner(name: &str) -> Arc<Owner> {
    Arc::new(Owner { name: name.to_owned(), _lock: tempfile::tempfile().unwrap() })
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

/// Lets what waits for this moment happen.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_has_run_out_for_its_holder_before_others_can_have_it() {
    let cluster = Cluster::new().await;
    let (ours, theirs) = (cluster.store(), cluster.store());
    let (store, others): (Arc<dyn Store>, Arc<dyn Store>) = (ours.clone(), theirs.clone());
    let (keeper, health) = taken(&store, "first").await;
    pass(TIME * 20).await;
    keeper.check().unwrap();
    assert_eq!(holder(&others).await.as_deref(), Some("first"), "it is prolonged");
    ours.go_away(true);
    // It was prolonged at most so long ago.
    pass(TIME - MARGIN - EVERY - AGAIN).await;
    keeper.check().unwrap();
    let mut free = false;
    for _ in 0..200 {
        pass(Duration::from_millis(100)).await;
        if keeper.check().is_ok() {
            assert_eq!(holder(&others).await.as_deref(), Some("first"));
        } else if holder(&others).await.is_none() {
            free = true;
            break;
        }
    }
    assert!(free && health.reason().is_none());
    let refused = keeper.check().unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "store_unavailable"));
    ours.go_away(false);
    pass(EVERY).await;
    assert_eq!(health.cause(), Some(Cause::Lease));
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Lease);
    assert!(keeper.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_took_meanwhile_is_gone_on_with() {
    let cluster = Cluster::new().await;
    let ours = cluster.store();
    let store: Arc<dyn Store> = ours.clone();
    let (keeper, health) = taken(&store, "first").await;
    ours.go_away(true);
    pass(TIME * 6).await;
    assert!(keeper.check().is_err());
    ours.go_away(false);
    pass(AGAIN * 2).await;
    keeper.check().unwrap();
    assert!(health.reason().is_none());
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Changed);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_is_free_at_once() {
    let cluster = Cluster::new().await;
    let (store, others): (Arc<dyn Store>, Arc<dyn Store>) = (cluster.store(), cluster.store());
    let (keeper, _) = taken(&store, "first").await;
    assert_eq!(holder(&others).await.as_deref(), Some("first"));
    keeper.release().await;
    let (_second, _) = taken(&others, "second").await;
    keeper.release().await;
    assert_eq!(holder(&store).await.as_deref(), Some("second"), "what is not ours is left alone");
}

#[tokio::test]
async fn a_store_with_one_writer_needs_none() {
    let fixture = crate::testing::Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let store: Arc<dyn Store> = store;
    let (keeper, _) = taken(&store, "first").await;
    keeper.check().unwrap();
    assert_eq!(keeper.explain(Cause::Changed).await, Cause::Changed);
    keeper.release().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_key_directory_is_used_by_one_process() {
    let fixture = crate::testing::Fixture::new().await;
    let keys = KeyDir::open(&fixture.config.key_dir, None).unwrap();
    let owner = Owner::of(&keys).unwrap();
    assert!(Owner::of(&keys).err().unwrap().to_string().contains("another process uses it"));
    let name = owner.name.clone();
    drop(owner);
    assert_eq!(Owner::of(&keys).unwrap().name, name, "it is known again");
    let other = crate::testing::Fixture::new().await;
    assert_ne!(Owner::of(&KeyDir::open(&other.config.key_dir, None).unwrap()).unwrap().name, name);
}

#[tokio::test(start_paused = true)]
async fn one_of_a_server_that_was_killed_is_waited_for() {
    let cluster = Cluster::new().await;
    let (ours, theirs) = (cluster.store(), cluster.store());
    let (store, others): (Arc<dyn Store>, Arc<dyn Store>) = (ours.clone(), theirs.clone());
    let (keeper, _) = taken(&store, "first").await;
    let keys = KeyDir::open(&cluster.fixture.config.key_dir, None).unwrap();
    let refused = Keeper::take_or_wait(&others, &Arc::default(), &keys).await.err().unwrap().to_string();
    assert!(refused.contains("(first)"), "{refused}");
    drop(keeper);
    let second = Keeper::take_or_wait(&others, &Arc::default(), &keys).await.unwrap();
    second.check().unwrap();
}

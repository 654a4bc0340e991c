//! Connections that are lost at the worst moment, by a proxy that knows when that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mongodb::{
    Client,
    bson::{Document, doc, oid::ObjectId},
};
use sceau_ledger::{Head, Index};
use sceau_store::{
    CommitError, Ledger as _, Store as _, StoreError,
    mongo::{Mongo, MongoOptions, MongoUri},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    Base, base,
    contract::{
        Home as _, deriver,
        writer::{Writer, lines},
    },
};

/// What happens to a message that holds a certain word.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// It never arrives.
    Before,
    /// It arrives, its answer does not.
    After,
    /// The same, and somebody else writes under the same fence then.
    Stranger,
    /// It never arrives, and nobody is told: as if the process had been halted.
    Hold,
}

/// How many such messages are yet to be cut.
type Left = Arc<AtomicUsize>;

async fn message(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = from.read_i32_le().await?;
    let mut message = length.to_le_bytes().to_vec();
    message.resize(usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// Between client and server, one connection.
async fn carry(client: TcpStream, server: String, word: &'static str, cut: Cut, left: Left) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server): (OwnedReadHalf, OwnedWriteHalf) =
        TcpStream::connect(&server).await?.into_split();
    loop {
        let asked = message(&mut from_client).await?;
        let found = asked.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        let take = |left: usize| left.checked_sub(1);
        let cuts = found && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if cuts && cut == Cut::Hold {
            std::future::pending::<()>().await;
        }
        if cuts && cut == Cut::Before {
            return Ok(());
        }
        to_server.write_all(&asked).await?;
        let answer = message(&mut from_server).await?;
        if cuts && cut == Cut::Stranger {
            let uri = format!("mongodb://{server}/?directConnection=true");
            let heads = Client::with_uri_str(uri).await.unwrap().database("sceau").collection::<Document>("sceau_head");
            heads.update_one(doc! {}, doc! { "$set": { "turn": ObjectId::new() } }).await.unwrap();
        }
        if cuts {
            return Ok(());
        }
        to_client.write_all(&answer).await?;
    }
}

async fn proxy(server: String, word: &'static str, cut: Cut, left: Left) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, server.clone(), word, cut, left.clone()));
        }
    });
    own
}

/// A store behind a proxy, with the lease, and one entry in it.
async fn behind(base: &Base, word: &'static str, cut: Cut, ttl: Duration) -> (Mongo, Writer, Left) {
    base.open().await;
    let left = Left::default();
    let port = proxy(base.server.address.clone(), word, cut, left.clone()).await;
    let uri = format!("mongodb://127.0.0.1:{port}/sceau?directConnection=true");
    let mut options = MongoOptions { uri: MongoUri::new(uri).unwrap(), ..base.options.clone() };
    options.limits.operation = if cut == Cut::Hold { crate::LONG } else { Duration::from_secs(10) };
    let store = Mongo::open(deriver(), options).await.unwrap();
    store.take_lease("test", ttl).await.unwrap();
    let mut writer = Writer::new();
    writer.commit(&store, vec![lines(&[b"before"])]).await.unwrap();
    (store, writer, left)
}

/// A commit whose messages with this word are cut so often; afterwards the log goes on, and holds what was acknowledged.
async fn cut(word: &'static str, cut: Cut, times: usize, acknowledged: bool) {
    let base = base!();
    let (store, mut writer, left) = behind(&base, word, cut, crate::LONG).await;
    left.store(times, Ordering::SeqCst);
    match writer.commit(&store, vec![lines(&[b"cut"])]).await {
        Ok(()) => assert!(acknowledged, "{word}"),
        Err(CommitError::Unavailable(_)) => assert!(!acknowledged, "{word}"),
        other => panic!("{word}: {other:?}"),
    }
    left.store(0, Ordering::SeqCst);
    assert_eq!(store.stopped(), None);
    assert_eq!(store.head().await.unwrap(), writer.head());
    writer.commit(&store, vec![lines(&[b"after"])]).await.unwrap();
    let all = base.open().await.entries(Index(0), 10).await.unwrap().entries;
    assert_eq!(all, writer.entries);
    assert_ne!(writer.head(), Head::empty());
}

/// The head tells of a turn that nobody here knows: the one before it may have happened, and "no" would be a lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_wrote_over_is_never_said_not_to_have_happened() {
    let base = base!();
    let (store, mut writer, left) = behind(&base, "commitTransaction", Cut::Stranger, crate::LONG).await;
    left.store(usize::MAX, Ordering::SeqCst);
    match writer.commit(&store, vec![lines(&[b"cut"])]).await {
        Err(CommitError::Failed(StoreError::Stopped(reason))) => assert!(reason.contains("somebody else"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(store.stopped().is_some());
    let all = base.look().await.entries(Index(0), 10).await.unwrap().entries;
    assert_eq!(all.len(), 2);
}

/// A server that was halted in the middle of a transaction has the head document locked; whoever takes over ends that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_predecessor_left_open_is_ended() {
    /// The database would end it by itself after 60 s.
    const SOON: Duration = Duration::from_secs(40);
    let base = base!();
    let (store, mut writer, left) = behind(&base, "insert", Cut::Hold, Duration::ZERO).await;
    left.store(1, Ordering::SeqCst);
    let mut before = writer.clone();
    let halted = tokio::spawn(async move { before.commit(&store, vec![lines(&[b"never"])]).await });
    while left.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    let other = base.look().await;
    tokio::time::timeout(SOON, other.take_lease("other", crate::LONG)).await.unwrap().unwrap();
    writer.commit(&other, vec![lines(&[b"of the successor"])]).await.unwrap();
    assert_eq!(other.entries(Index(0), 10).await.unwrap().entries, writer.entries);
    halted.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_once_is_found_out() {
    cut("commitTransaction", Cut::After, 1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_often_is_found_out() {
    cut("commitTransaction", Cut::After, 4, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_lost_once_is_said_again() {
    cut("commitTransaction", Cut::Before, 2, true).await;
}

/// No end ever arrives: the head tells that the transaction has not happened, and it can't any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_never_ends_has_not_happened() {
    cut("commitTransaction", Cut::Before, usize::MAX, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_before_the_end_is_tried_again() {
    cut("insert", Cut::Before, 1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_lost_before_the_end_leave_nothing() {
    cut("insert", Cut::After, usize::MAX, false).await;
}

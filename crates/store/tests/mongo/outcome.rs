//! Connections that are lost at the worst moment, by a proxy that knows when that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sceau_ledger::{Head, Index};
use sceau_store::{
    CommitError, Ledger as _, Store as _,
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
    base,
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
        TcpStream::connect(server).await?.into_split();
    loop {
        let asked = message(&mut from_client).await?;
        let found = asked.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        let take = |left: usize| left.checked_sub(1);
        let cuts = found && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if cuts && cut == Cut::Before {
            return Ok(());
        }
        to_server.write_all(&asked).await?;
        let answer = message(&mut from_server).await?;
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

/// A commit whose messages with this word are cut so often; afterwards the log goes on, and holds what was acknowledged.
async fn cut(word: &'static str, cut: Cut, times: usize, acknowledged: bool) {
    let base = base!();
    base.open().await;
    let left = Left::default();
    let port = proxy(base.server.address.clone(), word, cut, left.clone()).await;
    let uri = format!("mongodb://127.0.0.1:{port}/sceau?directConnection=true");
    let mut options = MongoOptions { uri: MongoUri::new(uri).unwrap(), ..base.options.clone() };
    options.limits.operation = Duration::from_secs(10);
    let store = Mongo::open(deriver(), options).await.unwrap();
    let mut writer = Writer::new();
    writer.commit(&store, vec![lines(&[b"before"])]).await.unwrap();
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

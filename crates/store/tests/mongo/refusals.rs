//! What is refused, and with which words.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use sceau_ledger::Index;
use sceau_store::{
    CommitError, Ledger as _, Store as _, StoreError,
    mongo::{Mongo, MongoOptions, MongoUri, Secret, roles},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    base,
    contract::{
        Home as _, deriver, ledger,
        writer::{Writer, lines},
    },
    mongo_server::Server,
};

/// Answers everything with one hello.
async fn pretend(hello: impl Fn(u16) -> Document) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hello = RawDocumentBuf::try_from(hello(port)).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, hello.clone()));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, hello: RawDocumentBuf) -> std::io::Result<()> {
    const QUERY: i32 = 2_004;
    const REPLY: i32 = 1;
    const MESSAGE: i32 = 2_013;
    loop {
        let length = stream.read_i32_le().await?;
        let request = stream.read_i32_le().await?;
        let _to = stream.read_i32_le().await?;
        let kind = stream.read_i32_le().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap() - 16];
        stream.read_exact(&mut rest).await?;
        let (kind, mut body) = match kind {
            // Flags, cursor, first, count.
            QUERY => (REPLY, [[0; 16].as_slice(), &1_i32.to_le_bytes()].concat()),
            // Flags, kind of the section.
            _ => (MESSAGE, vec![0; 5]),
        };
        body.extend_from_slice(hello.as_bytes());
        let length = i32::try_from(16 + body.len()).unwrap();
        let header: Vec<u8> = [length, 1, request, kind].into_iter().flat_map(i32::to_le_bytes).collect();
        stream.write_all(&[header, body].concat()).await?;
    }
}

fn hello(version: i32) -> Document {
    doc! {
        "ok": 1, "helloOk": true, "ismaster": true, "isWritablePrimary": true, "minWireVersion": 0, "maxWireVersion": version,
        "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
    }
}

fn options(port: u16, more: &str) -> MongoOptions {
    let uri = format!("mongodb://127.0.0.1:{port}/logs{more}");
    let mut options = MongoOptions::new(MongoUri::new(uri).unwrap());
    options.limits.connect = Duration::from_secs(1);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_server_is_refused_with_what_to_do() {
    let port = pretend(|_| hello(21)).await;
    for more in ["", "?replicaSet=rs0", "?directConnection=true"] {
        let error = Mongo::create(&options(port, more)).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Standalone(_)), "{more}: {text}");
        assert!(text.contains("mongod --replSet rs0") && text.contains("rs.initiate()"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_server_is_refused() {
    let member = |port| {
        let mut hello = hello(8);
        let me = format!("127.0.0.1:{port}");
        hello.extend(doc! { "setName": "rs0", "hosts": [&me], "me": &me, "primary": &me, "setVersion": 1 });
        hello
    };
    let port = pretend(member).await;
    let error = Mongo::exists(&options(port, "?replicaSet=rs0")).await.unwrap_err();
    assert!(matches!(error, StoreError::Mongo(_)) && error.to_string().contains("4.4"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Mongo::exists(&options(port, "")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_and_newer_logs_are_told() {
    let base = base!();
    let open = || Mongo::open(deriver(), base.options.clone());
    match open().await.map(drop) {
        Err(StoreError::NoLog { path }) => assert!(path.contains("/sceau"), "{path}"),
        other => panic!("{other:?}"),
    }
    base.open().await;
    let heads = base.database().await.collection::<Document>("sceau_head");
    heads.update_one(doc! {}, doc! { "$set": { "format": 2 } }).await.unwrap();
    assert!(matches!(open().await.map(drop), Err(StoreError::Newer { found: 2, known: 1, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_looks_writes_nothing() {
    let base = base!();
    base.open().await;
    let inspect = MongoOptions { inspect: true, ..base.options.clone() };
    let store = Mongo::open(deriver(), inspect).await.unwrap();
    let refused = Writer::new().commit(&store, vec![lines(&[b"x"])]).await;
    assert!(matches!(refused, Err(CommitError::Failed(StoreError::Stopped(_)))), "{refused:?}");
}

/// The server with exactly its role does its work, and can't change or delete what is in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_s_role_is_enough_and_not_too_much() {
    let Some(mut server) = Server::start("MongoDB") else { return };
    let admin = server.database_as("", "admin").await;
    let user = |name: &str, role: &str, database: &str| {
        doc! { "createUser": name, "pwd": "pw", "roles": [{ "role": role, "db": database }] }
    };
    admin.run_command(user("root", "root", "admin")).await.unwrap();
    server.restart(&["--auth"]);
    let options = |name: &str| {
        let uri = MongoUri::new(server.uri(&format!("{name}@"), "logs")).unwrap();
        MongoOptions { password: Some(Secret::new("pw")), stretch: 512, ..MongoOptions::new(uri) }
    };
    let root = options("root");
    Mongo::create(&root).await.unwrap();
    Mongo::create_roles(&root).await.unwrap();
    Mongo::create_roles(&root).await.unwrap();
    let admin = server.database_as("root:pw@", "admin").await;
    for (name, role) in [("writer", roles::SERVER), ("people", roles::READER), ("keeper", roles::RETENTION)] {
        admin.run_command(user(name, role, "logs")).await.unwrap();
    }
    let store = Mongo::open(deriver(), options("writer")).await.unwrap();
    let mut writer = Writer::new();
    store.take_lease("writer", Duration::from_secs(60)).await.unwrap();
    ledger::fill(&store, &mut writer, 600).await;
    assert_eq!(store.entries(Index(0), 1_000).await.unwrap().entries, writer.entries);
    match store.prune(Index(512)).await {
        Err(StoreError::Forbidden { what, .. }) => assert!(what.contains(roles::RETENTION), "{what}"),
        other => panic!("{other:?}"),
    }
    assert!(store.gauges().await.unwrap().len() > 2);
    let logs = |user: &'static str| {
        let server = &server;
        async move { server.database_as(&format!("{user}:pw@"), "logs").await.collection::<Document>("logs") }
    };
    for user in ["writer", "people"] {
        let logs = logs(user).await;
        assert!(logs.find_one(doc! {}).await.unwrap().is_some(), "{user}");
        assert!(logs.delete_one(doc! {}).await.is_err(), "{user}");
        assert!(logs.update_one(doc! {}, doc! { "$set": { "user": "x" } }).await.is_err(), "{user}");
        assert!(logs.drop().await.is_err(), "{user}");
    }
    assert!(logs("people").await.insert_one(doc! { "_id": 9_999_i64 }).await.is_err());
    let keeper = Mongo::open(deriver(), options("keeper")).await.unwrap();
    keeper.take_lease("writer", Duration::from_secs(60)).await.unwrap();
    assert_eq!(keeper.prune(Index(512)).await.unwrap(), Index(512));
    let wrong = MongoOptions { password: Some(Secret::new("tops3cret")), ..options("writer") };
    let error = Mongo::exists(&wrong).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("tops3cret"), "{error}");
}

//! Least privilege: the server works with its own role alone, which can add entries and do nothing else to them; whoever
//! looks with Compass can look and nothing else.

use mongodb::{
    Database as Mongo,
    bson::{Document, doc},
    error::ErrorKind,
};

use sceau_store::mongo::names;

use crate::{
    common::{Said, http::Client, numbered, run_within},
    database::{ADMIN, Database, NAME},
    log::{LONG, Load, Log},
};

/// The users of these tests, and the one role of each.
const USERS: [(&str, &str); 4] = [
    ("writer", "sceau_server"),
    ("compass", "sceau_reader"),
    ("backup", "sceau_backup"),
    ("retaining", "sceau_retention"),
];

/// The error of whoever may not do something.
const UNAUTHORIZED: i32 = 13;

fn command_code(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

/// Each must be refused for want of a right, whatever it says.
fn refused(database: &Database, as_user: &Mongo, who: &str, commands: &[Document]) {
    for command in commands {
        let error = database.run(async { as_user.run_command(command.clone()).await }).unwrap_err();
        assert_eq!(command_code(&error), Some(UNAUTHORIZED), "{who} {command}: {error}");
    }
}

/// All that would change or remove what is in a collection.
fn changes(collection: &str) -> Vec<Document> {
    let set = doc! { "$set": { "user": "mallory" } };
    vec![
        doc! { "update": collection, "updates": [{ "q": {}, "u": set.clone() }] },
        doc! { "update": collection, "updates": [{ "q": { "_id": 0_i64 }, "u": { "user": "mallory" }, "upsert": true }] },
        doc! { "findAndModify": collection, "query": {}, "update": set.clone() },
        doc! { "delete": collection, "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "findAndModify": collection, "query": {}, "remove": true },
        doc! { "drop": collection },
        doc! { "collMod": collection, "validator": {} },
        doc! { "aggregate": "sceau_head", "pipeline": [{ "$out": collection }], "cursor": {} },
        doc! { "aggregate": "sceau_head", "pipeline": [{ "$merge": { "into": collection } }], "cursor": {} },
    ]
}

/// All that would change what a collection is.
fn alterations(collection: &str) -> Vec<Document> {
    vec![
        doc! { "drop": collection },
        doc! { "collMod": collection, "validator": {} },
        doc! { "collMod": collection, "validationAction": "warn" },
        doc! { "createIndexes": collection, "indexes": [{ "key": { "user": 1 }, "name": "mine", "unique": true }] },
        doc! { "dropIndexes": collection, "index": "*" },
        doc! { "convertToCapped": collection, "size": 4_096 },
    ]
}

/// All that would change the database around the collections, or who may do what.
fn beside() -> Vec<Document> {
    let role = doc! { "role": "readWrite", "db": NAME };
    vec![
        doc! { "create": "mine" },
        doc! { "create": "mine", "viewOn": "logs", "pipeline": [] },
        doc! { "insert": "mine", "documents": [{ "_id": 0 }] },
        doc! { "dropDatabase": 1 },
        doc! { "createUser": "mallory", "pwd": "hush", "roles": [role.clone()] },
        doc! { "grantRolesToUser": "writer", "roles": [role.clone()] },
        doc! { "createRole": "mine", "privileges": [], "roles": [role.clone()] },
        doc! { "grantRolesToRole": "sceau_server", "roles": [role] },
        doc! { "dropRole": "sceau_server" },
    ]
}

fn insertion(collection: &str) -> Document {
    doc! { "insert": collection, "documents": [{ "_id": -1_i64 }] }
}

fn found(database: &Database, as_user: &Mongo, collection: &str) -> Result<Document, mongodb::error::Error> {
    database.run(async { as_user.run_command(doc! { "find": collection, "limit": 1 }).await })
}

/// A log that was made with the server's role, and users who have one role each.
fn prepared(database: &Database) -> Log {
    let mut log = Log::nowhere(database);
    let uri = database.uri(ADMIN);
    for _ in 0..2 {
        let said = log.run(&["mongo", "init", "--admin-store", &uri]).with(0);
        assert!(said.out.contains("role sceau_server:"), "{said:#?}");
    }
    for (user, role) in USERS {
        database.create_user(user, vec![doc! { "role": role, "db": NAME }]);
    }
    log.uri = database.uri("writer");
    log.init();
    let file = log.place.file("first.log", "a line of the first file\n".repeat(300));
    log.run(&["import", file.to_str().unwrap()]).with(0);
    log
}

#[test]
fn whoever_looks_can_look_at_the_log_and_write_nothing() {
    let Some(database) = Database::start("the reader's role in MongoDB") else { return };
    let _log = prepared(&database);
    let reader = database.client("compass").database(NAME);
    let views = [names::FAILED_LOGINS, names::UNUSUAL_HOURS];
    for collection in names::COLLECTIONS.into_iter().chain(views) {
        refused(&database, &reader, "Compass", &[insertion(collection)]);
        refused(&database, &reader, "Compass", &changes(collection));
        refused(&database, &reader, "Compass", &alterations(collection));
    }
    refused(&database, &reader, "Compass", &beside());
    for collection in [names::LOGS].into_iter().chain(views) {
        found(&database, &reader, collection).unwrap();
    }
    // Hashes of tokens are among these.
    for collection in names::COLLECTIONS.into_iter().filter(|name| *name != names::LOGS) {
        refused(&database, &reader, "Compass", &[doc! { "find": collection }, doc! { "count": collection }]);
    }
}

#[test]
fn whoever_backs_up_reads_everything_and_writes_nothing() {
    let Some(database) = Database::start("the backup's role in MongoDB") else { return };
    let log = prepared(&database);
    let backup = database.client("backup").database(NAME);
    for collection in names::COLLECTIONS {
        found(&database, &backup, collection).unwrap();
        for command in [doc! { "listIndexes": collection }, doc! { "collStats": collection }] {
            database.run(async { backup.run_command(command).await }).unwrap();
        }
        refused(&database, &backup, "a backup", &[insertion(collection)]);
        refused(&database, &backup, "a backup", &changes(collection));
        refused(&database, &backup, "a backup", &alterations(collection));
    }
    refused(&database, &backup, "a backup", &beside());
    database.run(async { backup.run_command(doc! { "listCollections": 1 }).await }).unwrap();
    let as_backup = |args: &[&str]| {
        let mut command = log.command(args);
        run_within(command.env("SCEAU_STORE", database.uri("backup")), LONG)
    };
    as_backup(&["verify", "--pin", log.pin()]).with(0);
    as_backup(&["export"]).with(0);
    for args in [&["token", "--name", "mallory"][..], &["keys", "rotate", "log"], &["rebuild"]] {
        let said = as_backup(args);
        assert!(said.code != 0 && said.err.contains("not authorized"), "{args:?}: {said:#?}");
    }
}

#[test]
fn the_server_can_not_change_what_its_collections_are() {
    let Some(database) = Database::start("the server's role and collections in MongoDB") else { return };
    let _log = prepared(&database);
    for user in ["writer", "retaining"] {
        let server = database.client(user).database(NAME);
        for collection in names::COLLECTIONS {
            refused(&database, &server, user, &alterations(collection));
            let mut unchecked = insertion(collection);
            unchecked.insert("bypassDocumentValidation", true);
            refused(&database, &server, user, &[unchecked]);
        }
        refused(&database, &server, user, &beside());
        // Nobody rewrites these, the server included.
        for collection in [names::LOGS, names::TILES, names::SEALS, names::FACTS, names::LEAVES] {
            let may_remove = user == "retaining" && collection == names::LOGS;
            let mut all = changes(collection);
            all.retain(|command| !may_remove || command.contains_key("update"));
            refused(&database, &server, user, &all);
        }
        let checks = doc! { "delete": names::LOGS, "deletes": [{ "q": { "_id": -1_i64 }, "limit": 1 }] };
        let removed = database.run(async { server.run_command(checks).await });
        assert_eq!(removed.is_ok(), user == "retaining", "{user}: {removed:?}");
    }
}

#[test]
fn the_server_works_with_its_role_and_can_not_change_what_it_wrote() {
    let Some(database) = Database::start("least privilege in MongoDB") else { return };
    let log = prepared(&database);
    let (server, mut load) = (log.serve(), Load::default());
    let mut client = Client::connect(&server.url).unwrap();
    assert_eq!(load.send(&mut client, 300, true).unwrap(), 200);
    let file = log.place.file("lines.log", numbered(700));
    server.run(&["import", file.to_str().unwrap()]).with(0);
    let counted = server.run(&["count", "numbered"]).with(0);
    assert!(counted.out.contains("700"), "{counted:#?}");
    server.run(&["search", "numbered line 7", "--limit", "3"]).with(0);
    server.run(&["verify"]).with(0);
    load.check(&server);
    server.stop();
    // It goes on where it stopped, and whatever else is done with that role works as well.
    let server = log.serve();
    load.check(&server);
    server.stop();
    log.run(&["token", "--name", "alice"]).with(0);
    log.verify();

    // Alerts are state, which it may write; documents of the log it may not put right, and says that of them alone.
    let logs = database.client(ADMIN).database(NAME).collection::<Document>(names::LOGS);
    let (fifth, changed) = (doc! { "_id": 5_i64 }, doc! { "$set": { "user": "mallory" } });
    let right = database.run(async { logs.find_one(fifth.clone()).await }).unwrap().unwrap();
    database.run(async { logs.update_one(fifth.clone(), changed).await }).unwrap();
    let half = |said: Said| {
        assert!(said.code != 0 && said.out.contains("alerts again") && !said.out.contains("records"), "{said:#?}");
        assert!(said.err.contains("records could not be made again"), "{said:#?}");
    };
    half(log.run(&["rebuild"]));
    let server = log.serve();
    half(server.run(&["rebuild"]));
    server.stop();
    database.run(async { logs.replace_one(fifth, right).await }).unwrap();

    let writer = database.client("writer").database(NAME);
    refused(&database, &writer, "the server", &changes("logs"));
    // Whoever may read everything may verify; whoever may not is told so.
    let verify = |user: &str| {
        let mut verify = log.command(&["verify", "--json"]);
        run_within(verify.env("SCEAU_STORE", database.uri(user)), LONG)
    };
    verify("backup").with(0);
    let said = verify("compass");
    assert!(said.code != 0 && said.err.contains("not authorized"), "{said:#?}");
}

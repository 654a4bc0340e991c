//! Least privilege: the server works with its own role alone, which can add entries and do nothing else to them; whoever
//! looks with Compass can look and nothing else.

use mongodb::{
    Database as Mongo,
    bson::{Document, doc},
    error::ErrorKind,
};

use crate::{
    common::{http::Client, numbered, run_within},
    database::{ADMIN, Database, NAME},
    log::{LONG, Load, Log},
};

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

#[test]
fn the_server_works_with_its_role_and_can_not_change_what_it_wrote() {
    let Some(database) = Database::start("least privilege in MongoDB") else { return };
    let mut log = Log::nowhere(&database);
    let uri = database.uri(ADMIN);
    for _ in 0..2 {
        let said = log.run(&["mongo", "init", "--admin-store", &uri]).with(0);
        assert!(said.out.contains("role sceau_server:"), "{said:#?}");
    }
    for (user, role) in [("writer", "sceau_server"), ("compass", "sceau_reader"), ("backup", "sceau_backup")] {
        database.create_user(user, vec![doc! { "role": role, "db": NAME }]);
    }
    log.uri = database.uri("writer");
    log.init();
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

    let writer = database.client("writer").database(NAME);
    refused(&database, &writer, "the server", &changes("logs"));
    let compass = database.client("compass").database(NAME);
    refused(&database, &compass, "Compass", &changes("logs"));
    let insert = doc! { "insert": "logs", "documents": [{ "_id": -1_i64 }] };
    refused(&database, &compass, "Compass", &[insert]);
    for collection in ["sceau_head", "sceau_seals", "sceau_checkpoints", "sceau_tiles", "sceau_macs", "sceau_state"] {
        refused(&database, &compass, "Compass", &changes(collection)[..7]);
    }
    for collection in ["logs", "failed_logins_10min", "unusual_hours"] {
        let found = doc! { "find": collection, "limit": 1 };
        database.run(async { compass.run_command(found).await }).unwrap();
    }
    // Whoever may read everything may verify; whoever may not is told so.
    let verify = |user: &str| {
        let mut verify = log.command(&["verify", "--json"]);
        run_within(verify.env("SCEAU_STORE", database.uri(user)), LONG)
    };
    verify("backup").with(0);
    let said = verify("compass");
    assert!(said.code != 0 && said.err.contains("not authorized"), "{said:#?}");
}

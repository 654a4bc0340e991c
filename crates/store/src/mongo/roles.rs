//! Roles with the least that each user needs. `sceau mongo init` prints them for mongosh, or makes them itself.

use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};

use super::{names, trouble};
use crate::error::StoreError;

/// The server's: it adds to the log, and can't change or delete what is in it.
pub const SERVER: &str = "sceau_server";
/// For people in Compass: reads logs and views.
pub const READER: &str = "sceau_reader";
/// For backups: reads everything.
pub const BACKUP: &str = "sceau_backup";
/// For a server that deletes old entries: the server's, and deleting from the log.
pub const RETENTION: &str = "sceau_retention";

/// Roles exist in the database there already.
const ROLE_EXISTS: i32 = 51_002;

/// A right to some collection.
fn on(database: &str, collection: &str, actions: &[&str]) -> Document {
    let actions: Vec<Bson> = actions.iter().map(|action| (*action).into()).collect();
    doc! { "resource": { "db": database, "collection": collection }, "actions": actions }
}

/// The `createRole` commands for a database.
#[must_use]
pub fn commands(database: &str) -> Vec<Document> {
    const READ: [&str; 2] = ["find", "collStats"];
    let looks = [names::LOGS, names::FAILED_LOGINS, names::UNUSUAL_HOURS];
    let mut server = vec![
        on(database, names::LOGS, &["find", "insert", "collStats"]),
        on(database, "", &["dbStats", "listCollections"]),
    ];
    let own = names::COLLECTIONS.into_iter().filter(|collection| *collection != names::LOGS);
    server.extend(own.map(|collection| {
        let actions: &[&str] = match collection {
            // Where documents are removed: what has expired, and checkpoints that are thinned.
            names::STATE | names::CHECKPOINTS => &["find", "insert", "update", "remove"],
            names::HEAD | names::LEASE | names::MACS => &["find", "insert", "update"],
            _ => &["find", "insert"],
        };
        on(database, collection, actions)
    }));
    let mut reader: Vec<Document> = looks.into_iter().map(|name| on(database, name, &READ)).collect();
    reader.push(on(database, "", &["listCollections", "listIndexes", "dbStats"]));
    let role = |name: &str, privileges: Vec<Document>, roles: Vec<Bson>| {
        doc! { "createRole": name, "privileges": privileges, "roles": roles }
    };
    vec![
        role(SERVER, server, vec![]),
        role(READER, reader, vec![]),
        role(
            BACKUP,
            vec![on(database, "", &["find", "listCollections", "listIndexes", "collStats", "dbStats"])],
            vec![],
        ),
        role(RETENTION, vec![on(database, names::LOGS, &["remove"])], vec![SERVER.into()]),
    ]
}

/// The same for people to read, and to paste into mongosh.
#[must_use]
pub fn script(database: &str) -> String {
    let mut text = format!("use({database:?})\n");
    for command in commands(database) {
        // Only texts and lists: nothing of it is spelled otherwise in JSON.
        let json = serde_json::to_string_pretty(&command).unwrap_or_default();
        text.push_str(&format!("db.runCommand({json})\n"));
    }
    text
}

/// Makes the roles, or gives those that are there these rights.
pub async fn create(database: &Database) -> Result<(), StoreError> {
    for command in commands(database.name()) {
        match database.run_command(command.clone()).await {
            Err(error) if trouble::code(&error) == Some(ROLE_EXISTS) => {
                let mut update = Document::new();
                for (at, (name, value)) in command.into_iter().enumerate() {
                    update.insert(if at == 0 { "updateRole".to_owned() } else { name }, value);
                }
                database.run_command(update).await?;
            }
            other => drop(other?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_retention_may_delete_from_the_log_and_nobody_may_change_it() {
        for command in commands("sceau") {
            let role = command.get_str("createRole").unwrap();
            for privilege in command.get_array("privileges").unwrap() {
                let privilege = privilege.as_document().unwrap();
                let collection = privilege.get_document("resource").unwrap().get_str("collection").unwrap();
                let actions: Vec<&str> =
                    privilege.get_array("actions").unwrap().iter().map(|action| action.as_str().unwrap()).collect();
                let writes = |action: &str| actions.contains(&action);
                let logs = collection == names::LOGS || collection.is_empty();
                assert!(!(logs && writes("update")), "{role}");
                assert_eq!(logs && writes("remove"), role == RETENTION, "{role}");
                assert!(role == SERVER || !writes("insert"), "{role}");
            }
        }
        let script = script("sceau");
        assert!(script.starts_with("use(\"sceau\")\n") && script.matches("db.runCommand(").count() == 4, "{script}");
    }
}

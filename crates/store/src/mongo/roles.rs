//! Who needs what: the roles that make the database itself refuse what nobody should do.
//!
//! Invariant: no role here can change or delete a document of `logs`.

use mongodb::bson::{Bson, Document, doc};

use super::{
    connect::{MongoOptions, MongoUri, connect},
    names::{
        CHECKPOINTS, COLLECTIONS, FACTS, FAILED_LOGINS, HEAD, LEASE, LEAVES, LOGS, MACS, SEALS, STATE, TILES, UNUSUAL_HOURS,
    },
};
use crate::error::StoreError;

/// What may be done with one collection, or with the database as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Privilege {
    /// Empty: the database and all its collections but the system's.
    collection: &'static str,
    actions: Vec<&'static str>,
}

/// A role of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: &'static str,
    /// Whom it is for.
    pub purpose: &'static str,
    privileges: Vec<Privilege>,
}

/// The three roles: the server's, one for people who look with Compass, one for backups.
#[must_use]
pub fn roles() -> [Role; 3] {
    let privilege = |collection, actions: &[&'static str]| Privilege { collection, actions: actions.to_vec() };
    let looks = ["listCollections", "listIndexes", "collStats", "dbStats", "indexStats"];
    let server = [
        (LOGS, &["find", "insert"][..]),
        (HEAD, &["find", "update"]),
        (LEASE, &["find", "insert", "update"]),
        (STATE, &["find", "insert", "update", "remove"]),
        (TILES, &["find", "insert"]),
        (MACS, &["find", "insert", "update"]),
        // Of the older ones, fewer and fewer are kept.
        (CHECKPOINTS, &["find", "insert", "remove"]),
        (SEALS, &["find", "insert"]),
        (FACTS, &["find", "insert"]),
        (LEAVES, &["find", "insert"]),
    ];
    let server = server.into_iter().map(|(collection, actions)| privilege(collection, actions));
    // The state holds hashes of tokens, which nobody else needs.
    let readable = COLLECTIONS.into_iter().filter(|name| *name != STATE).chain([FAILED_LOGINS, UNUSUAL_HOURS]);
    let all = |privileges: &mut dyn Iterator<Item = Privilege>| {
        std::iter::once(privilege("", &looks)).chain(privileges).collect::<Vec<_>>()
    };
    [
        Role {
            name: "sceauServer",
            purpose: "the user that `sceau serve` has: adds entries, can't change or delete any",
            privileges: all(&mut server.into_iter()),
        },
        Role {
            name: "sceauReader",
            purpose: "people who look at the logs in MongoDB Compass, and `sceau search` and the like",
            privileges: all(&mut readable.map(|name| privilege(name, &["find"]))),
        },
        Role {
            name: "sceauBackup",
            purpose: "mongodump and `sceau verify`: reads everything",
            privileges: all(&mut std::iter::once(privilege("", &["find"]))),
        },
    ]
}

impl Role {
    fn privileges(&self, database: &str) -> Vec<Document> {
        let document = |privilege: &Privilege| {
            let actions: Vec<Bson> = privilege.actions.iter().map(|action| Bson::from(*action)).collect();
            doc! { "resource": { "db": database, "collection": privilege.collection }, "actions": actions }
        };
        self.privileges.iter().map(document).collect()
    }

    /// The lines of mongosh that make it in `database`, or bring it up to date.
    #[must_use]
    pub fn mongosh(&self, database: &str) -> String {
        let (name, database) = (self.name, quoted(database));
        let line = |privilege: &Privilege| {
            let actions: Vec<String> = privilege.actions.iter().map(|action| quoted(action)).collect();
            let collection = quoted(privilege.collection);
            format!("  {{resource: {{db: {database}, collection: {collection}}}, actions: [{}]}},\n", actions.join(", "))
        };
        let privileges: String = self.privileges.iter().map(line).collect();
        format!(
            "// {purpose}\nvar privileges = [\n{privileges}];\nif (db.getRole(\"{name}\")) db.updateRole(\"{name}\", \
             {{privileges: privileges, roles: []}});\nelse db.createRole({{role: \"{name}\", privileges: privileges, roles: []}});\n",
            purpose = self.purpose
        )
    }
}

/// A string of JavaScript.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The lines of mongosh that make all roles and show how users get them.
#[must_use]
pub fn mongosh(database: &str) -> String {
    let roles: String = roles().iter().map(|role| role.mongosh(database) + "\n").collect();
    let name = quoted(database);
    let user = |user: &str, role: &str| {
        format!(
            "// db.getSiblingDB(\"admin\").createUser({{user: \"{user}\", pwd: passwordPrompt(), roles: [{{role: \"{role}\", db: \
             {name}}}]}});\n"
        )
    };
    format!(
        "db = db.getSiblingDB({name});\n\n{roles}// Then make the users, each with a password of its own:\n{}{}{}",
        user("sceau", "sceauServer"),
        user("analyst", "sceauReader"),
        user("backup", "sceauBackup")
    )
}

/// The database that a URI names, or the one that is used where it names none.
#[must_use]
pub fn database_of(uri: &MongoUri) -> String {
    let shown = uri.to_string();
    let named = shown.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, name)| name);
    if named.is_empty() { super::connect::DATABASE.to_owned() } else { named.to_owned() }
}

/// Makes the roles, or brings them up to date; gives the names of those that were not there.
///
/// # Errors
/// The database can't be reached, or the user may not make roles.
pub async fn create_roles(admin: &MongoOptions) -> Result<Vec<&'static str>, StoreError> {
    let database = connect(admin).await?;
    let mut made = Vec::new();
    for role in roles() {
        let found = database.run_command(doc! { "rolesInfo": role.name }).await?;
        let is_there = found.get_array("roles").is_ok_and(|roles| !roles.is_empty());
        let command = if is_there { "updateRole" } else { "createRole" };
        let privileges = role.privileges(database.name());
        database.run_command(doc! { command: role.name, "privileges": privileges, "roles": [] }).await?;
        if !is_there {
            made.push(role.name);
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nobody_can_change_or_delete_an_entry() {
        for role in roles() {
            for privilege in &role.privileges {
                let writes = ["update", "remove", "dropCollection", "collMod", "anyAction", "bypassDocumentValidation"];
                if privilege.collection == LOGS || privilege.collection.is_empty() {
                    assert!(!privilege.actions.iter().any(|action| writes.contains(action)), "{}", role.name);
                }
                let only = role.name == "sceauServer" || privilege.actions.iter().all(|action| *action != "insert");
                assert!(only, "{}", role.name);
            }
        }
        let [server, reader, _] = roles();
        let of = |role: &Role, name| role.privileges.iter().filter(|p| p.collection == name).count();
        assert!(COLLECTIONS.into_iter().all(|name| of(&server, name) == 1));
        assert_eq!(of(&reader, STATE), 0);
    }

    #[test]
    fn the_text_for_mongosh_names_everything() {
        let text = mongosh("lo\"gs");
        assert!(text.starts_with("db = db.getSiblingDB(\"lo\\\"gs\");"), "{text}");
        for name in COLLECTIONS.into_iter().chain(["sceauServer", "sceauReader", "sceauBackup", "passwordPrompt()"]) {
            assert!(text.contains(name), "{name}");
        }
    }

    #[test]
    fn the_database_of_a_uri() {
        for (uri, name) in [
            ("mongodb://u:p@h:1,g:2/logs?replicaSet=rs0", "logs"),
            ("mongodb://h", "sceau"),
            ("mongodb+srv://h/?x=y", "sceau"),
        ] {
            assert_eq!(database_of(&MongoUri::new(uri).unwrap()), name);
        }
    }
}

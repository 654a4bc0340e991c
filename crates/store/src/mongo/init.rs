//! What a database needs before it holds a log: collections with validators, indexes, views, and the first head.

use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use super::{
    head::{self, HeadNote},
    names, trouble, validators, views,
};
use crate::error::StoreError;

/// The indexes of `logs` by name, with their keys; `docs/mongodb.md` says what each is for. Equality first, then time
/// and index, so that the newest matches come first without sorting.
pub const LOG_INDEXES: [(&str, &[(&str, i32)]); 9] = [
    ("by_time", &[(names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_date", &[(names::TIME, -1)]),
    ("by_ip", &[("ip", 1), (names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_user", &[("user", 1), (names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_status", &[("status", 1), (names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_source", &[(names::SOURCE, 1), (names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_word", &[("shadow.w", 1), (names::TIME_MICROS, -1), (names::ID, -1)]),
    ("by_field", &[("fields.k", 1), ("fields.v", 1)]),
    ("by_address", &[("shadow.a.ip", 1)]),
];

/// Makes what is missing; changes validators and views to this version's.
pub async fn prepare(database: &Database) -> Result<(), StoreError> {
    for (collection, validator) in validators::all() {
        let validator = doc! { "$jsonSchema": validator };
        let made = database.create_collection(collection).validator(validator.clone()).await;
        match made {
            Err(error) if trouble::exists(&error) => {
                database.run_command(doc! { "collMod": collection, "validator": validator }).await?;
            }
            other => other?,
        }
    }
    let index = |name: &str, keys: Document, options: Option<IndexOptions>| {
        let mut options = options.unwrap_or_default();
        options.name = Some(name.to_owned());
        IndexModel::builder().keys(keys).options(options).build()
    };
    let of_logs = LOG_INDEXES.iter().map(|(name, keys)| {
        let partial = (*name == "by_address").then(|| {
            IndexOptions::builder().partial_filter_expression(doc! { "shadow.a.ip": { "$exists": true } }).build()
        });
        index(name, keys.iter().map(|(key, order)| ((*key).to_owned(), (*order).into())).collect(), partial)
    });
    database.collection::<Document>(names::LOGS).create_indexes(of_logs).await?;
    let expiring = IndexOptions::builder().partial_filter_expression(doc! { "expires": { "$exists": true } }).build();
    let of_state = [
        index("by_name", doc! { "_id.c": 1, "_id.k": 1 }, None),
        index("by_expiry", doc! { "expires": 1 }, Some(expiring)),
    ];
    database.collection::<Document>(names::STATE).create_indexes(of_state).await?;
    for (view, pipeline) in views::all() {
        let made = database.create_collection(view).view_on(names::LOGS.to_owned()).pipeline(pipeline.clone()).await;
        match made {
            Err(error) if trouble::exists(&error) => {
                database.run_command(doc! { "collMod": view, "viewOn": names::LOGS, "pipeline": pipeline }).await?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Begins an empty log.
pub async fn begin(database: &Database) -> Result<(), StoreError> {
    let begun = database.collection::<Document>(names::HEAD).insert_one(HeadNote::first()).await;
    match begun {
        Err(error) if trouble::duplicate(&error) => Err(StoreError::Exists("the log in this database".into())),
        other => Ok(other.map(drop)?),
    }
}

/// Whether there is anything of a log.
pub async fn begun(database: &Database) -> Result<bool, StoreError> {
    let any = doc! { "_id": { "$ne": head::KEY } };
    for collection in [names::LOGS, names::FACTS, names::SEALS] {
        if database.collection::<Document>(collection).find_one(any.clone()).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

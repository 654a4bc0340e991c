//! What a database needs before it holds a log: collections with validators, indexes, views, and the first head.

use mongodb::{
    Database, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use super::{
    head::{self, HeadNote},
    indexes::{self, Index},
    names, trouble, validators, views,
};
use crate::error::StoreError;

/// Makes what is missing; changes validators and views to this version's, and switches validators on that somebody switched
/// off.
pub async fn prepare(database: &Database) -> Result<(), StoreError> {
    for (collection, validator) in validators::all() {
        let validator = doc! { "$jsonSchema": validator };
        let made = database.create_collection(collection).validator(validator.clone()).await;
        match made {
            Err(error) if trouble::exists(&error) => {
                let mut changes = doc! { "collMod": collection, "validator": validator };
                changes.extend(doc! { "validationLevel": "strict", "validationAction": "error" });
                database.run_command(changes).await?;
            }
            other => other?,
        }
    }
    let of_logs = indexes::of_logs();
    database.collection::<Document>(names::LOGS).create_indexes(of_logs.iter().map(Index::model)).await?;
    let expiring = IndexOptions::builder()
        .name("by_expiry".to_owned())
        .partial_filter_expression(doc! { "expires": { "$exists": true } })
        .build();
    let by_name = IndexOptions::builder().name("by_name".to_owned()).build();
    let of_state = [
        IndexModel::builder().keys(doc! { "_id.c": 1, "_id.k": 1 }).options(by_name).build(),
        IndexModel::builder().keys(doc! { "expires": 1 }).options(expiring).build(),
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

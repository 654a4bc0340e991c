//! `$jsonSchema` of each collection: what is malformed never gets in by mistake. It is no guard against an administrator,
//! who can switch it off; `sceau verify` is.

use mongodb::bson::{Bson, Document, doc};
use sceau_event::{Keyword, Number};

use super::names;

/// A SHA-256 in hexadecimal digits.
const HEX: &str = "^[0-9a-f]{64}$";

/// Every collection with its schema.
pub fn all() -> Vec<(&'static str, Document)> {
    let long = || doc! { "bsonType": "long" };
    let string = || doc! { "bsonType": "string" };
    let binary = || doc! { "bsonType": "binData" };
    vec![
        (names::LOGS, logs()),
        (
            names::HEAD,
            object(doc! {
                "_id": { "enum": ["head"] }, "size": { "bsonType": "long", "minimum": 0_i64 }, "root": binary(),
                "fence": long(), "by": { "bsonType": "objectId" }, "turn": { "bsonType": "objectId" },
                "format": { "bsonType": "int" },
            }),
        ),
        (names::LEASE, lease()),
        (names::STATE, state()),
        (names::TILES, object(doc! { "_id": long(), "hash": binary() })),
        (names::MACS, object(doc! { "_id": long(), "count": { "bsonType": "int" }, "tag": binary() })),
        (names::CHECKPOINTS, object(doc! { "_id": long(), "note": string() })),
        (names::SEALS, object(doc! { "_id": long(), "text": string() })),
        (names::FACTS, object(doc! { "_id": string(), "value": string() })),
        (names::LEAVES, object(doc! { "_id": long(), "hashes": binary() })),
    ]
}

/// A document in which all of these are required.
fn object(properties: Document) -> Document {
    let required: Vec<Bson> = properties.keys().map(|name| name.as_str().into()).collect();
    doc! { "bsonType": "object", "required": required, "properties": properties }
}

fn lease() -> Document {
    let mut schema = object(doc! {
        "_id": { "enum": ["lease"] }, "owner": { "bsonType": "string" }, "fence": { "bsonType": "long" },
        "until": { "bsonType": "date" },
    });
    if let Ok(properties) = schema.get_document_mut("properties") {
        properties.extend(doc! { "ttl": { "bsonType": "long" }, "session": { "bsonType": "object" } });
    }
    schema
}

fn state() -> Document {
    let part = || doc! { "bsonType": "string" };
    let id = object(doc! { "c": part(), "k": part() });
    let mut schema = object(doc! { "_id": id, "value": part(), "version": { "bsonType": "long" } });
    if let Ok(properties) = schema.get_document_mut("properties") {
        properties.extend(doc! {
            "expires": { "bsonType": "long" }, "expires_at": { "bsonType": "date" }, "mac": { "bsonType": "binData" },
        });
    }
    schema
}

fn logs() -> Document {
    let (long, string, date) =
        (doc! { "bsonType": "long" }, doc! { "bsonType": "string" }, doc! { "bsonType": "date" });
    let hex = doc! { "bsonType": "string", "pattern": HEX };
    let mut schema = object(doc! {
        names::ID: { "bsonType": "long", "minimum": 0_i64 },
        names::TIMESTAMP: &string, names::TIME: &date, names::RECEIVED: &date, names::SOURCE: &string,
        names::ENTRY: { "bsonType": ["string", "binData"] }, names::HASH: &hex, names::HMAC: &hex,
        names::DERIVER: &string, names::TIME_MICROS: &long, names::RECEIVED_MICROS: &long,
    });
    if let Ok(properties) = schema.get_document_mut("properties") {
        let pair = object(doc! { names::PAIR_KEY: &string, names::PAIR_VALUE: &string });
        properties.insert(names::FIELDS, doc! { "bsonType": "array", "items": pair });
        properties.insert(names::SHADOW, doc! { "bsonType": "object" });
        properties.extend(Keyword::ALL.map(|keyword| (names::keyword(keyword).to_owned(), string.clone().into())));
        properties.extend(Number::ALL.map(|number| (names::number(number).to_owned(), long.clone().into())));
    }
    schema
}

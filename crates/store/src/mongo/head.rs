//! The one document that every transaction updates, and what it says.

use mongodb::{
    ClientSession, Database,
    bson::{Binary, Bson, Document, doc, oid::ObjectId, spec::BinarySubtype},
};
use sceau_ledger::{Head, RootHash, TreeSize};

use super::{connect::whole, names};
use crate::error::StoreError;

/// The version of the layout, in the head document.
pub const FORMAT: i32 = 1;
/// The document's key.
pub const KEY: &str = "head";

/// The head document.
#[derive(Clone, Debug)]
pub struct HeadNote {
    /// The committed head.
    pub head: Head,
    /// Raised by each take-over, and by whoever must know that a transaction can't happen any more.
    pub fence: i64,
    /// Who raised the fence last.
    pub by: ObjectId,
    /// The last transaction that happened.
    pub turn: ObjectId,
}

/// 32 bytes as BSON.
pub fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
}

/// A whole number as BSON. Beyond 2^63 there are none, see `embedded::db::number`.
pub fn number(value: u64) -> Bson {
    Bson::Int64(i64::try_from(value).unwrap_or(i64::MAX))
}

/// 32 bytes from BSON; whatever else somebody may have put there reads as zeros, so that it fits nothing.
pub fn hash(document: &Document, name: &str) -> [u8; 32] {
    document.get_binary_generic(name).ok().and_then(|bytes| bytes.as_slice().try_into().ok()).unwrap_or([0; 32])
}

/// A whole number from BSON; whatever else somebody may have put there reads as one that fits nothing.
pub fn unsigned(document: &Document, name: &str) -> u64 {
    whole(document, name).and_then(|value| u64::try_from(value).ok()).unwrap_or(u64::MAX >> 1)
}

impl HeadNote {
    /// The document of an empty log.
    pub fn first() -> Document {
        let Head { size, root } = Head::empty();
        doc! {
            "_id": KEY, "size": number(size.0), "root": binary(&root.0), "fence": 0_i64, "by": ObjectId::new(),
            "turn": ObjectId::new(), "format": FORMAT,
        }
    }

    fn of(document: &Document) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(format!("the document in {} has no {what}", names::HEAD));
        let format = document.get_i32("format").map_err(|_| damaged("format"))?;
        if format > FORMAT {
            let (found, known) = (format.unsigned_abs().into(), FORMAT.unsigned_abs().into());
            return Err(StoreError::Newer { what: "the MongoDB database".into(), found, known });
        }
        let size = document.get_i64("size").ok().and_then(|size| u64::try_from(size).ok());
        let root = document.get_binary_generic("root").ok().and_then(|root| root.as_slice().try_into().ok());
        Ok(Self {
            head: Head {
                size: TreeSize(size.ok_or_else(|| damaged("size"))?),
                root: RootHash(root.ok_or_else(|| damaged("root of 32 bytes"))?),
            },
            fence: document.get_i64("fence").map_err(|_| damaged("fence"))?,
            by: document.get_object_id("by").map_err(|_| damaged("by"))?,
            turn: document.get_object_id("turn").map_err(|_| damaged("turn"))?,
        })
    }

    /// Reads the document; `None`: there is no log.
    pub async fn find(database: &Database) -> Result<Option<Self>, StoreError> {
        let found = database.collection::<Document>(names::HEAD).find_one(doc! { "_id": KEY }).await?;
        found.as_ref().map(Self::of).transpose()
    }

    /// Reads the document of a log that must be there.
    pub async fn read(database: &Database) -> Result<Self, StoreError> {
        let missing = || StoreError::Damaged(format!("the collection {} is empty", names::HEAD));
        Self::find(database).await?.ok_or_else(missing)
    }
}

/// Says in a transaction which turn it is: it then happens before or after every other one, or not at all. With a head,
/// that is compared and replaced. `false`: the document is not as expected, and nothing may be written.
pub async fn take(
    database: &Database,
    session: &mut ClientSession,
    fence: i64,
    turn: ObjectId,
    heads: Option<(Head, Head)>,
) -> mongodb::error::Result<bool> {
    let mut filter = doc! { "_id": KEY, "fence": fence };
    let mut set = doc! { "turn": turn };
    if let Some((expected, next)) = heads {
        filter.extend(doc! { "size": number(expected.size.0), "root": binary(&expected.root.0) });
        set.extend(doc! { "size": number(next.size.0), "root": binary(&next.root.0) });
    }
    let heads = database.collection::<Document>(names::HEAD);
    Ok(heads.update_one(filter, doc! { "$set": set }).session(session).await?.matched_count == 1)
}

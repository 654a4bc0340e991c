//! Views for people who only have MongoDB Compass: what the product finds, shown from the documents alone.
//!
//! Written for MongoDB 4.4, which has no `$dateTrunc`; moments are cut with plain arithmetic, which no date can break.

use mongodb::bson::{Document, doc};

use super::names;

/// Milliseconds of the window in which failures are counted.
const WINDOW: i64 = 600_000;
/// How many failures in a window are shown.
const FAILURES: i32 = 5;
/// How many names of users are shown of a window.
const USERS: i32 = 20;

/// The views with their pipelines on `logs`.
pub fn all() -> [(&'static str, Vec<Document>); 2] {
    [(names::FAILED_LOGINS, failed_logins()), (names::UNUSUAL_HOURS, unusual_hours())]
}

/// Windows on the clock with five failures or more from one address. An event that stands for several counts as such.
fn failed_logins() -> Vec<Document> {
    let window = doc! { "$floor": { "$divide": [{ "$toLong": "$time" }, WINDOW] } };
    let start = |window: &str| doc! { "$toDate": { "$toLong": { "$multiply": [window, WINDOW] } } };
    vec![
        doc! { "$match": { "status": "failed", "ip": { "$exists": true }, "source": { "$ne": "sceau.finding" } } },
        doc! { "$group": {
            "_id": { "ip": "$ip", "window": window },
            "failures": { "$sum": { "$ifNull": ["$count", 1] } },
            "users": { "$addToSet": "$user" },
            "first": { "$min": "$time" },
            "last": { "$max": "$time" },
        } },
        doc! { "$match": { "failures": { "$gte": FAILURES } } },
        doc! { "$sort": { "_id.window": -1, "_id.ip": 1 } },
        doc! { "$project": {
            "_id": 0, "ip": "$_id.ip", "from": start("$_id.window"), "failures": 1,
            "users": { "$slice": ["$users", USERS] }, "first": 1, "last": 1,
        } },
    ]
}

/// What happened from 00:00 to 04:59 UTC, newest first.
fn unusual_hours() -> Vec<Document> {
    let hours = doc! { "$floor": { "$divide": [{ "$toLong": "$time" }, 3_600_000_i64] } };
    // Of times before 1970, the remainder is negative.
    let hour = doc! { "$mod": [{ "$add": [{ "$mod": [hours, 24] }, 24] }, 24] };
    let shown = ["timestamp", "time", "ip", "user", "action", "status", "host", "service", "message", "source"];
    let project: Document = shown.into_iter().map(|name| (name.to_owned(), 1.into())).collect();
    vec![
        doc! { "$sort": { names::TIME_MICROS: -1, names::ID: -1 } },
        doc! { "$match": { "source": { "$ne": "sceau.finding" }, "$expr": { "$lt": [hour, 5] } } },
        doc! { "$project": project },
    ]
}

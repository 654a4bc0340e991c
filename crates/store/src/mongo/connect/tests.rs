#![allow(clippy::unwrap_used)]

use super::*;

fn options(uri: &str) -> MongoOptions {
    MongoOptions::new(MongoUri::new(uri).unwrap())
}

#[test]
fn a_uri_shows_no_password() {
    for (uri, shown, has) in [
        (
            "mongodb://u:p%40ss@h:1,g:2/db?replicaSet=rs0&tlsCertificateKeyFilePassword=hush",
            "mongodb://u@h:1,g:2/db",
            true,
        ),
        ("mongodb+srv://u:pass@h", "mongodb+srv://u@h", true),
        ("mongodb://u@h/db", "mongodb://u@h/db", false),
        ("mongodb://h", "mongodb://h", false),
        // No URIs, but somebody may write them.
        ("mongodb://u:p@ss@h/db", "mongodb://u@h/db", true),
        ("mongodb://u:pass/word@h/db", "mongodb://u@h/db", true),
    ] {
        let uri = MongoUri::new(uri).unwrap();
        assert_eq!((uri.to_string().as_str(), uri.has_password()), (shown, has));
        assert_eq!(format!("{uri:?}"), shown);
    }
    assert_eq!(MongoUri::new("postgres://u:p@h"), None);
}

#[tokio::test]
async fn no_error_shows_a_password() {
    for uri in [
        "mongodb://u:tops3cret@@/db",
        "mongodb://u:tops3cret/x@127.0.0.1:1/db",
        "mongodb://u:tops3cret@127.0.0.1:port/db",
        "mongodb://u:tops3cret@127.0.0.1:1/db?serverSelectionTimeoutMS=50",
        "mongodb://u:tops%33cret@127.0.0.1:1/db?authMechanism=MONGODB-X509",
        "mongodb://127.0.0.1:1/db?proxyPassword=tops3cret",
    ] {
        let mut options = options(uri);
        options.limits.connect = Duration::from_millis(50);
        options.password = Some(Secret::new("0ther"));
        let error = connect(&options).await.unwrap_err();
        let shown = format!("{error} {error:?} {options:?}");
        assert!(!shown.contains("tops3cret") && !shown.contains("0ther"), "{shown}");
    }
}

#[tokio::test]
async fn questions_do_not_take_all_connections() {
    for (wanted, given) in [("", 64), ("?maxPoolSize=5", 64), ("?maxPoolSize=100", 100)] {
        let settings = settings(&options(&format!("mongodb://h/db{wanted}"))).await.unwrap();
        assert_eq!(settings.max_pool_size, Some(given), "{wanted}");
    }
}

use super::*;
use crate::{keydir, testing::Fixture};

#[tokio::test]
async fn made_once() {
    let fixture = Fixture::new().await;
    assert!(fixture.report.created);
    let again = init(&fixture.config).await.unwrap();
    assert_eq!(again, InitReport { created: false, ..fixture.report });
    let other = Config { origin: Some("example.org/other".into()), ..fixture.config.clone() };
    assert!(init(&other).await.unwrap_err().to_string().contains("can't be changed"));
}

#[tokio::test]
async fn each_step_is_gone_on_with() {
    for left in ["nothing", "origin", "keys", "store", "facts"] {
        let fixture = Fixture::new().await;
        let (data, keys) = (fixture.data(), &fixture.config.key_dir);
        std::fs::remove_dir_all(data).unwrap();
        match left {
            "nothing" => std::fs::remove_dir_all(keys).unwrap(),
            "origin" => {
                for name in [keydir::LOG_KEY, keydir::MAC_KEY, keydir::EPOCH_KEY, keydir::HEADS] {
                    std::fs::remove_file(keys.join(name)).unwrap();
                }
            }
            _ => {}
        }
        if left == "store" || left == "facts" {
            fixture.config.place.create().await.unwrap();
        }
        if left == "facts" {
            let store = fixture.config.place.open(load_deriver(&fixture.config).unwrap()).await.unwrap();
            store.fix_fact("origin", "example.org/log").await.unwrap();
        }
        let config = Config { origin: None, ..fixture.config.clone() };
        let report = init(&config).await.unwrap();
        assert!(report.created, "{left}");
        assert_eq!(report.origin == "example.org/log", left != "nothing", "{left}");
        let kept = !matches!(left, "nothing" | "origin");
        assert_eq!(report.first_epoch_key == fixture.report.first_epoch_key, kept, "{left}");
        fixture.log().await.close().await.unwrap();
    }
}

#[tokio::test]
async fn keys_of_a_complete_log_are_never_made_anew() {
    let fixture = Fixture::new().await;
    std::fs::remove_file(fixture.config.key_dir.join(keydir::MAC_KEY)).unwrap();
    let refused = init(&fixture.config).await.unwrap_err().to_string();
    assert!(refused.contains("mac.key"), "{refused}");
    let elsewhere = Config { key_dir: fixture.config.key_dir.with_extension("new"), ..fixture.config.clone() };
    assert!(init(&elsewhere).await.is_err());
    assert!(!elsewhere.key_dir.exists());
}

#[tokio::test]
async fn used_keys_are_not_given_to_another_log() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    log.record_state_change("tokens", "a", None, "test").await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let elsewhere = Config { place: fixture.data().with_extension("new").into(), ..fixture.config.clone() };
    let refused = init(&elsewhere).await.unwrap_err().to_string();
    assert!(refused.contains("have sealed a log"), "{refused}");
}

#[tokio::test]
async fn keys_of_another_log_are_refused() {
    let (one, two) = (Fixture::new().await, Fixture::new().await);
    let mixed = Config { key_dir: two.config.key_dir.clone(), ..one.config.clone() };
    assert!(matches!(init(&mixed).await, Err(ServerError::KeyDir { .. })));
    assert!(matches!(crate::Log::open(&mixed).await.err(), Some(ServerError::KeyDir { .. })));
    let inside = Config { key_dir: one.data().join("keys"), ..one.config.clone() };
    assert!(init(&inside).await.unwrap_err().to_string().contains("inside the data directory"));
}

#[tokio::test]
async fn an_origin_is_checked_before_anything_is_made() {
    let fixture = Fixture::new().await;
    let root = fixture.data().with_extension("other");
    let config = Config { origin: Some("with space".into()), ..Config::new(root.join("data"), root.join("keys")) };
    assert!(init(&config).await.is_err());
    assert!(!root.exists());
}

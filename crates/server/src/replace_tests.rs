use bytes::Bytes;

use super::*;
use crate::{
    IngestRequest,
    keydir::{self, EPOCH_KEY, HEADS, LOG_KEY, MAC_KEY},
    testing::{Cluster, Fixture},
    verify::{Cancel, VerifyReport, verify_dir},
};

const FILES: [(&str, &str); 4] = [("log", LOG_KEY), ("mac", MAC_KEY), ("epoch", EPOCH_KEY), ("heads", HEADS)];

async fn filled(fixture: &Fixture, entries: usize) {
    let log = fixture.log().await;
    let request = IngestRequest { format: crate::Format::Text, wait: true, ..IngestRequest::default() };
    log.ingest(Bytes::from("line\n".repeat(entries)), &request).await.unwrap();
    log.close().await.unwrap();
}

async fn report(fixture: &Fixture, pins: &[&str]) -> VerifyReport {
    let pins = pins.iter().map(|pin| (*pin).to_owned()).collect();
    let options = VerifyOptions { pins, ..VerifyOptions::default() };
    verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap()
}

async fn replace(fixture: &Fixture) -> Result<Replaced, ServerError> {
    replace_keys(&fixture.config, VerifyOptions::default(), false, "test", &|_, _| ()).await
}

fn lose(fixture: &Fixture, names: &[&str]) {
    for name in names {
        std::fs::remove_file(fixture.config.key_dir.join(name)).unwrap();
    }
}

#[tokio::test]
async fn whatever_was_lost_is_replaced_and_said() {
    for which in 1u8..16 {
        let (words, names): (Vec<&str>, Vec<&str>) =
            FILES.iter().zip(0..).filter(|(_, bit)| which & (1 << bit) != 0).map(|(file, _)| *file).unzip();
        let fixture = Fixture::new().await;
        filled(&fixture, 300).await;
        lose(&fixture, &names);
        let refused = crate::init(&fixture.config).await.unwrap_err().to_string();
        assert!(refused.contains("sceau keys replace"), "{refused}");
        let replaced = replace(&fixture).await.unwrap();
        assert_eq!(
            (replaced.lost.clone(), replaced.index),
            (words.iter().map(|word| (*word).to_owned()).collect(), 300)
        );
        filled(&fixture, 300).await;
        let first = fixture.report.first_epoch_key.as_str();
        let new_chain = words.contains(&"epoch");
        assert_eq!(replaced.epoch_key == first, !new_chain, "{words:?}");
        let one = report(&fixture, &[first]).await;
        assert!(one.ok && one.verdict.notes.iter().any(|note| note.contains("keys were lost")), "{words:?}: {one}");
        assert_eq!(one.verdict.sealed.up_to, Some(if new_chain { 299 } else { 600 }), "{one}");
        assert_eq!(one.verdict.sealed.unproven.is_some(), new_chain, "{one}");
        assert_eq!(one.verdict.macs.unproven.is_some(), words.contains(&"mac"), "{one}");
        assert_eq!(one.verdict.macs.up_to, Some(600), "{one}");
        let both = report(&fixture, &[first, &replaced.epoch_key]).await;
        assert!(both.ok && both.verdict.sealed.unproven.is_none(), "{words:?}: {both}");
        assert_eq!(both.verdict.sealed.up_to, Some(600), "{both}");
        let second = report(&fixture, &[&replaced.epoch_key]).await;
        assert_eq!(second.verdict.sealed.unproven.is_some(), new_chain, "{second}");
        assert!(report(&fixture, &[]).await.ok);
        let again = replace(&fixture).await.unwrap_err().to_string();
        assert!(again.contains("nothing is lost"), "{again}");
    }
}

#[tokio::test]
async fn a_log_that_lost_its_keys_twice_has_three_chains() {
    let fixture = Fixture::new().await;
    let mut pins = vec![fixture.report.first_epoch_key.clone()];
    for _ in 0..2 {
        filled(&fixture, 5).await;
        std::fs::remove_dir_all(&fixture.config.key_dir).unwrap();
        pins.push(replace(&fixture).await.unwrap().epoch_key);
    }
    filled(&fixture, 5).await;
    let all: Vec<&str> = pins.iter().map(String::as_str).collect();
    let whole = report(&fixture, &all).await;
    assert!(whole.ok && whole.verdict.sealed.younger == 0 && whole.verdict.sealed.unproven.is_none(), "{whole}");
    let outer = report(&fixture, &[all[0], all[2]]).await;
    assert!(outer.ok && outer.verdict.sealed.unproven.as_deref().unwrap().contains(all[1]), "{outer}");
    let stranger = sceau_ledger::EpochKey::from_seed(0, &[9; 32]).public().to_string();
    let wrong = report(&fixture, &[all[0], &stranger]).await;
    assert!(wrong.verdict.faults.iter().any(|fault| fault.kind == sceau_ledger::FaultKind::Pin), "{wrong}");
}

#[tokio::test]
async fn an_epoch_key_out_of_a_backup_is_as_good_as_lost() {
    let fixture = Fixture::new().await;
    let backup = std::fs::read(fixture.config.key_dir.join(EPOCH_KEY)).unwrap();
    filled(&fixture, 5).await;
    std::fs::write(fixture.config.key_dir.join(EPOCH_KEY), backup).unwrap();
    assert!(Log::open(&fixture.config).await.is_err());
    assert_eq!(replace(&fixture).await.unwrap().lost, ["epoch"]);
    filled(&fixture, 5).await;
    assert!(report(&fixture, &[&fixture.report.first_epoch_key]).await.ok);
}

#[tokio::test]
async fn the_epoch_key_of_a_server_that_waits_is_not_lost() {
    let cluster = Cluster::new().await;
    let (second, _) = cluster.join("second");
    let first = cluster.fixture.config.clone();
    // The second has not had the log yet; then the first had it before.
    for (holder, waiting) in [(&first, &second), (&second, &first)] {
        let log = cluster.log(holder, &cluster.store()).await.unwrap();
        log.close().await.unwrap();
        let key = std::fs::read(waiting.key_dir.join(EPOCH_KEY)).unwrap();
        // The advice to move a stale copy away must not be what is said first.
        for missing in [None, Some(LOG_KEY), Some(MAC_KEY)] {
            let kept = missing.map(|name| std::fs::read(waiting.key_dir.join(name)).unwrap());
            missing.inspect(|name| std::fs::remove_file(waiting.key_dir.join(name)).unwrap());
            let refused = survey(waiting, &*cluster.store()).await.err().unwrap().to_string();
            assert!(refused.contains("--standby") && refused.contains("not lost"), "{refused}");
            if let (Some(name), Some(kept)) = (missing, kept) {
                std::fs::write(waiting.key_dir.join(name), kept).unwrap();
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(waiting.key_dir.join(name), mode).unwrap();
            }
        }
        assert_eq!(std::fs::read(waiting.key_dir.join(EPOCH_KEY)).unwrap(), key);
        let nothing = survey(holder, &*cluster.store()).await.err().unwrap().to_string();
        assert!(nothing.contains("nothing is lost"), "{nothing}");
    }
    lose(&cluster.fixture, &[EPOCH_KEY, LOG_KEY]);
    let survey = survey(&first, &*cluster.store()).await.unwrap();
    assert_eq!(survey.lost, [Lost::Log, Lost::Epoch]);
}

#[tokio::test]
async fn what_a_stop_left_is_gone_on_with() {
    let fixture = Fixture::new().await;
    filled(&fixture, 300).await;
    let path = &fixture.config.key_dir;
    lose(&fixture, &[LOG_KEY, EPOCH_KEY, HEADS]);
    let (lost, index) = (vec![Lost::Log, Lost::Epoch, Lost::Heads], 300);
    let replacing = Replacing { index, lost: lost.clone() };
    // Everything made, but no entry says so yet; then the same with the epoch key not made yet.
    for torn in [false, true] {
        let drawn = Drawn::new(&lost, "example.org/log", 1, 2).unwrap();
        drawn.write(path, "example.org/log", &replacing).unwrap();
        if torn {
            std::fs::remove_file(path.join(EPOCH_KEY)).unwrap();
        }
        let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
        assert!(refused.contains("sceau keys replace"), "{refused}");
    }
    let replaced = replace(&fixture).await.unwrap();
    assert_eq!(
        (replaced.lost.as_slice(), replaced.index),
        (["log", "epoch", "heads"].map(String::from).as_slice(), 300)
    );
    assert!(!path.join("replacing").exists());
    // The entry was committed, but the note that files are being replaced was not removed.
    keydir::leave_note(path, &replacing);
    assert!(replace(&fixture).await.unwrap_err().to_string().contains("is complete"));
    filled(&fixture, 5).await;
    assert!(!path.join("replacing").exists());
    assert!(report(&fixture, &[&fixture.report.first_epoch_key]).await.ok);
}

#[tokio::test]
async fn what_is_there_must_be_this_logs() {
    let (fixture, other) = (Fixture::new().await, Fixture::new().await);
    filled(&fixture, 5).await;
    filled(&other, 5).await;
    lose(&fixture, &[MAC_KEY]);
    for name in [LOG_KEY, EPOCH_KEY] {
        let mine = std::fs::read(fixture.config.key_dir.join(name)).unwrap();
        std::fs::copy(other.config.key_dir.join(name), fixture.config.key_dir.join(name)).unwrap();
        let refused = replace(&fixture).await.unwrap_err();
        assert!(matches!(&refused, ServerError::KeyDir { path, .. } if path.ends_with(name)), "{refused}");
        std::fs::write(fixture.config.key_dir.join(name), mine).unwrap();
    }
    assert_eq!(replace(&fixture).await.unwrap().lost, ["mac"]);
}

#[tokio::test]
async fn a_log_with_faults_is_left_alone_unless_told() {
    let fixture = Fixture::new().await;
    filled(&fixture, 5).await;
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let write = sceau_store::StateWrite {
        collection: "tokens".into(),
        key: "x".into(),
        value: Some(serde_json::json!({"hash": "00"})),
        expect: sceau_store::Expect::Any,
        expires: None,
        mac: None,
    };
    reader.store().write(vec![write]).await.unwrap();
    reader.close().await.unwrap();
    std::fs::remove_dir_all(&fixture.config.key_dir).unwrap();
    let refused = replace(&fixture).await.unwrap_err();
    assert!(matches!(refused, ServerError::Faults(_)), "{refused}");
    assert!(!fixture.config.key_dir.exists());
    replace_keys(&fixture.config, VerifyOptions::default(), true, "test", &|_, _| ()).await.unwrap();
    assert!(!report(&fixture, &[]).await.ok);
}

#[tokio::test]
async fn a_break_that_nobody_declared_is_a_fault() {
    let fixture = Fixture::new().await;
    filled(&fixture, 5).await;
    std::fs::remove_dir_all(&fixture.config.key_dir).unwrap();
    let replaced = replace(&fixture).await.unwrap();
    filled(&fixture, 5).await;
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let write = sceau_store::StateWrite {
        collection: history::COLLECTION.to_owned(),
        key: history::key(replaced.index),
        value: None,
        expect: sceau_store::Expect::Any,
        expires: None,
        mac: None,
    };
    reader.store().write(vec![write]).await.unwrap();
    reader.close().await.unwrap();
    let report = report(&fixture, &[&fixture.report.first_epoch_key]).await;
    use sceau_ledger::FaultKind as K;
    let kinds: Vec<_> = report.verdict.faults.iter().map(|fault| fault.kind).collect();
    for kind in [K::Seal, K::Keys, K::State] {
        assert!(kinds.contains(&kind), "{kind:?}: {report}");
    }
    assert_eq!(report.verdict.sealed.up_to, Some(4), "{report}");
}

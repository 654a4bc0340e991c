use sceau_detect::Phase;
use sceau_event::Micros;

use super::*;
use crate::{detect::alert::tests::finding, testing::Fixture};

async fn take(desk: &Desk, findings: Vec<Finding>, fails: bool) -> Vec<Sealed> {
    let suppressions = BTreeMap::from([(
        "s".to_owned(),
        Excepted {
            rule: Some("quiet".into()),
            fields: BTreeMap::from([("source.ip".to_owned(), "192.0.2.0/24".to_owned())]),
            until: Some(Micros(1_000)),
            mode: Mode::Suppress,
            reason: String::new(),
        },
    )]);
    let mut sealed = Vec::new();
    let commit = |writes: Vec<StateChange>, findings: Vec<Sealed>, _: Micros| {
        assert!(writes.len() <= findings.len());
        sealed = findings;
        async move { if fails { Err(ServerError::Overloaded) } else { Ok(()) } }
    };
    assert_eq!(desk.take(findings, || Micros(7), &suppressions, commit).await.is_err(), fails);
    sealed
}

async fn all(desk: &Desk) -> Vec<Alert> {
    desk.list(|_| true, None, 100).await
}

#[tokio::test]
async fn findings_of_one_rule_and_group_make_one_alert_until_it_is_closed() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let desk = Desk::default();
    let sealed = take(&desk, vec![finding("a", Phase::Fired, 5, 0), finding("b", Phase::Fired, 6, 50)], false).await;
    assert_eq!(sealed.len(), 2);
    let found = all(&desk).await;
    assert_eq!((found.len(), found[0].id.as_str(), found[0].count), (1, "a", 11));
    // The same again, as after a crash: nothing is sealed twice.
    assert!(take(&desk, vec![finding("a", Phase::Fired, 5, 0)], false).await.is_empty());
    let close = AlertChange { state: Some(AlertState::Closed), ..AlertChange::default() };
    desk.change(&log, "a", close, "ann").await.unwrap();
    // The end of a burst belongs to the alert of its beginning.
    take(&desk, vec![finding("a", Phase::Ended, 9, 0)], false).await;
    let found = all(&desk).await;
    assert_eq!((found.len(), found[0].state, found[0].count), (1, AlertState::Closed, 15));
    take(&desk, vec![finding("c", Phase::Fired, 5, 900)], false).await;
    assert_eq!(all(&desk).await.len(), 2);
    log.close().await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_later_burst_finds_the_alert_of_its_beginning() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let desk = Desk::default();
    take(&desk, vec![finding("a", Phase::Fired, 5, 0)], false).await;
    take(&desk, vec![finding("a", Phase::Ended, 6, 0), finding("b", Phase::Fired, 5, 900)], false).await;
    let close = AlertChange { state: Some(AlertState::Closed), ..AlertChange::default() };
    desk.change(&log, "a", close, "ann").await.unwrap();
    assert_eq!(take(&desk, vec![finding("b", Phase::Ended, 9, 900)], false).await.len(), 1);
    let found = all(&desk).await;
    assert_eq!((found.len(), found[0].state, found[0].count), (1, AlertState::Closed, 15));
    // Told again, as after a start without windows: nothing is sealed twice.
    let again = vec![
        finding("a", Phase::Fired, 5, 0),
        finding("a", Phase::Ended, 6, 0),
        finding("b", Phase::Fired, 5, 900),
        finding("b", Phase::Ended, 9, 900),
        finding("never fired", Phase::Ended, 9, 900),
    ];
    assert_eq!(take(&desk, again, false).await, []);
    log.close().await.unwrap();
}

#[test]
fn where_there_are_too_many_the_least_go() {
    let mut alerts = Alerts::default();
    let kinds = [
        ("critical, open, old", sceau_detect::Level::Critical, AlertState::Open, 1),
        ("low, open, new", sceau_detect::Level::Low, AlertState::Open, 9),
        ("low, open, old", sceau_detect::Level::Low, AlertState::Acknowledged, 2),
        ("critical, closed, new", sceau_detect::Level::Critical, AlertState::Closed, 8),
    ];
    for (id, level, state, updated) in kinds {
        let mut found = finding(id, Phase::Fired, 5, 0);
        (found.level, found.rule) = (level, id.to_owned());
        let alert = Alert { state, ..Alert::open(&found, String::new(), Micros(updated), None) };
        alerts.insert(alert);
    }
    for (most, gone) in [(4, None), (3, Some(3)), (2, Some(2)), (1, Some(1))] {
        let mut before = Before::new();
        alerts.thin(most, &mut before);
        assert_eq!(before.keys().next().map(String::as_str), gone.map(|at: usize| kinds[at].0), "{most}");
    }
    assert_eq!(alerts.ranks.len(), 1);
    assert_eq!((alerts.dropped, alerts.by_id.len(), alerts.by_finding.len()), (3, 1, 1));
}

/// Live, after a restart, and where they are made again.
#[test]
fn of_two_open_alerts_of_one_group_findings_join_the_one_opened_last() {
    let mut alerts = Alerts::default();
    let take = |alerts: &mut Alerts, id: &str, at: i64| {
        let home = alerts.take(&finding(id, Phase::Fired, 5, at), "", Micros(at), |_| None, &mut Before::new());
        let mut again = Alerts::default();
        alerts.all().for_each(|alert| again.insert(alert.clone()));
        assert_eq!(
            again.home(&finding("next", Phase::Fired, 5, at)),
            alerts.home(&finding("next", Phase::Fired, 5, at))
        );
        home
    };
    let put = |alerts: &mut Alerts, id: &str, state| {
        let alert = Alert { state, ..alerts.get(id).unwrap().clone() };
        alerts.insert(alert);
    };
    assert_eq!(take(&mut alerts, "b", 1).as_deref(), Some("b"));
    put(&mut alerts, "b", AlertState::Closed);
    assert_eq!(take(&mut alerts, "a", 2).as_deref(), Some("a"));
    put(&mut alerts, "b", AlertState::Open);
    assert_eq!(take(&mut alerts, "c", 3).as_deref(), Some("a"));
    put(&mut alerts, "a", AlertState::Closed);
    assert_eq!(take(&mut alerts, "d", 4).as_deref(), Some("b"));
    put(&mut alerts, "b", AlertState::Closed);
    assert_eq!(take(&mut alerts, "e", 5).as_deref(), Some("e"));
}

#[test]
fn only_findings_that_alerts_name_are_looked_up() {
    let mut alerts = Alerts::default();
    let take = |alerts: &mut Alerts, id: &str, phase| {
        alerts.take(&finding(id, phase, 5, 0), "", Micros(1), |_| None, &mut Before::new())
    };
    for n in 0..300 {
        assert!(take(&mut alerts, &format!("{n:03}"), Phase::Fired).is_some());
        if n > 0 {
            assert!(take(&mut alerts, &format!("{n:03}"), Phase::Ended).is_some());
        }
    }
    // The last hundred, and the first, which goes on.
    assert_eq!(alerts.by_finding.len(), 101);
    assert_eq!(take(&mut alerts, "000", Phase::Fired), None);
    assert_eq!(take(&mut alerts, "000", Phase::Ended).as_deref(), Some("000"));
    assert_eq!(alerts.by_finding.len(), 100);
    // Closed, and told of its first finding again, as after a start without windows.
    let closed = Alert { state: AlertState::Closed, ..alerts.get("000").unwrap().clone() };
    alerts.insert(closed);
    assert_eq!(take(&mut alerts, "000", Phase::Fired), None);
    assert!(alerts.remove("000").is_some());
    assert_eq!((alerts.by_finding.len(), alerts.ranks.len()), (0, 0));
}

#[tokio::test]
async fn what_could_not_be_made_durable_leaves_nothing_behind() {
    let desk = Desk::default();
    take(&desk, vec![finding("a", Phase::Fired, 5, 0)], false).await;
    let before = all(&desk).await;
    let mut other = finding("z", Phase::Fired, 5, 0);
    other.group[0].1 = "192.0.2.9".into();
    let both = vec![finding("b", Phase::Fired, 5, 100), other];
    assert_eq!(take(&desk, both.clone(), true).await.len(), 2);
    assert_eq!(all(&desk).await, before);
    take(&desk, both, false).await;
    assert_eq!(all(&desk).await.len(), 2);
}

#[tokio::test]
async fn suppressed_findings_are_sealed_and_open_nothing() {
    let desk = Desk::default();
    let mut quiet = finding("q", Phase::Fired, 5, 0);
    quiet.rule = "quiet".into();
    let sealed = take(&desk, vec![quiet], false).await;
    assert_eq!((sealed.len(), sealed[0].suppressed_by.as_deref()), (1, Some("s")));
    let found = all(&desk).await;
    assert_eq!((found[0].state, found[0].suppressed_by.as_deref()), (AlertState::Closed, Some("s")));
}

#[tokio::test]
async fn changes_are_sealed_kept_and_checked() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let desk = Desk::default();
    take(&desk, vec![finding("a", Phase::Fired, 5, 0)], false).await;
    let change = AlertChange {
        state: Some(AlertState::Acknowledged),
        assignee: Some("bob".into()),
        comment: Some("looking at it".into()),
    };
    let changed = desk.change(&log, "a", change, "ann").await.unwrap();
    assert_eq!((changed.assignee.as_deref(), changed.comments.len()), (Some("bob"), 1));
    let event = log.reader().event(0).await.unwrap();
    assert!(event.entry.contains("looking at it") && event.entry.contains("alert_change"), "{}", event.entry);
    let loaded = Desk::load(&**log.reader().store(), log.keys()).await.unwrap();
    assert_eq!(loaded.get("a").await.unwrap(), changed);
    let wrong = [
        AlertChange::default(),
        AlertChange { comment: Some(" ".into()), ..AlertChange::default() },
        AlertChange { comment: Some("x".repeat(MAX_COMMENT + 1)), ..AlertChange::default() },
        AlertChange { assignee: Some("x".repeat(201)), ..AlertChange::default() },
    ];
    for change in wrong {
        assert!(desk.change(&log, "a", change.clone(), "ann").await.is_err(), "{change:?}");
    }
    let comment = || AlertChange { comment: Some("x".into()), ..AlertChange::default() };
    assert!(matches!(desk.change(&log, "b", comment(), "ann").await, Err(ServerError::NotFound(_))));
    assert_eq!(log.head().borrow().size.0, 1);
    log.close().await.unwrap();
}

#[test]
fn a_rule_that_makes_half_of_all_alerts_is_noisy() {
    let counts =
        |pairs: &[(&str, u64)]| pairs.iter().map(|(rule, n)| ((*rule).to_owned(), *n)).collect::<BTreeMap<_, _>>();
    assert_eq!(noisy(&counts(&[("a", 10), ("b", 10)])), Some("b"));
    assert_eq!(noisy(&counts(&[("a", 30), ("b", 10)])), Some("a"));
    for quiet in [&[("a", 5), ("b", 5)][..], &[("a", 8), ("b", 7), ("c", 7)], &[("a", 100)], &[]] {
        assert_eq!(noisy(&counts(quiet)), None, "{quiet:?}");
    }
}

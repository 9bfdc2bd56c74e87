//! Pause, resume, limits.

use valkey_admin::{Change, Error, Limits, LimitsChange};
use valkey_connection::Command;

use crate::support::Bench;

#[tokio::test]
async fn pause_and_resume_say_whether_they_changed_anything() {
    let bench = Bench::new().await;
    assert!(!bench.admin.is_paused(&bench.queue).await.unwrap());
    assert!(bench.admin.pause(&bench.queue).await.unwrap());
    assert!(!bench.admin.pause(&bench.queue).await.unwrap());
    assert!(bench.admin.is_paused(&bench.queue).await.unwrap());
    assert!(bench.admin.stats(&bench.queue).await.unwrap().paused);
    assert!(bench.admin.resume(&bench.queue).await.unwrap());
    assert!(!bench.admin.resume(&bench.queue).await.unwrap());
    assert!(!bench.admin.is_paused(&bench.queue).await.unwrap());
}

#[tokio::test]
async fn control_rings_the_bell() {
    let bench = Bench::new().await;
    let mut bell = bench.connection.listen(bench.keys.bell()).await.unwrap();
    bench.admin.resume(&bench.queue).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), bell.recv()).await.unwrap();
}

#[tokio::test]
async fn limits_change_one_by_one() {
    let bench = Bench::new().await;
    let all = LimitsChange {
        max_length: Change::Set(10),
        rate: Change::Set(2.5),
        burst: Change::Set(5),
        max_in_flight: Change::Set(7),
    };
    assert_eq!(bench.admin.set_limits(&bench.queue, &all).await.unwrap(), 4);
    let limits = bench.admin.stats(&bench.queue).await.unwrap().limits;
    assert_eq!(
        limits,
        Limits { max_length: Some(10), rate: Some(2.5), burst: Some(5), max_in_flight: Some(7) }
    );
    let one = LimitsChange { burst: Change::Lift, max_length: Change::Set(10), ..LimitsChange::default() };
    assert_eq!(bench.admin.set_limits(&bench.queue, &one).await.unwrap(), 1);
    let limits = bench.admin.stats(&bench.queue).await.unwrap().limits;
    assert_eq!((limits.max_length, limits.rate, limits.burst), (Some(10), Some(2.5), None));
    assert_eq!(bench.admin.set_limits(&bench.queue, &LimitsChange::default()).await.unwrap(), 0);
}

#[tokio::test]
async fn what_belongs_to_an_old_limit_goes_with_it() {
    let bench = Bench::new().await;
    let control = bench.keys.control();
    let fields = ["tat", "99", "n:abc", "3", "paused", "1", "rate", "1", "max_in_flight", "2"];
    bench.run(Command::new("HSET").key(control).args(fields)).await;
    let rate = LimitsChange { rate: Change::Set(5.0), ..LimitsChange::default() };
    bench.admin.set_limits(&bench.queue, &rate).await.unwrap();
    assert!(bench.run(Command::new("HGET").key(control).arg("tat")).await.is_nil());
    assert!(!bench.run(Command::new("HGET").key(control).arg("n:abc")).await.is_nil());
    let free = LimitsChange { max_in_flight: Change::Lift, ..LimitsChange::default() };
    bench.admin.set_limits(&bench.queue, &free).await.unwrap();
    assert!(bench.run(Command::new("HGET").key(control).arg("n:abc")).await.is_nil());
    assert!(bench.admin.is_paused(&bench.queue).await.unwrap());
}

#[tokio::test]
async fn a_rate_that_consumers_would_ignore_is_refused_and_changes_nothing() {
    let bench = Bench::new().await;
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let change =
            LimitsChange { rate: Change::Set(rate), max_length: Change::Set(5), ..LimitsChange::default() };
        let refused = bench.admin.set_limits(&bench.queue, &change).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidRate { .. }), "{refused}");
    }
    assert_eq!(bench.int("EXISTS", bench.keys.control()).await, 0);
}

//! Removing what waits.

use valkey_admin::{Error, Execution, Place};
use valkey_connection::Command;
use valkey_envelope::Lane;

use crate::support::{Bench, GARBAGE};

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.push(bench.keys.public(), GARBAGE).await;
    }
    let tally = bench
        .admin
        .purge(&bench.queue, &[Place::Public, Place::Low], Execution::DryRun, |_| ())
        .await
        .unwrap();
    assert_eq!((tally.counts[&Place::Public], tally.counts[&Place::Low], tally.done()), (3, 0, 3));
    assert_eq!(bench.int("LLEN", bench.keys.public()).await, 3);
}

#[tokio::test]
async fn only_the_named_places_are_purged_and_in_slices() {
    let bench = Bench::new().await;
    let many: Vec<String> = (0..1300).map(|i| i.to_string()).collect();
    bench.run(Command::new("LPUSH").key(bench.keys.public()).args(&many)).await;
    bench.run(Command::new("LPUSH").key(bench.keys.lane(Lane::High)).args(&many)).await;
    for i in 0..5 {
        bench.delay(&format!("{i}-1-c"), 1_000 + i, 0, GARBAGE).await;
    }
    let mut steps = Vec::new();
    let places = [Place::Public, Place::Delayed];
    let tally =
        bench.admin.purge(&bench.queue, &places, Execution::Run, |done| steps.push(done)).await.unwrap();
    assert_eq!((tally.counts[&Place::Public], tally.counts[&Place::Delayed]), (1300, 5));
    assert_eq!(steps, [512, 1024, 1300, 1305]);
    assert_eq!(bench.int("LLEN", bench.keys.public()).await, 0);
    assert_eq!(bench.int("ZCARD", bench.keys.delayed()).await, 0);
    assert_eq!(bench.int("LLEN", bench.keys.lane(Lane::High)).await, 1300);
}

#[tokio::test]
async fn what_consumers_own_and_the_dead_are_refused() {
    let bench = Bench::new().await;
    bench.push(bench.keys.public(), "x").await;
    for place in [Place::InFlight, Place::Dead] {
        let refused = bench
            .admin
            .purge(&bench.queue, &[Place::Public, place], Execution::Run, |_| ())
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::NotApplicable { verb: "purge", .. }), "{refused}");
    }
    assert_eq!(bench.int("LLEN", bench.keys.public()).await, 1);
}

#[tokio::test]
async fn erase_leaves_no_key() {
    let bench = Bench::new().await;
    let now = bench.now().await;
    bench.push(bench.keys.public(), "x").await;
    bench.delay("1-1-c", now, 0, "x").await;
    bench.bury("1-1-c", now, "rejected", Lane::Normal, "x").await;
    bench.claim("c", "1-1", 0, "x").await;
    bench.admin.pause(&bench.queue).await.unwrap();
    assert_eq!(bench.admin.erase(&bench.queue).await.unwrap(), 6);
    assert!(!bench.admin.stats(&bench.queue).await.unwrap().exists);
    assert_eq!(bench.admin.erase(&bench.queue).await.unwrap(), 0);
}

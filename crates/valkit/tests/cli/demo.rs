//! `valkit demo`

use valkey_testkit::Figures;

use crate::support::Bench;

#[tokio::test]
async fn the_books_balance_and_nothing_is_left() {
    let bench = Bench::new().await;
    let verdict = bench.json(&["demo", "--messages", "600"]);
    let count = |name: &str| verdict[name].as_u64().unwrap();
    let note = format!("{} expired; a consumer was killed meanwhile", count("expired"));
    Figures::new().sent(count("sent")).lost(count("lost")).note(note).publish();
    assert_eq!(
        (&verdict["sent"], &verdict["acked"], &verdict["dead"], &verdict["expired"]),
        (&600.into(), &585.into(), &10.into(), &5.into())
    );
    assert_eq!((&verdict["lost"], &verdict["problems"]), (&0.into(), &serde_json::json!([])));
    assert!(verdict["reclaimed"].as_u64().unwrap() > 0, "{verdict}");
    assert_eq!(bench.json(&["queue", "ls", "demo-"]), serde_json::json!([]));
}

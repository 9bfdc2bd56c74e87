//! Limits that are no numbers, in the control hash: whoever meets one says so, and no message is lost to it.

use std::time::Duration;

use valkey_connection::Command;
use valkey_envelope::Envelope;
use valkey_sender::{Receipt, SendError};
use valkey_testkit::Figures;

use crate::bench::{Bench, Effects, doubled};

const COUNT: usize = 20;

#[tokio::test]
async fn nonsense_in_control_is_named_and_costs_no_message() {
    let (mut sent, mut refused, mut cases) = (0_u64, 0_u64, 0_u64);
    let (mut lost, mut twice) = (0, 0);
    for field in ["max_length", "max_in_flight", "rate", "burst"] {
        for value in ["abc", "-1", "1e300", "nan", "-inf", "0x", " "] {
            let bench = Bench::new("nonsense").await;
            bench.control(field, value).await;
            let (effects, sender) = (Effects::default(), bench.sender().await.bounded().build());
            let mut accepted = 0;
            for number in 0..COUNT {
                match sender.send(Envelope::new(&number).unwrap()).await {
                    Ok(Receipt::Sent { .. }) => accepted += 1,
                    Err(SendError::Rejected { source, .. }) => {
                        assert!(source.to_string().contains("max_length"), "{field} {value}: {source}");
                        refused += 1;
                    }
                    other => panic!("{field} {value}: {other:?}"),
                }
            }
            assert!(
                accepted == COUNT || field == "max_length" && accepted == 0,
                "{field} {value}: {accepted}"
            );
            // The doctor names it with what comes of it; and his remedy is one.
            let advice = bench.ok(&["doctor", bench.queue.as_str()]);
            assert!(advice.contains(&format!("its limit {field} is {value:?}")), "{field} {value}: {advice}");
            let crew = bench.crew(&effects, Duration::ZERO, |_| false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let option = format!("--{}", field.replace('_', "-"));
            bench.ok(&["queue", "limit", bench.queue.as_str(), &option, "none"]);
            bench.until_empty().await;
            crew.drain().await;
            // Nothing waits any more: what was accepted is handled or dead.
            let (dead, handled) = (bench.dead().await, effects.lock().unwrap().len() as u64);
            lost += (accepted as u64).saturating_sub(handled + dead);
            twice += doubled(&effects);
            assert_eq!((handled, dead), (accepted as u64, 0), "{field} {value}");
            bench.ask(Command::new("DEL").key(bench.keys.control())).await;
            sent += COUNT as u64;
            cases += 1;
        }
    }
    let figures = Figures::new().sent(sent).rejected(refused).lost(lost).twice(twice);
    figures.note(format!("{cases} values")).publish();
    assert_eq!((lost, twice), (0, 0));
}

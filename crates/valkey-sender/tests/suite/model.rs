//! push.lua against a model small enough to be seen to be right.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use valkey_envelope::{Envelope, Lane};
use valkey_sender::{Receipt, SendError};

use crate::rig::Rig;

#[derive(Clone, Debug)]
struct Message {
    /// A small number, so that ids repeat.
    id: u8,
    lane: Lane,
    delayed: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Limit(Option<u64>),
    Pop(Lane),
    Send(Vec<Message>),
}

#[derive(Debug, PartialEq)]
enum Answer {
    Duplicate,
    Full(u64),
    Scheduled,
    Sent,
}

/// What the queue must hold, and what a push must answer.
#[derive(Default)]
struct Model {
    high: Vec<String>,
    normal: Vec<String>,
    low: Vec<String>,
    delayed: usize,
    seen: HashSet<u8>,
    limit: Option<u64>,
}

impl Model {
    fn lane(&mut self, lane: Lane) -> &mut Vec<String> {
        match lane {
            Lane::High => &mut self.high,
            Lane::Normal => &mut self.normal,
            Lane::Low => &mut self.low,
        }
    }

    fn push(&mut self, message: &Message, payload: String) -> Answer {
        let waiting = (self.high.len() + self.normal.len() + self.low.len() + self.delayed) as u64;
        if self.seen.contains(&message.id) {
            return Answer::Duplicate;
        }
        if let Some(limit) = self.limit.filter(|limit| waiting >= *limit) {
            return Answer::Full(limit);
        }
        self.seen.insert(message.id);
        if message.delayed {
            self.delayed += 1;
            return Answer::Scheduled;
        }
        self.lane(message.lane).push(payload);
        Answer::Sent
    }
}

fn lanes() -> impl Strategy<Value = Lane> {
    prop_oneof![2 => Just(Lane::Normal), 1 => Just(Lane::High), 1 => Just(Lane::Low)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let message = (0_u8..40, lanes(), prop::bool::weighted(0.2)).prop_map(|(id, lane, delayed)| Message {
        id,
        lane,
        delayed,
    });
    let step = prop_oneof![
        5 => prop::collection::vec(message, 0..12).prop_map(Step::Send),
        2 => lanes().prop_map(Step::Pop),
        1 => prop::option::of(0_u64..20).prop_map(Step::Limit),
    ];
    prop::collection::vec(step, 1..10)
}

fn answer(result: &Result<Receipt, SendError>) -> Answer {
    match result {
        Ok(Receipt::Duplicate { .. }) => Answer::Duplicate,
        Ok(Receipt::Scheduled { .. }) => Answer::Scheduled,
        Ok(Receipt::Sent { .. }) => Answer::Sent,
        Err(SendError::QueueFull { limit, .. }) => Answer::Full(*limit),
        other => panic!("{other:?}"),
    }
}

async fn play(steps: Vec<Step>) {
    let rig = Rig::new().await;
    let sender = rig.builder().bounded().dedup(Duration::from_hours(1)).build();
    let mut model = Model::default();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Limit(limit) => {
                model.limit = limit;
                match limit {
                    Some(limit) => {
                        rig.ask("HSET", &[rig.keys.control(), "max_length", &limit.to_string()]).await
                    }
                    None => rig.ask("DEL", &[rig.keys.control()]).await,
                };
            }
            Step::Pop(lane) => {
                rig.ask("RPOP", &[rig.lane(lane)]).await;
                let lane = model.lane(lane);
                if !lane.is_empty() {
                    lane.remove(0);
                }
            }
            Step::Send(messages) => {
                let later = Timestamp::now() + Duration::from_hours(1);
                let mut expected = Vec::new();
                let envelopes: Vec<Envelope> = messages
                    .iter()
                    .map(|message| {
                        number += 1;
                        expected.push(model.push(message, number.to_string()));
                        let envelope = Envelope::new(&number)
                            .unwrap()
                            .with_id(format!("id-{}", message.id))
                            .with_priority(message.lane);
                        if message.delayed { envelope.with_not_before(later) } else { envelope }
                    })
                    .collect();
                let results = sender.send_all(envelopes).await;
                assert_eq!(results.iter().map(answer).collect::<Vec<_>>(), expected);
            }
        }
        for lane in Lane::ALL {
            assert_eq!(rig.payloads(rig.lane(lane)).await, *model.lane(lane));
        }
        assert_eq!(rig.count("ZCARD", rig.keys.delayed()).await, model.delayed);
    }
}

#[test]
fn the_script_agrees_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&steps(), |steps| {
            runtime.block_on(play(steps));
            Ok(())
        })
        .unwrap();
}

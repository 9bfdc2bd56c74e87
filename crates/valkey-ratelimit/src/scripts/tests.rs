//! The scripts held against the models, on random traces over several keys, with every answer compared.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_testkit::{TestServer, unique_name};

use super::*;
use crate::algorithm::State;

const NOW: u64 = 1_800_000_000_123_457;
const CASES: u32 = 200;
/// What the script under test adds to the life of each key, since its clock is not that of the server.
const EXTRA_MS: u64 = 3_600_000;

fn check_that_keeps() -> String {
    let source = include_str!("../../lua/check.lua");
    let lengthened = source.replace("'PX', max(1,", "'PX', 3600000 + max(1,");
    let lengthened = lengthened.replace("'PEXPIRE', key, ceil", "'PEXPIRE', key, 3600000 + ceil");
    assert_eq!(lengthened.len(), source.len() + 2 * "3600000 + ".len());
    lengthened
}

/// A rule of the trace: one key, whose quota changes now and then.
#[derive(Clone, Debug)]
struct Rule {
    algorithm: Algorithm,
    quotas: Vec<Quota>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Groups of (rule, cost, shadow), and how many times.
    Check(Vec<(Vec<(usize, u64, bool)>, u64)>),
    /// Thousandths of the first rule's window.
    Wait(u64),
    WaitForNext,
    ClockBack(u64),
    Requota(usize),
}

#[derive(Clone, Debug)]
struct Trace {
    rules: Vec<Rule>,
    steps: Vec<Step>,
}

fn quotas() -> impl Strategy<Value = Vec<Quota>> {
    let window = prop_oneof![Just(60_000_000), Just(86_400_000_000), 1_000_000..100_000_000_u64];
    let limit = prop_oneof![4 => 1..30_u64, 1 => 60_000..70_000_u64, 1 => Just(u64::from(u32::MAX))];
    let quota = (limit, window).prop_map(|(limit, us)| Quota::new(limit, Duration::from_micros(us)).unwrap());
    proptest::collection::vec(quota, 1..3)
}

fn rule() -> impl Strategy<Value = Rule> {
    let algorithm = prop_oneof![
        3 => Just(Algorithm::SlidingWindow),
        1 => Just(Algorithm::SlidingLog),
        2 => prop_oneof![1..40_u64, Just(u64::from(u32::MAX))].prop_map(|burst| Algorithm::Gcra { burst }),
        1 => Just(Algorithm::SlidingCounter),
        1 => Just(Algorithm::FixedWindow),
    ];
    (algorithm, quotas()).prop_map(|(algorithm, mut quotas)| {
        if algorithm == Algorithm::SlidingLog {
            // A member for each unit of cost.
            quotas.retain(|quota| quota.limit() < 100);
            quotas.push("5/1m".parse().unwrap());
        }
        Rule { algorithm, quotas }
    })
}

fn trace() -> impl Strategy<Value = Trace> {
    proptest::collection::vec(rule(), 1..5).prop_flat_map(|rules| {
        let count = rules.len();
        let member = (0..count, prop_oneof![5 => 1..5_u64, 1 => 1..70_000_u64], prop::bool::weighted(0.2));
        let group = proptest::collection::vec(member, 1..4).prop_map(|mut members| {
            // A limit stands in a group once.
            members.sort_by_key(|(rule, ..)| *rule);
            members.dedup_by_key(|(rule, ..)| *rule);
            members
        });
        let times = prop_oneof![4 => 0..4_u64, 1 => 0..100_u64];
        let step = prop_oneof![
            8 => proptest::collection::vec((group, times), 1..5).prop_map(Step::Check),
            4 => (0..400_u64).prop_map(Step::Wait),
            1 => (900..2_200_u64).prop_map(Step::Wait),
            3 => Just(Step::WaitForNext),
            1 => (1..200_000_000_u64).prop_map(Step::ClockBack),
            1 => (0..count).prop_map(Step::Requota),
        ];
        (Just(rules), proptest::collection::vec(step, 1..40))
            .prop_map(|(rules, steps)| Trace { rules, steps })
    })
}

/// The model of a call: groups one after the other, each whole or not at all.
fn model(states: &mut States, items: &[Item], now: u64) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let end = 1 + rest[1..].iter().take_while(|item| item.follows).count();
        let (group, others) = rest.split_at(end);
        rest = others;
        let fits: Vec<u64> =
            group.iter().map(|item| found(states, item, now).ask(now, item.ask).granted).collect();
        let firm = group.iter().zip(&fits).filter(|(item, _)| !item.shadow).map(|(_, fits)| *fits);
        let granted = firm.min().unwrap_or(group[0].ask.times);
        for (item, fits) in group.iter().zip(fits) {
            let mut state = found(states, item, now);
            let answer = state.ask(now, Ask { times: granted.min(fits), ..item.ask });
            // What is refused, or only looked at, leaves everything as it was.
            if answer.granted > 0 {
                states.insert(item.key.clone(), (item.quota, state));
            }
            answers.push(answer);
        }
    }
    answers
}

type States = HashMap<Bytes, (Quota, State)>;

/// The state of an item's key, under the item's quota.
fn found(states: &States, item: &Item, now: u64) -> State {
    match states.get(&item.key) {
        Some((quota, state)) if *quota == item.quota => state.clone(),
        Some((_, state)) => state.under(item.algorithm, item.quota, now),
        None => item.algorithm.start(item.quota),
    }
}

async fn play(connection: &Connection, source: &str, trace: &Trace) -> Result<(), TestCaseError> {
    let keys: Vec<Bytes> =
        trace.rules.iter().map(|_| Bytes::from(format!("{{limits}}:{}", unique_name("rule")))).collect();
    let mut chosen = vec![0; trace.rules.len()];
    let (mut states, mut now, mut next) = (HashMap::new(), NOW, 0);
    for (number, step) in trace.steps.iter().enumerate() {
        let groups = match step {
            Step::Check(groups) => groups,
            Step::Wait(thousandths) => {
                now += trace.rules[0].quotas[0].window_us() * thousandths / 1_000;
                continue;
            }
            Step::WaitForNext => {
                now += next;
                continue;
            }
            Step::ClockBack(us) => {
                now -= us;
                continue;
            }
            Step::Requota(rule) => {
                chosen[*rule] = (chosen[*rule] + 1) % trace.rules[*rule].quotas.len();
                continue;
            }
        };
        let items: Vec<Item> = groups
            .iter()
            .flat_map(|(members, times)| {
                members.iter().enumerate().map(move |(at, member)| (at, member, *times))
            })
            .map(|(at, &(rule, cost, shadow), times)| Item {
                key: keys[rule].clone(),
                algorithm: trace.rules[rule].algorithm,
                quota: trace.rules[rule].quotas[chosen[rule]],
                ask: Ask::times(cost, times),
                follows: at > 0,
                shadow,
            })
            .collect();
        let expected = model(&mut states, &items, now);
        let nonce = Bytes::from(number.to_string());
        let call = Command::new("EVAL").arg(source.to_owned()).arg(items.len());
        let call = call.args(items.iter().map(|item| &item.key)).args(arguments(&items, &nonce, Some(now)));
        let reply = connection.execute(call).await;
        let reply = reply.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Checked { now_us, answers } = checked(reply, items.len()).unwrap();
        prop_assert_eq!(now_us, now);
        for ((item, mut expected), answer) in items.iter().zip(expected).zip(answers) {
            let mut answer = answer.expect("our own key");
            if item.algorithm == Algorithm::SlidingLog {
                // The script's mark is the number of a member.
                (expected.mark, answer.mark) = (Mark(0), Mark(0));
            }
            prop_assert_eq!(answer, expected, "step {}: {:?}", number, item);
            if answer.next_after != Answer::NEVER {
                next = answer.next_after;
            }
        }
        for key in &keys {
            expiry_is_right(connection, key, &states, now).await?;
        }
    }
    Ok(())
}

/// No key outlives what it says.
async fn expiry_is_right(
    connection: &Connection,
    key: &Bytes,
    states: &States,
    now: u64,
) -> Result<(), TestCaseError> {
    let left = connection.execute(Command::new("PTTL").key(key)).await.unwrap().as_int().unwrap();
    let Some((_, state)) = states.get(key).filter(|_| left != -2) else { return Ok(()) };
    prop_assert!(left > 0, "{key:?} never expires");
    let reset_ms = state.clone().ask(now, Ask::peek(1)).reset_after.div_ceil(1_000);
    // It may have been written at an earlier time of the trace, under another quota; never for less than what it says now.
    let slack = 5_000;
    prop_assert!(
        left as u64 + slack >= EXTRA_MS + reset_ms.min(1),
        "{key:?} expires too soon: {left}, {reset_ms}"
    );
    Ok(())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn connect() -> Connection {
    let url = TestServer::shared().await.url();
    Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap()
}

#[test]
fn the_script_does_what_the_models_do() {
    let (runtime, source) = (runtime(), check_that_keeps());
    let connection = runtime.block_on(connect());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    let outcome = runner.run(&trace(), |trace| runtime.block_on(play(&connection, &source, &trace)));
    if let Err(error) = outcome {
        panic!("{}", error.to_string().chars().take(4_000).collect::<String>());
    }
}

//! The scripts held against the models, on random traces over several keys, with every answer compared.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
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
/// The mistake that hides best shows in one of some thousand.
const MUTANT_CASES: u32 = 30_000;
/// What the script under test adds to the life of each key, since its clock is not that of the server.
const EXTRA_MS: u64 = 3_600_000;

fn check_that_keeps() -> String {
    let source = CHECK.source();
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

/// Rule, cost, whether it is a shadow, and whether it is asked under the rule's other quota, as while rules are reloaded.
type Member = (usize, u64, bool, bool);

#[derive(Clone, Debug)]
enum Step {
    /// Groups, and how many times.
    Check(Vec<(Vec<Member>, u64)>),
    /// Thousandths of the first rule's window.
    Wait(u64),
    WaitForNext,
    ClockBack(u64),
    Requota(usize),
    /// Of which charge how much.
    GiveBack(usize, u64),
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
        let cost = prop_oneof![5 => 1..5_u64, 1 => 1..70_000_u64];
        let member = (0..count, cost, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
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
            2 => (any::<usize>(), 1..80_u64).prop_map(|(which, amount)| Step::GiveBack(which, amount)),
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
        let end = 1 + rest[1..]
            .iter()
            .take_while(|item| grant(item).is_some_and(|(_, follows, _)| follows))
            .count();
        let (group, others) = rest.split_at(end);
        rest = others;
        let Some((Ask { times, .. }, ..)) = grant(&group[0]) else {
            answers.push(give_back(states, &group[0], now));
            continue;
        };
        let grants = || group.iter().filter_map(|item| grant(item).map(|grant| (item, grant)));
        let fits: Vec<u64> =
            grants().map(|(item, (ask, ..))| found(states, item, now).ask(now, ask).granted).collect();
        let firm = grants().zip(&fits).filter(|((_, (.., shadow)), _)| !shadow).map(|(_, fits)| *fits);
        let granted = firm.min().unwrap_or(times);
        for ((item, (ask, ..)), fits) in grants().zip(fits) {
            let mut state = found(states, item, now);
            let answer = state.ask(now, Ask { times: granted.min(fits), ..ask });
            // What is refused, or only looked at, leaves everything as it was.
            if answer.granted > 0 {
                states.insert(item.limit.key.clone(), (item.limit.terms.quota, state));
            }
            answers.push(answer);
        }
    }
    answers
}

fn give_back(states: &mut States, item: &Item, now: u64) -> Answer {
    let Want::GiveBack { charge: Charge { mark, .. }, amount } = item.want else {
        unreachable!("asked before")
    };
    let mut state = found(states, item, now);
    let back = state.give_back(now, mark, amount);
    let answer = state.ask(now, Ask::peek(1));
    if back > 0 {
        states.insert(item.limit.key.clone(), (item.limit.terms.quota, state));
    }
    Answer { granted: back, ..answer }
}

fn grant(item: &Item) -> Option<(Ask, bool, bool)> {
    match item.want {
        Want::Grant { ask, follows, shadow } => Some((ask, follows, shadow)),
        Want::GiveBack { .. } => None,
    }
}

type States = HashMap<Bytes, (Quota, State)>;

/// The state of an item's key, under the item's quota.
fn found(states: &States, item: &Item, now: u64) -> State {
    match states.get(&item.limit.key) {
        Some((quota, state)) if *quota == item.limit.terms.quota => state.clone(),
        Some((_, state)) => state.under(item.limit.terms.algorithm, item.limit.terms.quota, now),
        None => item.limit.terms.algorithm.start(item.limit.terms.quota),
    }
}

/// A charge of the trace: in the model and on the server.
#[derive(Clone)]
struct Charged {
    rule: usize,
    quota: Quota,
    model: Mark,
    server: Charge,
    amount: u64,
}

#[expect(clippy::too_many_lines, reason = "one arm for each step of a trace")]
async fn play(connection: &Connection, source: &str, trace: &Trace) -> Result<(), TestCaseError> {
    let keys: Vec<Bytes> =
        trace.rules.iter().map(|_| Bytes::from(format!("{{limits}}:{}", unique_name("rule")))).collect();
    let mut chosen = vec![0; trace.rules.len()];
    let (mut states, mut now, mut next) = (States::new(), NOW, 0);
    let mut charges: Vec<Charged> = Vec::new();
    for (number, step) in trace.steps.iter().enumerate() {
        let item_under = |rule: usize, other: bool, want: Want| {
            let Rule { algorithm, quotas } = &trace.rules[rule];
            let quota = quotas[(chosen[rule] + usize::from(other)) % quotas.len()];
            let terms = Arc::new(Terms::new(*algorithm, quota));
            Item { limit: Limit { key: keys[rule].clone(), terms }, want }
        };
        let item = |rule: usize, want: Want| item_under(rule, false, want);
        let mut rules = Vec::new();
        let (items, modelled): (Vec<Item>, Vec<Item>) = match step {
            Step::Check(groups) => {
                let members = groups.iter().flat_map(|(members, times)| {
                    members.iter().enumerate().map(move |(at, member)| (at, *member, *times))
                });
                let items: Vec<Item> = members
                    .map(|(at, (rule, cost, shadow, other), times)| {
                        rules.push(rule);
                        item_under(
                            rule,
                            other,
                            Want::Grant { ask: Ask::times(cost, times), follows: at > 0, shadow },
                        )
                    })
                    .collect();
                (items.clone(), items)
            }
            Step::GiveBack(which, amount) => {
                if charges.is_empty() {
                    continue;
                }
                let which = *which % charges.len();
                let is_log = trace.rules[charges[which].rule].algorithm == Algorithm::SlidingLog;
                // Another may ask for more than was charged, or once more; of the log the model knows instants, not members.
                let Charged { rule, quota, model, server, amount: most } =
                    if is_log { charges.swap_remove(which) } else { charges[which].clone() };
                // What was charged under another quota has another kind of mark.
                if quota != item(rule, Want::GiveBack { charge: server.clone(), amount: 0 }).limit.terms.quota
                {
                    continue;
                }
                let amount = if is_log { most.min(*amount) } else { *amount };
                let there = Want::GiveBack { charge: server.clone(), amount };
                let here = Want::GiveBack { charge: Charge { mark: model, ..server }, amount };
                (vec![item(rule, there)], vec![item(rule, here)])
            }
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
        let expected = model(&mut states, &modelled, now);
        let nonce = Bytes::from(format!("call-{number}"));
        let call = Command::new("EVAL").arg(source.to_owned()).arg(items.len());
        let call =
            call.args(items.iter().map(|item| &item.limit.key)).args(arguments(&items, &nonce, Some(now)));
        let reply = connection.execute(call).await;
        let reply = reply.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let Checked { now_us, answers } = checked(reply, items.len()).unwrap();
        prop_assert_eq!(now_us, now);
        for (at, ((item, mut expected), answer)) in items.iter().zip(expected).zip(answers).enumerate() {
            let mut answer = answer.expect("our own key");
            if let Some((ask, ..)) = grant(item)
                && answer.granted > 0
            {
                charges.push(Charged {
                    rule: rules[at],
                    quota: item.limit.terms.quota,
                    model: expected.mark,
                    server: Charge { nonce: nonce.clone(), mark: answer.mark },
                    amount: answer.granted * ask.cost,
                });
            }
            if item.limit.terms.algorithm == Algorithm::SlidingLog {
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
    // However long the trace took on a busy machine.
    let slack = EXTRA_MS / 2;
    prop_assert!(
        left.cast_unsigned() + slack >= EXTRA_MS + reset_ms.min(1),
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

/// Holds a script against the models on so many random traces.
fn hold(source: &str, cases: u32, shrinks: u32) -> Result<(), String> {
    let runtime = runtime();
    let connection = runtime.block_on(connect());
    let config = Config { failure_persistence: None, max_shrink_iters: shrinks, ..Config::with_cases(cases) };
    let outcome =
        TestRunner::new(config).run(&trace(), |trace| runtime.block_on(play(&connection, source, &trace)));
    outcome.map_err(|error| error.to_string())
}

#[test]
fn the_script_does_what_the_models_do() {
    if let Err(error) = hold(&check_that_keeps(), CASES, 10_000) {
        panic!("{}", error.chars().take(4_000).collect::<String>());
    }
}

/// What is wrong, what stands there, what stands there instead.
type Mutant = (&'static str, &'static str, &'static str);

const MUTANTS: &[Mutant] = &[
    (
        "one more than the limit",
        "return state.quota.a - state.total\n",
        "return state.quota.a - state.total + 1\n",
    ),
    (
        "a sub-window too few",
        "local PARTS, MAX_ITEMS, QUOTA, ITEM, CHUNK = 60",
        "local PARTS, MAX_ITEMS, QUOTA, ITEM, CHUNK = 59",
    ),
    (
        "what left the ring goes on counting",
        "total = total - unpack_bytes(COUNT[bytes], entries, first + 1)",
        "total = total",
    ),
    ("a long pause forgets nothing", "first, total = #entries + 1, 0", "first = #entries + 1"),
    (
        "the clock steps back and makes older",
        "char((byte(entries, at) - shift) % 256)",
        "char(byte(entries, at))",
    ),
    (
        "a charge in the same sub-window replaces the one before",
        "amount = amount + unpack_bytes(count, entries, last + 1)",
        "",
    ),
    ("a charge is not in the total", "state.total = state.total + amount\n", ""),
    (
        "another window forgets",
        "entries, total, newest = reshaped(quota, old_bytes, old_width, newest, entries)",
        "entries, total = '', 0",
    ),
    (
        "moved to the beginning of where it was",
        "floor(((number + 1) * width - 1) / quota.b)",
        "floor(number * width / quota.b)",
    ),
    (
        "moved into the future",
        "min(floor(((number + 1) * width - 1) / quota.b), current)",
        "floor(((number + 1) * width - 1) / quota.b)",
    ),
    (
        "two sub-windows become one, the last",
        "counts[#counts] = min(counts[#counts] + count, most)",
        "counts[#counts] = count",
    ),
    (
        "waiting for one too few",
        "    missing = missing - unpack_bytes(count, entries, at + 1)\n    if missing <= 0",
        "    missing = missing - unpack_bytes(count, entries, at + 1)\n    if missing <= 1",
    ),
    ("more given back than charged", "local back = min(charged, amount)", "local back = amount"),
    ("given back and still in the total", "      state.total = state.total - back\n", ""),
    ("a bucket that never leaks", "level = max(0, level - max(0, floor(now / us) - at) * drain)", ""),
    (
        "a clock that steps back fills the bucket",
        "max(0, floor(now / us) - at) * drain",
        "(floor(now / us) - at) * drain",
    ),
    ("another quota empties the bucket", "level = ceil(level / unit * quota.b)", "level = 0"),
    ("a bucket above its brim", "state.level = min(level, capacity)", "state.level = level"),
    (
        "room is rounded up",
        "return floor((state.capacity - state.level) / state.quota.b)",
        "return ceil((state.capacity - state.level) / state.quota.b)",
    ),
    ("waiting is rounded down", "ceil(drops / state.quota.c)", "floor(drops / state.quota.c)"),
    (
        "drained and given back",
        "local left = amount * unit - max(0, state.at - mark) * state.quota.c",
        "local left = amount * unit",
    ),
    (
        "the window before counts whole",
        "state.previous * (window - state.elapsed)",
        "state.previous * window",
    ),
    ("the window before is forgotten", "    state.previous = current\n", ""),
    ("two windows later it still counts", "elseif number == was + 1 then", "else"),
    (
        "given back to the wrong window",
        "mark == state.number - 1 and 'previous'",
        "mark == state.number - 1 and 'current'",
    ),
    (
        "a new window does not begin anew",
        "if window ~= quota.b or state.number <= number then",
        "if true then",
    ),
    (
        "a fixed window gives back what is over",
        "mark == state.number and min(state.count, amount) or 0",
        "min(state.count, amount)",
    ),
    (
        "the log counts what has left",
        "local count = redis.pcall('ZCOUNT', key, '(' .. gone, '+inf')",
        "local count = redis.pcall('ZCOUNT', key, '-inf', '+inf')",
    ),
    (
        "the log counts one less than a window",
        "'ZCOUNT', key, '(' .. gone, '+inf'",
        "'ZCOUNT', key, gone, '+inf'",
    ),
    (
        "members of two calls are one",
        "members[#members + 1] = nonce .. ':' .. unit",
        "members[#members + 1] = 'x:' .. unit",
    ),
    ("members of one call are one", "nonce .. ':' .. unit", "nonce"),
    (
        "the log gives back what has left",
        "if score and tonumber(score) > tonumber(state.gone) then",
        "if score then",
    ),
    (
        "what comes after a step back is ranked last",
        "at = rank <= past + state.added and now or kept_at(state, rank - state.added)",
        "at = now",
    ),
    (
        "a group is charged in part",
        "local granted = asked[from].times\n",
        "local granted = asked[from].times\n  to = from\n",
    ),
    ("a shadow is in the way", "if not item.shadow then", "if true then"),
    ("a shadow is charged beyond its room", "mine = min(granted, item.fits)", "mine = granted"),
    (
        "what is refused is charged",
        "if mine > 0 then\n          kind.charge",
        "if true then\n          kind.charge",
    ),
    (
        "another quota in the same call forgets what the first charged",
        "state.dirty and quota.kind.save(state) or raw",
        "raw",
    ),
    ("another quota in the same call writes only what it charged", "before and before.added or 0", "0"),
    (
        "what is gone under another quota of the call still counts",
        "max(now - quota.b, before and before.gone_us or 0)",
        "now - quota.b",
    ),
    (
        "a look under another quota changes the quota",
        "    return quota.kind.open(quota, state.dirty and quota.kind.save(state) or raw, key)",
        "    local again = quota.kind.open(quota, state.dirty and quota.kind.save(state) or raw, key)\n    again.dirty = state.dirty\n    states[key] = again\n    return again",
    ),
    ("a second look at a key does not see the first", "    states[key] = state\n  end\n", "  end\n"),
    (
        "a key that stays for ever",
        "'PX', 3600000 + max(1, ceil(kind.reset_after(state) / 1000))",
        "'KEEPTTL'",
    ),
];

/// The number of a sub-window is kept modulo 256: what is as many sub-windows older must not be taken for it.
#[test]
fn an_old_mark_is_not_taken_for_one_of_256_sub_windows_later() {
    let runtime = runtime();
    runtime.block_on(async {
        let connection = connect().await;
        let quota: Quota = "5/1m".parse().unwrap();
        let key = Bytes::from(unique_name("rule"));
        let item = |want: Want| Item {
            limit: Limit { key: key.clone(), terms: Arc::new(Terms::new(Algorithm::SlidingWindow, quota)) },
            want,
        };
        let ask = async |want: Want, now: u64| {
            let items = [item(want)];
            let nonce = Bytes::from_static(b"n");
            let call = Command::new("EVAL").arg(check_that_keeps()).arg(1_u64).key(&key);
            let reply = connection.execute(call.args(arguments(&items, &nonce, Some(now)))).await.unwrap();
            checked(reply, 1).unwrap().answers[0].unwrap()
        };
        let grant = || Want::Grant { ask: Ask::one(2), follows: false, shadow: false };
        let old = ask(grant(), NOW).await;
        let later = NOW + 256 * 1_000_000;
        assert_eq!(ask(grant(), later).await.remaining, 3);
        let charge = Charge { nonce: Bytes::from_static(b"n"), mark: old.mark };
        let back = ask(Want::GiveBack { charge, amount: 2 }, later).await;
        assert_eq!((back.granted, back.remaining), (0, 3));
    });
}

#[test]
fn each_mistake_is_found() {
    const WORKERS: usize = 4;
    let (source, hidden) = (check_that_keeps(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (source, hidden) = (&source, &hidden);
            scope.spawn(move || {
                for (what, right, wrong) in MUTANTS.iter().skip(worker).step_by(WORKERS) {
                    assert_eq!(
                        source.matches(right).count(),
                        1,
                        "{what}: `{right}` does not stand there once"
                    );
                    if hold(&source.replace(right, wrong), MUTANT_CASES, 0).is_ok() {
                        hidden.lock().unwrap().push(*what);
                    }
                }
            });
        }
    });
    let hidden = hidden.into_inner().unwrap();
    assert!(hidden.is_empty(), "nobody found: {hidden:#?}");
}

//! The scripts held against the models, on random traces over several keys, with every answer compared.
#![allow(clippy::unwrap_used)]

mod mutants;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_testkit::{TestServer, unique_name};

use self::mutants::Mutant;
use super::*;
use crate::algorithm::State;

const NOW: u64 = 1_800_000_000_123_457;
const CASES: u32 = 200;
/// The mistake that hides best shows in one of some thousand.
const MUTANT_CASES: u32 = 30_000;
/// What the scripts under test add to the life of each key, since their clock is not that of the server.
const EXTRA_MS: u64 = 3_600_000;

/// The sources of the scripts under test.
struct Scripts {
    check: String,
    /// Takes the calls that it knows.
    grant: Option<String>,
    taken: AtomicU64,
    left: AtomicU64,
}

impl Scripts {
    fn check_alone() -> Self {
        let source = CHECK.source();
        let lengthened = source.replace("'PX', max(1,", "'PX', 3600000 + max(1,");
        let check = lengthened.replace("'PEXPIRE', key, ceil", "'PEXPIRE', key, 3600000 + ceil");
        assert_eq!(check.len(), source.len() + 2 * "3600000 + ".len());
        Self { check, grant: None, taken: AtomicU64::new(0), left: AtomicU64::new(0) }
    }

    fn both() -> Self {
        let source = GRANT.source();
        let grant = source.replace("'PX', lives[i]", "'PX', 3600000 + lives[i]");
        assert_eq!(grant.len(), source.len() + "3600000 + ".len());
        Self { grant: Some(grant), ..Self::check_alone() }
    }

    /// As the combiner makes a call, but at a time of ours.
    async fn call(
        &self,
        connection: &Connection,
        items: &[Item],
        nonce: &Bytes,
        now: u64,
    ) -> Result<Checked, TestCaseError> {
        let eval = async |source: &str, arguments: Vec<Arg>| {
            let call = Command::new("EVAL").arg(source).arg(items.len());
            let call = call.args(items.iter().map(|item| &item.limit.key)).args(arguments);
            connection.execute(call).await.map_err(|error| TestCaseError::fail(error.to_string()))
        };
        if let Some((grant, arguments)) = self.grant.as_ref().zip(grant_arguments(items, Some(now))) {
            let reply = eval(grant, arguments).await?;
            if !is_left_to_check(&reply) {
                self.taken.fetch_add(1, Ordering::Relaxed);
                return Ok(checked(reply, items.len()).unwrap());
            }
            self.left.fetch_add(1, Ordering::Relaxed);
        }
        let reply = eval(&self.check, arguments(items, nonce, Some(now))).await?;
        Ok(checked(reply, items.len()).unwrap())
    }
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

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    // Some are alike.
    let different = proptest::collection::vec(rule(), 1..4);
    (different, proptest::collection::vec(0..4_usize, 1..5)).prop_map(|(different, which)| {
        which.iter().map(|at| different[at % different.len()].clone()).collect()
    })
}

/// `plain` is the weight of calls whose items each stand for themselves; that of all other steps is 20.
fn trace(plain: u32) -> impl Strategy<Value = Trace> {
    rules().prop_flat_map(move |rules| {
        let count = rules.len();
        let cost = || prop_oneof![5 => 1..5_u64, 1 => 1..70_000_u64];
        let member = (0..count, cost(), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
        let group = proptest::collection::vec(member, 1..4).prop_map(|mut members| {
            // A limit stands in a group once.
            members.sort_by_key(|(rule, ..)| *rule);
            members.dedup_by_key(|(rule, ..)| *rule);
            members
        });
        let times = || prop_oneof![4 => 0..4_u64, 1 => 0..100_u64];
        let item = (0..count, cost(), prop::bool::weighted(0.1), times());
        let items = proptest::collection::vec(item, 1..5).prop_map(|mut items| {
            items.sort_by_key(|(rule, ..)| *rule);
            items.dedup_by_key(|(rule, ..)| *rule);
            let groups = items.into_iter();
            groups.map(|(rule, cost, other, times)| (vec![(rule, cost, false, other)], times)).collect()
        });
        let step = prop_oneof![
            plain => items.prop_map(Step::Check),
            8 => proptest::collection::vec((group, times()), 1..5).prop_map(Step::Check),
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
            let ahead = state.is_ahead(now) && ask.times > 0;
            let answer = state.ask(now, Ask { times: granted.min(fits), ..ask });
            // What is refused, or only looked at, leaves everything as it was; after a step back of the clock what is refused
            // is noted, for it ages from then on.
            if answer.granted > 0 || ahead {
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

async fn play(connection: &Connection, scripts: &Scripts, trace: &Trace) -> Result<(), TestCaseError> {
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
        let Checked { now_us, answers } = scripts.call(connection, &items, &nonce, now).await?;
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

/// Holds scripts against the models on so many random traces.
fn hold(scripts: &Scripts, plain: u32, cases: u32, shrinks: u32) -> Result<(), String> {
    let runtime = runtime();
    let connection = runtime.block_on(connect());
    let config = Config { failure_persistence: None, max_shrink_iters: shrinks, ..Config::with_cases(cases) };
    let outcome = TestRunner::new(config)
        .run(&trace(plain), |trace| runtime.block_on(play(&connection, scripts, &trace)));
    outcome.map_err(|error| error.to_string().chars().take(4_000).collect())
}

#[test]
fn the_script_does_what_the_models_do() {
    hold(&Scripts::check_alone(), 4, CASES, 10_000).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_quick_script_does_what_the_models_do() {
    let scripts = Scripts::both();
    hold(&scripts, 30, CASES, 10_000).unwrap_or_else(|error| panic!("{error}"));
    let (taken, left) = (scripts.taken.into_inner(), scripts.left.into_inner());
    assert!(taken > 3 * left && left > 0, "it took {taken} calls and left {left}");
}

/// The random traces change quotas, but never the burst alone.
#[test]
fn a_smaller_burst_is_a_smaller_bucket() {
    let runtime = runtime();
    runtime.block_on(async {
        let (connection, scripts) = (connect().await, Scripts::both());
        let (quota, key): (Quota, _) = ("5/1m".parse().unwrap(), Bytes::from(unique_name("rule")));
        let mut states = States::new();
        for (burst, times) in [(40, 30), (10, 1), (10, 0)] {
            let terms = Arc::new(Terms::new(Algorithm::Gcra { burst }, quota));
            if let Some((_, state)) = states.get_mut(&key) {
                *state = state.under(terms.algorithm, quota, NOW);
            }
            let want = Want::Grant { ask: Ask::times(1, times), follows: false, shadow: false };
            let items = [Item { limit: Limit { key: key.clone(), terms }, want }];
            let found = scripts.call(&connection, &items, &Bytes::new(), NOW).await.unwrap();
            assert_eq!(found.answers, [Some(model(&mut states, &items, NOW)[0])], "a burst of {burst}");
        }
        assert_eq!(scripts.taken.into_inner(), 3);
    });
}

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
            let (items, nonce) = ([item(want)], Bytes::from_static(b"n"));
            let scripts = Scripts::check_alone();
            scripts.call(&connection, &items, &nonce, now).await.unwrap().answers[0].unwrap()
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

/// Who is at the limit when the clock steps back waits for a window, not until the clock has caught up.
#[test]
fn a_clock_that_steps_back_by_an_hour_locks_nobody_out_for_an_hour() {
    let runtime = runtime();
    runtime.block_on(async {
        let connection = connect().await;
        let quota: Quota = "5/1m".parse().unwrap();
        let (back, window) = (NOW - 3_600_000_000, 61_000_000);
        for algorithm in [
            Algorithm::SlidingWindow,
            Algorithm::Gcra { burst: 5 },
            Algorithm::SlidingCounter,
            Algorithm::FixedWindow,
        ] {
            let key = Bytes::from(unique_name("rule"));
            let limit = Limit { key, terms: Arc::new(Terms::new(algorithm, quota)) };
            let granted = async |times: u64, now: u64| {
                let want = Want::Grant { ask: Ask::times(1, times), follows: false, shadow: false };
                let items = [Item { limit: limit.clone(), want }];
                let scripts = Scripts::both();
                let checked =
                    scripts.call(&connection, &items, &Bytes::from_static(b"n"), now).await.unwrap();
                checked.answers[0].unwrap().granted
            };
            assert_eq!(granted(9, NOW).await, 5, "{algorithm:?}");
            assert_eq!(granted(1, back).await, 0, "{algorithm:?}: nothing is forgotten");
            // A counter needs a second window until none of it is left.
            assert!(granted(1, back + 2 * window).await > 0, "{algorithm:?}: it aged from there");
        }
    });
}

#[test]
fn each_mistake_is_found() {
    let right = Scripts::check_alone().check;
    find(mutants::OF_CHECK, &right, 4, |wrong| Scripts { check: wrong, ..Scripts::check_alone() });
}

#[test]
fn each_mistake_of_the_quick_script_is_found() {
    let right = Scripts::both().grant.unwrap();
    find(mutants::OF_GRANT, &right, 30, |wrong| Scripts { grant: Some(wrong), ..Scripts::check_alone() });
}

fn find(mutants: &[Mutant], source: &str, plain: u32, scripts: impl Fn(String) -> Scripts + Sync) {
    const WORKERS: usize = 4;
    let hidden = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (hidden, scripts) = (&hidden, &scripts);
            scope.spawn(move || {
                for (what, right, wrong) in mutants.iter().skip(worker).step_by(WORKERS) {
                    let found = source.matches(right).count();
                    assert_eq!(found, 1, "{what}: `{right}` does not stand there once");
                    let scripts = scripts(source.replace(right, wrong));
                    if hold(&scripts, plain, MUTANT_CASES, 0).is_ok() {
                        hidden.lock().unwrap().push(*what);
                    }
                }
            });
        }
    });
    let hidden = hidden.into_inner().unwrap();
    assert!(hidden.is_empty(), "nobody found: {hidden:#?}");
}

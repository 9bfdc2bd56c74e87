//! The script held against a model, on random traces of several processes, with every answer and every field compared.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_testkit::{TestServer, unique_name};

use super::model::{Call, Change, Kept, Value};
use super::*;

const NOW: u64 = 1_800_000_000_123;
const CASES: u32 = 300;
/// The mistake that hides best shows in one of some hundred.
const MUTANT_CASES: u32 = 5_000;
/// Leases in ms, by process: so long that none of the keys goes while the trace is played. A process that crashes and starts
/// anew is another process.
const LEASES: [u64; 4] = [1_000_000, 1_000_000, 2_000_000, 9_000_000];
const KEYS: usize = 3;
/// How much later the life of a key is looked at, at the most: however busy the machine is.
const SLACK_MS: u64 = 400_000;

/// Which key, how many more or less than this process last held, and how it says so.
type Said = (usize, i64, How);
/// How many times, and of which of the keys said how many there may be.
type Wish = (u64, Vec<(usize, u64)>);

#[derive(Clone, Debug)]
enum Step {
    Call {
        process: usize,
        said: Vec<Said>,
        wishes: Vec<Wish>,
    },
    /// The call before comes once more, and so late; or only looks.
    Again(bool),
    Wait(u64),
    ClockBack(u64),
    Forget(usize),
    /// Something else stands under a key: another type, or a field with other content.
    Foreign(usize, bool),
    /// So many processes that nobody has heard of for long, or whose clock went ahead.
    Crowd(usize, u64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![6 => Just(How::Say), 2 => Just(How::Insist), 1 => Just(How::Look)];
    let said = (0..KEYS, prop_oneof![3 => Just(0), 2 => -3..4_i64], how);
    let said = proptest::collection::vec(said, 1..4).prop_map(|mut said| {
        said.sort_by_key(|(key, ..)| *key);
        said.dedup_by_key(|(key, ..)| *key);
        said
    });
    let wish = (0..4_u64, proptest::collection::vec((0..KEYS, 0..9_u64), 1..3));
    let call =
        (0..LEASES.len(), said, proptest::collection::vec(wish, 0..3)).prop_map(|(process, said, wishes)| {
            let wishes = wishes.into_iter().map(|(times, mut members)| {
                // Of what is only looked at nothing is wanted.
                let asked = said.iter().filter(|(.., how)| *how != How::Look).count();
                let places: Vec<usize> =
                    (0..said.len()).filter(|at| said[*at].2 != How::Look).take(asked).collect();
                members.retain(|_| !places.is_empty());
                for (at, _) in &mut members {
                    *at = places[*at % places.len()];
                }
                members.sort_unstable();
                members.dedup_by_key(|(at, _)| *at);
                (times, members)
            });
            let wishes = wishes.filter(|(_, members)| !members.is_empty()).collect();
            Step::Call { process, said, wishes }
        });
    prop_oneof![
        20 => call,
        3 => any::<bool>().prop_map(Step::Again),
        5 => (0..1_200_000_u64).prop_map(Step::Wait),
        1 => (0..9_000_000_u64).prop_map(Step::Wait),
        // To the very moment at which something is past, or has to be renewed, or is too far ahead.
        3 => prop_oneof![Just(250_000), Just(750_000), Just(1_000_000)].prop_map(Step::Wait),
        1 => Just(Step::ClockBack(1_000_000)),
        2 => (1..30_000_000_u64).prop_map(Step::ClockBack),
        1 => (0..KEYS).prop_map(Step::Forget),
        1 => (0..KEYS, any::<bool>()).prop_map(|(key, typed)| Step::Foreign(key, typed)),
        1 => (0..KEYS, 1..30_u64, any::<bool>()).prop_map(|(key, count, ahead)| Step::Crowd(key, count, ahead)),
    ]
}

/// A call that was made: by which process, of which keys, saying and wanting what, with which number.
type Made = (usize, Vec<usize>, Vec<Fact>, Vec<Group>, u64);

struct Play<'a> {
    connection: &'a Connection,
    keys: Vec<Bytes>,
    kept: Vec<Kept>,
    now: u64,
}

impl Play<'_> {
    async fn execute(&self, command: Command) -> Reply {
        self.connection.execute(command).await.unwrap()
    }

    /// The key as it is on the server.
    async fn found(&self, key: usize) -> HashMap<String, Value> {
        let pairs = self.execute(Command::new("HGETALL").key(&self.keys[key])).await.into_pairs().unwrap();
        let pairs = pairs.into_iter().map(|(field, value)| {
            let value = value.into_string().unwrap();
            let mut parts = value.split(':').map(|part| part.parse().unwrap());
            let mut next = || parts.next().unwrap();
            (
                field.into_string().unwrap(),
                Value { count: next(), expiry: next(), lease: next(), number: next() },
            )
        });
        pairs.collect()
    }

    async fn put(&mut self, key: usize, name: String, value: Value) {
        let Kept::Fields(fields) = &mut self.kept[key] else { return };
        let Value { count, expiry, lease, number } = value;
        fields.insert(name.clone(), value);
        let command = Command::new("HSET").key(&self.keys[key]).arg(name);
        self.execute(command.arg(format!("{count}:{expiry}:{lease}:{number}"))).await;
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Wait(ms) => self.now += ms,
            Step::ClockBack(ms) => self.now -= ms,
            Step::Forget(key) => {
                self.execute(Command::new("DEL").key(&self.keys[key])).await;
                self.kept[key] = Kept::Fields(HashMap::new());
            }
            Step::Foreign(key, typed) => {
                let found = &self.keys[key];
                if typed {
                    self.execute(Command::new("SET").key(found).arg("text")).await;
                } else if self.kept[key] != Kept::Foreign {
                    self.execute(Command::new("HSET").key(found).arg("name").arg("7:text")).await;
                }
                self.kept[key] = Kept::Foreign;
            }
            Step::Crowd(key, count, ahead) => {
                for number in 0..count {
                    let (lease, offset) = (5_000, 1 + number);
                    let expiry =
                        if ahead { self.now + 2 * lease + offset } else { self.now - 400_000 + offset };
                    let value = Value { count: 1, expiry, lease, number: 1 };
                    self.put(key, format!("{}-{number}", if ahead { "ahead" } else { "dead" }), value).await;
                }
            }
            Step::Call { .. } | Step::Again(_) => {}
        }
    }

    /// Holds a key against what the model says of it, and takes over which of the fields were swept.
    async fn compare(
        &mut self,
        key: usize,
        field: &str,
        change: Option<&Change>,
    ) -> Result<(), TestCaseError> {
        let Kept::Fields(before) = &self.kept[key] else { return Ok(()) };
        let now = self.now;
        let after = self.found(key).await;
        let Some(Change { own, life_ms, swept, pulled }) = change else {
            prop_assert_eq!(&after, before);
            return Ok(());
        };
        prop_assert_eq!(after.get(field), own.as_ref());
        let (mut gone, mut back) = (0, 0);
        for (name, value) in before.iter().filter(|(name, _)| *name != field) {
            match after.get(name) {
                None => {
                    prop_assert!(value.is_dead(now), "{} lives: {:?}", name, value);
                    gone += 1;
                }
                Some(other) if other == value => {}
                Some(other) => {
                    prop_assert_eq!(*other, value.pulled(now));
                    back += 1;
                }
            }
        }
        prop_assert_eq!((gone, back), (*swept, *pulled));
        prop_assert!(after.keys().all(|name| name == field || before.contains_key(name)));
        if let Some(life_ms) = life_ms {
            let left = self.execute(Command::new("PTTL").key(&self.keys[key])).await.as_int().unwrap();
            let left = u64::try_from(left).map_err(|_| TestCaseError::fail("it never expires"))?;
            prop_assert!(
                (life_ms.saturating_sub(SLACK_MS)..=*life_ms).contains(&left),
                "{} {}",
                left,
                life_ms
            );
        }
        self.kept[key] = Kept::Fields(after);
        Ok(())
    }
}

async fn play(connection: &Connection, source: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let keys = (0..KEYS).map(|_| Bytes::from(format!("{{slots}}:{}", unique_name("k")))).collect();
    let kept = vec![Kept::Fields(HashMap::new()); KEYS];
    let mut play = Play { connection, keys, kept, now: NOW };
    let mut held = [[0_u64; KEYS]; LEASES.len()];
    let mut last: Option<Made> = None;
    for (number, step) in steps.iter().enumerate() {
        play.step(step).await;
        let call = match step {
            Step::Call { process, said, wishes } => {
                let facts = said.iter().map(|(key, change, how)| {
                    let held = held[*process][*key].saturating_add_signed(*change);
                    Fact { key: play.keys[*key].clone(), held, how: *how }
                });
                let groups =
                    wishes.iter().map(|(times, members)| Group { times: *times, members: members.clone() });
                let places = said.iter().map(|(key, ..)| *key).collect();
                (*process, places, facts.collect(), groups.collect(), number as u64 + 1)
            }
            Step::Again(looks) => {
                let Some(mut call) = last.clone() else { continue };
                if *looks {
                    call.2.iter_mut().for_each(|fact| fact.how = How::Look);
                    call.3.clear();
                }
                call
            }
            _ => continue,
        };
        last = Some(call.clone());
        let (process, places, facts, groups, number) = call;
        let field = format!("node:{process}");
        let caller = Caller { field: Bytes::from(field.clone()), lease_ms: LEASES[process] };
        let kept: Vec<Kept> = places.iter().map(|key| play.kept[*key].clone()).collect();
        let (now, lease) = (play.now, LEASES[process]);
        let (expected, changes) =
            model::call(&kept, Call { now, field: &field, lease, number, facts: &facts, groups: &groups });
        let command = Command::new("EVAL").arg(source.to_owned()).arg(facts.len());
        let command = command.args(facts.iter().map(|fact| &fact.key));
        let reply =
            connection.execute(command.args(arguments(&caller, number, &facts, &groups, Some(now)))).await;
        let reply = reply.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut answer =
            told(reply, facts.len(), groups.len()).map_err(|_| TestCaseError::fail("no answer"))?;
        for (key, expected) in answer.keys.iter_mut().zip(&expected.keys) {
            if expected.code != Code::Done && key.code == expected.code {
                // What is not counted is said to nobody.
                *key = *expected;
            }
        }
        prop_assert_eq!(&answer, &expected, "process {} {:?} {:?} in {:?}", process, facts, groups, kept);
        never_too_many(&facts, &groups, &answer)?;
        for (key, change) in places.iter().zip(&changes) {
            play.compare(*key, &field, change.as_ref()).await?;
            if let Some(Change { own, .. }) = change {
                held[process][*key] = own.map_or(0, |own| own.count);
            }
        }
    }
    Ok(())
}

/// Whatever the model says.
fn never_too_many(facts: &[Fact], groups: &[Group], told: &Told) -> Result<(), TestCaseError> {
    let mut counts: Vec<u64> = facts.iter().map(|fact| fact.held).collect();
    for (group, granted) in groups.iter().zip(&told.granted) {
        for (at, most) in &group.members {
            counts[*at] += granted;
            prop_assert!(*granted == 0 || told.keys[*at].others + counts[*at] <= *most);
        }
    }
    Ok(())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn connect() -> Connection {
    let url = TestServer::shared().await.url();
    Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap()
}

/// Holds a script against the model on so many random traces.
fn stands(source: &str, cases: u32, shrinks: u32) -> Result<(), String> {
    let runtime = runtime();
    let connection = runtime.block_on(connect());
    let config = Config { failure_persistence: None, max_shrink_iters: shrinks, ..Config::with_cases(cases) };
    let steps = proptest::collection::vec(step(), 1..40);
    let outcome =
        TestRunner::new(config).run(&steps, |steps| runtime.block_on(play(&connection, source, &steps)));
    outcome.map_err(|error| error.to_string())
}

#[test]
fn the_script_does_what_the_model_does() {
    if let Err(error) = stands(HOLD.source(), CASES, 5_000) {
        panic!("{}", error.chars().take(4_000).collect::<String>());
    }
}

#[test]
fn what_is_malformed_changes_nothing() {
    runtime().block_on(async {
        let connection = connect().await;
        let key = unique_name("k");
        let fine = ["", "f", "1000", "5", "1", "", "1", "1", "1", "9"];
        let wrong: [(usize, &str); 12] = [
            (0, "soon"),
            (1, ""),
            (2, "0"),
            (3, "x"),
            (3, "0"),
            (4, "-1"),
            (4, "2147483648"),
            (5, "x"),
            (5, "l"),
            (7, "2"),
            (8, "2"),
            (9, "many"),
        ];
        for (at, text) in wrong {
            let mut arguments = fine;
            arguments[at] = text;
            let command = Command::new("EVAL").arg(HOLD.source()).arg(1_u64).key(&key).args(arguments);
            let error = connection.execute(command).await.unwrap_err();
            assert!(error.to_string().contains("malformed"), "{at} {text}: {error}");
            let length = connection.execute(Command::new("EXISTS").key(&key)).await.unwrap();
            assert_eq!(length.as_int().unwrap(), 0, "{at} {text}");
        }
        let command = Command::new("EVAL").arg(HOLD.source()).arg(1_u64).key(&key).args(fine);
        let answer = told(connection.execute(command).await.unwrap(), 1, 1).unwrap();
        assert_eq!(answer.granted, [1]);
    });
}

/// What is wrong, what stands there, what stands there instead.
type Mutant = (&'static str, &'static str, &'static str);

const MUTANTS: &[Mutant] = &[
    (
        "one too many",
        "member.most - hold.others - hold.count)",
        "member.most - hold.others - hold.count + 1)",
    ),
    ("others do not count", "member.most - hold.others - hold.count)", "member.most - hold.count)"),
    ("what is held does not count", "member.most - hold.others - hold.count)", "member.most - hold.others)"),
    ("the last rule of a group alone decides", "min(fits, member.most", "min(group.times, member.most"),
    (
        "a group does not see the one before",
        "    member.hold.count = member.hold.count + fits\n",
        "    member.hold.wanted = fits\n",
    ),
    ("who holds more than there may be takes from others", "  fits = max(fits, 0)\n", ""),
    ("the dead count", "elseif expiry <= now then", "elseif expiry < 0 then"),
    ("a field counts one moment too long", "elseif expiry <= now then", "elseif expiry < now then"),
    ("an expiry is pulled back too soon", "if expiry > now + 2 * length", "if expiry >= now + 2 * length"),
    (
        "what is held is renewed too late",
        "hold.expiry > now + 0.75 * lease",
        "hold.expiry >= now + 0.75 * lease",
    ),
    ("an expiry far ahead stays", "if expiry > now + 2 * length then", "if false then"),
    (
        "an expiry is pulled back by the caller's lease",
        "if expiry > now + 2 * length",
        "if expiry > now + 2 * lease",
    ),
    ("an expiry is pulled back for the caller's lease", "expiry = now + length\n", "expiry = now + lease\n"),
    ("a call that comes late has the last word", "if tonumber(said) >= number", "if tonumber(said) > number"),
    ("no call is late", "if tonumber(said) >= number", "if false"),
    ("who only looks may come late", "number and hold.flag ~= 'l' then", "number then"),
    ("who only looks speaks", "if hold.code == 0 and hold.flag ~= 'l' then", "if hold.code == 0 then"),
    ("what is held is not renewed", "hold.expiry > now + 0.75 * lease", "hold.expiry > now"),
    ("an expiry of its own far ahead stays", "hold.expiry <= now + lease and ", ""),
    (
        "a renewal is skipped though another count is held",
        "keep or hold.before ~= count or not lasts",
        "keep or not lasts",
    ),
    ("who insists is not heard", "elseif keep or hold.before", "elseif hold.before"),
    ("who insists on nothing is forgotten", "if count == 0 and not keep then", "if count == 0 then"),
    ("nothing stays", "if count == 0 and not keep then", "if false then"),
    ("what is dead of its own stays", "      if hold.found then", "      if hold.before then"),
    ("the key goes with the shortest lease", "max(hold.last, now + lease) - now", "lease"),
    (
        "the key goes with the last of the others",
        "max(hold.last, now + lease) - now",
        "max(hold.last - now, 1)",
    ),
    ("the key stays for ever", "redis.call('PEXPIRE', key, ", "local _ = ("),
    ("the dead are not swept", "for j = 1, min(#hold.dead, MAX_SWEPT - swept) do", "for j = 1, 0 do"),
    ("more is swept than there is time for", "min(#hold.dead, MAX_SWEPT - swept)", "#hold.dead"),
    (
        "each key is swept anew",
        "      redis.call('HDEL', key, hold.dead[j])\n      swept = swept + 1",
        "      redis.call('HDEL', key, hold.dead[j])",
    ),
    (
        "another type is not seen",
        "elseif kind ~= 'hash' then\n    return -1",
        "elseif kind ~= 'hash' then\n    return 0",
    ),
    (
        "other content is not seen",
        "    if not count then\n      return -1\n    end",
        "    count = count or 0",
    ),
    ("what cannot be counted is granted", "hold.code == 0 and min(", "true and min("),
];

#[test]
fn each_mistake_is_found() {
    const WORKERS: usize = 4;
    let (source, hidden) = (HOLD.source(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let hidden = &hidden;
            scope.spawn(move || {
                for (what, right, wrong) in MUTANTS.iter().skip(worker).step_by(WORKERS) {
                    assert_eq!(
                        source.matches(right).count(),
                        1,
                        "{what}: `{right}` does not stand there once"
                    );
                    if stands(&source.replace(right, wrong), MUTANT_CASES, 0).is_ok() {
                        hidden.lock().unwrap().push(*what);
                    }
                }
            });
        }
    });
    let hidden = hidden.into_inner().unwrap();
    assert!(hidden.is_empty(), "nobody found: {hidden:#?}");
}

//! Several processes and one store, with calls that are lost on the way there or back, or come late.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::slots::scripts::Key;
use crate::slots::scripts::model::{self, Call, Kept};

const LEASE: Duration = Duration::from_secs(30);
const PROCESSES: usize = 3;
/// How many there may be of each key: a rule for all, and two for one subject each.
const MOST: [u64; 3] = [6, 3, 4];

#[derive(Clone, Debug)]
enum Step {
    /// Which process wants one of these keys.
    Want(usize, Vec<usize>),
    GiveUp(usize, usize),
    /// Which of what it holds is freed.
    LetGo(usize, usize),
    /// The next call goes out.
    Send(usize),
    /// What becomes of the call that is under way.
    Arrive(usize, Fate),
    /// One of those that were lost comes all the same.
    Late(usize),
    Pulse(usize),
    Renew(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    AnswerLost,
    /// It comes late, or never.
    Delayed,
    NotSent,
}

/// Steps that break the promise on purpose.
#[derive(Clone, Debug)]
enum Disaster {
    Step(Step),
    StoreForgets,
    WithoutStore(usize, Vec<usize>),
}

fn members() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![0, 1]), Just(vec![0, 2]), Just(vec![0]), Just(vec![1])]
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        6 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::Delayed),
        1 => Just(Fate::NotSent),
    ];
    let who = 0..PROCESSES;
    prop_oneof![
        6 => (who.clone(), members()).prop_map(|(who, members)| Step::Want(who, members)),
        1 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Step::GiveUp(who, which)),
        4 => (who.clone(), any::<usize>()).prop_map(|(who, which)| Step::LetGo(who, which)),
        6 => who.clone().prop_map(Step::Send),
        6 => (who.clone(), fate).prop_map(|(who, fate)| Step::Arrive(who, fate)),
        2 => any::<usize>().prop_map(Step::Late),
        2 => who.clone().prop_map(Step::Pulse),
        1 => who.prop_map(Step::Renew),
    ]
}

fn disaster() -> impl Strategy<Value = Disaster> {
    prop_oneof![
        20 => step().prop_map(Disaster::Step),
        1 => Just(Disaster::StoreForgets),
        2 => (0..PROCESSES, members()).prop_map(|(who, members)| Disaster::WithoutStore(who, members)),
    ]
}

type Answer = oneshot::Receiver<Result<Got, Failed>>;

#[derive(Default)]
struct Process {
    line: Line<Got>,
    number: u64,
    under_way: Option<(u64, Batch<Got>)>,
    waiting: Vec<(Vec<usize>, Answer)>,
    /// What its callers hold.
    held: Vec<Vec<usize>>,
}

struct World {
    processes: Vec<Process>,
    store: Vec<Kept>,
    delayed: Vec<(usize, u64, Vec<Fact>, Vec<Group>)>,
    now: Instant,
}

fn key(number: usize) -> Bytes {
    Bytes::from(number.to_string())
}

fn number(key: &Bytes) -> usize {
    std::str::from_utf8(key).ok().and_then(|text| text.parse().ok()).expect("a number")
}

impl World {
    fn new() -> Self {
        let mut processes = Vec::new();
        processes.resize_with(PROCESSES, Process::default);
        let store = vec![Kept::Fields(HashMap::new()); MOST.len()];
        Self { processes, store, delayed: Vec::new(), now: Instant::now() }
    }

    /// The store does what it is told.
    fn reach(&mut self, who: usize, number_of_call: u64, facts: &[Fact], groups: &[Group]) -> Told {
        let field = who.to_string();
        let kept: Vec<Kept> = facts.iter().map(|fact| self.store[number(&fact.key)].clone()).collect();
        let call = Call {
            now: 1_000_000,
            field: &field,
            lease: LEASE.as_millis() as u64,
            number: number_of_call,
            facts,
            groups,
        };
        let (told, changes) = model::call(&kept, call);
        for (fact, change) in facts.iter().zip(changes) {
            let (Kept::Fields(fields), Some(change)) = (&mut self.store[number(&fact.key)], change) else {
                continue;
            };
            match change.own {
                Some(value) => fields.insert(field.clone(), value),
                None => fields.remove(&field),
            };
        }
        told
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::from_micros(1);
        match step {
            Step::Want(who, members) => {
                let (answer, answered) = oneshot::channel();
                let wanted = members.iter().map(|at| Member { key: key(*at), most: MOST[*at] }).collect();
                let process = &mut self.processes[*who];
                process.line.want(wanted, answer);
                process.waiting.push((members.clone(), answered));
            }
            Step::GiveUp(who, which) => {
                let waiting = &mut self.processes[*who].waiting;
                if !waiting.is_empty() {
                    let which = which % waiting.len();
                    waiting.swap_remove(which);
                }
            }
            Step::LetGo(who, which) => {
                let process = &mut self.processes[*who];
                if !process.held.is_empty() {
                    let which = which % process.held.len();
                    for at in process.held.swap_remove(which) {
                        process.line.let_go(&key(at), None);
                    }
                }
            }
            Step::Send(who) => {
                let process = &mut self.processes[*who];
                if process.under_way.is_none()
                    && let Some(batch) = process.line.take(self.now)
                {
                    process.number += 1;
                    process.under_way = Some((process.number, batch));
                }
            }
            Step::Arrive(who, fate) => self.arrive(*who, *fate),
            Step::Late(which) => {
                if !self.delayed.is_empty() {
                    let which = which % self.delayed.len();
                    let (who, number, facts, groups) = self.delayed.swap_remove(which);
                    self.reach(who, number, &facts, &groups);
                }
            }
            Step::Pulse(who) => self.processes[*who].line.pulse(true, self.now),
            Step::Renew(who) => self.processes[*who].line.tell_all(),
        }
    }

    fn arrive(&mut self, who: usize, fate: Fate) {
        let Some((number, batch)) = self.processes[who].under_way.take() else { return };
        let told = match fate {
            Fate::Answered | Fate::AnswerLost => Some(self.reach(who, number, &batch.facts, &batch.groups)),
            Fate::Delayed => {
                self.delayed.push((who, number, batch.facts.clone(), batch.groups.clone()));
                None
            }
            Fate::NotSent => None,
        };
        let process = &mut self.processes[who];
        let dealt = match told {
            Some(told) if fate == Fate::Answered => process.line.settle(batch, &told, self.now, LEASE),
            _ => process.line.fail(batch, &Failed::Late(LEASE), fate != Fate::NotSent),
        };
        for (members, answer, got) in dealt.got {
            let granted = matches!(got, Ok(Got::Granted));
            if answer.send(got).is_err() && granted {
                // As a slot does that nobody waits for any more.
                for member in &members {
                    process.line.let_go(&member.key, None);
                }
            }
        }
        let (mut still, mut held) = (Vec::new(), Vec::new());
        for (members, mut answer) in process.waiting.drain(..) {
            match answer.try_recv() {
                Ok(Ok(Got::Granted)) => held.push(members),
                Ok(_) => {}
                Err(_) => still.push((members, answer)),
            }
        }
        process.waiting = still;
        process.held.append(&mut held);
    }

    /// Everybody is heard, until nobody has anything to say.
    fn calm(&mut self) {
        for who in 0..PROCESSES {
            self.processes[who].line.pulse(true, self.now);
            for _ in 0..20 {
                self.arrive(who, Fate::Answered);
                self.step(&Step::Send(who));
            }
        }
    }

    fn held_by(&self, who: usize, at: usize) -> u64 {
        self.processes[who].held.iter().filter(|members| members.contains(&at)).count() as u64
    }

    fn never_too_many(&self) -> Result<(), TestCaseError> {
        for (at, most) in MOST.iter().enumerate() {
            let held: u64 = (0..PROCESSES).map(|who| self.held_by(who, at)).sum();
            prop_assert!(held <= *most, "{} of {} of key {}", held, most, at);
        }
        Ok(())
    }

    /// What callers hold, the line and the store know; what nobody holds is nowhere.
    fn all_agree(&self) -> Result<(), TestCaseError> {
        for (at, kept) in self.store.iter().enumerate() {
            let Kept::Fields(fields) = kept else { unreachable!("no other type is written") };
            for who in 0..PROCESSES {
                let held = self.held_by(who, at);
                prop_assert_eq!(self.processes[who].line.held(&key(at)), held, "process {}", who);
                let stored = fields.get(&who.to_string()).map_or(0, |value| value.count);
                prop_assert_eq!(stored, held, "process {}, key {}", who, at);
            }
        }
        Ok(())
    }

    /// All is freed, and nothing is left but numbers of those of whom a call may still come.
    fn nothing_is_left(&mut self) -> Result<(), TestCaseError> {
        for who in 0..PROCESSES {
            self.processes[who].waiting.clear();
            while !self.processes[who].held.is_empty() {
                self.step(&Step::LetGo(who, 0));
            }
        }
        self.calm();
        self.all_agree()?;
        for late in std::mem::take(&mut self.delayed) {
            let (who, number, facts, groups) = late;
            self.reach(who, number, &facts, &groups);
        }
        self.all_agree()?;
        self.now += 2 * LEASE;
        for process in &mut self.processes {
            process.line.pulse(true, self.now);
            prop_assert!(process.line.is_empty(), "{:?}", process.line);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_lost_there_are_never_too_many_and_nothing_leaks(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.never_too_many()?;
        }
        world.calm();
        world.never_too_many()?;
        world.all_agree()?;
        world.nothing_is_left()?;
    }

    /// Then there may be too many, but all know how many there are.
    #[test]
    fn whatever_the_store_forgets_it_knows_again(
        disasters in proptest::collection::vec(disaster(), 1..120),
    ) {
        let mut world = World::new();
        for disaster in &disasters {
            match disaster {
                Disaster::Step(step) => world.step(step),
                // With its data the store lost its sockets, and all that was still to come.
                Disaster::StoreForgets => {
                    world.store.fill(Kept::Fields(HashMap::new()));
                    world.delayed.clear();
                }
                Disaster::WithoutStore(who, members) => {
                    let process = &mut world.processes[*who];
                    for at in members {
                        process.line.hold(&key(*at));
                    }
                    process.held.push(members.clone());
                }
            }
        }
        // A pulse for each key sees what is lost, whatever was told since.
        for _ in 0..=MOST.len() {
            world.calm();
        }
        world.all_agree()?;
        world.nothing_is_left()?;
    }
}

#[test]
fn a_call_has_so_many_keys_and_those_who_leave_ride_along() {
    let mut line: Line<Got> = Line::default();
    let now = Instant::now();
    let mut answers = Vec::new();
    for number in 0..100 {
        line.hold(&key(number));
        let (answer, answered) = oneshot::channel();
        line.want(vec![Member { key: key(1_000 + number), most: 1 }], answer);
        answers.push(answered);
    }
    let first = line.take(now).expect("there is something to say");
    assert_eq!((first.facts.len(), first.groups.len()), (MAX_KEYS, MAX_KEYS / 2));
    // Who has given up waiting is not asked for.
    answers.drain(MAX_KEYS / 2..);
    let mut facts = 0;
    while let Some(batch) = line.take(now) {
        assert!(batch.groups.is_empty() && batch.facts.len() <= MAX_KEYS);
        facts += batch.facts.len();
    }
    assert_eq!(facts, 100 - MAX_KEYS / 2);
}

/// One pulse finds out, and then all is told, not only at the next renewal.
#[test]
fn one_loss_makes_all_be_told() {
    const KEYS: usize = 100;
    let mut line: Line<Got> = Line::default();
    let now = Instant::now();
    (0..KEYS).for_each(|number| line.hold(&key(number)));
    let mut tell_all = |knows: bool| {
        let mut told = 0;
        while let Some(batch) = line.take(now) {
            told += batch.facts.len();
            let before = |fact: &Fact| if knows { Some(fact.held) } else { None };
            let keys =
                batch.facts.iter().map(|fact| Key { code: Code::Done, others: 0, before: before(fact) });
            let answer = Told { keys: keys.collect(), granted: Vec::new() };
            line.settle(batch, &answer, now, LEASE);
        }
        line.pulse(true, now);
        told
    };
    assert_eq!(tell_all(false), KEYS);
    assert_eq!(tell_all(true), 1, "a pulse");
    assert_eq!(tell_all(false), 1 + KEYS, "a pulse, and what it found out");
    assert_eq!(tell_all(true), 1, "a pulse");
}

/// In a cluster not each pulse looks at each line; what could not be told is told again with each.
#[test]
fn a_pulse_that_does_not_look_tells_only_what_is_not_known() {
    let mut line: Line<Got> = Line::default();
    let now = Instant::now();
    line.hold(&key(0));
    let batch = line.take(now).expect("a fact");
    line.fail(batch, &Failed::Late(LEASE), true);
    assert!(line.take(now).is_none(), "it rests");
    line.pulse(false, now);
    let batch = line.take(now).expect("it is told again");
    let key = Key { code: Code::Done, others: 0, before: Some(0) };
    line.settle(batch, &Told { keys: vec![key], granted: Vec::new() }, now, LEASE);
    line.pulse(false, now);
    assert!(line.take(now).is_none(), "the store knows, and is not asked");
    line.pulse(true, now);
    assert_eq!(line.take(now).expect("a look").facts.len(), 1);
}

/// What a call says that comes late, it says with its old number: it cannot hide that all is lost.
#[test]
fn a_loss_is_found_out_while_an_earlier_call_may_still_come() {
    const KEYS: usize = 100;
    let mut line: Line<Got> = Line::default();
    let now = Instant::now();
    (0..KEYS).for_each(|number| line.hold(&key(number)));
    while let Some(batch) = line.take(now) {
        line.fail(batch, &Failed::Late(LEASE), true);
        line.resting = false;
        if line.entries.values().all(|entry| entry.doubt == Doubt::Open) {
            break;
        }
    }
    let mut tell_all = |knows: bool| {
        let mut told = 0;
        while let Some(batch) = line.take(now) {
            told += batch.facts.len();
            let before = |fact: &Fact| if knows { Some(fact.held) } else { None };
            let keys =
                batch.facts.iter().map(|fact| Key { code: Code::Done, others: 0, before: before(fact) });
            let answer = Told { keys: keys.collect(), granted: Vec::new() };
            line.settle(batch, &answer, now, LEASE);
        }
        line.pulse(true, now);
        told
    };
    assert_eq!(tell_all(true), KEYS);
    assert_eq!(tell_all(true), 1, "a pulse");
    assert_eq!(tell_all(false), 1 + KEYS, "a pulse, and what it found out");
}

/// An outage may last, and many may come and go meanwhile.
#[test]
fn who_came_and_went_without_the_store_is_forgotten() {
    let mut line: Line<Got> = Line::default();
    let now = Instant::now();
    for number in 0..10_000 {
        line.hold(&key(number));
        line.let_go(&key(number), None);
        if number % 100 == 99 {
            line.pulse(true, now);
            if let Some(batch) = line.take(now) {
                line.fail(batch, &Failed::Late(LEASE), true);
            }
            assert!(line.entries.len() <= 100 && line.facts.len() <= 100, "{}", line.entries.len());
        }
    }
    line.pulse(true, now);
    assert!(line.take(now).is_none() && line.is_empty(), "there is nothing to tell of them");
}

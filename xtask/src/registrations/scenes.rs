//! What goes wrong while registrations are worked on, one thing after another.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value as Json, json};

use super::generate;
use super::world::World;
use crate::books::Books;

/// One thing that goes wrong, and which share of the registrations meets it, in hundredths; it is told how many that are.
pub(crate) type Scene = (&'static str, usize, fn(&mut World, &mut Books, Pace, usize) -> Result<()>);

/// All of them, in order.
pub(crate) const SCENES: &[Scene] = &[
    ("all is well", 10, all_is_well),
    ("consumers are killed", 20, kills),
    ("replies are lost", 25, lost_replies),
    ("the directory is away", 15, directory_away),
    ("Telegram has had enough", 15, telegram),
    ("Valkey is killed", 10, valkey_killed),
    ("the password is wrong", 5, wrong_password),
];

/// How long things go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a scene goes on at most while there is work.
    pub(crate) scene: Duration,
    /// How long an outage lasts.
    pub(crate) outage: Duration,
    /// How long the directory is away once: longer than every pause and timeout there is.
    pub(crate) long_outage: Duration,
    /// Faults of each sort.
    pub(crate) faults: usize,
    /// How long all may take in the end.
    pub(crate) settle: Duration,
}

impl Pace {
    /// For a thousand registrations.
    pub(crate) const FULL: Self = Self {
        scene: Duration::from_secs(30),
        outage: Duration::from_secs(15),
        long_outage: Duration::from_secs(65),
        faults: 3,
        settle: Duration::from_mins(4),
    };

    /// For a hundred.
    pub(crate) const QUICK: Self = Self {
        scene: Duration::from_secs(5),
        outage: Duration::from_secs(2),
        long_outage: Duration::from_secs(2),
        faults: 1,
        settle: Duration::from_secs(90),
    };
}

/// How few are left when a scene may end.
const LITTLE: u64 = 3;

/// What may become of a call of FreeIPA.
const FREEIPA_FAULTS: &[&str] = &[
    "commit_then_drop",
    "commit_then_half",
    "commit500",
    "commit903",
    "commit_then_hang",
    "drop_before_commit",
    "internal903",
    "network907",
    "http500",
    "http503",
    "hang",
    "expire_sessions",
];

/// Calls that change something.
const WRITES: &[&str] = &["user_add", "group_add_member", "user_mod"];

fn all_is_well(world: &mut World, _: &mut Books, pace: Pace, share: usize) -> Result<()> {
    // Calls that take their time come at the same time, which is counted.
    world.double.arm_freeipa(&json!({"on": "*", "kind": "delay", "ms": 150, "times": 30 * pace.faults}))?;
    world.send(share)?;
    world.work(pace.scene, LITTLE)
}

fn kills(world: &mut World, _: &mut Books, pace: Pace, share: usize) -> Result<()> {
    world.send(share)?;
    world.set_killing(true)?;
    world.pass(pace.outage)?;
    world.work(pace.scene, LITTLE)
}

fn lost_replies(world: &mut World, _: &mut Books, pace: Pace, share: usize) -> Result<()> {
    world.send(share)?;
    for _ in 0..pace.faults {
        for kind in FREEIPA_FAULTS {
            let on = *world.random.pick(WRITES);
            let nth = 1 + world.random.below(10);
            world.double.arm_freeipa(&json!({"on": on, "kind": kind, "nth": nth}))?;
        }
        for on in ["user_show", "user_find"] {
            let kind = *world.random.pick(&["http500", "hang", "drop_before_commit", "internal903"]);
            world.double.arm_freeipa(&json!({"on": on, "kind": kind, "nth": 1 + world.random.below(5)}))?;
        }
        world.work(pace.scene / 3, LITTLE)?;
    }
    world.work(pace.scene, LITTLE)
}

fn directory_away(world: &mut World, books: &mut Books, pace: Pace, share: usize) -> Result<()> {
    let freeipa = |world: &World, action: &Json| world.double.freeipa(action);
    freeipa(world, &json!({"do": "ldap_down", "down": true}))?;
    world.send(share)?;
    world.send_new(generate::fresh)?;
    // Those that are about to be refused are so without the directory; the others wait.
    world.pass(pace.long_outage)?;
    world.set_killing(false)?;
    let parked =
        world.until(Duration::from_secs(20), |world| Ok(!world.consumers.readiness().contains(&true)))?;
    books.equal("the directory is away", "no consumer is ready then", &true, &parked);
    books.figure("the directory is away for", pace.long_outage.as_secs_f64(), "s");
    world.set_killing(true)?;
    freeipa(world, &json!({"do": "ldap_down", "down": false}))?;
    world.work(pace.scene / 2, LITTLE)?;
    freeipa(world, &json!({"do": "kdc_down", "down": true}))?;
    freeipa(world, &json!({"do": "expire_sessions"}))?;
    world.send_new(generate::fresh)?;
    world.pass(pace.outage)?;
    freeipa(world, &json!({"do": "kdc_down", "down": false}))?;
    world.work(pace.scene, LITTLE)
}

fn telegram(world: &mut World, _: &mut Books, pace: Pace, share: usize) -> Result<()> {
    world.send(share)?;
    world.double.telegram(&json!({"do": "set_paced", "paced": true}))?;
    world.double.telegram(&json!({"do": "silence", "seconds": 3}))?;
    for _ in 0..pace.faults {
        for fault in [
            json!({"kind": "too_many", "retry_after": 2}),
            json!({"kind": "page", "status": 502}),
            json!({"kind": "deliver_then_hang"}),
            json!({"kind": "deliver_then_drop"}),
            json!({"kind": "deliver500"}),
            json!({"kind": "hang"}),
            json!({"kind": "drop"}),
        ] {
            let mut fault = fault;
            fault["on"] = "sendMessage".into();
            fault["nth"] = (1 + world.random.below(8)).into();
            world.double.arm_telegram(&fault)?;
        }
        world.work(pace.scene / 3, LITTLE)?;
    }
    world.work(pace.scene, LITTLE)?;
    world.double.telegram(&json!({"do": "set_paced", "paced": false}))
}

fn valkey_killed(world: &mut World, _: &mut Books, pace: Pace, share: usize) -> Result<()> {
    world.send(share)?;
    world.pass(Duration::from_secs(1))?;
    world.valkey.kill()?;
    world.pass(pace.outage / 2)?;
    world.valkey.again()?;
    world.work(pace.scene, LITTLE)
}

/// Somebody has changed the password of the service account, and told nobody: every attempt counts towards a lock.
fn wrong_password(world: &mut World, books: &mut Books, pace: Pace, share: usize) -> Result<()> {
    const SCENE: &str = "the password is wrong";
    world.set_killing(false)?;
    let rejected =
        |world: &World| Ok::<u64, anyhow::Error>(world.double.stats()?.logins_rejected.values().sum());
    let before = rejected(world)?;
    let password = format!("Changed-{}", world.random.uuid());
    world.double.change_password(&password)?;
    world.send(share)?;
    // One at least that goes to the directory: the first consumer puts it back, and the other meets the same.
    world.send_new(generate::fresh)?;
    let parked =
        world.until(Duration::from_secs(20), |world| Ok(!world.consumers.readiness().contains(&true)))?;
    books.equal(SCENE, "no consumer is ready then", &true, &parked);
    world.pass(pace.outage * 2)?;
    let attempts = rejected(world)? - before;
    books.holds(SCENE, "attempts to log in with it", "at most 2", attempts, attempts <= 2);
    // What an operator does about it.
    world.double.tell_password(&password)?;
    let all = world.consumers.count();
    let well = world.consumers.stop()?;
    books.equal(SCENE, "consumers that end well when told to", &all, &well);
    world.consumers.start_all()?;
    world.work(pace.scene, LITTLE)
}

/// Who has an account comes again; and what was done long ago is delivered again.
pub(crate) fn once_more(world: &mut World, pace: Pace) -> Result<()> {
    let done: Vec<usize> = (0..world.sent.len()).filter(|number| world.sent[*number].is_plain()).collect();
    for number in done.iter().take(10) {
        world.send_again(*number)?;
    }
    for (position, number) in done.iter().rev().take(6).enumerate() {
        let of = world.sent[*number].clone();
        let make = if position % 2 == 0 { generate::second_account } else { generate::same_email };
        world.send_new(|number, random| make(&of, number, random))?;
    }
    world.work(pace.scene, 0)
}

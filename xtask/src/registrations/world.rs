//! All that runs, and the time that passes in it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::case::{Case, Chat};
use super::consumers::Consumers;
use super::display::Display;
use super::double::Double;
use super::kind::Kind;
use super::random::Random;
use super::resp::Resp;
use super::site::{OTHER_GROUPS, QUEUE, SEALED_GROUP};
use super::valkey::Valkey;
use crate::interrupt::interrupted;

/// How often things are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often consumers are asked how they are.
const SCRAPE: Duration = Duration::from_secs(1);

/// Numbers of registrations that are made on the way; those that are made beforehand are below.
const MADE_ON_THE_WAY: usize = 30_000;

/// All that runs. In the order in which it may end: nobody is asked for after they are gone.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) consumers: Consumers,
    pub(crate) double: Double,
    pub(crate) valkey: Valkey,
    pub(crate) random: Random,
    pub(crate) display: Display,
    /// Registrations that were sent.
    pub(crate) sent: Vec<Case>,
    /// Those that are still to come, the next one last.
    pending: Vec<Case>,
    /// Further deliveries of some that were sent.
    later: Vec<Vec<u8>>,
    /// How many messages were pushed.
    pub(crate) pushed: u64,
    /// The number of the next registration that is made on the way.
    next: usize,
    killer: Option<Killer>,
    last_scrape: Instant,
}

/// Somebody who kills consumers.
#[derive(Debug)]
struct Killer {
    next: Instant,
    /// Whom to start again, and when.
    down: Vec<(usize, Instant)>,
}

/// What is in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) ready: u64,
    pub(crate) delayed: u64,
    pub(crate) in_flight: u64,
    pub(crate) dead: u64,
}

impl World {
    pub(crate) fn new(
        (valkey, double, consumers): (Valkey, Double, Consumers),
        mut cases: Vec<Case>,
        random: Random,
    ) -> Self {
        let display = Display::new(cases.len());
        cases.reverse();
        Self {
            consumers,
            double,
            valkey,
            random,
            display,
            sent: Vec::new(),
            pending: cases,
            later: Vec::new(),
            pushed: 0,
            next: MADE_ON_THE_WAY,
            killer: None,
            last_scrape: Instant::now(),
        }
    }

    /// Who and what has to be there before: people with the logins that will be taken, and groups.
    pub(crate) fn populate(&mut self) -> Result<()> {
        for case in &self.pending {
            let login = match case.kind {
                Kind::TakenLogin => &case.person.own_login,
                Kind::DerivedTaken => &case.person.derived_login,
                _ => continue,
            };
            let password = self.random.uuid();
            self.double.freeipa(&json!({"do": "add_account", "login": login, "password": password}))?;
        }
        for group in OTHER_GROUPS.iter().chain([&SEALED_GROUP]) {
            self.double.freeipa(&json!({"do": "add_group", "name": group}))?;
        }
        Ok(())
    }

    /// Sends so many more registrations, and what is left of further deliveries if there are none.
    pub(crate) fn send(&mut self, count: usize) -> Result<()> {
        let mut resp = Resp::connect(self.valkey.address())?;
        for element in std::mem::take(&mut self.later) {
            self.push(&mut resp, &element)?;
        }
        for _ in 0..count {
            let Some(case) = self.pending.pop() else { break };
            self.prepare(&case)?;
            self.push(&mut resp, &case.element)?;
            for _ in 0..case.again {
                if self.random.below(2) == 0 {
                    self.push(&mut resp, &case.element)?;
                } else {
                    self.later.push(case.element.clone());
                }
            }
            self.sent.push(case);
        }
        Ok(())
    }

    /// Makes one more and sends it.
    pub(crate) fn send_new(&mut self, make: impl FnOnce(usize, &mut Random) -> Case) -> Result<()> {
        let case = make(self.next, &mut self.random);
        self.next += 1;
        let mut resp = Resp::connect(self.valkey.address())?;
        self.push(&mut resp, &case.element)?;
        self.sent.push(case);
        Ok(())
    }

    /// Sends one again that was sent before.
    pub(crate) fn send_again(&mut self, number: usize) -> Result<()> {
        let mut resp = Resp::connect(self.valkey.address())?;
        let element = self.sent.get(number).context("it was sent")?.element.clone();
        self.push(&mut resp, &element)
    }

    /// How many are still to be sent.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    fn push(&mut self, resp: &mut Resp, element: &[u8]) -> Result<()> {
        self.pushed += 1;
        resp.count(&[b"LPUSH", format!("queue:{QUEUE}").as_bytes(), element]).map(drop)
    }

    /// Makes the chat what it is to be.
    fn prepare(&self, case: &Case) -> Result<()> {
        let state = match case.chat_state {
            Chat::Open => return Ok(()),
            Chat::Flaky => {
                let chat = case.chat.to_string();
                let fault =
                    json!({"on": "sendMessage", "kind": "page", "status": 502, "key": chat, "times": 2});
                return self.double.arm_telegram(&fault);
            }
            Chat::Blocked => json!("blocked"),
            Chat::Deactivated => json!("deactivated"),
            Chat::NotFound => json!("not_found"),
            Chat::NotStarted => json!("not_started"),
            Chat::Migrated { to } => json!({"migrated": {"to": to}}),
        };
        self.double.telegram(&json!({"do": "set_chat", "chat": case.asked_in, "state": state}))
    }

    /// From now on consumers are killed at random, or no more; those that are down are started.
    pub(crate) fn set_killing(&mut self, killing: bool) -> Result<()> {
        self.killer =
            killing.then(|| Killer { next: Instant::now() + Duration::from_secs(1), down: Vec::new() });
        self.consumers.start_all()
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.tick()?;
        }
        Ok(())
    }

    /// Lets time pass until there is little to do, at most so long.
    pub(crate) fn work(&mut self, limit: Duration, little: u64) -> Result<()> {
        let until = Instant::now() + limit;
        while Instant::now() < until && self.tick()?.is_none_or(|backlog| backlog.open() > little) {}
        Ok(())
    }

    /// Lets time pass until there is nothing to do; whether that was so in time.
    pub(crate) fn settle(&mut self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        let mut quiet = 0;
        while quiet < 3 {
            if Instant::now() > until {
                return Ok(false);
            }
            let is_quiet = self.tick()?.is_some_and(|backlog| backlog.open() == 0);
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
        Ok(true)
    }

    /// Waits for something of which one knows that it will be.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        mut is_so: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<bool> {
        let until = Instant::now() + limit;
        loop {
            if is_so(self)? {
                return Ok(true);
            }
            if Instant::now() > until {
                return Ok(false);
            }
            self.tick()?;
        }
    }

    /// A moment passes. What is in the queue, unless Valkey is away.
    fn tick(&mut self) -> Result<Option<Backlog>> {
        if interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(TICK);
        let now = Instant::now();
        if now >= self.last_scrape + SCRAPE {
            self.last_scrape = now;
            self.consumers.look_after()?;
            self.consumers.scrape()?;
        }
        self.kill_and_revive(now)?;
        let backlog = self.backlog().ok();
        if let Some(backlog) = backlog {
            self.display.show(self.sent.len(), backlog, self.consumers.killed);
        }
        Ok(backlog)
    }

    fn kill_and_revive(&mut self, now: Instant) -> Result<()> {
        let Some(killer) = &mut self.killer else { return Ok(()) };
        let (due, down) = std::mem::take(&mut killer.down).into_iter().partition(|(_, at)| *at <= now);
        killer.down = down;
        if now >= killer.next {
            killer.next = now + Duration::from_millis(1_200 + self.random.below(2_500) as u64);
            let running = self.consumers.running();
            if !running.is_empty() {
                let victim = *self.random.pick(&running);
                self.consumers.kill(victim)?;
                killer
                    .down
                    .push((victim, now + Duration::from_millis(200 + self.random.below(1_500) as u64)));
            }
        }
        let due: Vec<(usize, Instant)> = due;
        due.into_iter().try_for_each(|(number, _)| self.consumers.again(number))
    }

    /// What is in the queue.
    pub(crate) fn backlog(&self) -> Result<Backlog> {
        let mut resp = Resp::connect(self.valkey.address())?;
        let key = |rest: &str| format!("{{queue:{QUEUE}}}:{rest}");
        let mut ready = resp.count(&[b"LLEN", format!("queue:{QUEUE}").as_bytes()])?;
        for list in ["lane:high", "lane:low", "woken", "redo"] {
            ready += resp.count(&[b"LLEN", key(list).as_bytes()])?;
        }
        let delayed = resp.count(&[b"ZCARD", key("delayed").as_bytes()])?;
        let dead = resp.count(&[b"ZCARD", key("dead").as_bytes()])?;
        let mut in_flight = 0;
        for hash in resp.keys(&format!("{{queue:{QUEUE}}}:inflight:*"))? {
            // One field is the number of the last take, and no message.
            let takes = resp.count(&[b"HEXISTS", &hash, b"#"])?;
            in_flight += resp.count(&[b"HLEN", &hash])?.saturating_sub(takes);
        }
        Ok(Backlog { ready, delayed, in_flight, dead })
    }
}

impl Backlog {
    /// What somebody still has to do something about.
    pub(crate) fn open(self) -> u64 {
        self.ready + self.delayed + self.in_flight
    }
}

//! What is held at the same time, such as connections: how many there may be of all processes together.
//!
//! ```text
//!  acquire ─► Line: what this process holds ─► hold.lua: "I hold 7, and want 3 more" ─► HASH  node:uuid -> 7:expiry:…
//!  drop ────► Line ─► "I hold 6"     every lease/3: "I still hold 6"                     whoever says nothing frees all
//! ```
//!
//! **A process says what it holds, never what has changed**: so a lost answer does no harm, a server that lost its data knows
//! again within a second, and nothing leaks.

mod error;
mod keeper;
mod line;
mod rule;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use valkey_connection::Connection;

pub use self::error::SlotError;
use self::keeper::{Keeper, Wanted};
use self::line::Member;
pub use self::rule::{InvalidNodeId, NodeId, SlotRule};
use self::scripts::Code;
use crate::decision::Source;
use crate::error::Failed;
use crate::outage::Health;
use crate::rule::RuleName;
use crate::subject::Subject;
use crate::unavailable::OnUnavailable;

/// So many rules can be asked together.
const MOST_TOGETHER: usize = 16;

/// Slots that all who use the same Valkey share. Cloning is cheap.
///
/// There are never more slots held than the [rule](SlotRule) says, by the clock of the primary, with these exceptions. While the
/// store is away, each process goes on as the rule's [`OnUnavailable`] says. When the store has lost its data, it takes
/// up to a second until all have said again what they hold. A process that is stopped for longer than its lease
/// (as by `SIGSTOP`) is taken to be gone; when it wakes, it still has its connections, and says so: then there may be more than
/// there may be until some end. Nobody is thrown out.
///
/// A process that crashes frees its slots when its lease ends. One that ends in an orderly way [flushes](Self::flush).
///
/// ```no_run
/// use valkey_connection::{Connection, ConnectionSettings};
/// use valkey_ratelimit::{Acquired, SlotRule, SlotSettings, Slots, Subject};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = Connection::connect(&ConnectionSettings::default()).await?;
/// let slots = Slots::new(connection, "mail-1".parse()?, SlotSettings::default());
/// let (all, each) = (SlotRule::new("connections".parse()?, 1_000), SlotRule::new("per-ip".parse()?, 50));
/// let wanted = [(all, Subject::text("all")), (each, Subject::ip("192.0.2.7".parse()?))];
/// match slots.acquire(&wanted).await? {
///     Acquired::Held(permit) => drop(permit), // the slots are free again
///     Acquired::Full(full) => println!("{} of {} of {}", full.held, full.most, full.rule),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Slots {
    keeper: Arc<Keeper>,
}

/// How slots are held.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSettings {
    /// How long the slots of a process that has crashed are not free; from 1 s to 1 h. They are renewed three times as often.
    pub lease: Duration,
    /// How long a call waits for the store at most.
    pub deadline: Duration,
}

/// What came of wanting slots.
#[must_use = "a slot that is dropped is free again"]
#[derive(Debug)]
pub enum Acquired {
    /// They are held.
    Held(Permit),
    /// There is no room; nothing is held.
    Full(Full),
}

/// Why there is no room.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The first rule that has no room.
    pub rule: RuleName,
    /// Whose slots they are.
    pub subject: Subject,
    /// How many are held: of all processes, or of this one if the [source](Self::source) is not the store.
    pub held: u64,
    /// How many there may be.
    pub most: u64,
    /// Who decided.
    pub source: Source,
}

/// Slots that are held. Dropping it frees them.
#[must_use = "a slot that is dropped is free again"]
pub struct Permit {
    keeper: Arc<Keeper>,
    keys: Vec<Bytes>,
    source: Source,
}

impl Slots {
    /// Over a connection, which may be shared with anything else. `node` is for people who look at the store: every process has
    /// a name of its own in addition, so that the old and the new process of a node don't count as one.
    pub fn new(connection: Connection, node: NodeId, settings: SlotSettings) -> Self {
        let field = Bytes::from(node.into_string() + ":" + &uuid::Uuid::new_v4().to_string());
        Self { keeper: Keeper::new(connection, field, settings.within_bounds()) }
    }

    /// A slot of each rule for its subject, or none.
    ///
    /// In a cluster the subjects may be on several nodes: these are asked in turn, and what the first gave is given back when
    /// another refuses. Meanwhile it may keep others out; there are never too many.
    ///
    /// It ends within the [deadline](SlotSettings::deadline); at once while the store is away, and also when this process alone
    /// holds all there may be.
    ///
    /// # Errors
    /// [`SlotError`], when the store could not be asked and a rule says [`OnUnavailable::Deny`]; also when a rule is named
    /// twice for the same subject, or more than 16, when a subject is empty, or a prefix none.
    ///
    /// # Cancel safety
    /// Cancel safe: slots that nobody waits for any more are freed.
    pub async fn acquire(&self, wanted: &[(SlotRule, Subject)]) -> Result<Acquired, SlotError> {
        wanted.iter().try_for_each(|(rule, subject)| rule.accepts(subject))?;
        self.keeper.start();
        let members: Vec<Member> = wanted
            .iter()
            .map(|(rule, subject)| Member { key: rule.bytes(subject), most: u64::from(rule.most()) })
            .collect();
        let Some((first, _)) = wanted.first() else {
            return Ok(Acquired::Held(Permit::new(Arc::clone(&self.keeper), Vec::new())));
        };
        let twice =
            (1..members.len()).any(|at| members[..at].iter().any(|other| other.key == members[at].key));
        if twice || members.len() > MOST_TOGETHER {
            return Err(SlotError::Demands { rule: first.name().clone(), most: MOST_TOGETHER });
        }
        for (at, member) in members.iter().enumerate() {
            let held = self.keeper.held_here(&member.key);
            if held >= member.most {
                return Ok(full(wanted, at, held, member.most, Source::Memory));
            }
        }
        match self.keeper.acquire(&members).await {
            Some(Ok(Wanted::Held(permit))) => Ok(Acquired::Held(permit)),
            Some(Ok(Wanted::Refused(totals))) => {
                // What was given back meanwhile makes it the last one that had no room, at the least.
                let is_full = |at: &usize| totals[*at] >= members[*at].most;
                let at = (0..members.len()).find(is_full).unwrap_or(members.len() - 1);
                Ok(full(wanted, at, totals[at], members[at].most, Source::Store))
            }
            Some(Ok(Wanted::Unusable(at, code))) => {
                let (rule, subject) = &wanted[at];
                Err(unusable(rule, subject, code))
            }
            Some(Err(failed)) => self.without_store(wanted, members, Some(failed)),
            None => self.without_store(wanted, members, None),
        }
    }

    /// How many slots of a subject are held, by all processes.
    ///
    /// # Errors
    /// [`SlotError`].
    pub async fn held(&self, rule: &SlotRule, subject: &Subject) -> Result<u64, SlotError> {
        rule.accepts(subject)?;
        let key = rule.bytes(subject);
        match self.keeper.held_elsewhere(&key).await {
            Ok((Code::Done, others)) => Ok(others + self.keeper.held_here(&key)),
            Ok((code, _)) => Err(unusable(rule, subject, code)),
            Err(failed) => Err(SlotError::of(rule.name(), failed)),
        }
    }

    /// How many slots of a subject this process holds. It asks nobody.
    pub fn held_here(&self, rule: &SlotRule, subject: &Subject) -> u64 {
        self.keeper.held_here(&rule.bytes(subject))
    }

    /// All that this process holds: key and number. It asks nobody.
    pub fn holdings(&self) -> Vec<(String, u64)> {
        let holdings = self.keeper.holdings().into_iter();
        holdings.map(|(key, held)| (String::from_utf8_lossy(&key).into_owned(), held)).collect()
    }

    /// Waits until the store knows what has been freed so far, and says whether it does: call it before the program ends, or the
    /// last slots are not free until the lease ends. It takes twice the deadline at most.
    pub async fn flush(&self) -> bool {
        self.keeper.flush().await
    }

    /// How the store does, as this process sees it.
    pub fn health(&self) -> Health {
        self.keeper.health()
    }

    /// What the rules say when the store could not be asked.
    fn without_store(
        &self,
        wanted: &[(SlotRule, Subject)],
        mut members: Vec<Member>,
        failed: Option<Failed>,
    ) -> Result<Acquired, SlotError> {
        let mut source = Source::Fallback;
        for ((rule, _), member) in wanted.iter().zip(&mut members) {
            match rule.on_unavailable() {
                OnUnavailable::Allow => {}
                OnUnavailable::Local { nodes } => {
                    source = Source::Local;
                    member.most =
                        if member.most == 0 { 0 } else { (member.most / u64::from(nodes.get())).max(1) };
                }
                OnUnavailable::Deny => {
                    let name = rule.name();
                    return Err(failed.map_or_else(
                        || SlotError::Away { rule: name.clone() },
                        |failed| SlotError::of(name, failed),
                    ));
                }
            }
        }
        match self.keeper.hold_here(&members) {
            Ok(mut permit) => {
                permit.source = source;
                Ok(Acquired::Held(permit))
            }
            Err((at, held)) => Ok(full(wanted, at, held, members[at].most, source)),
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

impl SlotSettings {
    /// With another lease.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// With another deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    fn within_bounds(self) -> Self {
        Self { lease: self.lease.clamp(Duration::from_secs(1), Duration::from_hours(1)), ..self }
    }
}

/// A lease of 30 s, a deadline of 100 ms.
impl Default for SlotSettings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), deadline: Duration::from_millis(100) }
    }
}

impl Permit {
    fn new(keeper: Arc<Keeper>, keys: Vec<Bytes>) -> Self {
        Self { keeper, keys, source: Source::Store }
    }

    fn join(&mut self, mut other: Self) {
        self.keys.append(&mut other.keys);
    }

    /// Who granted it.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Frees the slots, and waits until the store knows; says whether it does. If not, it is told when it is back. It takes
    /// twice the [deadline](SlotSettings::deadline) at most.
    ///
    /// # Cancel safety
    /// The slots are freed, whether this is waited for or not.
    pub async fn release(mut self) -> bool {
        let (keeper, keys) = (Arc::clone(&self.keeper), std::mem::take(&mut self.keys));
        let mut answers = Vec::new();
        keeper.let_go(&keys, || {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            Some(answer)
        });
        keeper.all_told(answers).await.is_ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.keeper.let_go(&self.keys, || None);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("keys", &self.keys)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn full(wanted: &[(SlotRule, Subject)], at: usize, held: u64, most: u64, source: Source) -> Acquired {
    let (rule, subject) = &wanted[at];
    Acquired::Full(Full { rule: rule.name().clone(), subject: subject.clone(), held, most, source })
}

fn unusable(rule: &SlotRule, subject: &Subject, code: Code) -> SlotError {
    let (name, key) = (rule.name().clone(), rule.key(subject));
    match code {
        Code::Foreign => SlotError::ForeignKey { rule: name, key },
        Code::Crowded => SlotError::Crowded { rule: name, key },
        Code::Done | Code::Late => {
            SlotError::BadAnswer { rule: name, reason: format!("a later call came first to key `{key}`") }
        }
    }
}

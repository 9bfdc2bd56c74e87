//! A limit with its name.

mod fault;
mod key;
mod name;
mod network;
pub(crate) mod prefix;
mod share;
mod subjects;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes};

pub use self::fault::InvalidRule;
pub use self::name::{InvalidRuleName, RuleName};
use self::network::Bits;
pub use self::network::Network;
pub use self::prefix::{InvalidPrefix, Prefix};
pub use self::share::{InvalidShare, Share};
use self::subjects::Subjects;
use crate::algorithm::Algorithm;
use crate::allow::AllowList;
use crate::decision::Decision;
use crate::error::LimitError;
use crate::lease::Held;
use crate::quota::Quota;
use crate::scripts::{Limit, Sought, Terms};
use crate::subject::Subject;
use crate::telemetry::{self, Decided};
use crate::unavailable::OnUnavailable;

/// What the keys of all limits begin with, unless said otherwise.
pub const PREFIX: &str = "valkit:limit:";

/// What stands in a key after the rule's name: of the limit itself, and of what may be held of it. No name has the mark.
const OWN: &str = ":";
const HELD: &str = "+held:";

/// Keys that are no longer are put together without an allocation when they are only looked for.
const SHORT_KEY: usize = 192;

/// How much, in how long, counted how: a limit that every subject has for itself. Cloning is cheap.
///
/// ```
/// use valkey_ratelimit::{Algorithm, Rule, Subject};
///
/// let rule = Rule::new("logins".parse()?, "5/1m".parse()?);
/// assert_eq!(rule.algorithm(), Algorithm::SlidingWindow);
/// let key = rule.key(&Subject::text("ada"));
/// assert!(key.starts_with("valkit:limit:{") && key.ends_with("}:logins:ada"), "{key}");
///
/// // The key that other programs know.
/// let shared = Rule::new("ip".parse()?, "100/1m".parse()?)
///     .with_algorithm(Algorithm::SlidingLog)
///     .with_prefix("elemta:ratelimit:");
/// assert_eq!(shared.key(&Subject::ip("172.20.0.1".parse()?)), "elemta:ratelimit:ip:172.20.0.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(Arc<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    name: RuleName,
    algorithm: Algorithm,
    prefix: String,
    on_unavailable: OnUnavailable,
    lease: Option<Share>,
    /// What the lease comes to, unless it is too little to be of use.
    held: Option<Arc<Terms>>,
    shadow: bool,
    allowed: AllowList,
    subjects: Option<Subjects>,
    decided: Decided,
    /// Why no store could keep it.
    invalid: Option<InvalidRule>,
    /// What each subject may have, and then the wider networks of an address.
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    bits: Bits,
    terms: Arc<Terms>,
}

impl Rule {
    /// A rule by its name and quota, counted in a sliding window.
    pub fn new(name: RuleName, quota: Quota) -> Self {
        let algorithm = Algorithm::default();
        Self(Arc::new(Inner {
            name,
            algorithm,
            prefix: PREFIX.to_owned(),
            on_unavailable: OnUnavailable::default(),
            lease: None,
            held: None,
            shadow: false,
            allowed: AllowList::default(),
            subjects: None,
            decided: Decided::default(),
            invalid: None,
            steps: vec![Step { bits: Bits::ALL, terms: Arc::new(Terms::new(algorithm, quota)) }],
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        change(inner);
        let held = inner.lease.and_then(|share| share.held(inner.steps[0].terms.quota));
        inner.held = held.map(|held| Arc::new(Terms::new(Algorithm::SlidingWindow, held)));
        inner.invalid = inner.fault();
        self
    }

    /// Counted in another way.
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        self.with(|inner| {
            inner.algorithm = algorithm;
            for step in &mut inner.steps {
                step.terms = Arc::new(Terms::new(algorithm, step.terms.quota));
            }
        })
    }

    /// With keys that begin otherwise than [`PREFIX`]: with a [`Prefix`], or a text that is one; [`validate`](Self::validate) says
    /// whether it is.
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        self.with(|inner| inner.prefix = prefix.into())
    }

    /// What becomes of requests while the store cannot be asked; unless said otherwise the caller gets the error.
    #[must_use]
    pub fn with_on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        self.with(|inner| inner.on_unavailable = on_unavailable)
    }

    /// Lets processes hold so much of the limit in advance, all of them together, so that most checks of a busy subject cost
    /// no round trip. No trailing window then admits more than the limit and this share of it.
    ///
    /// What a process holds and does not use it gives back within a second; what it held when it crashed comes back when it
    /// leaves the window.
    #[must_use]
    pub fn with_lease(self, share: Share) -> Self {
        self.with(|inner| inner.lease = Some(share))
    }

    /// Counts addresses by their networks of so many leading bits; unless said otherwise, each address by itself.
    #[must_use]
    pub fn with_address_bits(self, v4: u8, v6: u8) -> Self {
        self.with(|inner| inner.steps[0].bits = Bits { v4, v6 })
    }

    /// With a limit for the networks of addresses, too. A request is charged to all steps or to none.
    #[must_use]
    pub fn with_network(self, network: Network) -> Self {
        self.with(|inner| {
            let terms = Arc::new(Terms::new(inner.algorithm, network.quota));
            inner.steps.push(Step { bits: network.into(), terms });
        })
    }

    /// With those who are never limited, nor counted.
    #[must_use]
    pub fn with_allowed(self, allowed: AllowList) -> Self {
        self.with(|inner| inner.allowed = allowed)
    }

    /// Counts so many subjects by themselves in a window, in each process, and those who come after them together: addresses by
    /// their network, a /24 or a /48, all else as one. So nobody fills the store by coming under many names. Unless said
    /// otherwise there is no such bound.
    #[must_use]
    pub fn with_most_subjects(self, most: usize) -> Self {
        self.with(|inner| inner.subjects = Some(Subjects::new(most)))
    }

    /// Counts, and is in nobody's way: to see what a rule would do
    /// ([`Source::Shadow`](crate::Source::Shadow) where it would refuse).
    #[must_use]
    pub fn shadow(self) -> Self {
        self.with(|inner| inner.shadow = true)
    }

    /// Its name.
    pub fn name(&self) -> &RuleName {
        &self.0.name
    }

    /// How much in how long.
    pub fn quota(&self) -> Quota {
        self.0.steps[0].terms.quota
    }

    /// How it is counted.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// What becomes of requests while the store cannot be asked.
    pub fn on_unavailable(&self) -> OnUnavailable {
        self.0.on_unavailable
    }

    /// Whether it only counts.
    pub fn is_shadow(&self) -> bool {
        self.0.shadow
    }

    /// How much of the limit may be held in advance.
    pub fn lease(&self) -> Option<Share> {
        self.0.lease
    }

    /// Whether a lease saves any round trip: none does that is too small, or over too soon, and a ladder of networks has none.
    pub(crate) fn is_leased(&self) -> bool {
        self.0.held.is_some() && !self.has_networks()
    }

    /// Whether a subject is never limited.
    pub fn allows(&self, subject: &Subject) -> bool {
        let allowed = &self.0.allowed;
        !allowed.is_empty()
            && (subject.address().is_some_and(|address| allowed.contains_address(address))
                || allowed.contains_text(subject.as_str()))
    }

    /// Whom a subject is counted with: itself, unless too many came before it.
    pub(crate) fn counted_as<'a>(&self, subject: &'a Subject, now: Instant) -> Cow<'a, Subject> {
        match &self.0.subjects {
            Some(subjects) if !subjects.admit(subject, self.quota().window(), now) => {
                Cow::Owned(subject.crowd())
            }
            _ => Cow::Borrowed(subject),
        }
    }

    pub(crate) fn count(&self, decision: &Decision) {
        self.0.decided.count(&self.0.name, decision);
    }

    pub(crate) fn count_undecided(&self, error: &LimitError) {
        telemetry::undecided(&self.0.name, error);
    }

    pub(crate) fn has_networks(&self) -> bool {
        self.0.steps.len() > 1
    }

    /// The most that one request can cost.
    pub(crate) fn most(&self) -> u64 {
        self.0.steps.iter().map(|step| step.terms.most()).min().unwrap_or(0)
    }

    /// Where the count of a subject is kept; of an address with several steps, that of the first.
    ///
    /// All but sorted sets carry a hash tag, which is the subject's: so all limits of one subject can be asked at once, also
    /// in a cluster. Sorted sets are in the form that other programs share.
    pub fn key(&self, subject: &Subject) -> String {
        String::from_utf8_lossy(&self.limit(subject).key).into_owned()
    }

    /// What a subject may have by itself.
    pub(crate) fn limit(&self, subject: &Subject) -> Limit {
        let step = &self.0.steps[0];
        match subject.address() {
            Some(address) if step.bits != Bits::ALL => self.limit_of(step, &step.bits.subject(address)),
            Some(_) => self.limit_of(step, subject),
            None => self.limit_of(self.step_of(subject.as_str().as_bytes()), subject),
        }
    }

    /// [`limit`](Self::limit), only to look for it.
    pub(crate) fn sought<T>(&self, subject: &Subject, then: impl FnOnce(&Sought<'_>) -> T) -> T {
        let step = &self.0.steps[0];
        let length = self.key_length(subject, OWN);
        if length > SHORT_KEY || (step.bits != Bits::ALL && subject.address().is_some()) {
            let Limit { key, terms } = self.limit(subject);
            return then(&Sought { key: &key, terms: &terms });
        }
        let mut key = [0; SHORT_KEY];
        self.put_key(subject, OWN, &mut &mut key[..]);
        then(&Sought { key: &key[..length], terms: &step.terms })
    }

    /// What its networks may have, from the narrowest; nothing for what is no address.
    pub(crate) fn networks(&self, subject: &Subject) -> impl Iterator<Item = (Subject, Limit)> {
        let steps = subject.address().map(|address| (address, &self.0.steps[1..]));
        steps.into_iter().flat_map(move |(address, steps)| {
            steps.iter().map(move |step| {
                let network = step.bits.subject(address);
                let limit = self.limit_of(step, &network);
                (network, limit)
            })
        })
    }

    /// What may be held of it in advance.
    pub(crate) fn held(&self, subject: &Subject) -> Option<Held> {
        let terms = self.0.held.as_ref()?;
        let step = &self.0.steps[0];
        let subject = match subject.address() {
            Some(address) if step.bits != Bits::ALL => &step.bits.subject(address),
            _ => subject,
        };
        Some(Held { limit: Limit { key: self.key_of(subject, HELD), terms: Arc::clone(terms) } })
    }

    fn limit_of(&self, step: &Step, subject: &Subject) -> Limit {
        Limit { key: self.key_of(subject, OWN), terms: Arc::clone(&step.terms) }
    }

    fn key_of(&self, subject: &Subject, after_name: &str) -> Bytes {
        let mut key = Vec::with_capacity(self.key_length(subject, after_name));
        self.put_key(subject, after_name, &mut key);
        Bytes::from(key)
    }

    fn key_length(&self, subject: &Subject, after_name: &str) -> usize {
        let Inner { name, prefix, algorithm, .. } = &*self.0;
        let tag = if *algorithm == Algorithm::SlidingLog { 0 } else { 5 };
        prefix.len() + tag + name.as_str().len() + after_name.len() + subject.as_str().len()
    }

    fn put_key(&self, subject: &Subject, after_name: &str, to: &mut impl BufMut) {
        let Inner { name, prefix, algorithm, .. } = &*self.0;
        to.put_slice(prefix.as_bytes());
        if *algorithm != Algorithm::SlidingLog {
            to.put_slice(&[b'{', subject.tag()[0], subject.tag()[1], b'}', b':']);
        }
        for part in [name.as_str(), after_name, subject.as_str()] {
            to.put_slice(part.as_bytes());
        }
    }
}

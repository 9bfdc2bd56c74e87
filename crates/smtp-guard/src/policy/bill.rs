//! What a question costs under which limits: pure, but for the memory of what was counted.
//!
//! | stage | messages | recipients |
//! |---|---|---|
//! | RCPT | the first question of an instance | each recipient once |
//! | DATA, END-OF-MESSAGE | if no question counted it before | all of them at once, if none was counted at RCPT |
//! | any other | never | never |
//!
//! So it does not matter at which of these stages Postfix is told to ask, nor at how many of them. What is asked at RCPT only counts
//! recipients who are refused by others, too; what is asked at END-OF-MESSAGE only counts messages that are really there. Without
//! an instance nothing tells two questions apart: each counts as a message of its own.

use std::net::IpAddr;
use std::time::Instant;

use valkey_ratelimit::{OnUnavailable, Rule, Subject};

use crate::policy::memory::{Memory, Note};
use crate::policy::request::{Request, Stage};
use crate::settings::{Count, Per};

/// A limit of the policy service.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) rule: Rule,
    pub(crate) per: Per,
    pub(crate) count: Count,
}

/// What one limit is charged for a question.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) limit: &'a Limit,
    pub(crate) subject: Subject,
    pub(crate) cost: u64,
    note: Option<Note>,
}

/// What a question costs in all.
#[derive(Debug)]
pub(crate) struct Bill<'a> {
    pub(crate) charges: Vec<Charge<'a>>,
    /// Whether recipients of this message are counted one by one.
    one_by_one: Option<Note>,
}

/// Which Postfix asks, none for that of this host: two of them may have the same instance at the same time.
pub(crate) type Asker = Option<IpAddr>;

// === impl Bill ===

impl<'a> Bill<'a> {
    /// What `request` costs that was not counted yet.
    pub(crate) fn of(
        limits: &'a [Limit],
        request: &Request,
        asker: Asker,
        memory: &Memory,
        now: Instant,
    ) -> Self {
        let mut bill = Self { charges: Vec::new(), one_by_one: None };
        if request.stage == Stage::Other {
            return bill;
        }
        let tell = !request.instance.is_empty();
        let note = |what: Counted<'_>| tell.then(|| memory.note_of((asker, &*request.instance, what)));
        let known = |note: Option<Note>| note.is_some_and(|note| memory.has(note, now));
        if limits.iter().any(|limit| limit.count == Count::Recipient) {
            let noted = note(Counted::OneByOne);
            if request.stage != Stage::Rcpt && known(noted) {
                bill.add(limits, request, Some(Count::Message), note, known);
                return bill;
            }
            bill.one_by_one = noted.filter(|_| request.stage == Stage::Rcpt);
        }
        bill.add(limits, request, None, note, known);
        bill
    }

    fn add(
        &mut self,
        limits: &'a [Limit],
        request: &Request,
        only: Option<Count>,
        note: impl Fn(Counted<'_>) -> Option<Note>,
        known: impl Fn(Option<Note>) -> bool,
    ) {
        for limit in limits.iter().filter(|limit| only.is_none_or(|only| limit.count == only)) {
            let Some(subject) = limit.subject(request) else { continue };
            let rule = limit.rule.name().as_str();
            let recipient = folded(&request.recipient);
            let (cost, what) = match (limit.count, request.stage) {
                (Count::Message, _) => (1, Counted::Message(rule, subject.as_str())),
                (Count::Recipient, Stage::Rcpt) => (1, Counted::Recipient(rule, &recipient)),
                (Count::Recipient, _) => (request.recipient_count.max(1), Counted::Recipients(rule)),
            };
            let note = note(what);
            if !known(note) {
                self.charges.push(Charge { limit, subject, cost, note });
            }
        }
    }

    /// Notes that it was charged, or let pass without.
    pub(crate) fn settled(&self, memory: &Memory, now: Instant) {
        let notes = self.charges.iter().filter_map(|charge| charge.note).chain(self.one_by_one);
        notes.for_each(|note| memory.add(note, now));
    }
}

/// What of an instance is counted under a rule.
#[derive(Hash)]
enum Counted<'a> {
    Message(&'a str, &'a str),
    Recipient(&'a str, &'a str),
    Recipients(&'a str),
    OneByOne,
}

// === impl Charge ===

impl Charge<'_> {
    /// Whether nobody passes while the limit cannot be asked.
    pub(crate) fn denies(&self) -> bool {
        self.limit.rule.on_unavailable() == OnUnavailable::Deny && !self.limit.rule.is_shadow()
    }
}

// === impl Limit ===

impl Limit {
    /// Whom of a question the limit is about, if about anybody.
    fn subject(&self, request: &Request) -> Option<Subject> {
        match self.per {
            Per::Client => request.client.map(Subject::ip),
            // Bounces have no sender: all of them together would be one that is always over its limit.
            Per::Sender if request.sender.is_empty() => request.client.map(Subject::ip),
            Per::Sender => Some(Subject::text(folded(&request.sender))),
            Per::SaslUser if request.sasl_user.is_empty() => None,
            Per::SaslUser => Some(Subject::text(request.sasl_user.to_lowercase())),
            Per::RecipientDomain if request.recipient.is_empty() => None,
            Per::RecipientDomain => Some(Subject::text(domain(&request.recipient))),
        }
    }
}

/// An address with its domain in lower case. The local part stays: its owner alone knows whether case matters.
fn folded(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", lowered(domain)),
        None => address.to_owned(),
    }
}

/// The domain in lower case; `@` for an address without one, which is a local one.
fn domain(address: &str) -> String {
    address
        .rsplit_once('@')
        .map(|(_, domain)| lowered(domain))
        .filter(|domain| !domain.is_empty())
        .unwrap_or_else(|| "@".to_owned())
}

fn lowered(domain: &str) -> String {
    domain.strip_suffix('.').unwrap_or(domain).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn limit(name: &str, per: Per, count: Count) -> Limit {
        Limit { rule: Rule::new(name.parse().unwrap(), "100/1m".parse().unwrap()), per, count }
    }

    fn all() -> Vec<Limit> {
        vec![
            limit("client", Per::Client, Count::Message),
            limit("sender", Per::Sender, Count::Recipient),
            limit("user", Per::SaslUser, Count::Message),
            limit("domain", Per::RecipientDomain, Count::Message),
        ]
    }

    fn ask(stage: Stage, recipient: &str, recipient_count: u64) -> Request {
        Request {
            stage,
            instance: "1.2.3".to_owned(),
            client: Some("192.0.2.7".parse().unwrap()),
            sender: "Ada@Example.ORG".to_owned(),
            recipient: recipient.to_owned(),
            recipient_count,
            ..Request::default()
        }
    }

    struct Books {
        limits: Vec<Limit>,
        memory: Memory,
        now: Instant,
    }

    impl Books {
        fn new(limits: Vec<Limit>) -> Self {
            let now = Instant::now();
            Self { limits, memory: Memory::new(Duration::from_mins(1), 1_000, now), now }
        }

        fn cost_from(&self, asker: Asker, request: &Request, settle: bool) -> Vec<(String, String, u64)> {
            let bill = Bill::of(&self.limits, request, asker, &self.memory, self.now);
            if settle {
                bill.settled(&self.memory, self.now);
            }
            bill.charges
                .iter()
                .map(|charge| (charge.limit.rule.name().to_string(), charge.subject.to_string(), charge.cost))
                .collect()
        }

        /// The costs by rule.
        fn cost(&self, request: &Request) -> Vec<(String, u64)> {
            self.cost_from(None, request, true).into_iter().map(|(rule, _, cost)| (rule, cost)).collect()
        }
    }

    fn costs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(rule, cost)| ((*rule).to_owned(), *cost)).collect()
    }

    #[test]
    fn a_message_counts_once_over_its_stages_and_each_recipient_once() {
        let books = Books::new(all());
        let first = books.cost(&ask(Stage::Rcpt, "a@x.org", 0));
        assert_eq!(first, costs(&[("client", 1), ("sender", 1), ("domain", 1)]));
        assert_eq!(books.cost(&ask(Stage::Rcpt, "b@X.ORG.", 0)), costs(&[("sender", 1)]));
        assert_eq!(books.cost(&ask(Stage::Rcpt, "b@x.org", 0)), costs(&[]), "the same recipient again");
        assert_eq!(books.cost(&ask(Stage::Rcpt, "b@y.org", 0)), costs(&[("sender", 1), ("domain", 1)]));
        assert_eq!(books.cost(&ask(Stage::Data, "", 3)), costs(&[]));
        assert_eq!(books.cost(&ask(Stage::EndOfMessage, "", 3)), costs(&[]));
        let next = Request { instance: "1.2.4".to_owned(), ..ask(Stage::Rcpt, "a@x.org", 0) };
        assert_eq!(books.cost(&next), costs(&[("client", 1), ("sender", 1), ("domain", 1)]));
    }

    #[test]
    fn the_end_alone_counts_all() {
        for stage in [Stage::Data, Stage::EndOfMessage] {
            let books = Books::new(all());
            assert_eq!(books.cost(&ask(stage, "", 3)), costs(&[("client", 1), ("sender", 3)]));
            assert_eq!(books.cost(&ask(Stage::EndOfMessage, "", 3)), costs(&[]));
        }
        let books = Books::new(all());
        let single = books.cost(&ask(Stage::EndOfMessage, "a@x.org", 1));
        assert_eq!(single, costs(&[("client", 1), ("sender", 1), ("domain", 1)]));
    }

    #[test]
    fn what_is_refused_is_asked_about_again() {
        let books = Books::new(all());
        let request = ask(Stage::Rcpt, "a@x.org", 0);
        let refused = books.cost_from(None, &request, false);
        assert_eq!(books.cost_from(None, &request, true), refused);
        assert!(books.cost_from(None, &request, true).is_empty());
    }

    #[test]
    fn before_a_recipient_nothing_counts_and_without_an_instance_everything() {
        let books = Books::new(all());
        assert_eq!(books.cost(&ask(Stage::Other, "a@x.org", 0)), costs(&[]));
        let nameless = Request { instance: String::new(), ..ask(Stage::EndOfMessage, "", 2) };
        for _ in 0..2 {
            assert_eq!(books.cost(&nameless), costs(&[("client", 1), ("sender", 2)]));
        }
    }

    #[test]
    fn the_same_instance_of_another_postfix_is_another_message() {
        let books = Books::new(all());
        let request = ask(Stage::Data, "", 1);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().ok());
        assert_eq!(books.cost_from(one, &request, true).len(), 2);
        assert_eq!(books.cost_from(two, &request, true).len(), 2);
        assert_eq!(books.cost_from(one, &request, true).len(), 0);
    }

    #[test]
    fn subjects_are_whom_the_limit_is_about() {
        let books = Books::new(all());
        let logged_in = Request { sasl_user: "Ada".to_owned(), ..ask(Stage::Rcpt, "Postmaster", 0) };
        let subjects: Vec<String> =
            books.cost_from(None, &logged_in, true).into_iter().map(|(_, subject, _)| subject).collect();
        assert_eq!(subjects, ["192.0.2.7", "Ada@example.org", "ada", "@"]);

        let bounce = Request { sender: String::new(), ..ask(Stage::Data, "", 1) };
        let charged = Books::new(all()).cost_from(None, &bounce, true);
        assert_eq!(charged[1], ("sender".to_owned(), "192.0.2.7".to_owned(), 1));

        // Without an address there is nobody to charge it to.
        let gone = Request { client: None, ..bounce };
        assert!(Books::new(all()).cost_from(None, &gone, true).is_empty());
    }
}

//! Which queue a message goes to: ordered rules, the first that fits decides.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;
use valkey_envelope::{Envelope, QueueName};

use crate::pattern::Pattern;
use crate::routes_file::{self, RoutesError};

/// Ordered rules that choose the queue of a message by its kind, its headers and fields of its payload.
///
/// The first rule whose conditions all hold wins. A message that no rule wants goes to the default queue of the
/// routes, else to the queue the [`Sender`](crate::Sender) was made for.
///
/// ```
/// use valkey_envelope::Envelope;
/// use valkey_sender::Routes;
///
/// let routes = Routes::from_toml(
///     r#"
///     default = "misc"
///
///     [[route]]
///     name = "german-registrations"
///     queue = "registrations-de"
///     kind = "registration.*"
///     payload = { "/address/country" = "DE" }
///
///     [[route]]
///     name = "audited"
///     queue = "audit"
///     headers = { x-audit = "*" }
///     "#,
/// )?;
///
/// let message = Envelope::new(&serde_json::json!({ "address": { "country": "DE" } }))?.with_kind("registration.created");
/// assert_eq!(routes.choose(&message).expect("there is a default").as_str(), "registrations-de");
/// println!("{}", routes.explain(&message));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    default: Option<QueueName>,
    rules: Vec<Route>,
}

/// One rule: conditions, and the queue for messages that meet all of them.
///
/// A rule without conditions takes every message that reaches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    queue: QueueName,
    name: Option<String>,
    conditions: Vec<Condition>,
}

/// What has to hold for a rule to apply.
#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Kind(Pattern),
    Header { name: String, value: Pattern },
    PayloadEquals { pointer: String, value: Value },
    PayloadExists { pointer: String },
}

/// Why a message goes where it goes: each rule that was asked, up to the one that decided.
///
/// Its `Display` is one line a rule, for people. No payload or header value of the message is repeated in it.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an explanation nobody reads explains nothing"]
pub struct Explanation {
    steps: Vec<Consulted>,
    queue: Option<QueueName>,
}

/// One rule that was asked about a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Consulted {
    rule: String,
    queue: QueueName,
    failed: Option<String>,
}

// === impl Routes ===

impl Routes {
    /// No rule and no default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads routes from TOML text; the form is shown at [`Routes`].
    ///
    /// A `[[route]]` has `queue` and any of `name`, `kind` (pattern), `headers` (table of patterns), `payload` (table
    /// of JSON pointer to the exact value) and `payload_exists` (array of JSON pointers).
    ///
    /// # Errors
    ///
    /// Text that is no TOML, an unknown key, a missing or invalid queue, and a JSON pointer that does not start with
    /// `/`; the error names the rule, and all faulty rules are told together.
    pub fn from_toml(text: &str) -> Result<Self, RoutesError> {
        routes_file::parse(text)
    }

    /// The queue for messages that no rule wants.
    #[must_use]
    pub fn with_default(mut self, queue: QueueName) -> Self {
        self.default = Some(queue);
        self
    }

    /// Appends a rule; earlier ones are asked first.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.rules.push(route);
        self
    }

    /// The queue of the first rule that fits, else the default, if there is one.
    pub fn choose(&self, envelope: &Envelope) -> Option<&QueueName> {
        let mut facts = Facts::new(envelope);
        self.rules
            .iter()
            .find(|rule| rule.conditions.iter().all(|condition| condition.holds(&mut facts)))
            .map(|rule| &rule.queue)
            .or(self.default.as_ref())
    }

    /// Like [`Routes::choose`], with the reasons: the verb to test a message with.
    pub fn explain(&self, envelope: &Envelope) -> Explanation {
        let mut facts = Facts::new(envelope);
        let mut steps = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let failed = rule.conditions.iter().find(|condition| !condition.holds(&mut facts));
            steps.push(Consulted {
                rule: rule.label(index).into_owned(),
                queue: rule.queue.clone(),
                failed: failed.map(ToString::to_string),
            });
            if failed.is_none() {
                return Explanation { steps, queue: Some(rule.queue.clone()) };
            }
        }
        Explanation { steps, queue: self.default.clone() }
    }

    /// Every queue that a message can be sent to.
    pub fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.rules.iter().map(|rule| &rule.queue).chain(self.default.as_ref())
    }
}

// === impl Route ===

impl Route {
    /// A rule without conditions.
    pub fn to(queue: QueueName) -> Self {
        Self { queue, name: None, conditions: Vec::new() }
    }

    /// What explanations call the rule; without a name it is called by its position.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Requires a kind that fits. A message without a kind never does.
    #[must_use]
    pub fn kind(self, pattern: impl Into<Pattern>) -> Self {
        self.when(Condition::Kind(pattern.into()))
    }

    /// Requires a header with a value that fits; `*` asks only for its presence.
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<Pattern>) -> Self {
        self.when(Condition::Header { name: name.into(), value: value.into() })
    }

    /// Requires that the payload has exactly `value` at the JSON pointer (RFC 6901) `pointer`.
    ///
    /// Numbers are equal only in the same form: `1` is not `1.0`.
    #[must_use]
    pub fn payload(self, pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        self.when(Condition::PayloadEquals { pointer: pointer.into(), value: value.into() })
    }

    /// Requires that the payload has anything, `null` included, at the JSON pointer (RFC 6901) `pointer`.
    #[must_use]
    pub fn payload_exists(self, pointer: impl Into<String>) -> Self {
        self.when(Condition::PayloadExists { pointer: pointer.into() })
    }

    /// Where the rule sends messages.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    fn label(&self, index: usize) -> Cow<'_, str> {
        self.name.as_deref().map_or_else(|| format!("route {}", index + 1).into(), Cow::from)
    }
}

// === impl Condition ===

impl Condition {
    fn holds(&self, facts: &mut Facts<'_>) -> bool {
        match self {
            Self::Kind(pattern) => facts.envelope.kind().is_some_and(|kind| pattern.matches(kind)),
            Self::Header { name, value } => {
                facts.envelope.header(name).is_some_and(|found| value.matches(found))
            }
            Self::PayloadEquals { pointer, value } => facts.payload().pointer(pointer) == Some(value),
            Self::PayloadExists { pointer } => facts.payload().pointer(pointer).is_some(),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(pattern) => write!(f, "kind is not {pattern:?}", pattern = pattern.as_str()),
            Self::Header { name, value } => {
                write!(f, "header {name:?} is not {value:?}", value = value.as_str())
            }
            Self::PayloadEquals { pointer, value } => write!(f, "payload at {pointer:?} is not {value}"),
            Self::PayloadExists { pointer } => write!(f, "payload has nothing at {pointer:?}"),
        }
    }
}

/// What rules ask about. The payload is parsed at most once, and only if a rule asks.
struct Facts<'a> {
    envelope: &'a Envelope,
    payload: Option<Value>,
}

impl<'a> Facts<'a> {
    fn new(envelope: &'a Envelope) -> Self {
        Self { envelope, payload: None }
    }

    /// The payload; `null` if it nests deeper than the parser goes, so that no rule about it holds.
    fn payload(&mut self) -> &Value {
        self.payload
            .get_or_insert_with(|| serde_json::from_str(self.envelope.payload().get()).unwrap_or(Value::Null))
    }
}

// === impl Explanation ===

impl Explanation {
    /// Where the message goes; `None` if no rule fits and the routes have no default.
    pub fn queue(&self) -> Option<&QueueName> {
        self.queue.as_ref()
    }

    /// The rules asked, in order. The last one decided if [`Consulted::fits`].
    pub fn steps(&self) -> &[Consulted] {
        &self.steps
    }

    /// The name or position of the rule that decided; `None` if it was the default.
    pub fn rule(&self) -> Option<&str> {
        self.steps.last().filter(|step| step.fits()).map(Consulted::rule)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match &step.failed {
                Some(reason) => writeln!(f, "{}: no, {reason}", step.rule)?,
                None => writeln!(f, "{}: yes, to queue {}", step.rule, step.queue)?,
            }
        }
        match (self.rule(), &self.queue) {
            (Some(_), _) => Ok(()),
            (None, Some(queue)) => writeln!(f, "default: to queue {queue}"),
            (None, None) => {
                writeln!(f, "no rule fits and the routes have no default: to the sender's own queue")
            }
        }
    }
}

impl Consulted {
    /// The rule's name, or `route N` counted from 1.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Where the rule sends messages.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Whether all its conditions held.
    pub fn fits(&self) -> bool {
        self.failed.is_none()
    }

    /// The first condition that did not hold, in words.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn queue(n: usize) -> QueueName {
        format!("q{n}").parse().expect("a valid name")
    }

    #[test]
    fn an_explanation_names_each_rule_and_no_value_of_the_message() {
        let routes = Routes::new()
            .with_route(Route::to(queue(1)).named("by kind").kind("a*"))
            .with_route(Route::to(queue(2)).header("tenant", "acme"))
            .with_route(Route::to(queue(3)).payload("/secret", "expected"));
        let message = Envelope::new(&json!({"secret": "hunter2"}))
            .expect("it is JSON")
            .with_header("tenant", "hunter2");
        let explanation = routes.explain(&message);
        assert_eq!(
            explanation.to_string(),
            "by kind: no, kind is not \"a*\"\n\
             route 2: no, header \"tenant\" is not \"acme\"\n\
             route 3: no, payload at \"/secret\" is not \"expected\"\n\
             no rule fits and the routes have no default: to the sender's own queue\n"
        );
        assert_eq!((explanation.queue(), explanation.rule()), (None, None));
        let explanation = routes.explain(&message.with_kind("abc"));
        assert_eq!(explanation.to_string(), "by kind: yes, to queue q1\n");
        assert_eq!((explanation.queue(), explanation.rule()), (Some(&queue(1)), Some("by kind")));
    }

    #[test]
    fn null_exists_and_absent_does_not() {
        let routes = Routes::new().with_route(Route::to(queue(1)).payload_exists("/a/0"));
        let choose = |payload: Value| routes.choose(&Envelope::new(&payload).expect("it is JSON")).cloned();
        assert_eq!(choose(json!({"a": [null]})), Some(queue(1)));
        assert_eq!(choose(json!({"a": []})), None);
        assert_eq!(choose(json!("a")), None);
    }

    #[test]
    fn a_payload_too_deep_to_parse_meets_no_condition_about_it() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let message =
            Envelope::from_json(serde_json::value::RawValue::from_string(deep).expect("it is JSON"));
        let routes = Routes::new().with_route(Route::to(queue(1)).payload_exists("/0"));
        assert_eq!(routes.choose(&message), None);
    }

    #[derive(Clone, Debug)]
    struct Rule {
        kind: Option<u8>,
        header: Option<u8>,
        field: Option<u8>,
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let small = || prop::option::of(0_u8..3);
        let rule = (small(), small(), small()).prop_map(|(kind, header, field)| Rule { kind, header, field });
        prop::collection::vec(rule, 0..6)
    }

    proptest! {
        #[test]
        fn the_first_rule_that_fits_decides(
            rules in rules(),
            (kind, header, field) in (prop::option::of(0_u8..3), prop::option::of(0_u8..3), 0_u8..3),
            has_default in any::<bool>(),
        ) {
            let mut routes = Routes::new();
            if has_default {
                routes = routes.with_default(queue(99));
            }
            for (n, rule) in rules.iter().enumerate() {
                let mut route = Route::to(queue(n));
                if let Some(kind) = rule.kind {
                    route = route.kind(format!("k{kind}"));
                }
                if let Some(header) = rule.header {
                    route = route.header("h", format!("*{header}"));
                }
                if let Some(field) = rule.field {
                    route = route.payload("/f", field);
                }
                routes = routes.with_route(route);
            }
            let mut message = Envelope::new(&json!({"f": field})).expect("it is JSON");
            if let Some(kind) = kind {
                message = message.with_kind(format!("k{kind}"));
            }
            if let Some(header) = header {
                message = message.with_header("h", format!("v{header}"));
            }
            let expected = rules
                .iter()
                .position(|rule| {
                    rule.kind.is_none_or(|wanted| kind == Some(wanted))
                        && rule.header.is_none_or(|wanted| header == Some(wanted))
                        && rule.field.is_none_or(|wanted| field == wanted)
                })
                .or(has_default.then_some(99))
                .map(queue);
            prop_assert_eq!(routes.choose(&message), expected.as_ref());
            let explanation = routes.explain(&message);
            prop_assert_eq!(explanation.queue(), expected.as_ref());
        }
    }
}

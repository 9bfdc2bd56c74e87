//! Limits in front of a tower service.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use crate::decision::Decision;
use crate::error::LimitError;
use crate::limiter::Limiter;
use crate::rule::Rule;
use crate::service::RateLimit;
use crate::subject::Subject;

/// Asks limits before a request goes on to the service behind it, and answers itself if it may not.
///
/// All services that a layer makes, all their clones, and all other programs with the same rules on the same Valkey share
/// one count. It makes no difference that a server clones its services for each connection.
///
/// Readiness is that of the service behind; whoever is over a limit is answered, never kept waiting. While a limit is asked, at
/// most for the [deadline](Limiter::with_deadline), the service behind is held ready.
///
/// The core knows neither HTTP nor any server: [`new`](Self::new) takes what answers a refused request. With the feature
/// `headers`, `RateLimitLayer::http` answers as HTTP has it:
///
/// ```no_run
/// # #[cfg(feature = "headers")]
/// # mod example {
/// use std::net::SocketAddr;
///
/// use axum::Router;
/// use axum::extract::{ConnectInfo, Request};
/// use axum::routing::get;
/// use valkey_ratelimit::{Limiter, RateLimitLayer, Rule, Subject, Toll};
///
/// fn app(limiter: Limiter) -> Result<Router, Box<dyn std::error::Error>> {
///     let rule = Rule::new("per-ip".parse()?, "100/1m".parse()?);
///     let limits = RateLimitLayer::http(limiter, move |request: &Request| {
///         let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
///         Some(Toll::new(&rule, Subject::ip(peer.ip()))) // None: this request is not limited
///     })
///     .refund_if(|response| response.status().is_server_error());
///     Ok(Router::new().route("/", get(async || "hello")).layer(limits))
/// }
/// # }
/// ```
pub struct RateLimitLayer<Req, Res> {
    plan: Plan<Req, Res>,
}

/// What a request is charged: so much of a rule, for a subject.
#[derive(Clone, Debug)]
pub struct Toll {
    pub(crate) rule: Rule,
    pub(crate) subject: Subject,
    pub(crate) cost: u64,
}

/// What a limit said of a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub(crate) toll: Toll,
    pub(crate) decision: Decision,
}

/// Why a request does not go on.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Refusal {
    /// A limit is reached. What each limit said that was asked; at least one denied, and none is charged.
    Denied(Vec<Verdict>),
    /// There is no decision, and the rule says that then nobody goes on; or no request like this one ever may.
    Error(LimitError),
}

type Tolls<Req> = Arc<dyn Fn(&Req) -> Vec<Toll> + Send + Sync>;
type Answer<Req, Res> = Arc<dyn Fn(Req, &Refusal) -> Res + Send + Sync>;
type Label<Res> = Arc<dyn Fn(&mut Res, &[Verdict]) + Send + Sync>;
type RefundIf<Res> = Arc<dyn Fn(&Res) -> bool + Send + Sync>;

/// What a layer and its services have in common.
pub(crate) struct Plan<Req, Res> {
    pub(crate) limiter: Limiter,
    pub(crate) tolls: Tolls<Req>,
    pub(crate) answer: Answer<Req, Res>,
    pub(crate) label: Option<Label<Res>>,
    pub(crate) refund_if: Option<RefundIf<Res>>,
}

impl<Req, Res> RateLimitLayer<Req, Res> {
    /// Charges each request the tolls that `tolls` names, all of them or none, and has a refused one answered by `answer`.
    ///
    /// `tolls` gives an `Option`, an array, a `Vec`: several limits are asked [at once](Limiter::check_all), and none lets the
    /// request pass unasked. It is called for each request, so a rule can be another one for each, and rules can change.
    pub fn new<T>(
        limiter: Limiter,
        tolls: impl Fn(&Req) -> T + Send + Sync + 'static,
        answer: impl Fn(Req, &Refusal) -> Res + Send + Sync + 'static,
    ) -> Self
    where
        T: IntoIterator<Item = Toll>,
    {
        let tolls = Arc::new(move |request: &Req| tolls(request).into_iter().collect());
        Self { plan: Plan { limiter, tolls, answer: Arc::new(answer), label: None, refund_if: None } }
    }

    /// Has a refused request answered otherwise.
    #[must_use]
    pub fn with_answer(mut self, answer: impl Fn(Req, &Refusal) -> Res + Send + Sync + 'static) -> Self {
        self.plan.answer = Arc::new(answer);
        self
    }

    /// Has each answer, also of a request that is denied, marked with what the limits said.
    #[must_use]
    pub fn with_label(mut self, label: impl Fn(&mut Res, &[Verdict]) + Send + Sync + 'static) -> Self {
        self.plan.label = Some(Arc::new(label));
        self
    }

    /// Gives back what a request was charged if the answer of the service behind says so, such as one that failed. Nothing is
    /// given back unless this is set.
    ///
    /// The answer waits for it, so that whoever gets it can come again at once. What cannot be given back, because the
    /// store is away or the client has left, stays charged.
    #[must_use]
    pub fn refund_if(mut self, refund_if: impl Fn(&Res) -> bool + Send + Sync + 'static) -> Self {
        self.plan.refund_if = Some(Arc::new(refund_if));
        self
    }
}

impl<S, Req, Res> Layer<S> for RateLimitLayer<Req, Res> {
    type Service = RateLimit<S, Req, Res>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::new(self.plan.clone()))
    }
}

impl Toll {
    /// Of a request that costs 1.
    pub fn new(rule: &Rule, subject: Subject) -> Self {
        Self { rule: rule.clone(), subject, cost: 1 }
    }

    /// Of one that costs so much.
    #[must_use]
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }
}

impl Verdict {
    /// The rule that was asked.
    pub fn rule(&self) -> &Rule {
        &self.toll.rule
    }

    /// Whom it was asked about.
    pub fn subject(&self) -> &Subject {
        &self.toll.subject
    }

    /// What it said.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}

// By hand: a request and an answer need not be `Clone` for it.
impl<Req, Res> Clone for Plan<Req, Res> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            tolls: Arc::clone(&self.tolls),
            answer: Arc::clone(&self.answer),
            label: self.label.clone(),
            refund_if: self.refund_if.clone(),
        }
    }
}

impl<Req, Res> Clone for RateLimitLayer<Req, Res> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone() }
    }
}

impl<Req, Res> fmt::Debug for RateLimitLayer<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").finish_non_exhaustive()
    }
}

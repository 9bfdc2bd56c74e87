//! The service that [`RateLimitLayer`](crate::RateLimitLayer) makes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::decision::Decision;
use crate::layer::{Plan, Refusal, Toll, Verdict};
use crate::limiter::Limiter;
use crate::several::Demand;

/// A service with limits in front of it: see [`RateLimitLayer`](crate::RateLimitLayer).
pub struct RateLimit<S, Req, Res> {
    inner: S,
    plan: Arc<Plan<Req, Res>>,
}

/// A request under way through a [`RateLimit`].
///
/// # Cancel safety
/// A request that is dropped may have been charged. The service, and the limits of others, go on.
#[must_use = "a request does nothing until it is polled"]
pub struct RateLimitFuture<Res, E>(Pin<Box<dyn Future<Output = Result<Res, E>> + Send>>);

impl<S, Req, Res> RateLimit<S, Req, Res> {
    pub(crate) fn new(inner: S, plan: Arc<Plan<Req, Res>>) -> Self {
        Self { inner, plan }
    }
}

impl<S, Req, Res> Service<Req> for RateLimit<S, Req, Res>
where
    S: Service<Req, Response = Res> + Clone + Send + 'static,
    S::Future: Send,
    Req: Send + 'static,
    Res: Send + 'static,
{
    type Response = Res;
    type Error = S::Error;
    type Future = RateLimitFuture<Res, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // The one that was polled ready gets the request; its clone may be anything.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let plan = Arc::clone(&self.plan);
        let tolls = (plan.tolls)(&request);
        RateLimitFuture(Box::pin(async move { plan.pass(tolls, inner, request).await }))
    }
}

impl<Req, Res> Plan<Req, Res> {
    async fn pass<S>(&self, tolls: Vec<Toll>, mut inner: S, request: Req) -> Result<Res, S::Error>
    where
        S: Service<Req, Response = Res>,
    {
        if tolls.is_empty() {
            return inner.call(request).await;
        }
        let verdicts = match ask(&self.limiter, tolls).await {
            Ok(verdicts) => verdicts,
            Err(refusal) => return Ok(self.refuse(request, &refusal)),
        };
        let mut response = inner.call(request).await?;
        if let Some(label) = &self.label {
            label(&mut response, &verdicts);
        }
        if self.refund_if.as_ref().is_some_and(|refund_if| refund_if(&response)) {
            give_back(&self.limiter, verdicts).await;
        }
        Ok(response)
    }

    fn refuse(&self, request: Req, refusal: &Refusal) -> Res {
        let mut response = (self.answer)(request, refusal);
        if let (Some(label), Refusal::Denied(verdicts)) = (&self.label, refusal) {
            label(&mut response, verdicts);
        }
        response
    }
}

async fn ask(limiter: &Limiter, tolls: Vec<Toll>) -> Result<Vec<Verdict>, Refusal> {
    let decisions = if let [Toll { rule, subject, cost }] = tolls.as_slice() {
        // One alone has the fast path.
        limiter.check(rule, subject, *cost).await.map(|decision| vec![decision])
    } else {
        let demands: Vec<Demand<'_>> =
            tolls.iter().map(|toll| Demand::new(&toll.rule, &toll.subject).cost(toll.cost)).collect();
        limiter.check_all(&demands).await
    };
    let decisions = decisions.map_err(Refusal::Error)?;
    let verdicts: Vec<Verdict> =
        tolls.into_iter().zip(decisions).map(|(toll, decision)| Verdict { toll, decision }).collect();
    if verdicts.iter().all(|verdict| verdict.decision.is_allowed()) {
        Ok(verdicts)
    } else {
        Err(Refusal::Denied(verdicts))
    }
}

/// As far as it goes: what cannot be given back stays charged, which admits too little, never too much.
async fn give_back(limiter: &Limiter, verdicts: Vec<Verdict>) {
    for Verdict { decision, .. } in verdicts {
        if let Decision::Allowed(allowed) = decision
            && let Some(ticket) = allowed.into_ticket()
        {
            let amount = ticket.amount();
            let _ = limiter.refund(ticket, amount).await;
        }
    }
}

impl<Res, E> Future for RateLimitFuture<Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

// By hand: a request and an answer need not be `Clone` for it.
impl<S: Clone, Req, Res> Clone for RateLimit<S, Req, Res> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: Arc::clone(&self.plan) }
    }
}

impl<S: fmt::Debug, Req, Res> fmt::Debug for RateLimit<S, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<Res, E> fmt::Debug for RateLimitFuture<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitFuture").finish_non_exhaustive()
    }
}

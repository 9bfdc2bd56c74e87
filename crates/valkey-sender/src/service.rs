//! A sender as a [`tower::Service`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;
use valkey_envelope::Envelope;

use crate::dispatcher::Dispatcher;
use crate::durability::Durability;
use crate::error::SendError;
use crate::receipt::Receipt;
use crate::sender::Sender;

/// A send under way through the [`Service`] of a [`Sender`].
#[must_use = "a send does nothing until it is polled"]
pub struct SendFuture(Pin<Box<dyn Future<Output = Result<Receipt, SendError>> + Send>>);

/// A message, and how safe it is to be.
pub(crate) type Job = (Envelope, Durability);

/// The dispatcher as a service, for layers to stand around.
#[derive(Clone)]
pub(crate) struct Unlimited(pub(crate) Arc<Dispatcher>);

/// Readiness is that of the configured limits: a sender is ready when it may send one message. Without limits it
/// always is.
impl Service<Envelope> for Sender {
    type Response = Receipt;
    type Error = SendError;
    type Future = SendFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match &mut self.limited {
            None => Poll::Ready(Ok(())),
            Some(limited) => limited.poll_ready(cx),
        }
    }

    fn call(&mut self, envelope: Envelope) -> SendFuture {
        let job = (envelope, self.durability);
        match &mut self.limited {
            None => Unlimited(Arc::clone(&self.dispatcher)).call(job),
            Some(limited) => SendFuture(Box::pin(limited.call(job))),
        }
    }
}

impl Service<Job> for Unlimited {
    type Response = Receipt;
    type Error = SendError;
    type Future = SendFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (envelope, durability): Job) -> SendFuture {
        let dispatcher = Arc::clone(&self.0);
        SendFuture(Box::pin(async move { dispatcher.send(envelope, durability).await }))
    }
}

impl Future for SendFuture {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}

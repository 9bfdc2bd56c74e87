//! Before the beginning: an engine that has its sockets and is not a consumer yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use valkey_connection::{Connection, DedicatedConnection, Error};
use valkey_envelope::QueueKeys;

use super::{Backoff, Engine, Outlook, Rules, life};
use crate::desk::{Claimed, Desk, Epoch};
use crate::error::JoinError;
use crate::held::Held;
use crate::lease::Lease;
use crate::park::{Bell, Parker};
use crate::take::Hold;

/// An engine to be. Its sockets stay while the server refuses the queue: asking again costs one call.
#[derive(Debug)]
pub(crate) struct Candidate {
    desk: Arc<Desk>,
    keys: QueueKeys,
    rules: Rules,
    link: DedicatedConnection,
    parker: Parker,
    bell: Bell,
    sink: async_channel::Sender<Claimed>,
    unstarted: async_channel::Receiver<Claimed>,
}

/// What a join gives.
pub(crate) type Life = (Arc<Epoch>, Lease);

impl Candidate {
    pub(crate) async fn connect(
        connection: &Connection,
        desk: Arc<Desk>,
        rules: Rules,
        channel: (async_channel::Sender<Claimed>, async_channel::Receiver<Claimed>),
    ) -> Result<Self, Error> {
        let keys = desk.queue.keys();
        let link = connection.dedicated().await?;
        let parker = Parker::start(connection, &keys).await?;
        let bell = Bell::start(connection, &keys);
        let (sink, unstarted) = channel;
        Ok(Self { desk, keys, rules, link, parker, bell, sink, unstarted })
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(crate) async fn join(&mut self) -> Result<Life, JoinError> {
        life::new_life(&mut self.link, &self.keys, &self.desk, &self.rules).await
    }

    pub(crate) fn into_engine(self, (epoch, lease): Life) -> Engine {
        let Self { desk, keys, rules, link, parker, bell, sink, unstarted } = self;
        let outlook =
            Outlook { hot: true, knock: false, hold: Hold::Nothing, look_at: None, was_paused: false };
        Engine {
            desk,
            keys,
            rules,
            link,
            parker,
            bell,
            sink,
            unstarted,
            epoch,
            lease,
            take_number: 0,
            held: Held::default(),
            strangers: 0,
            pending: Vec::new(),
            postponed: Vec::new(),
            outlook,
            backoff: Backoff::default(),
            park_backoff: Backoff::default(),
            no_park_until: Instant::now(),
            give_up_at: None,
        }
    }

    /// Asks until the server lets it in, and then works as any engine does; ends without when it is time to finish.
    pub(crate) async fn run_when_let_in(mut self) {
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = self.desk.wake.notified() => {}
            }
            if self.desk.finishing.load(Ordering::Acquire) {
                break;
            }
            if self.desk.draining.load(Ordering::Acquire) {
                continue;
            }
            match self.join().await {
                Ok(life) => {
                    self.desk.serves();
                    tracing::info!(queue = %self.desk.queue, consumer = life.0.cid, "let in at last");
                    return self.into_engine(life).run().await;
                }
                Err(refusal) => self.note(refusal),
            }
        }
        self.parker.stop();
        self.link.close().await;
    }

    /// Says why the queue is not served: aloud if that is news, since it may stay so for days.
    pub(crate) fn note(&self, refusal: JoinError) {
        let queue = &self.desk.queue;
        let why = refusal.while_serving(queue.clone());
        if self.desk.refusal().is_none_or(|known| known.to_string() != why.to_string()) {
            tracing::warn!(%queue, error = %why, "this queue waits, the others are served; asking again");
        } else {
            tracing::debug!(%queue, error = %why, "not let in yet");
        }
        self.desk.note_refusal(why);
    }
}

//! Giving a queue back to plain consumers.

use std::collections::BTreeSet;

use bytes::Bytes;
use valkey_connection::{ErrorKind, ScriptCall};
use valkey_envelope::{Delayed, Frame, InFlight, QueueKeys, QueueName};

use crate::{
    admin::{Admin, Execution},
    error::Error,
    peek::RawPage,
    place::Place,
    retries,
    scripts::{self, HAND_BACK, HAND_BACK_RAW},
    tally::Tally,
};

/// Elements handed back in one call; with the page limit of a read this bounds its bytes too.
const BATCH: u64 = 64;

/// Rounds in a row in which consumers were faster, before the rest is left to them.
const MAX_LOST_RACES: u32 = 32;

// === impl Admin ===

impl Admin {
    /// The places a hand-back can empty, in the order it works. What goes to the head of the public list is done
    /// last-in-line first, so that the list ends up as consumers of ours would have taken it.
    pub const HAND_BACK: [Place; 6] =
        [Place::High, Place::Woken, Place::Redo, Place::InFlight, Place::Low, Place::Delayed];

    /// Moves messages to the public list, where any `BRPOP` finds them: for leaving to plain consumers.
    ///
    /// Failed attempts are added to the `retries` of the envelope and no other byte is touched; bytes that are no
    /// envelope move as they are. Order is kept: what would have been taken first is popped first. High lane, woken,
    /// redo and what dead consumers held go before all that waits in the list, the low lane and delayed messages
    /// behind it, delayed ones by their due time (which plain consumers do not know, so they become ready now).
    ///
    /// In flight means: of consumers whose lease is over or was never taken; those are fenced for good first. Living
    /// consumers keep what they hold; stop them before. They also keep taking from the public list, of course.
    ///
    /// Each message moves in one script run, in slices; after each, `on_progress` gets the number moved so far.
    ///
    /// # Errors
    /// [`Error::NotApplicable`] for `public` and `dead`; [`Error::Connection`] if nothing was moved. An error after
    /// that is in [`Tally::failed`].
    ///
    /// # Cancel safety
    /// Dropping the future stops after the current slice; a message is in its old place or in the list.
    pub async fn hand_back(
        &self,
        queue: &QueueName,
        places: &[Place],
        execution: Execution,
        mut on_progress: impl FnMut(u64) + Send,
    ) -> Result<Tally, Error> {
        for &place in places {
            let reason = match place {
                Place::Public => "that is where messages are handed back to",
                Place::Dead => "dead letters are replayed, not handed back",
                _ => continue,
            };
            return Err(Error::NotApplicable { verb: "hand-back", place, reason });
        }
        self.knows_format(queue).await?;
        let keys = queue.keys();
        let mut tally = Tally::default();
        let result = async {
            for place in Self::HAND_BACK.into_iter().filter(|place| places.contains(place)) {
                match (place, place.key(&keys)) {
                    (Place::InFlight, _) | (_, None) => {
                        for consumer in self.consumers_gone(&keys).await? {
                            let source = Source::InFlight { consumer: &consumer };
                            self.empty(&keys, source, execution, &mut tally, &mut on_progress).await?;
                        }
                    }
                    (Place::Redo, _) => {
                        self.empty(&keys, Source::Redo, execution, &mut tally, &mut on_progress).await?;
                    }
                    (Place::Delayed, _) => {
                        self.empty(&keys, Source::Delayed, execution, &mut tally, &mut on_progress).await?;
                    }
                    (_, Some(key)) => {
                        let end = if place == Place::Low { "tail" } else { "head" };
                        let call = |most| HAND_BACK_RAW.call().keys([key, keys.public()]).arg(end).arg(most);
                        self.in_slices((place, key), execution, &mut tally, &mut on_progress, call).await?;
                    }
                }
            }
            Ok(())
        }
        .await;
        tally.close(result)
    }

    /// Consumers without a lease: registered ones, and, if the user may look for keys, those of which only the hash is
    /// left.
    async fn consumers_gone(&self, keys: &QueueKeys) -> Result<BTreeSet<String>, Error> {
        let prefix = keys.inflight("");
        let mut ids: BTreeSet<String> = self.consumer_ids(keys).await?.into_iter().collect();
        let found = match self.scan(&format!("{prefix}*"), u64::MAX).await {
            Err(Error::Connection(error)) if error.kind() == ErrorKind::Denied => BTreeSet::new(),
            found => found?.0,
        };
        for key in found {
            ids.extend(key.strip_prefix(prefix.as_str()).map(str::to_owned));
        }
        let stats = self.stats(keys.name()).await?;
        for consumer in stats.consumers.iter().filter(|consumer| consumer.lease.is_live()) {
            ids.remove(&consumer.id);
        }
        Ok(ids)
    }

    /// Moves the framed elements of one source, a page at a time, until none is left or consumers are faster.
    async fn empty(
        &self,
        keys: &QueueKeys,
        source: Source<'_>,
        execution: Execution,
        tally: &mut Tally,
        on_progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let (key, place) = (source.key(keys), source.place());
        tally.add(place, 0);
        let mut left = None;
        let mut lost_races = 0;
        while left != Some(0) && lost_races < MAX_LOST_RACES {
            let page = self.read_place(&key, "left", 0, BATCH, 0).await?;
            if execution == Execution::DryRun {
                tally.add(place, page.total);
                return Ok(());
            }
            if page.items.is_empty() {
                break;
            }
            let total = page.total;
            let call = source.call(keys, &key, page);
            let [moved, state] = scripts::fields("hand_back", self.connection.invoke(call).await?)?;
            let (moved, state) = (scripts::count(moved)?, state.into_string()?);
            if state == "alive" {
                // It came back: a consumer that renewed its lease owns its messages.
                break;
            }
            lost_races = if moved == 0 { lost_races + 1 } else { 0 };
            // As much as was there at the beginning: what a busy queue adds meanwhile is not chased.
            left = Some(left.unwrap_or(total).saturating_sub(moved));
            tally.add(place, moved);
            on_progress(tally.done());
        }
        Ok(())
    }
}

/// A place whose elements are framed.
#[derive(Clone, Copy)]
enum Source<'a> {
    Delayed,
    InFlight { consumer: &'a str },
    Redo,
}

// === impl Source ===

impl Source<'_> {
    fn key(self, keys: &QueueKeys) -> String {
        match self {
            Self::Delayed => keys.delayed().to_owned(),
            Self::InFlight { consumer } => keys.inflight(consumer),
            Self::Redo => keys.redo().to_owned(),
        }
    }

    const fn place(self) -> Place {
        match self {
            Self::Delayed => Place::Delayed,
            Self::InFlight { .. } => Place::InFlight,
            Self::Redo => Place::Redo,
        }
    }

    fn call(self, keys: &QueueKeys, key: &str, page: RawPage) -> ScriptCall {
        let mut call = HAND_BACK.call().key(key).key(keys.public());
        if let Self::InFlight { consumer } = self {
            call = call.keys([keys.consumers(), keys.control()]).arg(self.place().kind()).arg(consumer);
        } else {
            call = call.arg(self.place().kind()).arg("");
        }
        for (tag, _, element) in page.items {
            let plain = self.plain(&element);
            call = match self {
                Self::InFlight { .. } => call.arg(tag),
                _ => call.arg(element),
            };
            call = call.arg(plain);
        }
        call
    }

    /// What a plain consumer is to see: the message without its frame, its failed attempts counted in.
    fn plain(self, element: &Bytes) -> Bytes {
        let element = element.clone();
        let frame = match self {
            Self::Delayed => Delayed::decode(element.clone()).map(|delayed| delayed.frame),
            Self::InFlight { .. } => Ok(InFlight::decode(0, element.clone()).frame),
            Self::Redo => Frame::decode(element.clone()),
        };
        frame.map_or(element, |frame| retries::add(&frame.raw, frame.attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_off_and_broken_ones_stay() {
        let plain = |source: Source<'_>, bytes: &'static [u8]| source.plain(&Bytes::from_static(bytes));
        assert_eq!(plain(Source::Redo, b"2|3|n|\xff\x00"), b"\xff\x00"[..]);
        assert_eq!(plain(Source::Delayed, b"1-1-c|0|0|h|raw"), "raw");
        assert_eq!(plain(Source::InFlight { consumer: "c" }, b"17|0|0|n|raw"), "raw");
        assert_eq!(plain(Source::InFlight { consumer: "c" }, b"{\"payload\":1}"), "{\"payload\":1}");
        assert_eq!(plain(Source::Redo, b"no frame"), "no frame");
    }
}

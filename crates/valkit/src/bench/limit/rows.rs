//! The rows of the limits' bench: one way, one place, so many tasks.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use valkey_connection::{Command, Connection};
use valkey_ratelimit::{Limiter, Quota, Subject};

use super::{
    load::{Done, Load},
    way::{Asker, Counting, Way},
};
use crate::{bench::counters::Counters, failure::Failure};

/// What a row asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A thousand subjects, at random; all are admitted.
    Many,
    /// One subject for all tasks; all are admitted.
    Hot,
    /// One subject whose limit is used up.
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) place: Place,
    pub(crate) tasks: usize,
}

/// What a row took in one round.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) done: Done,
    pub(crate) counters: Counters,
}

/// Where rows are measured.
pub(crate) struct Site {
    pub(crate) connection: Connection,
    pub(crate) limiter: Limiter,
    /// What the keys of this run begin with.
    pub(crate) prefix: String,
}

/// So little of a row goes by before it is measured: windows are full then.
const WARM_UP: u32 = 5;

// === impl Place ===

impl Place {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Many => "1k keys",
            Self::Hot => "hot key",
            Self::Denied => "denied key",
        }
    }

    const fn subjects(self) -> usize {
        match self {
            Self::Many => 1_000,
            Self::Hot | Self::Denied => 1,
        }
    }

    /// A window of a second is full of sub-windows while a row lasts, as a longer one is in service.
    fn quota(self, way: Way) -> Result<Quota, Failure> {
        let (limit, window) = match (self, way) {
            (Self::Many, _) => (10_000, Duration::from_secs(1)),
            // A sorted set holds no more than that, so it is as much a second by a shorter window.
            (Self::Hot, Way::Ours(Counting::SlidingLog)) => (10_000, Duration::from_millis(5)),
            (Self::Hot, _) => (1_000_000_000, Duration::from_secs(1)),
            (Self::Denied, _) => (100, Duration::from_hours(1)),
        };
        Quota::new(limit, window).map_err(|error| Failure::Failed(error.to_string()))
    }
}

/// A name as it may stand in a key.
fn in_a_key(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

// === impl Row ===

impl Row {
    /// In the order in which they are measured: what is compared stands together.
    pub(crate) fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for (place, tasks) in [(Place::Many, 64), (Place::Many, 512), (Place::Hot, 64), (Place::Hot, 512)] {
            let ways = [Way::Nothing, Way::Plain].into_iter().chain(Counting::ALL.map(Way::Ours));
            // What a call costs at least is the same with one key or many.
            let ways = ways.filter(|way| *way != Way::Nothing || place == Place::Many);
            rows.extend(ways.map(|way| Self { way, place, tasks }));
            if place == Place::Hot {
                rows.push(Self { way: Way::Leased, place, tasks });
            }
            if tasks == 64 {
                rows.push(Self { way: Way::Governor, place, tasks });
            }
        }
        for tasks in [64, 512] {
            for way in [Way::Plain, Way::Ours(Counting::SlidingWindow)] {
                rows.push(Self { way, place: Place::Denied, tasks });
            }
        }
        rows
    }

    pub(crate) fn name(self) -> String {
        let Self { way, place, tasks } = self;
        format!("{}, {}, {tasks} tasks", way.name(), place.name())
    }

    /// The row that this one is held against.
    pub(crate) const fn base(self) -> Self {
        Self { way: Way::Plain, ..self }
    }

    /// Whether it is decided in process, or nearly always.
    pub(crate) fn is_local(self) -> bool {
        matches!(self.way, Way::Governor | Way::Leased)
            || (self.place == Place::Denied && matches!(self.way, Way::Ours(_)))
    }

    pub(crate) async fn measure(self, site: &Site, time: Duration) -> Result<Measured, Failure> {
        let Self { way, place, tasks } = self;
        let prefix = format!("{}{}:{tasks}:{}:", site.prefix, in_a_key(place.name()), in_a_key(way.name()));
        let subjects = subjects(place.subjects());
        let asker = way.asker(&site.connection, &site.limiter, &prefix, place.quota(way)?, subjects)?;
        if place == Place::Denied {
            while asker.ask(0).await? {}
        }
        let timed = if self.is_local() { 256 } else { 4 };
        let load = Load { tasks, subjects: place.subjects(), time, timed };
        Load { time: time / WARM_UP, ..load }.run(&asker).await?;
        let before = Counters::read(&site.connection).await?;
        let done = load.run(&asker).await?;
        let counters = Counters::read(&site.connection).await?.since(before);
        site.clear(&asker, place.subjects()).await?;
        Ok(Measured { done, counters })
    }
}

/// So many subjects.
pub(crate) fn subjects(count: usize) -> Vec<Subject> {
    (0..count as u32).map(|number| Subject::ip(Ipv4Addr::from(0x0a00_0000 + number).into())).collect()
}

// === impl Site ===

impl Site {
    pub(crate) async fn clear(&self, asker: &Arc<Asker>, subjects: usize) -> Result<(), Failure> {
        for key in (0..subjects).filter_map(|subject| asker.key(subject)) {
            self.connection.execute(Command::new("UNLINK").key(key)).await?;
        }
        Ok(())
    }
}

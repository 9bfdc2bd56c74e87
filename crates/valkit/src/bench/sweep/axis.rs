//! What grows, and what is measured meanwhile.

use clap::ValueEnum;

use super::super::{
    lab::MESSAGE_BYTES,
    load::{Load, Way},
    plot,
};

/// Messages of one round trip.
pub(super) const BATCH: usize = 64;
/// All messages of a point together are not larger.
const POINT_BYTES: usize = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Axis {
    /// Concurrent producers
    Producers,
    /// Concurrent consumers
    Consumers,
    /// Messages that wait in the queue all the time
    Waiting,
    /// Bytes of a message
    Size,
    /// Milliseconds that are added to every round trip
    Distance,
    /// TLS instead of plain text
    Encryption,
}

/// One way to work, over the whole axis.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    way: Way,
    /// Slow ways are as telling with fewer messages.
    share: usize,
}

const RAW_SEND: Curve = Curve { name: "raw send (LPUSH of batches)", way: Way::RawSend, share: 1 };
const SEND: Curve = Curve { name: "send_all, batches", way: Way::Send, share: 1 };
const SEND_SINGLY: Curve = Curve { name: "send, one by one", way: Way::SendSingly, share: 10 };
const RAW_RECEIVE: Curve = Curve { name: "raw receive (RPOP of batches)", way: Way::RawReceive, share: 1 };
const RECEIVE: Curve = Curve { name: "receive and ack", way: Way::Receive, share: 1 };
const MOVE: Curve = Curve { name: "BLMOVE and LREM", way: Way::MoveAndRemove, share: 100 };

// === impl Axis ===

impl Axis {
    pub(super) const ALL: [Self; 6] =
        [Self::Producers, Self::Consumers, Self::Waiting, Self::Size, Self::Distance, Self::Encryption];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Producers => "producers",
            Self::Consumers => "consumers",
            Self::Waiting => "waiting",
            Self::Size => "size",
            Self::Distance => "distance",
            Self::Encryption => "encryption",
        }
    }

    /// What stands below the plot.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Producers => "concurrent producers",
            Self::Consumers => "concurrent consumers",
            Self::Waiting => "messages waiting in the queue",
            Self::Size => "bytes of a message",
            Self::Distance => "added round trip time, ms",
            Self::Encryption => "",
        }
    }

    /// Where it is measured.
    pub(super) fn places(self, quick: bool) -> Vec<f64> {
        let all: &[f64] = match self {
            Self::Producers => &[1.0, 8.0, 64.0],
            Self::Consumers => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
            Self::Waiting => &[1e3, 1e5, 1e6, 1e7],
            Self::Size => &[256.0, 1e3, 1e4, 1e5, 1e6],
            Self::Distance => &[0.0, 0.25, 1.0, 5.0],
            Self::Encryption => &[0.0, 1.0],
        };
        let count = if quick { 2 } else { all.len() };
        all[..count].to_vec()
    }

    pub(super) fn label(self, place: f64) -> String {
        match self {
            Self::Encryption if place > 0.0 => "TLS".to_owned(),
            Self::Encryption => "plain".to_owned(),
            Self::Distance => format!("{place}"),
            _ => plot::short(place),
        }
    }

    pub(super) const fn curves(self) -> &'static [Curve] {
        match self {
            Self::Producers => &[RAW_SEND, SEND, SEND_SINGLY],
            Self::Consumers | Self::Waiting => &[RAW_RECEIVE, RECEIVE],
            Self::Size | Self::Encryption => &[RAW_SEND, SEND, RAW_RECEIVE, RECEIVE],
            Self::Distance => &[SEND, RECEIVE, MOVE],
        }
    }

    pub(super) const fn message_bytes(self, place: f64) -> usize {
        match self {
            Self::Size => whole(place),
            _ => MESSAGE_BYTES,
        }
    }

    /// What one point takes.
    pub(super) fn load(self, place: f64, curve: &Curve, messages: usize, quick: bool) -> Load {
        let hands = match self {
            Self::Producers | Self::Consumers => whole(place),
            _ => 1,
        };
        let most = POINT_BYTES / self.message_bytes(place) / if quick { 10 } else { 1 };
        let messages = (messages / curve.share).min(most).max(hands);
        let waiting = if self == Self::Waiting { whole(place) } else { 0 };
        Load { way: curve.way, hands, messages, waiting }
    }
}

/// Places are small and positive.
#[expect(clippy::cast_sign_loss, reason = "no place is below zero")]
const fn whole(place: f64) -> usize {
    place as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_point_is_empty_or_too_large() {
        for axis in Axis::ALL {
            for place in axis.places(false) {
                for curve in axis.curves() {
                    let load = axis.load(place, curve, 100_000, false);
                    assert!(load.messages >= load.hands && load.hands > 0, "{axis:?} {place} {load:?}");
                    assert!(
                        load.messages * axis.message_bytes(place) <= POINT_BYTES,
                        "{axis:?} {place} {load:?}"
                    );
                }
            }
        }
    }
}

//! One direction of a connection: which bytes may pass, and is this the place to cut. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::cut::{Cut, Shot};
use super::resp::{Framer, Side, Unit};

/// The cuts that lie in wait on one connection, for both of its directions.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// At a position of the stream, counted from the connection's first byte.
    placed: Vec<Placed>,
    /// In a command that has not come yet.
    of_commands: Vec<OfCommand>,
    /// In the reply to a command that has passed.
    of_replies: Vec<OfReply>,
}

#[derive(Debug)]
struct Placed {
    side: Side,
    position: u64,
    shot: Arc<Shot>,
}

#[derive(Debug)]
struct OfCommand {
    side: Side,
    bytes: u64,
    command: Bytes,
    shot: Arc<Shot>,
}

#[derive(Debug)]
struct OfReply {
    number: u64,
    bytes: u64,
    shot: Arc<Shot>,
}

impl Cuts {
    /// Adds a cut; `requests` and `replies` are the bytes of each direction that have passed and do not count.
    pub(crate) fn add(&mut self, cut: &Cut, shot: &Arc<Shot>, requests: u64, replies: u64) {
        let shot = Arc::clone(shot);
        let Cut { side, bytes, .. } = *cut;
        if let Some(command) = &cut.command {
            self.of_commands.push(OfCommand { side, bytes, command: command.clone(), shot });
        } else {
            let passed = if side == Side::Request { requests } else { replies };
            self.placed.push(Placed { side, position: passed + bytes, shot });
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What may pass now.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) forward: Bytes,
    /// Commands or replies that end in it.
    pub(crate) units: u64,
    /// The connection ends after that.
    pub(crate) cut: Option<Arc<Shot>>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    side: Side,
    /// None once the stream turned out not to be Valkey's protocol.
    framer: Option<Framer>,
    /// Bytes that came and have not passed, and the position of the first.
    held: BytesMut,
    passed: u64,
    /// Commands or replies of which the end has come but not passed.
    units: VecDeque<Unit>,
    /// Where the first of these begins, and how many that count were before it.
    unit_start: u64,
    unit_number: u64,
}

impl Lane {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            framer: Some(Framer::new(side)),
            held: BytesMut::new(),
            passed: 0,
            units: VecDeque::new(),
            unit_start: 0,
            unit_number: 0,
        }
    }

    /// Takes what came and says what may pass. An unfinished command is held back only while a cut may be in it.
    pub(crate) fn advance(&mut self, chunk: &[u8], cuts: &mut Cuts) -> Step {
        self.held.extend_from_slice(chunk);
        if let Some(framer) = &mut self.framer
            && framer.feed(chunk, &mut self.units).is_err()
        {
            self.framer = None;
        }
        let came = self.passed + self.held.len() as u64;
        let limit =
            if self.holds_back(cuts) { self.units.back().map_or(self.passed, |last| last.end) } else { came };

        let mut places: Vec<(u64, Arc<Shot>)> = Vec::new();
        let mut units = 0;
        while let Some(unit) = self.units.pop_front() {
            self.meet(unit, cuts, &mut places);
            self.unit_start = unit.end;
            self.unit_number += u64::from(!unit.is_push);
            units += u64::from(!unit.is_push);
        }
        self.collect_placed(limit, cuts, &mut places);

        places.sort_by_key(|(position, _)| *position);
        // Those of commands are claimed when they meet their command, those at a position when they are reached.
        let cut = places.into_iter().next();
        let end = cut.as_ref().map_or(limit, |(position, _)| *position);
        let forward = self.held.split_to((end - self.passed) as usize).freeze();
        self.passed = end;
        Step { forward, units, cut: cut.map(|(_, shot)| shot) }
    }

    /// What is held back when nothing more will come.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.passed += self.held.len() as u64;
        self.held.split().freeze()
    }

    fn holds_back(&self, cuts: &mut Cuts) -> bool {
        if self.framer.is_none() {
            return false;
        }
        match self.side {
            Side::Reply => !cuts.of_replies.is_empty(),
            Side::Request => {
                cuts.of_commands.retain(|cut| !cut.shot.is_spent());
                !cuts.of_commands.is_empty()
            }
        }
    }

    /// Looks for the cuts that are meant for this command or reply.
    fn meet(&self, unit: Unit, cuts: &mut Cuts, places: &mut Vec<(u64, Arc<Shot>)>) {
        let (start, length) = (self.unit_start, unit.end - self.unit_start);
        // Part of it passed before there was a cut for it: then it is not the one that was meant.
        if start < self.passed || unit.is_push {
            return;
        }
        match self.side {
            Side::Reply => {
                for cut in cuts.of_replies.extract_if(.., |cut| cut.number == self.unit_number) {
                    if cut.bytes < length {
                        places.push((start + cut.bytes, cut.shot));
                    } else {
                        cut.shot.missed();
                    }
                }
            }
            Side::Request => {
                let text = &self.held[(start - self.passed) as usize..][..length as usize];
                let met = cuts.of_commands.extract_if(.., |cut| contains(text, &cut.command));
                for OfCommand { side, bytes, shot, .. } in met.filter(|cut| cut.shot.claim()) {
                    match side {
                        Side::Reply => {
                            cuts.of_replies.push(OfReply { number: self.unit_number, bytes, shot });
                        }
                        Side::Request if bytes <= length => places.push((start + bytes, shot)),
                        Side::Request => shot.missed(),
                    }
                }
            }
        }
    }

    fn collect_placed(&self, limit: u64, cuts: &mut Cuts, places: &mut Vec<(u64, Arc<Shot>)>) {
        if limit == self.passed {
            return;
        }
        let side = self.side;
        let reached = |position: u64| match side {
            // After the byte: it is enough that it came. Before the byte: that byte must be there.
            Side::Request => position <= limit,
            Side::Reply => position < limit,
        };
        let met = cuts.placed.extract_if(.., |cut| cut.side == side && reached(cut.position));
        for cut in met.filter(|cut| cut.shot.claim()) {
            places.push((cut.position.max(self.passed), cut.shot));
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArmedCut, CutOutcome, Target};

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    const LLEN: &[u8] = b"*2\r\n$4\r\nLLEN\r\n$1\r\nq\r\n";

    /// Both directions of a connection on which `cut` lies in wait.
    fn connection(cut: &Cut) -> (Lane, Lane, Cuts, ArmedCut) {
        let (shot, armed) = Shot::arm(cut);
        let mut cuts = Cuts::default();
        cuts.add(cut, &shot, 0, 0);
        (Lane::new(Side::Request), Lane::new(Side::Reply), cuts, armed)
    }

    #[test]
    fn a_request_is_cut_after_its_byte_whatever_the_chunks() {
        for bytes in 0..=PING.len() {
            for split in 0..PING.len() {
                let (mut lane, _, mut cuts, _armed) = connection(&Cut::request_after(bytes as u64));
                let mut passed = Vec::new();
                let mut cut = false;
                for chunk in [&PING[..split], &PING[split..]] {
                    if !cut && !chunk.is_empty() {
                        let step = lane.advance(chunk, &mut cuts);
                        passed.extend_from_slice(&step.forward);
                        cut = step.cut.is_some();
                    }
                }
                assert_eq!((passed.as_slice(), cut), (&PING[..bytes], true), "{bytes} of {split}");
            }
        }
    }

    #[test]
    fn a_reply_is_cut_only_when_the_byte_is_there() {
        let (_, mut lane, mut cuts, _armed) = connection(&Cut::reply_before(5));
        let step = lane.advance(b"+OK\r\n", &mut cuts);
        assert_eq!((&step.forward[..], step.cut.is_some()), (&b"+OK\r\n"[..], false));
        let step = lane.advance(b"+OK\r\n", &mut cuts);
        assert_eq!((&step.forward[..], step.cut.is_some()), (&b""[..], true));
    }

    #[test]
    fn only_the_command_meant_is_cut_and_others_pass_whole() {
        let (mut lane, _, mut cuts, _armed) = connection(&Cut::request_after(3).of_command("LLEN"));
        let step = lane.advance(&[PING, &LLEN[..9]].concat(), &mut cuts);
        assert_eq!((&step.forward[..], step.cut.is_some()), (PING, false), "the rest might be the one");
        let step = lane.advance(&[&LLEN[9..], PING].concat(), &mut cuts);
        assert_eq!((&step.forward[..], step.cut.is_some()), (&LLEN[..3], true));
    }

    #[test]
    fn the_reply_cut_is_the_one_to_the_command_meant() {
        let (mut requests, mut replies, mut cuts, _armed) =
            connection(&Cut::reply_before(1).of_command("LLEN"));
        let step = requests.advance(&[PING, LLEN, PING].concat(), &mut cuts);
        assert_eq!(
            (step.forward.len(), step.units, step.cut.is_some()),
            (PING.len() * 2 + LLEN.len(), 3, false)
        );
        let step = replies.advance(b">1\r\n+x\r\n+PONG\r\n:7\r\n+PONG\r\n", &mut cuts);
        assert_eq!((&step.forward[..], step.cut.is_some()), (&b">1\r\n+x\r\n+PONG\r\n:"[..], true));
    }

    #[test]
    fn a_cut_beyond_the_end_of_its_command_is_missed_and_all_passes() {
        let beyond = LLEN.len() as u64 + 1;
        let (mut lane, _, mut cuts, armed) = connection(&Cut::request_after(beyond).of_command("LLEN"));
        let step = lane.advance(&[LLEN, PING].concat(), &mut cuts);
        assert_eq!((step.forward.len(), step.cut.is_some()), (LLEN.len() + PING.len(), false));
        assert_eq!(armed.outcome(), Some(CutOutcome::Missed));

        let (mut requests, mut replies, mut cuts, armed) =
            connection(&Cut::reply_before(4).of_command("LLEN"));
        requests.advance(LLEN, &mut cuts);
        assert_eq!(armed.outcome(), None);
        assert_eq!(&replies.advance(b":7\r\n", &mut cuts).forward[..], b":7\r\n");
        assert_eq!(armed.outcome(), Some(CutOutcome::Missed));
    }

    #[test]
    fn a_command_half_passed_when_the_cut_was_armed_is_not_the_one_meant() {
        let mut lane = Lane::new(Side::Request);
        let mut cuts = Cuts::default();
        assert_eq!(lane.advance(&LLEN[..5], &mut cuts).forward.len(), 5);
        let cut = Cut::request_after(0).of_command("LLEN");
        let (shot, armed) = Shot::arm(&cut);
        cuts.add(&cut, &shot, 5, 0);
        assert_eq!(&lane.advance(&LLEN[5..], &mut cuts).forward[..], &LLEN[5..]);
        assert_eq!(armed.outcome(), None);
        assert!(lane.advance(LLEN, &mut cuts).cut.is_some());
    }

    #[test]
    fn a_shot_fires_once_on_however_many_connections() {
        let cut = Cut::request_after(1).on(Target::Current);
        let (shot, _armed) = Shot::arm(&cut);
        let (mut one, mut other) = (Cuts::default(), Cuts::default());
        one.add(&cut, &shot, 0, 0);
        other.add(&cut, &shot, 0, 0);
        assert!(Lane::new(Side::Request).advance(PING, &mut one).cut.is_some());
        let step = Lane::new(Side::Request).advance(PING, &mut other);
        assert_eq!((step.forward.len(), step.cut.is_some()), (PING.len(), false));
    }

    #[test]
    fn opaque_bytes_pass_and_can_be_cut_by_position() {
        let (mut lane, _, mut cuts, _armed) = connection(&Cut::request_after(4));
        let step = lane.advance(b"*\xff\n\xff\xff\xff", &mut cuts);
        assert_eq!((step.forward.len(), step.cut.is_some()), (4, true));
    }

    #[test]
    fn a_cut_that_nothing_holds_any_more_is_missed() {
        let (_, _, cuts, armed) = connection(&Cut::request_after(1));
        assert_eq!(armed.outcome(), None);
        drop(cuts);
        assert_eq!(armed.outcome(), Some(CutOutcome::Missed));
    }
}

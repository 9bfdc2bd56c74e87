//! What operators do: settings, replay, removal, purge, and giving the queue back to plain consumers.

use valkey_envelope::Lane;

use super::{FENCED, Place, Queue};
use crate::call::{Answer, HandBack, Source, answer};

impl Queue {
    /// An empty value removes the setting.
    pub(super) fn set_control(&mut self, pairs: &[(String, String)]) -> Answer {
        let mut changed = 0;
        for (name, value) in pairs {
            let settings = &mut self.control.settings;
            let before = if value.is_empty() {
                settings.remove(name)
            } else {
                settings.insert(name.clone(), value.clone())
            };
            if before.unwrap_or_default() != *value {
                changed += 1;
                if name == "rate" || name == "burst" {
                    // A new rate begins with a full bucket.
                    self.control.used_up_to_us = None;
                }
            }
            if name == "max_in_flight" && value.is_empty() {
                self.control.shares.clear();
            }
        }
        answer![changed]
    }

    /// To the end of the named lane, as the bytes it was; duplicates are nobody's concern here.
    pub(super) fn replay(&mut self, pairs: &[(String, Lane)]) -> Answer {
        let mut fates = String::new();
        for (id, lane) in pairs {
            let dead = self.dead_key(id).and_then(|key| self.dead.remove(&key));
            fates.push(if dead.is_some() { 'r' } else { 'a' });
            self.lane(*lane).extend(dead.map(|dead| dead.raw));
        }
        if fates.contains('r') {
            self.public_expiry = None;
        }
        answer![fates]
    }

    pub(super) fn remove_dead(&mut self, ids: &[String]) -> Answer {
        let mut removed = Answer::new();
        for id in ids {
            let dead = self.dead_key(id).and_then(|key| self.dead.remove(&key));
            removed.extend(answer![u8::from(dead.is_some())]);
        }
        removed
    }

    /// The oldest go first.
    pub(super) fn purge(&mut self, place: Place, most: usize) -> usize {
        let list = match place {
            Place::Normal => &mut self.normal,
            Place::High => &mut self.high,
            Place::Low => &mut self.low,
            Place::Woken => &mut self.woken,
            Place::Redo => return self.redo.drain(..most.min(self.redo.len())).count(),
            Place::Delayed => return (0..most).map_while(|_| self.delayed.pop_first()).count(),
        };
        list.drain(..most.min(list.len())).count()
    }

    /// Framed messages into the public list, where plain consumers find them; never out of the hand of a living one.
    pub(super) fn hand_back(&mut self, now_ms: u64, call: &HandBack) -> Answer {
        if let Source::InFlight(cid) = &call.source
            && let Some(deadline) = self.consumers.get_mut(cid)
        {
            if *deadline > now_ms {
                return answer![0, "alive"];
            }
            *deadline = FENCED;
        }
        let (mut moved, mut state) = (0, "ok");
        for (element, plain) in &call.elements {
            let found = match &call.source {
                Source::Redo => self.redo.pop_back_if(|frame| frame.encode() == *element).is_some(),
                Source::Delayed => {
                    self.delayed_key(element).and_then(|key| self.delayed.remove(&key)).is_some()
                }
                Source::InFlight(cid) => self.release_field(cid, field(element)).is_some(),
            };
            if found {
                moved += 1;
                match call.source {
                    Source::Delayed => self.normal.push_back(plain.clone()),
                    Source::Redo | Source::InFlight(_) => self.normal.push_front(plain.clone()),
                }
            } else {
                state = "changed";
                if matches!(call.source, Source::Redo) {
                    break;
                }
            }
        }
        if moved > 0 {
            self.public_expiry = None;
        }
        if let Source::InFlight(cid) = &call.source
            && self.held(cid) == 0
        {
            self.forget(cid);
        }
        answer![moved, state]
    }

    /// A list into the public one: the low lane behind all that waits there, the others before it.
    pub(super) fn hand_back_raw(&mut self, place: Place, most: usize) -> usize {
        let list = match place {
            Place::High => &mut self.high,
            Place::Low => &mut self.low,
            _ => &mut self.woken,
        };
        let moved = most.min(list.len());
        for _ in 0..moved {
            if place == Place::Low {
                self.normal.extend(list.pop_front());
            } else {
                self.normal.push_front(list.pop_back().expect("it is that long"));
            }
        }
        if moved > 0 {
            self.public_expiry = None;
        }
        moved
    }
}

fn field(text: &[u8]) -> super::Field {
    let text = std::str::from_utf8(text).expect("fields are text");
    let (take, item) = text.split_once('-').expect("a field has two parts");
    (take.parse().expect("a number"), item.parse().expect("a number"))
}

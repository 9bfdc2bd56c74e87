//! How a run ended, for the receiver, the log and the metrics.

use std::time::Duration;

use valkey_envelope::DeadReason;
use valkey_receiver::Outcome;

use crate::park::Park;
use crate::registration::{Refusal, RegistrationId};
use crate::state::{Failure, Finish};

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) finish: Finish,
    /// What stood in the way last: no personal data.
    pub(super) note: Option<String>,
}

impl Ending {
    /// Not now, and nobody's fault.
    pub(super) fn snooze(after: Duration) -> Self {
        Self { finish: Finish::Snooze(after), note: None }
    }

    /// What the receiver does with the message. `refusal` is why the registration was refused, if it was; `id` is which it is, for
    /// whoever looks for the reference that the applicant was told.
    pub(super) fn outcome(
        &self,
        refusal: Option<&Refusal>,
        id: Option<RegistrationId>,
        park: &Park,
    ) -> Outcome {
        match self.finish {
            Finish::Ack => Outcome::Ack,
            Finish::DeadLetter(failure) => {
                let (reason, text) = self.obituary(failure, refusal);
                // The reference first: lists show the beginning.
                let text = match id {
                    Some(id) => format!("{}: {text} (registration {id})", id.reference()),
                    None => text,
                };
                Outcome::dead_letter_as(reason, text)
            }
            // This process takes nothing more, and others may at once.
            Finish::HandBack => Outcome::snooze(Duration::ZERO),
            Finish::Park => Outcome::snooze(park.retry_after()),
            Finish::Retry => {
                Outcome::nack(self.note.as_deref().unwrap_or("it could not be done; the log tells why"))
            }
            Finish::RetryAfter(after) => {
                let note = self.note.as_deref().unwrap_or("it may still be done; the log tells why");
                Outcome::nack(note).retry_after(after)
            }
            Finish::Snooze(after) => Outcome::snooze(after),
        }
    }

    /// Why it is given up, for the person who will look at it.
    fn obituary(&self, failure: Failure, refusal: Option<&Refusal>) -> (DeadReason, String) {
        if let (Failure::Invalid, Some(refusal)) = (failure, refusal) {
            return (refusal.dead_reason(), refusal.to_string());
        }
        let note = self.note.as_ref().map(|note| format!(" (last: {note})")).unwrap_or_default();
        (failure.dead_reason(), format!("{failure}{note}"))
    }

    /// What became of it, in a word for metrics and the log.
    pub(super) fn word(&self) -> &'static str {
        match self.finish {
            Finish::Ack => "done",
            Finish::DeadLetter(_) => "dead",
            Finish::HandBack => "handed_back",
            Finish::Park => "parked",
            Finish::Retry | Finish::RetryAfter(_) => "retried",
            Finish::Snooze(_) => "snoozed",
        }
    }

    /// Why, in a word.
    pub(super) fn reason(&self, refusal: Option<&Refusal>) -> String {
        match self.finish {
            Finish::DeadLetter(failure) => self.obituary(failure, refusal).0.as_str().to_owned(),
            _ => "none".to_owned(),
        }
    }

    /// Whether it shows that registrations can be served.
    pub(super) fn is_proof(&self) -> bool {
        match self.finish {
            Finish::Ack => true,
            Finish::DeadLetter(failure) => !matches!(failure, Failure::Invalid | Failure::IdTaken),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(finish: Finish, note: Option<&str>) -> Outcome {
        let park = Park::new(Duration::from_secs(10));
        Ending { finish, note: note.map(str::to_owned) }.outcome(None, None, &park)
    }

    #[test]
    fn only_what_concerns_one_registration_costs_it_an_attempt() {
        assert!(
            matches!(outcome(Finish::Retry, Some("busy")), Outcome::Nack { error: Some(note), .. } if note == "busy")
        );
        for finish in [Finish::Park, Finish::HandBack, Finish::Snooze(Duration::from_secs(7))] {
            assert!(matches!(outcome(finish, None), Outcome::Snooze { .. }), "{finish:?}");
        }
    }

    #[test]
    fn a_dead_letter_says_what_can_be_done() {
        let finish = Finish::DeadLetter(Failure::PartialGroups);
        let Outcome::DeadLetter { reason, error } = outcome(finish, Some("staff (missing)")) else {
            panic!("it is dead")
        };
        assert_eq!(reason.as_str(), "partial_group");
        let error = error.unwrap_or_default();
        assert!(error.contains("replay") && error.contains("staff (missing)"), "{error}");
    }
}

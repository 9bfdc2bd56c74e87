//! What the applicant is told, and how a run ends.

use super::{FIRST_PAUSE, LAST_WORDS, LONGEST_PAUSE, Machine, Next, Standing, TRIES, Unexpected};
use crate::state::record::RegistrationRecord;
use crate::state::step::Step;
use crate::state::words::{Action, Event, Failure, Finish, Tell};

impl Machine {
    /// What became of telling it.
    pub(super) fn told(&mut self, tell: Tell, event: Event) -> Result<Next, Unexpected> {
        Ok(match event {
            Event::Told { message_id } => {
                self.record.told = Some(self.code(&tell));
                self.record.message_id = message_id;
                (self.record.unreported, self.record.gave_up) = (None, false);
                self.conclude(&tell)
            }
            Event::Unreachable(why) => {
                self.record.unreported = Some(why);
                self.conclude(&tell)
            }
            // The one that is under way may come last: it has the password that holds.
            Event::Unknown if self.has_secret(&tell) && self.tellings < TRIES => {
                self.tellings += 1;
                self.next(false, Action::Tell(tell))
            }
            Event::Busy | Event::Unknown => self.untold(&tell),
            event => return Err(Unexpected { asked: Action::Tell(tell), event }),
        })
    }

    /// Tells the applicant, unless that was told already.
    pub(super) fn tell(&mut self, tell: Tell) -> Next {
        if self.record.told.as_deref() == Some(&*self.code(&tell)) {
            return self.conclude(&tell);
        }
        self.next(true, Action::Tell(tell))
    }

    /// The applicant knows, or cannot know.
    pub(super) fn conclude(&mut self, tell: &Tell) -> Next {
        let (step, finish) = match tell {
            Tell::Created { .. } | Tell::Queued => (Step::Done, Finish::Ack),
            Tell::Failed(failure) => (Step::Dead, Finish::DeadLetter(*failure)),
        };
        self.record.step = step;
        self.record.unsaid = 0;
        self.finish(true, finish)
    }

    /// The applicant does not know yet, and may in another run.
    pub(super) fn untold(&mut self, tell: &Tell) -> Next {
        match tell {
            _ if !self.plan.is_last => self.finish(false, Finish::Retry),
            // That there are no tries left for the account is no reason to keep the news from the applicant.
            _ if self.record.unsaid < LAST_WORDS => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.record.unsaid.min(16)).min(LONGEST_PAUSE);
                self.record.unsaid += 1;
                self.finish(true, Finish::Snooze(pause))
            }
            Tell::Failed(_) => {
                self.record.gave_up = true;
                self.conclude(tell)
            }
            // The account is there: who replays the dead letter makes another password, and tells it.
            Tell::Created { .. } | Tell::Queued => {
                (self.record.unsaid, self.record.gave_up) = (0, true);
                self.finish(true, Finish::DeadLetter(Failure::Untold))
            }
        }
    }

    /// Fails, and lets go of the record, which is another's. So nobody could remember how often it was tried to say so.
    pub(super) fn disown(&mut self, failure: Failure) -> Next {
        self.standing = Standing::None;
        self.record = RegistrationRecord { unsaid: LAST_WORDS, ..RegistrationRecord::default() };
        self.fail(failure)
    }

    pub(super) fn fail(&mut self, failure: Failure) -> Next {
        self.failing = Some(failure);
        self.tell(Tell::Failed(failure))
    }

    /// Later, when a password that the server may still be making is made: it would void the one that is told.
    pub(super) fn after_quiet(&mut self) -> Next {
        let quiet = self.plan.quiet;
        if !self.plan.is_last {
            self.finish(false, Finish::RetryAfter(quiet))
        } else if self.record.unsaid < LAST_WORDS {
            self.record.unsaid += 1;
            self.finish(true, Finish::Snooze(quiet))
        } else {
            self.again()
        }
    }

    /// Later, if there is a later.
    pub(super) fn again(&mut self) -> Next {
        if self.plan.is_last {
            self.fail(self.failing.unwrap_or(Failure::Exhausted))
        } else {
            self.finish(false, Finish::Retry)
        }
    }

    /// Whether a password is told with it.
    pub(super) fn has_secret(&self, tell: &Tell) -> bool {
        self.plan.has_password && matches!(tell, Tell::Created { .. })
    }

    /// The words under which it is remembered that this was told, with the reason: `created`, `queued`, `failed:login_taken`,
    /// `failed:refused_by_directory:email`. Another reason is other news.
    pub(super) fn code(&self, tell: &Tell) -> String {
        let why = match tell {
            Tell::Created { .. } => return "created".to_owned(),
            Tell::Queued => return "queued".to_owned(),
            Tell::Failed(Failure::RefusedField(field)) => Some(field.to_string()),
            Tell::Failed(Failure::Invalid) => self.plan.refusal.clone(),
            Tell::Failed(_) => None,
        };
        let Tell::Failed(failure) = tell else { return String::new() };
        let why = why.map(|why| format!(":{why}")).unwrap_or_default();
        format!("failed:{}{why}", failure.as_str())
    }
}

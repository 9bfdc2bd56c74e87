//! Plays a sequence on the model and on the server at the same time, and compares after each step.

use std::fmt::Write as _;

use crate::call::Call;
use crate::image::Image;
use crate::ledger::Ledger;
use crate::op::{Cast, Op};
use crate::queue::Queue;
use crate::server::{Outcome, Server};

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Played {
    pub(crate) sequences: u64,
    pub(crate) steps: u64,
    pub(crate) messages: u64,
}

impl std::ops::AddAssign for Played {
    fn add_assign(&mut self, more: Self) {
        self.sequences += more.sequences;
        self.steps += more.steps;
        self.messages += more.messages;
    }
}

/// Plays it all.
///
/// # Errors
/// The first step after which the two differ, or the books do not balance, and what the steps before it were.
pub(crate) async fn play(server: &mut Server, ops: &[Op]) -> Result<Played, String> {
    server.clear().await;
    let mut queue = Queue { run_id: server.run_id().to_owned(), ..Queue::default() };
    let (mut cast, mut ledger, mut calls) = (Cast::default(), Ledger::default(), Vec::new());
    for op in ops {
        let Some(call) = cast.call(op, &queue, server.seen_ms()) else { continue };
        let outcome = server.play(&call).await;
        let agreed = agree(&queue, &call, &outcome);
        let checked = agreed.and_then(|agreed| ledger.enter(&call, outcome).map(|()| agreed));
        calls.push(call);
        queue = checked.map_err(|wrong| story(&calls, &wrong))?;
    }
    Ok(Played { sequences: 1, steps: calls.len() as u64, messages: ledger.accepted })
}

/// The model after the call, if there is a moment at which the call may have run and that explains all.
fn agree(queue: &Queue, call: &Call, outcome: &Outcome) -> Result<Queue, String> {
    let rate = queue.control.number("rate").filter(|_| matches!(call, Call::Take(_)));
    let mut wrong = None;
    for now in outcome.when.moments(rate.is_some(), rate.and_then(|rate| paid_up_to_us(rate, outcome))) {
        let mut guess = queue.clone();
        let answer = guess.apply(now, call);
        let image = Image::of(&guess);
        if image == outcome.image && answer == outcome.answer {
            return Ok(guess);
        }
        wrong.get_or_insert_with(|| {
            let answers = format!("answer\n  model:  {answer:?}\n  server: {:?}", outcome.answer);
            Image::difference(&image, &outcome.image) + &answers
        });
    }
    Err(wrong.unwrap_or_default())
}

/// Up to when the rate was used up before this take paid for what it claimed.
fn paid_up_to_us(rate: f64, outcome: &Outcome) -> Option<f64> {
    let claimed = outcome.answer.get(9)?.len() as f64;
    let (_, used) = outcome.image.hash_of(":control").find(|(name, _)| *name == "tat")?;
    let used: f64 = std::str::from_utf8(used).ok()?.parse().ok()?;
    Some(used - claimed * 1_000_000.0 / rate)
}

/// What led to it, for a person to read.
fn story(calls: &[Call], wrong: &str) -> String {
    let mut story = String::new();
    for call in calls {
        let _ = writeln!(story, "{call:?}");
    }
    story + wrong
}

//! `valkit limit VERB`

mod check;
mod peek;
mod reset;
mod rules;
mod top;

use std::time::Duration;

use clap::{Args, Subcommand};
use valkey_ratelimit::{Limiter, Subject};

use crate::{context::Context, exit::Exit, failure::Failure};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Ask whether there is room, and charge for it; 6 is the exit code of a refusal
    Check(check::Arguments),
    /// Show how a limit stands, charging nothing
    Peek(peek::Arguments),
    /// Forget what a subject was charged
    Reset(reset::Arguments),
    /// Show who is nearest to a limit
    Top(top::Arguments),
}

/// Whom it is about.
#[derive(Args)]
struct Whom {
    /// An address, a network or any other text, as the rule counts
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// The subject is a text, even if it looks like an address
    #[arg(long)]
    text: bool,
}

pub(crate) async fn run(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Verb::Check(arguments) => check::run(arguments, context).await,
        Verb::Peek(arguments) => peek::run(arguments, context).await,
        Verb::Reset(arguments) => reset::run(arguments, context).await,
        Verb::Top(arguments) => top::run(arguments, context).await,
    }
}

/// One that waits as long for an answer as the settings say: nobody is in line behind a command.
async fn limiter(context: &Context) -> Result<Limiter, Failure> {
    let connection = context.connect().await?;
    let patience = connection.settings().read_timeout;
    Ok(Limiter::new(connection).with_deadline(patience))
}

impl Whom {
    fn subject(&self) -> Result<Subject, Failure> {
        let text = self.subject.as_str();
        if text.is_empty() {
            return Err(Failure::usage(
                "the subject is empty",
                "an address, a network or any other text; in a script, is its variable set?",
            ));
        }
        Ok(self.what_it_looks_like(text))
    }

    fn what_it_looks_like(&self, text: &str) -> Subject {
        if self.text {
            return Subject::text(text);
        }
        if let Ok(address) = text.parse() {
            return Subject::ip(address);
        }
        let network = text
            .split_once('/')
            .and_then(|(address, bits)| Some((address.parse().ok()?, bits.parse().ok()?)));
        network.map_or_else(|| Subject::text(text), |(address, bits)| Subject::network(address, bits))
    }
}

/// Whole milliseconds, rounded up: whoever waits that long has waited long enough.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn subjects_are_what_they_look_like() {
        let subject = |text: &str, force| {
            let subject = Whom { subject: text.to_owned(), text: force }.subject().ok().unwrap();
            (subject.as_str().to_owned(), subject.address().is_some())
        };
        assert_eq!(subject("::ffff:192.0.2.7", false), ("192.0.2.7".to_owned(), true));
        assert_eq!(subject("::ffff:192.0.2.7", true), ("::ffff:192.0.2.7".to_owned(), false));
        assert_eq!(subject("192.0.2.7/24", false), ("192.0.2.0/24".to_owned(), false));
        assert_eq!(subject("ada@example.org", false), ("ada@example.org".to_owned(), false));
        assert_eq!(subject("team/mail", false), ("team/mail".to_owned(), false));
    }

    #[test]
    fn nobody_is_told_to_come_too_early() {
        assert_eq!([0, 1, 1_000, 1_001].map(Duration::from_micros).map(millis), [0, 1, 1, 2]);
    }
}

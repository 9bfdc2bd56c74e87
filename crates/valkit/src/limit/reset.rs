//! `valkit limit reset`

use clap::Args;
use serde::Serialize;

use super::{Whom, limiter, rules::Origin};
use crate::{confirm::Guard, context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
The subject may then have all of its limit at once. What its networks were charged stays: they are subjects of their own, \
as in 192.0.2.0/24. Programs that were told to refuse it find out after a tenth of the window, at most 5 seconds.

Examples:
  valkit limit reset per-ip 192.0.2.7 --rules rules.toml --dry-run
  valkit limit reset per-ip 192.0.2.7 --rules rules.toml --yes";

#[derive(Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(crate) struct Arguments {
    /// A rule of the file
    rule: Option<String>,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    guard: Guard,
    #[command(flatten)]
    origin: Origin,
}

#[derive(Serialize)]
struct Done {
    rule: String,
    subject: String,
    dry_run: bool,
    /// Whether there was, or is, anything to forget.
    reset: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, whom, guard, origin } = arguments;
    let rule = origin.rule(rule.as_deref(), context)?;
    let subject = whom.subject();
    let limiter = limiter(context).await?;
    // Also so that no key goes that is somebody else's.
    let standing = limiter.peek(&rule, &subject, 1).await?;
    let mut reset = !standing.reset_after.is_zero();
    if !guard.dry_run && reset {
        let what = format!("This forgets what {subject} was charged under rule {}", rule.name());
        guard.confirm_by(&what, "the subject", subject.as_str())?;
        reset = limiter.reset(&rule, &subject).await?;
    }
    let done =
        Done { rule: rule.name().to_string(), subject: subject.to_string(), dry_run: guard.dry_run, reset };
    context.output.object(&done, || {
        let Done { rule, subject, .. } = &done;
        match (done.reset, done.dry_run) {
            (true, false) => format!("what {subject} was charged under rule {rule} is forgotten\n"),
            (true, true) => {
                format!(
                    "{subject} has {} left under rule {rule} (dry run: nothing was changed)\n",
                    standing.remaining
                )
            }
            (false, _) => format!("{subject} was charged nothing under rule {rule}\n"),
        }
    })?;
    Ok(Exit::Ok)
}

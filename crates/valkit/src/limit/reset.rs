//! `valkit limit reset`

use clap::Args;
use serde::Serialize;
use valkey_ratelimit::Usage;

use super::{Whom, limiter, rules::Origin};
use crate::{confirm::Guard, context::Context, exit::Exit, failure::Failure};

const EXAMPLES: &str = "\
Forgets the subject's own count: it may then have all of that at once. What its networks were charged stays, as they are subjects \
of their own, such as 192.0.2.0/24; one that refuses is named. Programs that were told to refuse it find out after a tenth of the \
window, at most 5 seconds.

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
    /// Whose count it is: of an address that counts with its network, the network.
    subject: String,
    dry_run: bool,
    /// Whether there was, or is, anything to forget.
    reset: bool,
    /// How much of it, as far as it still counted.
    used: u64,
    /// Networks of the subject that stay as they are, and refuse.
    still_refused_by: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { rule, whom, guard, origin } = arguments;
    let rule = origin.rule(rule.as_deref(), context)?;
    let subject = whom.subject()?;
    let limiter = limiter(context).await?;
    // Also so that no key goes that is somebody else's.
    let mut steps = limiter.peek_each(&rule, &subject, 1).await?.into_iter();
    let Some(Usage { subject: own, used, reset_after, .. }) = steps.next() else {
        return Err(Failure::Failed(format!("rule {} counts {subject} nowhere", rule.name())));
    };
    let still_refused_by: Vec<String> =
        steps.filter(|step| !step.retry_after.is_zero()).map(|step| step.subject).collect();
    let mut reset = !reset_after.is_zero();
    if !guard.dry_run && reset {
        let what = format!("This forgets what {own} was charged under rule {}: {used}", rule.name());
        guard.confirm_by(&what, "the subject", subject.as_str())?;
        reset = limiter.reset(&rule, &subject).await?;
    }
    let name = rule.name().to_string();
    let done = Done { rule: name, subject: own, dry_run: guard.dry_run, reset, used, still_refused_by };
    context.output.object(&done, || done.text())?;
    for network in &done.still_refused_by {
        let why = "its networks are subjects of their own";
        context
            .hint(&format!("{subject} is refused all the same: by {network}, which stays as it is ({why})"));
    }
    Ok(Exit::Ok)
}

impl Done {
    fn text(&self) -> String {
        let Self { rule, subject, used, .. } = self;
        match (self.reset, self.dry_run) {
            (true, false) => format!("what {subject} was charged under rule {rule} is forgotten: {used}\n"),
            (true, true) => format!(
                "what {subject} was charged under rule {rule} would be forgotten: {used} (dry run: nothing was changed)\n"
            ),
            (false, _) => format!("{subject} was charged nothing under rule {rule}\n"),
        }
    }
}

//! `valkit doctor`

use valkey_admin::{Diagnosis, Severity};
use valkey_envelope::QueueName;

use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::Format,
    text::{counted, printable},
};

const EXAMPLES: &str = "\
Reads only. Looks at every primary: whether it would refuse sends (a replica, memory full, replicas missing, cluster down, \
busy), version, memory policy, persistence, access rules, clock, and the rights this user lacks. And at every queue: \
foreign keys, expiries, consumers that are gone, messages nobody takes, dead letters. What the user may not ask is said.

Exit code 1 if something critical was found, with --strict also for warnings and checks that could not be made.

Examples:
  valkit doctor
  valkit doctor user-registrations --strict
  valkit doctor -o ndjson | jq -r 'select(.severity == \"critical\") | .what'";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only these queues, instead of all
    queues: Vec<QueueName>,
    /// Let warnings and unchecked things fail too
    #[arg(long)]
    strict: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let admin = context.admin().await?;
    let diagnosis = admin.doctor(&arguments.queues).await?;
    if context.output.format == Format::Ndjson {
        diagnosis.findings.iter().try_for_each(|finding| context.output.line(finding))?;
    } else {
        context.output.object(&diagnosis, || render(&diagnosis, context))?;
    }
    let bar = if arguments.strict { Severity::Unchecked } else { Severity::Critical };
    let mut missing = Ok(());
    for queue in &arguments.queues {
        if let Err(failure) = Failure::unless_there(&admin, queue).await {
            context.say_failure(&failure);
            missing = Err(failure);
        }
    }
    Ok(match missing {
        _ if diagnosis.worst().is_some_and(|worst| worst <= bar) => Exit::Failed,
        Err(failure) => failure.exit(),
        Ok(()) => Exit::Ok,
    })
}

fn render(diagnosis: &Diagnosis, context: &Context) -> String {
    let mut parts = Vec::new();
    for finding in &diagnosis.findings {
        let head = format!("{} {}", finding.severity.as_str().to_uppercase(), finding.about);
        let (what, why, remedy) =
            (printable(&finding.what), printable(&finding.why), printable(&finding.remedy));
        let head = context.output.bold(&printable(&head));
        parts.push(format!("{head}: {what}\n    why   {why}\n    do    {remedy}\n\n"));
    }
    let count = |severity| diagnosis.findings.iter().filter(|finding| finding.severity == severity).count();
    parts.push(format!(
        "{} critical, {}, {} unchecked, {}; looked at {} and {}\n",
        count(Severity::Critical),
        counted(count(Severity::Warning), "warning"),
        count(Severity::Unchecked),
        counted(count(Severity::Note), "note"),
        counted(diagnosis.servers.len(), "server"),
        counted(diagnosis.queues.len(), "queue"),
    ));
    parts.concat()
}

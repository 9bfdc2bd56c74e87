//! What the rules of access control keep the user of this connection from.

use std::collections::BTreeMap;

use valkey_connection::{Command, Connection, Node};
use valkey_envelope::{QueueKeys, QueueName};

use super::{
    Finding, Severity,
    facts::Known,
    needs::{KEYS, ROLES, is_keyless},
};
use crate::scripts::RIGHTS;

/// Queues asked about in one call.
const SLICE: usize = 16;

/// Stands in where there is no queue to ask about.
const STAND_IN: &str = "queue";

/// What the user may not do with one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lacks {
    keys: bool,
    /// For each role, the commands.
    commands: [Vec<&'static str>; ROLES.len()],
}

/// What is known of the user of this connection.
#[derive(Debug)]
pub(super) struct Rights {
    pub(super) server: String,
    /// Its name, if it may ask.
    user: Option<String>,
    /// Whether the queues were named by who asks, rather than found.
    named: bool,
    queues: Known<Vec<(Option<QueueName>, Lacks)>>,
}

pub(super) async fn gather(
    connection: &Connection,
    node: &Node,
    queues: impl Iterator<Item = &QueueName>,
    named: bool,
) -> Rights {
    let who = connection.execute_on(node, Command::new("ACL WHOAMI")).await;
    let user = who.and_then(valkey_connection::Reply::into_string).ok();
    let user = user.or_else(|| connection.settings().username.clone());
    let mut queues: Vec<Option<QueueName>> = queues.cloned().map(Some).collect();
    if queues.is_empty() {
        queues.push(None);
    }
    Rights { server: node.to_string(), user, named, queues: ask(connection, node, queues).await }
}

async fn ask(
    connection: &Connection,
    node: &Node,
    queues: Vec<Option<QueueName>>,
) -> Known<Vec<(Option<QueueName>, Lacks)>> {
    let mut answers = Vec::with_capacity(queues.len());
    let mut queues = queues.into_iter().peekable();
    while queues.peek().is_some() {
        let slice: Vec<_> = queues.by_ref().take(SLICE).collect();
        let mut command = Command::new("EVAL").arg(RIGHTS.source()).arg(0u64);
        for queue in &slice {
            let keys = match queue {
                Some(queue) => queue.keys(),
                None => STAND_IN.parse::<QueueName>().map_err(|error| error.to_string())?.keys(),
            };
            for question in questions() {
                let words: Vec<String> = question.split(' ').map(|word| resolved(word, &keys)).collect();
                command = command.arg(words.len()).args(words);
            }
        }
        let reply = connection
            .execute_on(node, command)
            .await
            .map_err(|error| error.server_message().map_or_else(|| error.to_string(), str::to_owned))?;
        let letters = reply.into_string().map_err(|error| error.to_string())?;
        let each = questions().count();
        let slice = slice.into_iter().zip(letters.as_bytes().chunks(each));
        answers.extend(slice.map(|(queue, letters)| (queue, read(letters))));
    }
    Ok(answers)
}

fn questions() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(ROLES.iter().flat_map(|role| role.commands.iter().copied()))
}

fn resolved(word: &str, keys: &QueueKeys) -> String {
    match word {
        "public" => keys.public().to_owned(),
        "woken" => keys.woken().to_owned(),
        "inflight" => keys.inflight("x"),
        "consumers" => keys.consumers().to_owned(),
        "redo" => keys.redo().to_owned(),
        "delayed" => keys.delayed().to_owned(),
        "dead" => keys.dead().to_owned(),
        "dead-body" => keys.dead_body().to_owned(),
        "dedup" => keys.dedup(0),
        "control" => keys.control().to_owned(),
        word => word.to_owned(),
    }
}

fn read(letters: &[u8]) -> Lacks {
    let mut letters = letters.iter().map(|letter| *letter == b'n');
    // Not `any`, which would leave the second letter where it is.
    let keys = KEYS.map(|_| letters.next().unwrap_or(false)).contains(&true);
    let commands = ROLES.map(|role| {
        let asked = role.commands.iter().zip(letters.by_ref());
        let lacking = asked.filter(|(_, lacks)| *lacks).map(|(command, _)| *command);
        // Without its key a command is refused whoever may run it.
        let lacking = lacking.filter(|command| !keys || is_keyless(command));
        lacking.map(|command| command.split(' ').next().unwrap_or(command)).collect()
    });
    Lacks { keys, commands }
}

// === impl Rights ===

impl Rights {
    pub(super) fn refuses_sends(&self) -> bool {
        match &self.queues {
            Ok(answers) => answers.iter().any(|(queue, lacks)| {
                !lacks.commands[0].is_empty() || (lacks.keys && self.named && queue.is_some())
            }),
            Err(why) => why.starts_with("NOPERM "),
        }
    }
}

pub(super) fn judge(rights: &Rights) -> Vec<Finding> {
    let about = rights.server.as_str();
    let user =
        rights.user.as_deref().map_or_else(|| "the user".to_owned(), |user| format!("the user `{user}`"));
    let setuser = format!("ACL SETUSER {}", rights.user.as_deref().unwrap_or("NAME"));
    let kept =
        "and ACL SAVE or CONFIG REWRITE, so that a restart keeps it; or ask as the user that does this";
    let answers = match &rights.queues {
        Ok(answers) => answers,
        Err(why) if why.starts_with("NOPERM ") => {
            return vec![Finding::new(
                Severity::Critical,
                about,
                format!("{user} may not send, receive or operate queues by script: it lacks `eval`"),
                format!(
                    "a script goes to the server with it; what else is lacking cannot be asked without it ({why})"
                ),
                format!("{setuser} +eval +evalsha, {kept}; then run the doctor again"),
            )];
        }
        Err(why) => return vec![Finding::unchecked(about, "which rights the user lacks", why)],
    };
    let mut findings = Vec::new();
    let keyless: Vec<&Option<QueueName>> =
        answers.iter().filter(|(_, lacks)| lacks.keys).map(|(queue, _)| queue).collect();
    match keyless.first() {
        Some(Some(queue)) if rights.named => findings.push(Finding::new(
            Severity::Critical,
            about,
            format!("{user} may not touch the keys of {}", listed(&keyless)),
            "sends to it and takes from it are refused with NOPERM",
            format!("{setuser} ~{} ~{}:*, {kept}", queue.keys().public(), queue.keys().tag()),
        )),
        Some(None) => findings.push(Finding::new(
            Severity::Unchecked,
            about,
            format!("could not find out which rights {user} lacks"),
            "rules for keys decide, and no queue is there to ask about",
            "name a queue: valkit doctor QUEUE",
        )),
        // Those that were found and may not be looked at say so themselves.
        _ => {}
    }
    let mut groups: BTreeMap<(usize, &[&str]), Vec<&Option<QueueName>>> = BTreeMap::new();
    for (queue, lacks) in answers {
        for (role, commands) in lacks.commands.iter().enumerate().filter(|(_, commands)| !commands.is_empty())
        {
            groups.entry((role, commands)).or_default().push(queue);
        }
    }
    for ((role, commands), queues) in groups {
        let Some(role) = ROLES.get(role) else { continue };
        let at =
            if queues.len() == answers.len() { String::new() } else { format!(", on {}", listed(&queues)) };
        let names: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
        let rules: Vec<String> = commands.iter().map(|command| format!("+{command}")).collect();
        findings.push(Finding::new(
            role.severity,
            about,
            format!("{user} may not {}{at}: it lacks {}", role.verb, names.join(", ")),
            role.why,
            format!("{setuser} {}, {kept}", rules.join(" ")),
        ));
    }
    findings
}

fn listed(queues: &[&Option<QueueName>]) -> String {
    let names: Vec<&str> = queues.iter().take(3).filter_map(|queue| Some(queue.as_ref()?.as_str())).collect();
    match queues.len() {
        1 => format!("queue {}", names.join("")),
        count if count <= names.len() => format!("queues {}", names.join(", ")),
        count => format!("{count} queues ({}, ...)", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_the_same_lack_are_one_finding() {
        let lacks = |letters: usize| {
            let mut answer = vec![b'y'; questions().count()];
            answer[letters] = b'n';
            read(&answer)
        };
        let queue = |name: &str| name.parse::<QueueName>().ok();
        let rights = Rights {
            server: "s".into(),
            user: Some("app".into()),
            named: false,
            queues: Ok(vec![
                (queue("a"), lacks(2)),
                (queue("b"), lacks(2)),
                (queue("c"), Lacks::default()),
                (queue("d"), lacks(0)),
            ]),
        };
        let findings = judge(&rights);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].what, "the user `app` may not send, on queues a, b: it lacks `evalsha`");
        assert!(findings[0].remedy.starts_with("ACL SETUSER app +evalsha, "), "{findings:#?}");
        let named = judge(&Rights { named: true, ..rights });
        assert_eq!(named[0].what, "the user `app` may not touch the keys of queue d");
        assert!(named[0].remedy.starts_with("ACL SETUSER app ~queue:d ~{queue:d}:*, "), "{named:#?}");
    }
}

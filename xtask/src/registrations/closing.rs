//! The end of a run: everything is ended, looked up, and entered into the books.

use anyhow::Result;

use super::audit::{self, Audit};
use super::case::Case;
use super::letters::Letters;
use super::needles::Needles;
use super::resp::Resp;
use super::site::SERVICE;
use super::workplace::Programs;
use super::world::World;
use crate::books::Books;

/// Calls of FreeIPA that one consumer may have under way.
const CALLS_AT_A_TIME: u64 = 4;

/// Ends everything and looks all of it up.
pub(crate) fn close(mut world: World, programs: &Programs, books: &mut Books) -> Result<Audit> {
    world.display.end();
    let all = world.consumers.count();
    books.equal("in the end", "consumers that end well when told to", &all, &world.consumers.stop()?);
    let left = world.backlog()?;
    books.equal("in the end", "messages left in the queue", &0, &left.open());
    let letters = Letters::read(&programs.valkit, &world.valkey.url())?;
    let audit = audit::audit(&world.sent, &world.double, letters)?;
    books.equal("in the end", "registrations of which anything is wrong", &0, &audit.total(|row| row.wrong));
    books.equal("in the end", "accounts, messages, dead letters unexplained", &0, &audit.unexplained.len());
    let (directory, stats) = (world.double.directory()?, world.double.stats()?);
    books.equal(
        "in the end",
        "accounts in the group of all",
        &audit.total(|row| row.accounts),
        &Audit::members(&directory),
    );
    books.equal("in the end", "the service account is locked", &false, &audit::service_is_locked(&directory));
    let most = CALLS_AT_A_TIME * all as u64;
    let seen = stats.in_flight_most;
    books.holds("in the end", "calls of FreeIPA at a time", &format!("at most {most}"), seen, seen <= most);
    nothing_told(&world, &audit, books)?;
    books.figure("registrations pushed", world.pushed as f64, "");
    books.figure("consumers killed", world.consumers.killed as f64, "");
    books.figure("calls of FreeIPA", stats.calls.values().sum::<u64>() as f64, "");
    books.figure("logins of the consumers", *stats.logins_by_user.get(SERVICE).unwrap_or(&0) as f64, "");
    books.figure("reports that were sent again", audit.repeated as f64, "");
    books.figure("reports delivered", world.double.messages()?.len() as f64, "");
    Ok(audit)
}

/// Whether any secret, or anything about a person, is where it must not be.
fn nothing_told(world: &World, audit: &Audit, books: &mut Books) -> Result<()> {
    const SCENE: &str = "secrets";
    let passwords = audit.passwords.iter().map(String::as_str);
    let others = world.double.secrets.iter().map(String::as_str).chain(["MagBearerToken"]);
    let secrets = Needles::new(passwords.chain(others));
    let personal = Needles::new(world.sent.iter().flat_map(Case::personal));
    let mut enter = |what: &str, needles: &Needles, hay: &[u8]| {
        let (lines, first) = needles.lines(hay);
        if let Some(first) = first {
            eprintln!("        {what}: {first}");
        }
        books.equal(SCENE, what, &0, &lines);
    };
    let words: Vec<u8> = world.consumers.words()?.into_iter().flat_map(|(_, text)| text).collect();
    enter("lines of logs and metrics with a secret", &secrets, &words);
    enter("lines of logs and metrics about a person", &personal, &words);
    enter("lines of Valkey's files with a secret", &secrets, &world.valkey.written()?);
    let mut resp = Resp::connect(world.valkey.address())?;
    let (mut all, mut records) = (Vec::new(), Vec::new());
    for key in resp.keys("*")? {
        let content = [vec![key.clone()], resp.content(&key)?].concat().join(&b'\n');
        if !key.starts_with(b"{queue:") && !key.starts_with(b"queue:") {
            records.extend_from_slice(&content);
            records.push(b'\n');
        }
        all.extend_from_slice(&content);
        all.push(b'\n');
    }
    enter("values in Valkey with a secret", &secrets, &all);
    // Of a person a record has the login, which is most of a name, and nothing else.
    enter("values of records about a person", &personal, &records);
    books.holds(
        SCENE,
        "passwords that were told, and looked for",
        "more than 0",
        audit.passwords.len(),
        !audit.passwords.is_empty(),
    );
    Ok(())
}

/// How many passwords were ever set.
pub(crate) fn passwords(world: &World) -> Result<usize> {
    Ok(world.double.directory()?.history.iter().filter(|event| event.is("password_set")).count())
}

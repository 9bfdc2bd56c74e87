//! The books of the registrations: each is looked up in the directory, in its chat, and among the dead letters.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::case::{Account, Case, Told};
use super::double::{Directory, Double, Message, User};
use super::kind::Kind;
use super::letters::Letters;
use super::site::{EVERYBODY, SERVICE};
use super::text::{Access, Texts};

/// The registrations of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) sent: usize,
    /// Accounts that they have.
    pub(crate) accounts: usize,
    /// Applicants that read something.
    pub(crate) told: usize,
    pub(crate) dead_letters: usize,
    /// Registrations that came to nothing: no account where there must be one, and no dead letter.
    pub(crate) lost: usize,
    /// Registrations of which anything is not as it must be.
    pub(crate) wrong: usize,
}

/// What was found of all registrations.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Audit {
    pub(crate) rows: Vec<Row>,
    /// Everything that is not as it must be.
    pub(crate) problems: Vec<String>,
    /// Accounts and dead letters that no registration explains.
    pub(crate) unexplained: Vec<String>,
    /// Messages beyond the first about a registration.
    pub(crate) repeated: usize,
    /// Every password that was told.
    #[serde(skip)]
    pub(crate) passwords: Vec<String>,
}

/// Whether an account has a password.
type HasPassword<'a> = dyn Fn(&str, &str) -> Result<bool> + 'a;

/// Where everything is looked up.
struct Evidence<'a> {
    has_password: &'a HasPassword<'a>,
    texts: Texts,
    directory: &'a Directory,
    /// How often each login came to be.
    created: BTreeMap<&'a str, usize>,
    by_chat: BTreeMap<i64, Vec<&'a Message>>,
}

/// What was found of one registration.
#[derive(Debug, Default)]
struct Finding {
    account: bool,
    told: bool,
    letters: usize,
    lost: bool,
    repeated: usize,
    problems: Vec<String>,
}

/// Looks all of them up in the doubles.
pub(crate) fn audit(cases: &[Case], double: &Double, letters: Letters) -> Result<Audit> {
    let has_password = |login: &str, password: &str| double.has_password(login, password);
    compare(cases, &double.directory()?, &double.messages()?, letters, &has_password)
}

fn compare(
    cases: &[Case],
    directory: &Directory,
    messages: &[Message],
    mut letters: Letters,
    has_password: &HasPassword<'_>,
) -> Result<Audit> {
    let mut created: BTreeMap<&str, usize> = BTreeMap::new();
    for event in directory.history.iter().filter(|event| event.is("created")) {
        *created.entry(&event.subject).or_default() += 1;
    }
    let mut by_chat: BTreeMap<i64, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        by_chat.entry(message.chat).or_default().push(message);
    }
    let mut evidence = Evidence { has_password, texts: Texts::read()?, directory, created, by_chat };
    let mut audit =
        Audit { passwords: messages.iter().filter_map(Message::code).collect(), ..Audit::default() };
    let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
    // Of several in one chat each has its own messages.
    let mut read: BTreeMap<i64, usize> = BTreeMap::new();
    for case in cases {
        let finding = evidence.look_up(case, &mut letters, &mut read)?;
        let row = rows.entry(case.kind).or_insert_with(|| Row::of(case.kind));
        row.sent += 1;
        row.accounts += usize::from(finding.account);
        row.told += usize::from(finding.told);
        row.dead_letters += finding.letters;
        audit.repeated += finding.repeated;
        row.lost += usize::from(finding.lost);
        row.wrong += usize::from(!finding.problems.is_empty());
        audit.problems.extend(finding.problems.iter().map(|problem| format!("{}: {problem}", case.title())));
    }
    for (chat, messages) in &evidence.by_chat {
        let known = read.get(chat).copied().unwrap_or_default();
        if known < messages.len() {
            audit
                .unexplained
                .push(format!("chat {chat}: {} messages, {known} of them expected", messages.len()));
        }
    }
    audit.unexplained.extend(evidence.created.keys().map(|login| format!("the account {login}")));
    audit.unexplained.extend(letters.left().into_iter().map(|letter| format!("the dead letter {letter}")));
    audit.rows = rows.into_values().collect();
    Ok(audit)
}

impl Row {
    fn of(kind: Kind) -> Self {
        Self { kind, name: kind.name(), sent: 0, accounts: 0, told: 0, dead_letters: 0, lost: 0, wrong: 0 }
    }
}

impl<'a> Evidence<'a> {
    fn look_up(
        &mut self,
        case: &Case,
        letters: &mut Letters,
        read: &mut BTreeMap<i64, usize>,
    ) -> Result<Finding> {
        let mut finding = Finding::default();
        let mut id = case.id.clone();
        if let Some(account) = &case.expected.account {
            let user = self.account(case, account, &mut finding);
            // One that it brought none itself has its id from the consumer: the marker says which.
            id = id.or_else(|| user.and_then(marker));
        }
        let reference = id.map(|id| format!("#{}", &id[id.len().saturating_sub(8)..]));
        let known = self.told(case, reference.as_deref(), &mut finding)?;
        *read.entry(case.chat).or_default() += known;
        finding.repeated = known.saturating_sub(1);
        let found = letters.take(&case.mark);
        finding.letters = found.len();
        let expected = case.expected.dead;
        let as_expected = match &found[..] {
            [] => expected.is_empty(),
            [(reason, _)] => expected.contains(&reason.as_str()),
            _ => false,
        };
        if !as_expected {
            finding.problems.push(format!("dead letters {found:?} instead of {expected:?}"));
        }
        finding.lost = found.is_empty() && !(case.expected.account.is_some() && finding.account);
        Ok(finding)
    }

    /// The account, which must have come to be once.
    fn account(&mut self, case: &Case, account: &Account, finding: &mut Finding) -> Option<&'a User> {
        let times = self.created.remove(account.login.as_str()).unwrap_or_default();
        if times != 1 {
            finding.problems.push(format!("the account {} was made {times} times", account.login));
        }
        let user = self.directory.users.iter().find(|user| user.login == account.login)?;
        finding.account = true;
        let mut expect = |what: &str, expected: Option<&str>, found: Option<&str>| {
            if expected != found {
                finding.problems.push(format!("{what} is {found:?} instead of {expected:?}"));
            }
        };
        let one = |name: &str| match user.attributes.get(name).map(Vec::as_slice) {
            None | Some([]) => None,
            Some([one]) => Some(one.as_str()),
            Some(_) => Some("(several)"),
        };
        expect("the place", Some("active"), Some(&user.container.to_lowercase()));
        expect("the given name", Some(&account.first_name), one("givenname"));
        expect("the family name", Some(&account.last_name), one("sn"));
        expect("the mail address", account.email.as_deref(), one("mail"));
        expect("the phone number", account.phone.as_deref(), one("telephonenumber"));
        if let Some(id) = &case.id {
            expect("the marker", Some(id), marker(user).as_deref());
        }
        for group in account.groups.iter().filter(|group| !user.groups.iter().any(|name| name == *group)) {
            finding.problems.push(format!("{} is not in {group}", account.login));
        }
        if case.expected.told == Told::Created && !user.has_password {
            finding.problems.push(format!("{} has no password", account.login));
        }
        Some(user)
    }

    /// How many messages in the chat are about this registration.
    fn told(&self, case: &Case, reference: Option<&str>, finding: &mut Finding) -> Result<usize> {
        let none = Vec::new();
        let messages = self.by_chat.get(&case.chat).unwrap_or(&none);
        let mine: Vec<&&Message> =
            messages.iter().filter(|message| self.is_about(case, reference, message)).collect();
        finding.told = !mine.is_empty();
        match (case.expected.told == Told::Nothing, mine.is_empty()) {
            (false, true) => {
                let read: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
                finding.problems.push(format!("nobody told it {:?}, but {read:?}", case.expected.told));
            }
            (true, false) => finding.problems.push("somebody told what was to be told to nobody".to_owned()),
            _ => {}
        }
        if case.expected.told == Told::Created
            && let (Some(last), Some(account)) = (mine.last(), &case.expected.account)
        {
            let password = last.code().unwrap_or_default();
            if !(self.has_password)(&account.login, &password)? {
                finding
                    .problems
                    .push("the password that was told last is not that of the account".to_owned());
            }
            if mine.iter().any(|message| !message.protected) {
                finding.problems.push("a message with a password may be passed on".to_owned());
            }
        }
        Ok(mine.len())
    }

    /// Whether it is just what this applicant must read, to the letter.
    fn is_about(&self, case: &Case, reference: Option<&str>, message: &Message) -> bool {
        let Some((_, said)) = message.text.rsplit_once('#') else { return false };
        let said =
            format!("#{}", said.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default());
        // Of what came to nothing and brought no id nobody knows it but the consumer.
        let reference = reference.unwrap_or(&said);
        let language = case.person.language;
        let login = case.expected.account.as_ref().map_or("", |account| &account.login);
        let code = message.code();
        let expected = match &case.expected.told {
            Told::Nothing => return false,
            Told::Created => {
                let Some(password) = &code else { return false };
                self.texts.created(language, login, Access::Password(password), reference)
            }
            Told::CreatedUntold => self.texts.created(language, login, Access::Untold, reference),
            Told::Failed(problems) => self.texts.failed(language, problems, reference),
            Told::HasAccount => self.texts.has_account(language, reference),
            Told::Unexpected => self.texts.unexpected(language, reference),
        };
        message.text == expected
    }
}

/// The id in the marker of an account.
fn marker(user: &User) -> Option<String> {
    user.attributes.get("userclass")?.iter().find_map(|class| class.strip_prefix("tgreg:").map(str::to_owned))
}

/// Whether the service account can still log in.
pub(crate) fn service_is_locked(directory: &Directory) -> bool {
    directory.users.iter().any(|user| user.login == SERVICE && user.locked)
}

impl Audit {
    /// As a table for people.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let numbers = [row.sent, row.accounts, row.told, row.dead_letters, row.lost, row.wrong];
                std::iter::once(row.name.to_owned())
                    .chain(numbers.map(|number| number.to_string()))
                    .chain([if row.wrong == 0 { "yes" } else { "NO" }.to_owned()])
                    .collect()
            })
            .collect();
        let heads =
            ["registrations", "sent", "accounts", "told", "dead letters", "lost", "wrong", "balances"];
        crate::faults::aligned(&heads, &rows, 1)
    }

    /// The sum over all kinds.
    pub(crate) fn total(&self, of: fn(&Row) -> usize) -> usize {
        self.rows.iter().map(of).sum()
    }

    /// Who is in the group that everybody is in: as a cross-check, counted the other way round.
    pub(crate) fn members(directory: &Directory) -> usize {
        directory.users.iter().filter(|user| user.groups.iter().any(|group| group == EVERYBODY)).count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::registrations::case::Chat;
    use crate::registrations::generate;

    /// All that is found of one plain registration, as it must be.
    struct Found {
        case: Case,
        user: Json,
        history: Vec<Json>,
        messages: Vec<Json>,
        letters: Vec<(&'static str, &'static str)>,
    }

    impl Found {
        fn new(kind: Kind) -> Self {
            let case = generate::cases(100, 1).into_iter().find(|case| case.kind == kind).unwrap();
            let (person, id) = (&case.person, case.id.clone().unwrap_or_default());
            let account = case.expected.account.clone();
            let user = account.as_ref().map_or(Json::Null, |account| {
                json!({
                    "login": account.login, "container": "Active", "groups": account.groups,
                    "has_password": true, "locked": false,
                    "attributes": {
                        "givenname": [account.first_name], "sn": [account.last_name], "mail": [person.email],
                        "telephonenumber": [person.phone], "userclass": [format!("tgreg:{id}")],
                    },
                })
            });
            let history =
                account.iter().map(|account| json!({"change": "created", "subject": account.login}));
            let history = history.collect();
            let mut found = Self { case, user, history, messages: Vec::new(), letters: Vec::new() };
            found.tell("first");
            found.tell("second");
            found
        }

        /// One more message, as it must be.
        fn tell(&mut self, password: &str) {
            let case = &self.case;
            let texts = Texts::read().unwrap();
            let (language, reference) =
                (case.person.language, format!("#{}", &case.id.as_ref().unwrap()[28..]));
            let text = match (&case.expected.told, &case.expected.account) {
                (Told::Created, Some(account)) => {
                    texts.created(language, &account.login, Access::Password(password), &reference)
                }
                (Told::Failed(problems), _) => texts.failed(language, problems, &reference),
                _ => return,
            };
            let offset = text.find(password).map_or(0, |at| text[..at].encode_utf16().count());
            let entities = json!([{"type": "code", "offset": offset, "length": password.len()}]);
            self.messages
                .push(json!({"chat": case.chat, "text": text, "entities": entities, "protected": true}));
        }

        /// What is wrong with it, and what is left over.
        fn audit(&self) -> (Vec<String>, Vec<String>, Row) {
            let users: Vec<&Json> = Some(&self.user).into_iter().filter(|user| !user.is_null()).collect();
            let directory = serde_json::from_value(json!({"users": users, "history": self.history})).unwrap();
            let messages: Vec<Message> = serde_json::from_value(json!(self.messages)).unwrap();
            let letters = Letters::of(self.letters.iter().map(|(name, reason)| (*name, *reason)));
            let has_password = |_: &str, password: &str| Ok(password == "second");
            let audit =
                compare(std::slice::from_ref(&self.case), &directory, &messages, letters, &has_password)
                    .unwrap();
            (audit.problems, audit.unexplained, audit.rows[0].clone())
        }

        /// Whether something is wrong with it that is said in these words.
        fn is_wrong(&self, words: &str) -> bool {
            let (problems, unexplained, row) = self.audit();
            let said = problems.iter().chain(&unexplained).any(|text| text.contains(words));
            assert!(said, "`{words}` is not in {problems:?} {unexplained:?}");
            row.wrong == 1 || !unexplained.is_empty()
        }
    }

    #[test]
    fn what_is_as_it_must_be_balances() {
        let (problems, unexplained, row) = Found::new(Kind::Fresh).audit();
        assert!(problems.is_empty() && unexplained.is_empty(), "{problems:?} {unexplained:?}");
        assert_eq!((row.sent, row.accounts, row.told, row.lost, row.wrong), (1, 1, 1, 0, 0));
        assert_eq!(Found::new(Kind::Fresh).case.chat_state, Chat::Open);
    }

    #[test]
    fn accounts_that_are_not_as_they_must_be_are_found() {
        let mut twice = Found::new(Kind::Fresh);
        twice.history.push(twice.history[0].clone());
        assert!(twice.is_wrong("was made 2 times"));
        let mut never = Found::new(Kind::Fresh);
        (never.user, never.history) = (Json::Null, Vec::new());
        assert!(never.is_wrong("was made 0 times"));
        assert_eq!(never.audit().2.lost, 1);
        let mut stranger = Found::new(Kind::Fresh);
        stranger.history.push(json!({"change": "created", "subject": "somebody"}));
        assert!(stranger.is_wrong("the account somebody"));
        for (pointer, value, words) in [
            ("/attributes/sn", json!(["-"]), "the family name"),
            ("/attributes/mail", json!(["a@b.example", "c@d.example"]), "the mail address"),
            ("/attributes/userclass", json!(["tgreg:another"]), "the marker"),
            ("/groups", json!([EVERYBODY]), "is not in tg-"),
            ("/container", json!("Preserved"), "the place"),
            ("/has_password", json!(false), "has no password"),
        ] {
            let mut found = Found::new(Kind::Fresh);
            *found.user.pointer_mut(pointer).unwrap() = value;
            assert!(found.is_wrong(words), "{pointer}");
        }
    }

    #[test]
    fn messages_that_are_not_as_they_must_be_are_found() {
        let mut silent = Found::new(Kind::Fresh);
        silent.messages.clear();
        assert!(silent.is_wrong("nobody told it"));
        let mut stale = Found::new(Kind::Fresh);
        stale.tell("first");
        assert!(stale.is_wrong("not that of the account"));
        let mut loose = Found::new(Kind::Fresh);
        loose.messages[0]["protected"] = false.into();
        assert!(loose.is_wrong("may be passed on"));
        let mut other = Found::new(Kind::BadPhone);
        other.messages[0]["text"] = "Something else".into();
        assert!(other.is_wrong("2 messages, 1 of them expected"));
        let mut unwanted = Found::new(Kind::Nobody);
        unwanted.messages.push(json!({"chat": 5, "text": "Hello", "entities": [], "protected": false}));
        assert!(unwanted.is_wrong("chat 5"));
    }

    #[test]
    fn dead_letters_that_are_not_as_they_must_be_are_found() {
        let mut found = Found::new(Kind::BadPhone);
        assert!(found.is_wrong("dead letters []"));
        assert_eq!(found.audit().2.lost, 1);
        let mark: &'static str = found.case.mark.clone().leak();
        found.letters = vec![(mark, "exhausted")];
        assert!(found.is_wrong("exhausted"));
        found.letters = vec![(mark, "invalid_registration"), (mark, "invalid_registration")];
        assert!(found.is_wrong("dead letters [("));
        found.letters = vec![(mark, "invalid_registration"), ("another", "malformed")];
        assert!(found.is_wrong("the dead letter another"));
        found.letters = vec![(mark, "invalid_registration")];
        assert_eq!(found.audit().2.wrong, 0, "{:?}", found.audit());
    }
}

//! Makes registrations of every kind, and says of each what must come of it.

use serde_json::{Value as Json, json};

use super::case::{Account, Case, Chat, Expected, Told};
use super::kind::Kind;
use super::person::Person;
use super::random::Random;
use super::site::{EVERYBODY, MISSING_GROUP, OPEN_GROUPS, OTHER_GROUPS, PLACEHOLDER, QUEUE, SEALED_GROUP};

/// Names that would do harm where a name is taken for something else, and what becomes of each.
const HOSTILE: [(&str, &str, &str, &str); 5] = [
    ("<b>Robert", "&_*[`{login}", "<b>Robert", "&_*[`{login}"),
    ("Ro\u{202e}bert", "Tab\tles\u{200b}", "Robert", "Tab les"),
    ("\"; DROP TABLE users; --", "${jndi:ldap://x}", "\"; DROP TABLE users; --", "${jndi:ldap://x}"),
    ("  Robert\r\nX-Injected: 1  ", "O'Brien=(uid=*)", "Robert X-Injected: 1", "O'Brien=(uid=*)"),
    ("*)(uid=*", "\\2a \u{1f600}", "*)(uid=*", "\\2a \u{1f600}"),
];

/// What no message may choose.
const FORBIDDEN: [(&str, &str); 5] = [
    ("uidNumber", "0"),
    ("setattr", "\"memberof=admins\""),
    ("userclass", "\"tgreg:somebody-else\""),
    ("Password", "\"let-me-in\""),
    ("nsAccountLock", "false"),
];

/// All registrations of a run, in the order in which they are sent.
pub(crate) fn cases(count: usize, seed: u64) -> Vec<Case> {
    let mut random = Random::new(seed);
    let mut kinds = Kind::shares(count);
    random.shuffle(&mut kinds);
    kinds
        .into_iter()
        .enumerate()
        .map(|(number, kind)| Draft::new(number, kind, &mut random).finish())
        .collect()
}

/// One more with nothing special about it.
pub(crate) fn fresh(number: usize, random: &mut Random) -> Case {
    Draft::new(number, Kind::Fresh, random).finish()
}

/// The same person again, with another registration: one account is enough.
pub(crate) fn second_account(of: &Case, number: usize, random: &mut Random) -> Case {
    let mut draft = Draft::new(number, Kind::SecondAccount, random);
    let id = of.person.id;
    draft.payload["telegram"]["user_id"] = id.into();
    draft.payload["telegram"]["chat_id"] = id.into();
    draft.payload["telegram"]["language_code"] = of.person.language_code.into();
    draft.case.person.id = id;
    draft.case.person.language = of.person.language;
    (draft.case.asked_in, draft.case.chat) = (id, id);
    draft.case.expected = Expected { account: None, told: Told::HasAccount, dead: &["has_account"] };
    draft.finish()
}

/// Somebody else with the same mail address.
pub(crate) fn same_email(of: &Case, number: usize, random: &mut Random) -> Case {
    let mut draft = Draft::new(number, Kind::SameEmail, random);
    draft.payload["email"] = of.person.email.to_uppercase().into();
    draft.fail(&[("email", "email_taken")], &["email_taken"]);
    draft.finish()
}

/// A registration in the making.
struct Draft<'a> {
    case: Case,
    payload: Json,
    random: &'a mut Random,
}

impl<'a> Draft<'a> {
    /// One with nothing special about it.
    fn new(number: usize, kind: Kind, random: &'a mut Random) -> Self {
        let person = Person::new(number, kind == Kind::Cyrillic || random.below(3) == 0, random);
        let id = random.uuid();
        let group = *random.pick(&OPEN_GROUPS);
        let payload = json!({
            "schema": 1,
            "registration_id": id,
            "created_at": "2026-11-21T20:31:00Z",
            "source": "telegram-bot",
            "telegram": {"user_id": person.id, "chat_id": person.id, "username": format!("nick{number}"), "message_id": 10},
            "first_name": person.first_name,
            "last_name": person.last_name,
            "email": person.email,
            "phone": person.phone,
            "requested_login": person.own_login,
            "groups": [group],
            "consent": {"accepted_at": "2026-11-21T20:30:00Z", "policy_version": "3"},
            "campaign": {"name": "autumn", "step": 2},
        });
        let account = Account {
            login: person.own_login.clone(),
            first_name: person.first_name.clone(),
            last_name: person.last_name.clone(),
            email: Some(person.email.clone()),
            phone: Some(person.phone.clone()),
            groups: vec![EVERYBODY, group],
        };
        let case = Case {
            number,
            kind,
            element: Vec::new(),
            again: 0,
            mark: random.uuid(),
            id: Some(id),
            asked_in: person.id,
            chat: person.id,
            chat_state: Chat::Open,
            expected: Expected { account: Some(account), told: Told::Created, dead: &[] },
            person,
        };
        let mut draft = Self { case, payload, random };
        if let Some(code) = draft.case.person.language_code {
            draft.payload["telegram"]["language_code"] = code.into();
        }
        draft
    }

    fn finish(mut self) -> Case {
        self.specialise();
        if self.case.element.is_empty() {
            self.case.element = self.envelope();
        }
        self.case
    }

    /// What makes it one of its kind, if that comes to an account.
    fn specialise(&mut self) {
        match self.case.kind {
            Kind::Fresh | Kind::SecondAccount | Kind::SameEmail => {}
            Kind::Redelivered => self.case.again = 1 + self.random.below(2),
            Kind::GoInline | Kind::GoBase64 => self.payload = self.go_names(),
            Kind::Cyrillic => self.derive_login(),
            Kind::NoLastName => {
                self.set("last_name", ["null", "\"\"", "\"  \""][self.case.number % 3]);
                PLACEHOLDER.clone_into(&mut self.account().last_name);
            }
            Kind::WithoutId => {
                self.set("registration_id", "\"00000000-0000-0000-0000-000000000000\"");
                self.case.id = None;
            }
            Kind::DerivedTaken => {
                self.derive_login();
                self.account().login.push('2');
            }
            Kind::HostileName => {
                let (first, last, first_kept, last_kept) = *self.random.pick(&HOSTILE);
                self.payload["first_name"] = first.into();
                self.payload["last_name"] = last.into();
                first_kept.clone_into(&mut self.account().first_name);
                last_kept.clone_into(&mut self.account().last_name);
            }
            Kind::Flaky => self.case.chat_state = Chat::Flaky,
            Kind::Unreachable => {
                let states = [Chat::Blocked, Chat::Deactivated, Chat::NotFound, Chat::NotStarted];
                self.case.chat_state = *self.random.pick(&states);
                self.case.expected.told = Told::Nothing;
            }
            Kind::Group => self.ask_in_a_group(),
            Kind::SealedGroup => self.half(SEALED_GROUP),
            Kind::MissingGroup => self.half(MISSING_GROUP),
            _ => self.spoil(),
        }
    }

    /// What makes it one of its kind, if that comes to nothing.
    fn spoil(&mut self) {
        match self.case.kind {
            Kind::TakenLogin => self.fail(&[("requested_login", "login_taken")], &["login_taken"]),
            Kind::GroupNameLogin => {
                self.payload["requested_login"] = (*self.random.pick(&OTHER_GROUPS)).into();
                self.fail(&[("requested_login", "login_taken")], &["login_taken"]);
            }
            Kind::ReservedLogin => {
                let reserved = ["root", "@Admin", EVERYBODY, SEALED_GROUP, super::site::SERVICE];
                self.payload["requested_login"] = (*self.random.pick(&reserved)).into();
                self.refuse(&[("requested_login", "login_reserved")]);
            }
            Kind::LongLogin => {
                self.payload["requested_login"] = "l".repeat(33).into();
                self.refuse(&[("requested_login", "too_long")]);
            }
            Kind::DigitsLogin => {
                self.payload["requested_login"] = self.case.person.id.to_string().into();
                self.refuse(&[("requested_login", "login_characters")]);
            }
            Kind::CyrillicLogin => {
                self.payload["requested_login"] = "петров".into();
                self.refuse(&[("requested_login", "login_characters")]);
            }
            Kind::BadPhone => {
                let (phone, why) = [("позвоните мне", "character"), ("none", "syntax")][self.case.number % 2];
                self.payload["phone"] = phone.into();
                self.refuse(&[("phone", why)]);
            }
            Kind::BadEmail => {
                let emails =
                    [("nobody", "syntax"), ("anna@localhost", "syntax"), ("анна@example.org", "character")];
                let (email, why) = emails[self.case.number % 3];
                self.payload["email"] = email.into();
                self.refuse(&[("email", why)]);
            }
            Kind::TwoFaults => {
                self.set("email", "\"@\"");
                self.set("phone", "\"12\"");
                self.refuse(&[("email", "syntax"), ("phone", "syntax")]);
            }
            Kind::ForeignGroup => {
                self.payload["groups"] = json!([OPEN_GROUPS[0], "admins"]);
                self.refuse(&[("groups", "group")]);
            }
            Kind::NoConsent => {
                self.set("consent", "false");
                self.refuse(&[("consent", "consent")]);
            }
            Kind::Nobody => {
                self.payload["telegram"] = json!({"username": "somebody"});
                self.refuse(&[]);
                self.case.expected.told = Told::Nothing;
            }
            Kind::Forbidden => self.choose_what_is_forbidden(),
            Kind::Malformed => {
                let (field, value) =
                    [("first_name", "42"), ("last_name", "[\"a\"]"), ("email", "true")][self.case.number % 3];
                self.set(field, value);
                self.fail(&[(field, "malformed")], &["malformed"]);
            }
            Kind::Newer => {
                self.set("schema", "2");
                self.case.expected =
                    Expected { account: None, told: Told::Unexpected, dead: &["unsupported_schema"] };
            }
            Kind::NoRegistration => self.be_no_registration(),
            Kind::NoEnvelope => self.be_no_envelope(),
            Kind::Expired => {
                self.case.expected = Expected { account: None, told: Told::Nothing, dead: &["expired"] };
            }
            _ => {}
        }
    }

    /// Asks for no login, so that one is made of the names.
    fn derive_login(&mut self) {
        self.set("requested_login", "null");
        self.account().login = self.case.person.derived_login.clone();
    }

    /// The answer goes to a group, where a password is not told.
    fn ask_in_a_group(&mut self) {
        self.case.chat = -1_000_000 - i64::from(self.case.number as u32);
        self.case.asked_in = self.case.chat;
        self.payload["telegram"]["chat_id"] = self.case.chat.into();
        self.case.expected.told = Told::CreatedUntold;
        if self.case.number.is_multiple_of(3) {
            let to = -1_002_000_000_000 - i64::from(self.case.number as u32);
            self.case.chat_state = Chat::Migrated { to };
            self.case.chat = to;
        }
    }

    /// Asks for a group that nobody can put it into: the account stays, and somebody has to look.
    fn half(&mut self, group: &'static str) {
        self.payload["groups"] = json!([group]);
        self.account().groups = vec![EVERYBODY];
        self.case.expected.told = Told::Unexpected;
        // The last of its tries may meet a fault, and that is what is told of it then.
        self.case.expected.dead = &["partial_group", "exhausted"];
    }

    fn choose_what_is_forbidden(&mut self) {
        let (name, value) = *self.random.pick(&FORBIDDEN);
        if self.random.below(2) == 0 {
            self.set(name, value);
        } else {
            self.payload["profile"] = json!({"more": [{}]});
            self.payload["profile"]["more"][0][name] = parsed(value);
        }
        self.fail(&[("message", "forbidden")], &["forbidden_field"]);
    }

    /// An envelope around something else.
    fn be_no_registration(&mut self) {
        self.payload = [json!([1, 2, 3]), json!("hello"), json!(42), json!({}), Json::Null]
            [self.case.number % 5]
            .clone();
        let reason: &[&str] =
            if self.payload.is_object() { &["invalid_registration"] } else { &["malformed"] };
        self.case.expected = Expected { account: None, told: Told::Nothing, dead: reason };
        self.case.id = None;
    }

    /// Bytes that are no envelope at all.
    fn be_no_envelope(&mut self) {
        let mark = format!("poison-{:05}", self.case.number);
        let bytes = match self.case.number % 4 {
            0 => format!("{{\"id\":\"{mark}\",\"payload\":{{\"first_name\":"),
            1 => format!("{mark}\n\u{1f4a3}"),
            2 => format!("[\"{mark}\"]"),
            _ => format!("{{\"id\":\"{mark}\",\"payload\":1,\"ttl\":\"24h\"}}"),
        };
        self.case.element = bytes.into_bytes();
        self.case.mark = mark;
        self.case.id = None;
        self.case.expected = Expected { account: None, told: Told::Nothing, dead: &["undecodable"] };
    }

    /// The applicant is at fault, or unlucky, and hears why.
    fn fail(&mut self, problems: &[(&'static str, &'static str)], dead: &'static [&'static str]) {
        self.case.expected = Expected { account: None, told: Told::Failed(problems.to_vec()), dead };
    }

    fn refuse(&mut self, problems: &[(&'static str, &'static str)]) {
        self.fail(problems, &["invalid_registration"]);
    }

    fn account(&mut self) -> &mut Account {
        self.case.expected.account.as_mut().expect("a draft begins with an account, and these kinds keep it")
    }

    fn set(&mut self, field: &str, json: &str) {
        self.payload[field] = parsed(json);
    }

    /// The same registration as a Go program writes it.
    fn go_names(&mut self) -> Json {
        let person = &self.case.person;
        let account = self.case.expected.account.as_ref();
        json!({
            "RegistrationID": self.case.id,
            // A double, as Go makes one of a number without a type.
            "ChatID": person.id as f64,
            "UserID": person.id.to_string(),
            "Username": null,
            "FirstName": person.first_name,
            "LastName": person.last_name,
            "Email": person.email,
            "PhoneNumber": person.phone,
            "RequestedLogin": person.own_login.to_uppercase(),
            "LanguageCode": person.language_code.unwrap_or_default(),
            "Groups": account.map(|account| account.groups.join(",")),
            "CreatedAt": "2026-11-21T23:31:00.000000001+03:00",
            "Consent": true,
            "Retries": 0,
        })
    }

    /// What is pushed.
    fn envelope(&self) -> Vec<u8> {
        let payload = if self.case.kind == Kind::GoBase64 {
            base64(self.payload.to_string().as_bytes()).into()
        } else {
            self.payload.clone()
        };
        let mut envelope = json!({"id": self.case.mark, "queue": QUEUE, "payload": payload});
        if matches!(self.case.kind, Kind::GoInline | Kind::GoBase64) {
            envelope["headers"] = Json::Null;
            envelope["retries"] = 0.into();
            envelope["metadata"] = Json::Null;
        } else {
            envelope["kind"] = "registration".into();
        }
        if self.case.kind == Kind::Expired {
            envelope["timestamp"] = "2026-01-01T00:00:00Z".into();
            envelope["ttl"] = 1_000_000_000_u64.into();
        }
        envelope.to_string().into_bytes()
    }
}

fn parsed(json: &str) -> Json {
    serde_json::from_str(json).unwrap_or_default()
}

/// Standard base64 with padding, as Go writes bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let padded = digit > chunk.len();
            text.push(if padded { '=' } else { DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_registrations() {
        let elements = |seed| cases(100, seed).into_iter().map(|case| case.element).collect::<Vec<_>>();
        assert_eq!(elements(1), elements(1));
        assert_ne!(elements(1), elements(2));
    }

    #[test]
    fn accounts_ids_and_marks_are_everybodys_own() {
        let cases = cases(1000, 1);
        let distinct = |of: &dyn Fn(&Case) -> Option<String>| {
            let all: Vec<String> = cases.iter().filter_map(of).collect();
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        };
        distinct(&|case| case.expected.account.as_ref().map(|account| account.login.clone()));
        distinct(&|case| case.id.clone());
        distinct(&|case| Some(case.mark.clone()));
    }

    #[test]
    fn nobody_is_forgotten_in_the_expectations() {
        for case in cases(1000, 9) {
            let Expected { account, told, dead } = &case.expected;
            assert!(account.is_some() || !dead.is_empty(), "{}: it would be lost", case.title());
            let is_whole = account.is_some() && dead.is_empty();
            let says_so = matches!(told, Told::Created | Told::CreatedUntold | Told::Nothing);
            assert_eq!(is_whole, says_so && account.is_some(), "{}", case.title());
        }
    }

    #[test]
    fn base64_is_the_usual_one() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}

//! Telegram as people would read it: against a double that parses what it is sent.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use freeipa_consumer::login::Login;
use freeipa_consumer::registration::{FieldMap, RegistrationId, UserRegistrationData};
use freeipa_consumer::status::{
    Access, News, Recipient, Report, ReportError, StatusReporter, Telegram, TelegramSettings, Unreachable,
};
use freeipa_consumer::text::{Pages, Texts};
use freeipa_double::{ChatState, FaultRule, TelegramAction, TelegramConfig, TelegramDouble, TelegramFault};

struct World {
    double: TelegramDouble,
    telegram: Telegram,
}

async fn world() -> World {
    let double = TelegramDouble::start(TelegramConfig::new()).await.unwrap();
    let mut settings = TelegramSettings::new(double.token().into()).base_url(double.url());
    settings.timeout = Duration::from_secs(2);
    let pages = Pages::new(Some("https://id.example.org/?a=1&b=2".to_owned()), None);
    let texts = Texts::load(&"en".parse().unwrap(), None, pages).unwrap();
    let telegram = Telegram::new(&settings, Arc::new(texts)).unwrap();
    World { double, telegram }
}

impl World {
    fn arm(&self, fault: TelegramFault) {
        self.double.faults().arm(FaultRule::new("sendMessage", fault));
    }

    fn chat(&self, chat: i64, state: ChatState) {
        self.double.apply(TelegramAction::SetChat { chat, state }).unwrap();
    }

    /// What people read in a chat.
    fn texts(&self, chat: i64) -> Vec<String> {
        self.double.messages_to(chat).into_iter().map(|message| message.text).collect()
    }
}

fn report(chat_id: i64, language: &str, news: News) -> Report {
    let id: RegistrationId = "0190abcd-0000-7000-8000-0123456789ab".parse().unwrap();
    Report::new(id, Recipient::new(None, Some(chat_id), Some(language.to_owned())).unwrap(), news)
}

fn created(login: &str, password: &str) -> News {
    News::Created { login: Login::of_directory(login), access: Access::TemporaryPassword(password.into()) }
}

#[tokio::test]
async fn hostile_names_and_every_password_arrive_as_they_are() {
    let world = world().await;
    assert_eq!(world.telegram.check().await.unwrap(), "double_bot");
    let printable: String = (' '..='~').collect();
    // Eleven characters at a time, so that each stands at the edge of a password as well.
    let passwords = printable.as_bytes().windows(11).map(|part| String::from_utf8_lossy(part).into_owned());
    let logins = ["<b>&_*[", "</b></code>", "&lt;", "{login}", "a\"href='x'>"];
    let mut expected = Vec::new();
    for (number, password) in passwords.step_by(5).chain([printable.clone()]).enumerate() {
        let login = logins[number % logins.len()];
        let _ = world.telegram.report(&report(42, "en", created(login, &password))).await.unwrap();
        expected.push((login, password));
    }
    let messages = world.double.messages_to(42);
    assert_eq!(messages.len(), expected.len());
    for (message, (login, password)) in messages.iter().zip(&expected) {
        // Blanks at the end of what is marked are Telegram's to trim.
        assert!(message.text.contains(&format!("account {login} is ready")), "{}", message.text);
        assert!(message.text.contains(password.trim()), "{password} is not in {}", message.text);
        assert!(message.protected && message.without_preview && message.parse_mode.is_some());
    }
}

#[tokio::test]
async fn every_text_of_every_language_is_one_that_telegram_takes() {
    let world = world().await;
    let refusal = UserRegistrationData::parse(b"{\"email\":7}", &FieldMap::default()).unwrap_err();
    for language in ["en", "de", "ru"] {
        for news in [
            created("ada", "x"),
            News::Created { login: Login::of_directory("ada"), access: Access::Untold },
            News::refused(&refusal),
            News::login_taken(),
            News::Queued,
            News::Unexpected,
        ] {
            let _ = world.telegram.report(&report(42, language, news)).await.unwrap();
        }
    }
    let messages = world.double.messages_to(42);
    assert_eq!(messages.len(), 18);
    assert!(messages.iter().all(|message| message.parse_mode.is_some()), "none had to go out as plain text");
}

#[tokio::test]
async fn who_cannot_be_told_is_known_by_why() {
    let world = world().await;
    for (state, expected) in [
        (ChatState::Blocked, Unreachable::Blocked),
        (ChatState::Deactivated, Unreachable::Deactivated),
        (ChatState::NotStarted, Unreachable::NeverMet),
        (ChatState::NotFound, Unreachable::NoChat),
        (ChatState::Kicked, Unreachable::NotInChat),
    ] {
        world.chat(42, state);
        let error = world.telegram.report(&report(42, "en", News::Queued)).await.unwrap_err();
        assert!(matches!(error, ReportError::Unreachable(why) if why == expected), "{state:?}: {error}");
    }
    world.chat(-100, ChatState::Migrated { to: -1_001 });
    let told = world.telegram.report(&report(-100, "en", created("ada", "canary"))).await.unwrap();
    assert_eq!(told.moved_to, Some(-1_001));
    assert!(!world.texts(-1_001)[0].contains("canary"));
}

#[tokio::test]
async fn the_bot_waits_when_it_is_told_to_and_never_sends_into_a_pause() {
    let world = world().await;
    world.arm(TelegramFault::TooMany { retry_after: 1 });
    for _ in 0..3 {
        let _ = world.telegram.report(&report(42, "en", News::Queued)).await.unwrap();
    }
    assert_eq!(world.texts(42).len(), 3);
    assert_eq!(world.double.stats().impatient, 0);
}

#[tokio::test]
async fn what_was_delivered_and_not_answered_may_be_told_again() {
    let world = world().await;
    for fault in [TelegramFault::DeliverThenHang, TelegramFault::DeliverThenDrop, TelegramFault::Deliver500] {
        world.arm(fault.clone());
        let error = world.telegram.report(&report(42, "en", News::Queued)).await.unwrap_err();
        assert!(matches!(error, ReportError::Uncertain { .. }), "{fault:?}: {error}");
        assert!(!format!("{error} {error:?}").contains(&world.double.token()));
    }
    let _ = world.telegram.report(&report(42, "en", News::Queued)).await.unwrap();
    let texts = world.texts(42);
    assert_eq!(texts.len(), 4);
    assert!(texts.iter().all(|text| text == &texts[0] && text.contains("#456789ab")));
}

#[tokio::test]
async fn a_token_that_was_revoked_is_trouble_and_not_the_applicants() {
    let world = world().await;
    let other = "110201543:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    world.double.apply(TelegramAction::SetToken { token: other }).unwrap();
    let error = world.telegram.report(&report(42, "en", News::Queued)).await.unwrap_err();
    assert!(matches!(error, ReportError::Misconfigured { .. }), "{error}");
    assert!(matches!(world.telegram.check().await.unwrap_err(), ReportError::Misconfigured { .. }));
}

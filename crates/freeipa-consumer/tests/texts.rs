//! Texts as applicants read them, and as operators change them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use freeipa_consumer::login::LoginRule;
use freeipa_consumer::registration::{Field, FieldMap, RegistrationId, UserRegistrationData};
use freeipa_consumer::status::{Access, News, Recipient, Report};
use freeipa_consumer::text::{Pages, TextFault, Texts};

fn texts(directory: Option<&Path>) -> Texts {
    let pages = Pages::new(
        Some("https://id.example.org/?a=1&b=2".to_owned()),
        Some("https://id.example.org/reset".to_owned()),
    );
    Texts::load(&"en".parse().unwrap(), directory, pages).unwrap()
}

fn report(language: Option<&str>, chat_id: i64, news: News) -> Report {
    let id: RegistrationId = "0190abcd-0000-7000-8000-0123456789ab".parse().unwrap();
    Report::new(id, Recipient::new(Some(42), Some(chat_id), language.map(str::to_owned)).unwrap(), news)
}

fn created(access: Access) -> News {
    News::Created { login: LoginRule::default().take("apetrova").unwrap(), access }
}

#[test]
fn every_news_has_a_text_in_every_language_and_names_the_request() {
    let texts = texts(None);
    let refusal =
        UserRegistrationData::parse(b"{\"email\":7,\"phone\":true}", &FieldMap::default()).unwrap_err();
    for language in ["en", "de", "ru"] {
        for news in [
            created(Access::TemporaryPassword("pw".into())),
            created(Access::ResetPage),
            created(Access::Untold),
            News::refused(&refusal),
            News::login_taken(),
            News::email_taken(),
            News::has_account(),
            News::refused_by_directory(Field::Email),
            News::Queued,
            News::Unexpected,
        ] {
            let text = texts.render(&report(Some(language), 42, news.clone()));
            assert!(text.plain.contains("#456789ab"), "{language} {news:?}");
            assert!(!text.plain.contains("\n\n\n") && !text.plain.contains('{'), "{}", text.plain);
            assert!(!text.plain.contains(": \n") && !text.plain.ends_with(": "), "{}", text.plain);
        }
    }
    let text = texts.render(&report(Some("ru"), 42, News::login_taken())).plain;
    assert!(text.contains("логин: это имя занято"), "{text}");
}

#[test]
fn every_reason_that_there_is_has_words() {
    // Each reason is rendered where it stands; one without words would leave the line open.
    let texts = texts(None);
    for message in [
        r#"{"first_name":7}"#,
        r#"{"first_name":"a","FirstName":"b"}"#,
        r#"{"uidnumber":1}"#,
        r#"{"created_at":"x"}"#,
        "[]",
        "junk",
        r#"{"user_id":1e18}"#,
    ] {
        let refusal = UserRegistrationData::parse(message.as_bytes(), &FieldMap::default()).unwrap_err();
        for language in ["en", "de", "ru"] {
            let text = texts.render(&report(Some(language), 42, News::refused(&refusal))).plain;
            let line = text.lines().find(|line| line.starts_with("– ")).unwrap();
            let (field, reason) = line[4..].split_once(": ").unwrap();
            assert!(!field.is_empty() && !reason.is_empty(), "{message}: {line}");
        }
    }
}

#[test]
fn nobody_is_told_to_correct_what_only_others_can() {
    let texts = texts(None);
    let newer = UserRegistrationData::parse(br#"{"schema":9}"#, &FieldMap::default()).unwrap_err();
    assert_eq!(News::refused(&newer), News::Unexpected);
    for (language, correct, hear) in [
        ("en", "register again. Request", "hear from us"),
        ("de", "berichtigen Sie", "hören von uns"),
        ("ru", "Исправьте", "вам сообщим"),
    ] {
        for news in [News::has_account(), News::refused(&newer), News::Queued] {
            let text = texts.render(&report(Some(language), 42, news)).plain;
            assert!(!text.contains(correct) && !text.contains(hear), "{text}");
        }
    }
}

#[test]
fn files_with_texts_of_earlier_versions_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let old = "[reasons]\nhas_account = \"x\"\nunsupported = \"x\"\n";
    std::fs::write(directory.path().join("de.toml"), old).unwrap();
    let text = texts(Some(directory.path())).render(&report(Some("de"), 42, News::has_account())).plain;
    assert!(text.contains("schon ein Konto"), "what the file lacks is that of the built-in language: {text}");
}

#[test]
fn the_language_is_the_applicants_or_a_wider_one_or_the_default() {
    let texts = texts(None);
    for (code, expected) in [
        (Some("ru"), "ru"),
        (Some("ru-RU"), "ru"),
        (Some("RU_ru"), "ru"),
        (Some("de-CH-1996"), "de"),
        (Some("fr"), "en"),
        (Some("../../etc"), "en"),
        (Some(""), "en"),
        (None, "en"),
    ] {
        assert_eq!(texts.language_for(code), expected, "{code:?}");
    }
}

#[test]
fn a_password_is_told_in_private_only_and_arrives_whole() {
    let texts = texts(None);
    let password: String = (' '..='~').collect();
    let news = created(Access::TemporaryPassword(password.as_str().into()));
    let private = texts.render(&report(None, 42, news.clone()));
    assert!(private.plain.contains(&password), "{}", private.plain);
    assert!(private.html.contains("&lt;=&gt;?@A") && private.html.contains("%&amp;'("), "{}", private.html);
    for chat_id in [-100, 43] {
        let public = texts.render(&report(None, chat_id, news.clone()));
        assert!(!public.plain.contains("ABC") && !public.html.contains("ABC"), "{}", public.plain);
    }
    let report = report(None, 42, news);
    assert!(!format!("{report:?} {private:?}").contains("ABC"));
}

#[test]
fn links_are_whole_in_both_forms() {
    let text = texts(None).render(&report(None, 42, created(Access::ResetPage)));
    assert!(text.plain.contains("Sign in here: https://id.example.org/?a=1&b=2"), "{}", text.plain);
    assert!(text.html.contains("?a=1&amp;b=2") && text.plain.contains("https://id.example.org/reset"));
}

#[test]
fn operators_change_single_texts_and_add_languages() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("en.toml", "queued = \"Wait, {reference}\"\n[reasons]\nlogin_taken = \"gone\"\n");
    write("fr.toml", &include_str!("../templates/en.toml").replace("is ready", "est prêt"));
    write("README.md", "not a text");
    let texts = texts(Some(directory.path()));
    assert_eq!(texts.render(&report(Some("en"), 42, News::Queued)).plain, "Wait, #456789ab");
    assert!(texts.render(&report(Some("en"), 42, News::login_taken())).plain.contains("login: gone"));
    assert!(texts.render(&report(Some("fr-CA"), 42, created(Access::Untold))).plain.contains("est prêt"));
    assert!(texts.render(&report(Some("ru"), 42, News::Queued)).plain.contains("Заявка"));
}

#[test]
fn slips_are_told_with_file_key_and_placeholder() {
    let directory = tempfile::tempdir().unwrap();
    let load = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
        let result = Texts::load(&"en".parse().unwrap(), Some(directory.path()), Pages::default());
        std::fs::remove_file(directory.path().join(name)).unwrap();
        result.expect_err(text)
    };
    for (text, key, shown) in [
        (
            "queued = \"{reference} {name}\"",
            Some("queued"),
            "queued: the placeholder {name} is not known here; known are {reference}",
        ),
        ("queued = \"soon\"", Some("queued"), "the placeholder {reference} is missing"),
        ("queued = \"<p>{reference}</p>\"", Some("queued"), "<p> is no tag"),
        ("queued = \"\"", Some("queued"), "it is empty"),
        ("queued = 7", Some("queued"), "expected a text"),
        ("queue = \"{reference}\"", Some("queue"), "there is no such text"),
        ("[reasons]\nmissing = \"{field}\"", Some("reasons.missing"), "{field} is not known"),
        ("[reasons]\nlate = \"x\"", Some("reasons.late"), "no such text"),
        ("[fields]\nemail = \"a > b\"", Some("fields.email"), "&gt;"),
        ("queued = ", None, "line 1"),
    ] {
        let errors = load("en.toml", text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].key.as_deref(), key, "{text}");
        assert!(
            errors[0].file.ends_with("en.toml") && errors[0].to_string().contains(shown),
            "{}",
            errors[0]
        );
    }
    let errors = load("pt-br.toml", "queued = \"{reference}\"");
    assert!(errors.iter().any(|error| error.key.as_deref() == Some("reasons.login_taken")), "{errors:?}");
    assert!(errors.iter().all(|error| error.fault == TextFault::Missing));
    assert_eq!(load("русский.toml", "")[0].fault, TextFault::NotALanguage);
    let nowhere = directory.path().join("nowhere");
    let errors = Texts::load(&"en".parse().unwrap(), Some(&nowhere), Pages::default()).unwrap_err();
    assert!(matches!(errors[0].fault, TextFault::Unreadable(_)));
    let errors = Texts::load(&"tlh".parse().unwrap(), None, Pages::default()).unwrap_err();
    assert_eq!(errors[0].fault, TextFault::NoDefault);
}

#[test]
fn a_pipe_among_the_texts_is_told_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("en.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let errors = Texts::load(&"en".parse().unwrap(), Some(directory.path()), Pages::default()).unwrap_err();
    assert!(errors[0].to_string().contains("it is no regular file"), "{errors:?}");
}

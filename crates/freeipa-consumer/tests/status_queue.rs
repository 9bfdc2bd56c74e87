//! Reports on a queue, as the bot that reads it finds them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use freeipa_consumer::login::LoginRule;
use freeipa_consumer::registration::{FieldMap, RegistrationId, UserRegistrationData};
use freeipa_consumer::status::{Access, News, Recipient, Report, ReportError, StatusQueue, StatusReporter};
use freeipa_consumer::text::{Pages, Texts};
use serde_json::Value;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{Envelope, PayloadCodec, PayloadCodecs};
use valkey_sender::SenderSettings;
use valkey_testkit::{TestServer, unique_name};

#[derive(Debug)]
struct Mirror;

impl PayloadCodec for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }

    fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(plain.iter().rev().copied().collect())
    }

    fn decode(&self, coded: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        self.encode(coded)
    }
}

struct Queue {
    name: String,
    reporter: StatusQueue,
}

async fn queue(settings: SenderSettings, codecs: Vec<Arc<dyn PayloadCodec>>) -> Queue {
    let name = unique_name("status");
    let connection = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
    let connection = Connection::connect(&connection).await.unwrap();
    let texts = Arc::new(Texts::load(&"en".parse().unwrap(), None, Pages::default()).unwrap());
    let reporter = StatusQueue::open(connection, name.parse().unwrap(), &settings, codecs, texts);
    Queue { name, reporter }
}

impl Queue {
    /// All messages, the oldest first.
    async fn messages(&self) -> Vec<String> {
        let server = TestServer::shared().await;
        let mut messages = Vec::new();
        loop {
            let message = server.cli(&["--raw", "RPOP", &format!("queue:{}", self.name)]).await.unwrap();
            if message.trim().is_empty() {
                return messages;
            }
            messages.push(message.trim_end().to_owned());
        }
    }
}

fn report(chat_id: i64, news: News) -> Report {
    let id: RegistrationId = "0190abcd-0000-7000-8000-0123456789ab".parse().unwrap();
    Report::new(id, Recipient::new(Some(42), Some(chat_id), Some("ru-RU".to_owned())).unwrap(), news)
}

fn created(access: Access) -> News {
    News::Created { login: LoginRule::default().take("apetrova").unwrap(), access }
}

fn password() -> Access {
    Access::TemporaryPassword("canary<&>".into())
}

fn payload(message: &str) -> Value {
    Envelope::decode(message.as_bytes()).unwrap().payload_as().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_json_that_a_bot_can_act_on_and_has_no_password() {
    let queue = queue(SenderSettings::default(), Vec::new()).await;
    let _ = queue.reporter.report(&report(42, created(password()))).await.unwrap();
    let refusal = UserRegistrationData::parse(b"{\"email\":7}", &FieldMap::default()).unwrap_err();
    let _ = queue.reporter.report(&report(-100, News::refused(&refusal))).await.unwrap();
    let messages = queue.messages().await;
    assert!(!messages.concat().contains("canary"));
    assert_eq!(Envelope::decode(messages[0].as_bytes()).unwrap().kind(), Some("registration-status"));
    let status = payload(&messages[0]);
    for (field, expected) in [
        ("schema", Value::from(1)),
        ("registration_id", "0190abcd-0000-7000-8000-0123456789ab".into()),
        ("reference", "#456789ab".into()),
        ("status", "created".into()),
        ("chat_id", 42.into()),
        ("user_id", 42.into()),
        ("language", "ru".into()),
        ("login", "apetrova".into()),
    ] {
        assert_eq!(status[field], expected, "{field}");
    }
    assert!(
        status["text"].as_str().unwrap().contains("готова")
            && status["html"].as_str().unwrap().contains("<b>")
    );
    let status = payload(&messages[1]);
    assert_eq!((&status["status"], &status["chat_id"]), (&Value::from("failed"), &Value::from(-100)));
    assert_eq!(status["problems"], serde_json::json!([{"field": "email", "reason": "malformed"}]));
    assert_eq!(status.get("login"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_written_only_if_that_was_asked_for_and_only_for_the_person() {
    let mut queue = queue(SenderSettings::default(), Vec::new()).await;
    queue.reporter = queue.reporter.with_passwords(true);
    for chat_id in [42, -100] {
        let _ = queue.reporter.report(&report(chat_id, created(password()))).await.unwrap();
    }
    let messages = queue.messages().await;
    let status = payload(&messages[0]);
    assert_eq!(status["password"], "canary<&>");
    assert!(status["text"].as_str().unwrap().contains("canary<&>"));
    assert!(!messages[1].contains("canary"));
    assert!(!format!("{:?}", queue.reporter).contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_report_is_queued_once_within_a_window_and_a_new_password_always() {
    let window = SenderSettings::default().dedup_window(Some(Duration::from_mins(10)));
    let mut queue = queue(window, Vec::new()).await;
    for _ in 0..2 {
        let _ = queue.reporter.report(&report(42, News::Queued)).await.unwrap();
    }
    let _ = queue.reporter.report(&report(42, News::Unexpected)).await.unwrap();
    assert_eq!(queue.messages().await.len(), 2);
    queue.reporter = queue.reporter.with_passwords(true);
    for _ in 0..2 {
        let _ = queue.reporter.report(&report(42, created(password()))).await.unwrap();
    }
    assert_eq!(queue.messages().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn codecs_code_what_is_on_the_queue() {
    let queue = queue(SenderSettings::default(), vec![Arc::new(Mirror)]).await;
    let _ = queue.reporter.report(&report(42, News::Queued)).await.unwrap();
    let message = queue.messages().await.remove(0);
    assert!(!message.contains("0190abcd"), "{message}");
    let codecs = PayloadCodecs::new().with(Arc::new(Mirror));
    let opened = codecs.open(Envelope::decode(message.as_bytes()).unwrap()).unwrap();
    assert_eq!(opened.payload_as::<Value>().unwrap()["status"], "queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_no_news_told() {
    let settings = SenderSettings::default().max_length(Some(1)).bounded(true);
    let queue = queue(settings, Vec::new()).await;
    let _ = queue.reporter.report(&report(42, News::Queued)).await.unwrap();
    let error = queue.reporter.report(&report(42, News::Unexpected)).await.unwrap_err();
    assert!(matches!(error, ReportError::Unavailable { .. }), "{error}");
    let settings = SenderSettings::default().max_message_bytes(64);
    let queue = self::queue(settings, Vec::new()).await;
    let error = queue.reporter.report(&report(42, News::Queued)).await.unwrap_err();
    assert!(matches!(error, ReportError::Misconfigured { .. }), "{error}");
}

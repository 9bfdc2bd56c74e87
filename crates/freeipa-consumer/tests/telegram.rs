//! Telegram over real HTTP, against a server that answers as it is told.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use freeipa_consumer::login::LoginRule;
use freeipa_consumer::registration::RegistrationId;
use freeipa_consumer::status::{
    Access, News, Recipient, Report, ReportError, StatusReporter, Telegram, TelegramError, TelegramSettings,
    Unreachable,
};
use freeipa_consumer::text::{Pages, Texts};
use futures::future::join_all;
use serde_json::{Value, json};

const TOKEN: &str = "123456:canary-token_A";
const PASSWORD: &str = "p<&>\"'`*_~|w";

/// What the server does with one call.
#[derive(Clone, Debug)]
enum Reply {
    Sent,
    Error(u16, &'static str, Value),
    Raw(u16, &'static str),
    Redirect,
    Hang,
}

#[derive(Clone, Default)]
struct Bot {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone, Debug)]
struct Call {
    path: String,
    body: Value,
    at: Instant,
}

impl Bot {
    /// A server with these replies, after which everything is sent.
    async fn start(replies: impl IntoIterator<Item = Reply>) -> (Self, SocketAddr) {
        let bot = Self { replies: Arc::new(Mutex::new(replies.into_iter().collect())), ..Self::default() };
        let app = Router::new().fallback(answer).with_state(bot.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (bot, address)
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(State(bot): State<Bot>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    bot.calls.lock().unwrap().push(Call {
        path: parts.uri.path().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        at: Instant::now(),
    });
    let reply = bot.replies.lock().unwrap().pop_front().unwrap_or(Reply::Sent);
    match reply {
        Reply::Sent if parts.uri.path().ends_with("getMe") => {
            json!({"ok": true, "result": {"id": 123_456, "is_bot": true, "username": "a_bot"}})
                .to_string()
                .into_response()
        }
        Reply::Sent => {
            json!({"ok": true, "result": {"message_id": 7, "chat": {"id": 42}}}).to_string().into_response()
        }
        Reply::Error(code, description, parameters) => {
            let body = json!({"ok": false, "error_code": code, "description": description, "parameters": parameters});
            (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
        }
        Reply::Raw(code, body) => (StatusCode::from_u16(code).unwrap(), body).into_response(),
        Reply::Redirect => (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}

fn settings(address: SocketAddr) -> TelegramSettings {
    let mut settings = TelegramSettings::new(TOKEN.into()).base_url(format!("http://{address}/"));
    settings.patience = Duration::from_secs(20);
    settings
}

fn telegram_of(settings: &TelegramSettings) -> Result<Telegram, TelegramError> {
    let pages = Pages::new(Some("https://id.example.org".to_owned()), None);
    Telegram::new(settings, Arc::new(Texts::load(&"en".parse().unwrap(), None, pages).unwrap()))
}

async fn telegram(replies: impl IntoIterator<Item = Reply>) -> (Telegram, Bot) {
    let (bot, address) = Bot::start(replies).await;
    (telegram_of(&settings(address)).unwrap(), bot)
}

fn report(chat_id: i64, news: News) -> Report {
    let id: RegistrationId = "0190abcd-0000-7000-8000-0123456789ab".parse().unwrap();
    Report::new(id, Recipient::new(None, Some(chat_id), None).unwrap(), news)
}

fn created() -> Report {
    let login = LoginRule::default().take("ada").unwrap();
    report(42, News::Created { login, access: Access::TemporaryPassword(PASSWORD.into()) })
}

#[tokio::test]
async fn a_password_goes_out_as_html_without_preview_and_cannot_be_forwarded() {
    let (telegram, bot) = telegram([]).await;
    let told = telegram.report(&created()).await.unwrap();
    assert_eq!((told.message_id, told.moved_to), (Some(7), None));
    let call = &bot.calls()[0];
    assert_eq!(call.path, format!("/bot{TOKEN}/sendMessage"));
    assert_eq!((&call.body["chat_id"], &call.body["parse_mode"]), (&json!(42), &json!("HTML")));
    assert_eq!(
        (&call.body["protect_content"], &call.body["link_preview_options"]),
        (&json!(true), &json!({"is_disabled": true}))
    );
    let text = call.body["text"].as_str().unwrap();
    assert!(text.contains("<code>p&lt;&amp;&gt;&quot;'`*_~|w</code>"), "{text}");
    let _ = telegram.report(&report(42, News::Queued)).await.unwrap();
    assert_eq!(bot.calls()[1].body["protect_content"], json!(false));
    assert_eq!(telegram.check().await.unwrap(), "a_bot");
}

#[tokio::test]
async fn a_text_that_is_not_understood_goes_out_once_more_as_plain_text() {
    let parse = || Reply::Error(400, "Bad Request: can't parse entities: unexpected end tag", json!({}));
    let (telegram, bot) = telegram([parse()]).await;
    assert_eq!(telegram.report(&created()).await.unwrap().message_id, Some(7));
    let calls = bot.calls();
    assert_eq!((calls.len(), calls[1].body.get("parse_mode")), (2, None));
    assert!(calls[1].body["text"].as_str().unwrap().contains(PASSWORD));
    let (telegram, bot) = self::telegram([parse(), parse()]).await;
    let error = telegram.report(&created()).await.unwrap_err();
    assert!(matches!(error, ReportError::Unreachable(Unreachable::Rejected)), "{error}");
    assert_eq!(bot.calls().len(), 2);
}

#[tokio::test]
async fn a_chat_that_has_moved_is_followed_and_hears_no_password() {
    let moved =
        Reply::Error(400, "Bad Request: group chat was upgraded", json!({"migrate_to_chat_id": -1001}));
    let (telegram, bot) = telegram([moved]).await;
    let told = telegram.report(&created()).await.unwrap();
    assert_eq!((told.message_id, told.moved_to), (Some(7), Some(-1001)));
    let call = &bot.calls()[1];
    assert_eq!(call.body["chat_id"], json!(-1001));
    assert!(!call.body["text"].as_str().unwrap().contains("p&lt;"), "{:?}", call.body);
}

#[tokio::test]
async fn when_telegram_says_wait_everybody_waits_and_it_costs_nobody_anything() {
    let flooded = Reply::Error(429, "Too Many Requests: retry after 2", json!({"retry_after": 2}));
    let (telegram, bot) = telegram([flooded]).await;
    let telegram = Arc::new(telegram);
    let begun = Instant::now();
    let reports: Vec<_> = (0..4)
        .map(|_| {
            let telegram = Arc::clone(&telegram);
            tokio::spawn(async move { telegram.report(&created()).await.map(|told| told.message_id) })
        })
        .collect();
    for report in reports {
        assert_eq!(report.await.unwrap().unwrap(), Some(7));
    }
    let calls = bot.calls();
    assert_eq!(calls.len(), 5);
    // Those that were on their way when it was said have gone; whoever comes later than that waits.
    let told = calls[0].at;
    let early = calls[1..].iter().filter(|call| call.at < told + Duration::from_millis(1_900)).count();
    let last = calls.iter().map(|call| call.at).max().unwrap();
    assert!(last >= told + Duration::from_secs(2), "{:?}", last - begun);
    assert!(early < 4, "{early}");
    assert!(telegram.paused().is_none());
}

#[tokio::test]
async fn a_pause_longer_than_anybody_waits_is_said_at_once() {
    let flooded = Reply::Error(429, "Too Many Requests: retry after 600", json!({"retry_after": 600}));
    let (telegram, bot) = telegram([flooded]).await;
    for _ in 0..3 {
        match telegram.report(&created()).await.unwrap_err() {
            ReportError::Paused { retry_after } => {
                assert!(retry_after > Duration::from_secs(500), "{retry_after:?}");
            }
            error => panic!("{error}"),
        }
    }
    assert_eq!(bot.calls().len(), 1, "who is told to wait does not ask again");
    assert!(telegram.paused().is_some_and(|pause| pause > Duration::from_secs(500)));
}

#[tokio::test]
async fn messages_keep_their_distance() {
    let (bot, address) = Bot::start([]).await;
    let mut settings = settings(address);
    settings.rate = 10;
    let telegram = telegram_of(&settings).unwrap();
    let all = (0..5).map(|_| report(42, News::Queued)).collect::<Vec<_>>();
    let begun = Instant::now();
    let sent = all.iter().map(|report| telegram.report(report));
    for told in join_all(sent).await {
        let _ = told.unwrap();
    }
    assert_eq!(bot.calls().len(), 5);
    // A promise: four gaps of a tenth of a second between five messages.
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn each_kind_of_no_is_told_apart() {
    type Expected = fn(&ReportError) -> bool;

    let error = |code, description| Reply::Error(code, description, json!({}));
    let is_final = |error: &ReportError| matches!(error, ReportError::Unreachable(_));
    let is_trouble = |error: &ReportError| matches!(error, ReportError::Misconfigured { .. });
    let is_unsure = |error: &ReportError| matches!(error, ReportError::Uncertain { .. });
    let expectations: [(Reply, Expected); 11] = [
        (error(403, "Forbidden: bot was blocked by the user"), is_final),
        (error(403, "Forbidden: user is deactivated"), is_final),
        (error(400, "Bad Request: chat not found"), is_final),
        (error(401, "Unauthorized"), is_trouble),
        (error(404, "Not Found"), is_trouble),
        (Reply::Redirect, is_trouble),
        (Reply::Raw(404, "<html>"), is_trouble),
        (error(500, "Internal Server Error"), is_unsure),
        (Reply::Raw(502, "<html>"), is_unsure),
        (Reply::Raw(200, "<html>"), is_unsure),
        (Reply::Raw(200, "{\"ok\":true}"), is_unsure),
    ];
    for (reply, is_expected) in expectations {
        let (telegram, bot) = telegram([reply.clone()]).await;
        let error = telegram.report(&created()).await.unwrap_err();
        assert!(is_expected(&error), "{reply:?}: {error:?}");
        assert_eq!(bot.calls().len(), 1, "{reply:?}");
        let shown = format!("{error} {error:?} {telegram:?}");
        assert!(!shown.contains("canary") && !shown.contains(PASSWORD), "{shown}");
    }
}

#[tokio::test]
async fn silence_may_mean_that_it_was_told_and_a_closed_door_does_not() {
    let (_bot, address) = Bot::start([Reply::Hang]).await;
    let mut hasty = settings(address);
    hasty.timeout = Duration::from_millis(300);
    let error = telegram_of(&hasty).unwrap().report(&created()).await.unwrap_err();
    assert!(matches!(error, ReportError::Uncertain { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = telegram_of(&settings(closed)).unwrap().report(&created()).await.unwrap_err();
    assert!(matches!(error, ReportError::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));
}

/// A server of HTTPS for one call, which counts as sent; and its CA.
fn secure_server() -> (SocketAddr, tempfile::NamedTempFile) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), issued.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        let mut head = [0; 1];
        // Who distrusts the certificate says nothing more.
        if stream.read_exact(&mut head).is_ok() {
            let body = json!({"ok": true, "result": {"message_id": 9}}).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
            stream.flush().unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    (address, ca)
}

#[tokio::test]
async fn only_whom_the_ca_vouches_for_is_told_anything() {
    let at = |address: SocketAddr| {
        TelegramSettings::new(TOKEN.into()).base_url(format!("https://localhost:{}", address.port()))
    };
    let (address, ca) = secure_server();
    let mut trusting = at(address);
    trusting.ca_file = Some(ca.path().to_owned());
    assert_eq!(telegram_of(&trusting).unwrap().report(&created()).await.unwrap().message_id, Some(9));

    let (address, _) = secure_server();
    let mut distrusting = at(address);
    distrusting.ca_file = Some(ca.path().to_owned());
    let error = telegram_of(&distrusting).unwrap().report(&created()).await.unwrap_err();
    assert!(
        matches!(&error, ReportError::Misconfigured { reason } if reason.contains("telegram_ca_file")),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn endless_answers_are_not_read_to_their_end() {
    static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(1 << 20));
    let (telegram, _bot) = telegram([Reply::Raw(200, LONG.as_str())]).await;
    let error = telegram.report(&created()).await.unwrap_err();
    assert!(matches!(&error, ReportError::Uncertain { reason } if reason.contains("endless")), "{error:?}");
}

#[test]
fn settings_that_could_tell_nobody_or_everybody_are_refused() {
    let with = |change: &dyn Fn(&mut TelegramSettings)| {
        let mut settings = TelegramSettings::new(TOKEN.into());
        change(&mut settings);
        telegram_of(&settings)
    };
    for token in ["", "123456", "abc:def", "123456:", "123456:a/b", "123456:a b", "123456:a\nb", "../x:y"] {
        let error = with(&|settings| settings.token = token.into()).unwrap_err();
        assert!(matches!(error, TelegramError::Token), "{token}");
    }
    for url in ["", "api.telegram.org", "ftp://x", "https://user:pw@x", "https://x/?a=b", "https://x/#y"] {
        let error = with(&|settings| url.clone_into(&mut settings.base_url)).unwrap_err();
        assert!(matches!(error, TelegramError::Url), "{url}");
    }
    let plain = |settings: &mut TelegramSettings| "http://bot-api:8081".clone_into(&mut settings.base_url);
    assert!(matches!(with(&plain).unwrap_err(), TelegramError::PlainHttp));
    assert!(
        with(&|settings| {
            plain(settings);
            settings.allow_plain_http = true;
        })
        .is_ok()
    );
    for url in ["http://127.0.0.1:8081", "http://[::1]:8081", "http://localhost:8081/prefix/"] {
        assert!(with(&|settings| url.clone_into(&mut settings.base_url)).is_ok(), "{url}");
    }
    assert!(matches!(with(&|settings| settings.rate = 0).unwrap_err(), TelegramError::Rate));
    let nowhere = || Some("/nowhere/ca.pem".into());
    let error = with(&|settings| settings.ca_file = nowhere()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    assert!(with(&|_| {}).is_ok());
}

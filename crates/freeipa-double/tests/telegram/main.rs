//! The Telegram double, driven over HTTP by a client that knows nothing of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use freeipa_double::{
    ChatState, Clock, FaultRule, TelegramAction, TelegramConfig, TelegramDouble, TelegramFault,
};
use reqwest::{Client, Response};
use serde_json::{Value, json};

struct Bot {
    client: Client,
    url: String,
}

impl Bot {
    fn of(telegram: &TelegramDouble) -> Self {
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: format!("{}/bot{}", telegram.url(), telegram.token()) }
    }

    async fn ask(&self, method: &str, body: &Value) -> Response {
        self.client.post(format!("{}/{method}", self.url)).json(body).send().await.unwrap()
    }

    /// A message that gets there; the `result`.
    async fn ok(&self, method: &str, body: Value) -> Value {
        let mut reply: Value = self.ask(method, &body).await.json().await.unwrap();
        assert_eq!(reply["ok"], true, "{reply}");
        reply["result"].take()
    }

    /// One that does not; status, and what is said.
    async fn error(&self, method: &str, body: Value) -> (u16, String) {
        let reply = self.ask(method, &body).await;
        let status = reply.status().as_u16();
        let reply: Value = reply.json().await.unwrap();
        assert_eq!((&reply["ok"], &reply["error_code"]), (&json!(false), &json!(status)), "{reply}");
        (status, reply["description"].as_str().unwrap().to_owned())
    }
}

async fn start() -> (TelegramDouble, Bot) {
    let telegram = TelegramDouble::start(TelegramConfig::new().clock(Clock::standing())).await.unwrap();
    let bot = Bot::of(&telegram);
    (telegram, bot)
}

fn message(text: &str) -> Value {
    json!({"chat_id": 42, "text": text})
}

#[tokio::test]
async fn messages_are_delivered_and_edited() {
    let (telegram, bot) = start().await;
    assert_eq!(bot.ok("getMe", json!({})).await["is_bot"], true);
    let options = json!({
        "chat_id": "42", "text": " <b>Hi</b> &lt;3 ", "parse_mode": "html", "protect_content": true,
        "link_preview_options": {"is_disabled": true},
    });
    let sent = bot.ok("sendMessage", options).await;
    assert_eq!(
        (&sent["message_id"], &sent["chat"]["id"], &sent["text"]),
        (&json!(1), &json!(42), &json!("Hi <3"))
    );
    assert_eq!(sent["entities"], json!([{"type": "bold", "offset": 0, "length": 2}]));
    let edit = json!({"chat_id": 42, "message_id": 1, "text": "*Bye*", "parse_mode": "MarkdownV2"});
    assert_eq!(bot.ok("editMessageText", edit.clone()).await["text"], "Bye");
    let (code, text) = bot.error("editMessageText", edit).await;
    assert!(code == 400 && text.starts_with("Bad Request: message is not modified"), "{text}");
    let [only] = &telegram.messages_to(42)[..] else { panic!("{:?}", telegram.messages()) };
    assert_eq!((only.text.as_str(), only.earlier.as_slice()), ("Bye", &["Hi <3".to_owned()][..]));
    assert!(only.protected && only.without_preview && only.edited.is_some());
    for (body, why) in [
        (json!({"chat_id": 42, "message_id": 9, "text": "x"}), "message to edit not found"),
        (json!({"chat_id": 7, "message_id": 1, "text": "x"}), "message to edit not found"),
        (json!({"chat_id": 42, "text": "x"}), "message identifier is not specified"),
    ] {
        assert_eq!(bot.error("editMessageText", body).await, (400, format!("Bad Request: {why}")));
    }
}

#[tokio::test]
async fn forms_and_queries_are_read_too_and_methods_in_any_case() {
    let (telegram, bot) = start().await;
    let url = format!("{}/SENDMESSAGE", bot.url);
    let form = [("chat_id", "42"), ("text", "a+b ü"), ("disable_notification", "true")];
    assert_eq!(bot.client.post(&url).form(&form).send().await.unwrap().status(), 200);
    assert_eq!(bot.client.get(format!("{url}?chat_id=42&text=q")).send().await.unwrap().status(), 200);
    let texts: Vec<(String, bool)> =
        telegram.messages().into_iter().map(|message| (message.text, message.silent)).collect();
    assert_eq!(texts, [("a+b ü".to_owned(), true), ("q".to_owned(), false)]);
    assert_eq!(telegram.stats().requests["sendMessage"], 2);
}

#[tokio::test]
async fn what_cannot_be_sent_is_400() {
    let (telegram, bot) = start().await;
    for (body, why) in [
        (json!({"text": "x"}), "chat_id is empty"),
        (json!({"chat_id": 0, "text": "x"}), "chat not found"),
        (json!({"chat_id": "@channel", "text": "x"}), "chat not found"),
        (json!({"chat_id": 42}), "message text is empty"),
        (message(""), "message text is empty"),
        (message(" \n "), "message text is empty"),
        (json!({"chat_id": 42, "text": "<b> </b>", "parse_mode": "HTML"}), "message text is empty"),
        (message(&"ы".repeat(4097)), "message is too long"),
        (json!({"chat_id": 42, "text": "x", "parse_mode": "BBCode"}), "unsupported parse_mode"),
        (json!({"chat_id": 42, "text": "x", "entities": "nonsense"}), "can't parse entities JSON object"),
    ] {
        assert_eq!(
            bot.error("sendMessage", body.clone()).await,
            (400, format!("Bad Request: {why}")),
            "{body}"
        );
    }
    for (mode, text) in [
        ("HTML", "Anna <anna@example.org>"),
        ("HTML", "<b>Anna"),
        ("MarkdownV2", "Anna K."),
        ("MarkdownV2", "*Anna"),
        ("Markdown", "tg_anna"),
    ] {
        let (code, why) =
            bot.error("sendMessage", json!({"chat_id": 42, "text": text, "parse_mode": mode})).await;
        assert!(code == 400 && why.starts_with("Bad Request: can't parse entities: "), "{text}: {why}");
    }
    let long = format!("<b>{}</b>", "ы".repeat(4096));
    bot.ok("sendMessage", json!({"chat_id": 42, "text": long, "parse_mode": "HTML"})).await;
    let garbage =
        bot.client.post(format!("{}/sendMessage", bot.url)).header("Content-Type", "application/json");
    assert_eq!(garbage.body("{").send().await.unwrap().status(), 400);
    assert_eq!(telegram.messages().len(), 1);
}

#[tokio::test]
async fn some_chats_take_no_messages() {
    let (telegram, bot) = start().await;
    for (state, code, why) in [
        (ChatState::NotFound, 400, "Bad Request: chat not found"),
        (ChatState::Blocked, 403, "Forbidden: bot was blocked by the user"),
        (ChatState::Deactivated, 403, "Forbidden: user is deactivated"),
        (ChatState::NotStarted, 403, "Forbidden: bot can't initiate conversation with a user"),
        (ChatState::Kicked, 403, "Forbidden: bot was kicked from the group chat"),
    ] {
        telegram.apply(TelegramAction::SetChat { chat: 42, state }).unwrap();
        assert_eq!(bot.error("sendMessage", message("x")).await, (code, why.to_owned()));
    }
    telegram
        .apply(TelegramAction::SetChat { chat: 42, state: ChatState::Migrated { to: -100_500 } })
        .unwrap();
    let reply: Value = bot.ask("sendMessage", &message("x")).await.json().await.unwrap();
    assert_eq!(
        (&reply["error_code"], &reply["parameters"]["migrate_to_chat_id"]),
        (&json!(400), &json!(-100_500))
    );
    assert!(telegram.messages().is_empty());
    telegram.apply(TelegramAction::SetStrangers { state: ChatState::NotStarted }).unwrap();
    assert_eq!(bot.error("sendMessage", json!({"chat_id": 7, "text": "x"})).await.0, 403);
}

#[tokio::test]
async fn who_has_no_token_is_nobody() {
    let (telegram, bot) = start().await;
    let status = async |path: &str| {
        let reply =
            bot.client.post(format!("{}{path}", telegram.url())).json(&message("x")).send().await.unwrap();
        let status = reply.status().as_u16();
        assert_eq!(reply.json::<Value>().await.unwrap()["error_code"], status);
        status
    };
    let wrong = format!("/bot1:{}/sendMessage", "A".repeat(35));
    for (path, wanted) in [
        (wrong.as_str(), 401),
        ("/bot/sendMessage", 404),
        ("/botnonsense/sendMessage", 404),
        ("/", 404),
        (&format!("/bot{}/noMethod", telegram.token()), 404),
    ] {
        assert_eq!(status(path).await, wanted, "{path}");
    }
    let revoked = format!("/bot{}/sendMessage", telegram.token());
    telegram.apply(TelegramAction::SetToken { token: format!("7:{}", "B".repeat(35)) }).unwrap();
    assert_eq!(status(&revoked).await, 401);
    assert!(telegram.apply(TelegramAction::SetToken { token: "short".into() }).is_err());
    assert!(!format!("{telegram:?}").contains(&telegram.token()));
}

#[tokio::test]
async fn too_many_is_429_for_the_whole_bot_until_the_time_is_over() {
    let (telegram, bot) = start().await;
    telegram.faults().arm(FaultRule::new("sendMessage", TelegramFault::TooMany { retry_after: 5 }).nth(2));
    bot.ok("sendMessage", message("1")).await;
    let reply = bot.ask("sendMessage", &message("2")).await;
    assert_eq!((reply.status().as_u16(), reply.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    let reply: Value = reply.json().await.unwrap();
    assert_eq!(reply["description"], "Too Many Requests: retry after 5");
    assert_eq!(reply["parameters"], json!({"retry_after": 5}));
    assert_eq!(
        bot.error("sendMessage", json!({"chat_id": 7, "text": "x"})).await.0,
        429,
        "another chat, too"
    );
    assert_eq!(telegram.stats().impatient, 1);
    assert_eq!(bot.ok("getMe", json!({})).await["is_bot"], true);
    telegram.clock().advance(Duration::from_secs(5));
    bot.ok("sendMessage", message("3")).await;
    assert_eq!((telegram.stats().impatient, telegram.stats().statuses[&429]), (1, 2));
}

#[tokio::test]
async fn a_pace_is_kept_if_asked_for() {
    let telegram =
        TelegramDouble::start(TelegramConfig::new().paced().clock(Clock::standing())).await.unwrap();
    let bot = Bot::of(&telegram);
    bot.ok("sendMessage", message("1")).await;
    assert_eq!(
        bot.error("sendMessage", message("2")).await,
        (429, "Too Many Requests: retry after 1".into())
    );
    telegram.clock().advance(Duration::from_secs(1));
    bot.ok("sendMessage", message("2")).await;
    assert_eq!(telegram.messages().len(), 2);
}

#[tokio::test]
async fn replies_may_be_lost_before_or_after_the_delivery() {
    let (telegram, bot) = start().await;
    for (chat, fault, delivered) in [
        (1, TelegramFault::DeliverThenHang, true),
        (2, TelegramFault::DeliverThenDrop, true),
        (3, TelegramFault::Hang, false),
        (4, TelegramFault::Drop, false),
        (5, TelegramFault::Deliver500, true),
        (6, TelegramFault::Page { status: 502 }, false),
        (7, TelegramFault::Error { code: 500, description: "Internal Server Error".into() }, false),
        (8, TelegramFault::Delay { ms: 20 }, true),
    ] {
        telegram.faults().arm(FaultRule::new("sendMessage", fault).key(chat.to_string()));
        let body = json!({"chat_id": chat, "text": "x"});
        let request = bot.client.post(format!("{}/sendMessage", bot.url)).json(&body);
        let reply = request.timeout(Duration::from_secs(1)).send().await;
        let status = reply.ok().map(|reply| reply.status().as_u16());
        let wanted = match chat {
            5 | 7 => Some(500),
            6 => Some(502),
            8 => Some(200),
            _ => None,
        };
        assert_eq!((status, telegram.messages_to(chat).len() == 1), (wanted, delivered), "{chat}");
    }
    assert!(telegram.faults().armed().iter().all(|armed| armed.met == 1));
}

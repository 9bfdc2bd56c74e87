//! What each method does.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::chat::ChatState;
use super::entities::{Entity, ParseMode, Parsed};
use super::message::SentMessage;
use super::parameters::Parameters;
use super::reply::Failure;
use super::state::State;

/// The longest text, in characters, after its formatting was taken out.
const LONGEST: usize = 4096;

/// One of the methods there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    GetMe,
    SendMessage,
    EditMessageText,
}

// === impl Method ===

impl Method {
    /// From its name, in whatever case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::GetMe, Self::SendMessage, Self::EditMessageText]
            .into_iter()
            .find(|method| method.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetMe => "getMe",
            Self::SendMessage => "sendMessage",
            Self::EditMessageText => "editMessageText",
        }
    }

    pub(super) fn run(
        self,
        state: &mut State,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<Json, Failure> {
        if self == Self::GetMe {
            return Ok(json!({
                "id": state.bot(), "is_bot": true, "first_name": "Double", "username": "double_bot",
                "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false,
            }));
        }
        if let Some(seconds) = state.silence(now) {
            state.stats.impatient += 1;
            return Err(Failure::too_many(seconds));
        }
        match self {
            Self::EditMessageText => edit(state, parameters, now),
            Self::GetMe | Self::SendMessage => send(state, parameters, now),
        }
    }
}

fn send(state: &mut State, parameters: &Parameters, now: Timestamp) -> Result<Json, Failure> {
    let (parsed, parse_mode) = text(parameters)?;
    let chat = open_chat(state, parameters)?;
    let without_preview = match parameters.json("link_preview_options")? {
        None => parameters.switch("disable_web_page_preview"),
        Some(Json::Object(options)) => options.get("is_disabled").and_then(Json::as_bool).unwrap_or(false),
        Some(_) => return Err(Failure::bad("can't parse link preview options JSON object")),
    };
    if state.paced {
        state.pace.send(chat, now).map_err(Failure::too_many)?;
    }
    let message = SentMessage {
        id: i64::try_from(state.messages.len()).unwrap_or(i64::MAX - 1) + 1,
        chat,
        at: now,
        text: parsed.text,
        entities: parsed.entities,
        parse_mode,
        protected: parameters.switch("protect_content"),
        silent: parameters.switch("disable_notification"),
        without_preview,
        earlier: Vec::new(),
        edited: None,
    };
    let reply = message.to_reply(state.bot());
    state.messages.push(message);
    Ok(reply)
}

fn edit(state: &mut State, parameters: &Parameters, now: Timestamp) -> Result<Json, Failure> {
    let (parsed, parse_mode) = text(parameters)?;
    let chat = open_chat(state, parameters)?;
    let id: i64 = parameters
        .text("message_id")
        .parse()
        .ok()
        .filter(|id| *id > 0)
        .ok_or_else(|| Failure::bad("message identifier is not specified"))?;
    let bot = state.bot();
    let message = state
        .messages
        .iter_mut()
        .find(|message| message.id == id && message.chat == chat)
        .ok_or_else(|| Failure::bad("message to edit not found"))?;
    if message.text == parsed.text && message.entities == parsed.entities {
        return Err(Failure::bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a \
             current content and reply markup of the message",
        ));
    }
    message.earlier.push(std::mem::replace(&mut message.text, parsed.text));
    message.entities = parsed.entities;
    message.parse_mode = parse_mode;
    message.edited = Some(now);
    Ok(message.to_reply(bot))
}

/// The text of a message without its formatting, and the formatting.
fn text(parameters: &Parameters) -> Result<(Parsed, Option<ParseMode>), Failure> {
    let text = parameters.text("text");
    if text.is_empty() {
        return Err(Failure::bad("message text is empty"));
    }
    let mode = match parameters.text("parse_mode").as_str() {
        "" => None,
        name => Some(ParseMode::from_name(name).ok_or_else(|| Failure::bad("unsupported parse_mode"))?),
    };
    let parsed = match mode {
        Some(mode) => {
            mode.parse(&text).map_err(|why| Failure::bad(&format!("can't parse entities: {why}")))?
        }
        None => Parsed { text, entities: entities(parameters)? },
    };
    let parsed = parsed.trimmed();
    if parsed.text.is_empty() {
        return Err(Failure::bad("message text is empty"));
    }
    if parsed.text.chars().count() > LONGEST {
        return Err(Failure::bad("message is too long"));
    }
    Ok((parsed, mode))
}

fn entities(parameters: &Parameters) -> Result<Vec<Entity>, Failure> {
    let Some(json) = parameters.json("entities")? else { return Ok(Vec::new()) };
    serde_json::from_value(json).map_err(|_| Failure::bad("can't parse entities JSON object"))
}

/// The chat of a request, if messages get there.
fn open_chat(state: &State, parameters: &Parameters) -> Result<i64, Failure> {
    let chat = parameters.text("chat_id");
    if chat.is_empty() {
        return Err(Failure::bad("chat_id is empty"));
    }
    // Channels by name are none of the double's.
    let chat: i64 = chat.parse().map_err(|_| Failure::bad("chat not found"))?;
    let refusal = if chat == 0 { ChatState::NotFound.refusal() } else { state.chat(chat).refusal() };
    refusal.map_or(Ok(chat), Err)
}

//! Reports for a bot that talks itself: JSON on a queue.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;
use valkey_connection::Connection;
use valkey_envelope::{Envelope, PayloadCodec, QueueName};
use valkey_sender::{SendError, Sender, SenderSettings};

use super::{Access, News, Report, ReportError, StatusReporter, Told};
use crate::text::Texts;

/// The kind of the messages.
const KIND: &str = "registration-status";

/// Puts reports on a queue, for a bot that talks to applicants itself.
///
/// A message of kind `registration-status` has the payload
///
/// ```json
/// {"schema":1,"registration_id":"0190…","reference":"#ab12cd34","status":"created",
///  "chat_id":42,"user_id":42,"language":"ru","login":"apetrova",
///  "problems":[{"field":"email","reason":"syntax"}],
///  "text":"…","html":"…","password":"…"}
/// ```
///
/// with `status` `created`, `failed`, `queued` or `unexpected`; `login` with `created` only, `problems` with `failed` only.
/// `language` is the one that `text` (plain) and `html` (as Telegram takes it) are in. A password is neither in the field nor in
/// the texts, unless that was asked for in so many words: the queue is memory and files of a server, and its copies.
///
/// The same report has the same message id, so that a queue with a dedup window takes it once.
#[derive(Clone)]
pub struct StatusQueue {
    sender: Sender,
    texts: Arc<Texts>,
    tells_passwords: bool,
}

#[derive(Serialize)]
struct Payload<'a> {
    schema: u32,
    registration_id: String,
    reference: String,
    status: &'static str,
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    language: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Reason>,
    text: &'a str,
    html: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

#[derive(Serialize)]
struct Reason {
    field: &'static str,
    reason: &'static str,
}

impl StatusQueue {
    /// Reports by a sender that somebody has made: with the codecs that encrypt its payloads, if they are to be.
    pub fn new(sender: Sender, texts: Arc<Texts>) -> Self {
        Self { sender, texts, tells_passwords: false }
    }

    /// Reports to a queue, each payload coded by `codecs`, in their order (see
    /// [`SenderBuilder::codec`](valkey_sender::SenderBuilder::codec)): the bot has to hold the same.
    pub fn open(
        connection: Connection,
        queue: QueueName,
        settings: &SenderSettings,
        codecs: impl IntoIterator<Item = Arc<dyn PayloadCodec>>,
        texts: Arc<Texts>,
    ) -> Self {
        let builder = Sender::builder(connection, queue).settings(settings);
        let builder = codecs.into_iter().fold(builder, valkey_sender::SenderBuilder::codec);
        Self::new(builder.build(), texts)
    }

    /// Whether passwords are written into the queue.
    #[must_use]
    pub fn with_passwords(mut self, tells_passwords: bool) -> Self {
        self.tells_passwords = tells_passwords;
        self
    }

    fn envelope(&self, report: &Report) -> Result<Envelope, ReportError> {
        let mut report = report.clone();
        if let News::Created { access: access @ Access::TemporaryPassword(_), .. } = &mut report.news
            && !(self.tells_passwords && report.to.is_private())
        {
            *access = Access::Untold;
        }
        let text = self.texts.render(&report);
        let problems = match &report.news {
            News::Failed { problems } => problems.as_slice(),
            _ => &[],
        };
        let payload = Payload {
            schema: 1,
            registration_id: report.id.to_string(),
            reference: report.id.reference().to_string(),
            status: report.news.name(),
            chat_id: report.to.chat_id,
            user_id: report.to.user_id,
            language: self.texts.language_for(report.to.language.as_deref()),
            login: match &report.news {
                News::Created { login, .. } => Some(login.as_str()),
                _ => None,
            },
            problems: problems
                .iter()
                .map(|problem| Reason { field: problem.field.name(), reason: problem.reason })
                .collect(),
            text: &text.plain,
            html: &text.html,
            password: report.password().map(valkey_config::Secret::expose),
        };
        let envelope = Envelope::new(&payload).map_err(|error| ReportError::Misconfigured {
            reason: format!("the status has no wire form: {error}"),
        })?;
        let envelope = envelope.with_kind(KIND);
        // A new password is news, whoever has heard of the account before.
        let is_same = report.password().is_none();
        let id =
            || Uuid::new_v5(&crate::registration::RegistrationId::NAMESPACE, self.what(&report).as_bytes());
        Ok(if is_same { envelope.with_id(id()) } else { envelope })
    }

    /// What makes a report the same as another.
    fn what(&self, report: &Report) -> String {
        format!("{} {} {:?}", self.sender.queue(), report.id, report.news)
    }
}

#[async_trait]
impl StatusReporter for StatusQueue {
    async fn report(&self, report: &Report) -> Result<Told, ReportError> {
        let envelope = self.envelope(report)?;
        match self.sender.send(envelope).await {
            Ok(receipt) if receipt.is_accepted() => Ok(Told::default()),
            Ok(_) => {
                Err(ReportError::Unavailable { reason: "the status queue is full, and sheds".to_owned() })
            }
            Err(error) => Err(of(&error)),
        }
    }
}

fn of(error: &SendError) -> ReportError {
    let reason = error.to_string();
    if error.outcome_unknown() {
        ReportError::Uncertain { reason }
    } else if error.is_transient() {
        ReportError::Unavailable { reason }
    } else {
        ReportError::Misconfigured { reason }
    }
}

impl fmt::Debug for StatusQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusQueue")
            .field("sender", &self.sender)
            .field("tells_passwords", &self.tells_passwords)
            .finish_non_exhaustive()
    }
}

//! Telegram: one message to one chat, by the Bot API.

mod answer;
mod client;
mod pacer;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use valkey_config::Secret;

use self::answer::Answer;
use self::client::Client;
pub use self::client::TelegramError;
use self::pacer::Pacer;
use super::{Recipient, Report, ReportError, StatusReporter, Told, Unreachable};
use crate::text::{Rendered, Texts};

/// The longest message, in characters as people see them.
const LONGEST: usize = 4096;

/// How often one report is sent at most: once as it is, and once more each for a chat that has moved, a text that was not
/// understood, and pauses that were shorter than they were said to be.
const MOST_SENDS: usize = 5;

/// How a bot is reached, and how much it may say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TelegramSettings {
    /// The bot's token.
    pub token: Secret,
    /// Where the Bot API is: Telegram's own, or one's own server of it.
    pub base_url: String,
    /// CA certificates (PEM) that its certificate must come from; those of the system unless set.
    pub ca_file: Option<PathBuf>,
    /// Whether it may be reached without TLS, which shows the token and every password to whoever is on the path.
    pub allow_plain_http: bool,
    /// Messages a second. Telegram takes some 30 of a bot, whoever else uses it included.
    pub rate: u32,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long a report waits for its turn before it is [`ReportError::Paused`].
    pub patience: Duration,
}

/// Tells applicants by Telegram.
///
/// - Passwords go to the person's own chat only, and cannot be forwarded.
/// - When Telegram says how long to wait, all reports of this process wait.
/// - A chat that has moved is followed. A text that Telegram does not understand is sent once more without markup.
/// - The token is in no error and no log.
///
/// ```no_run
/// use std::sync::Arc;
/// use freeipa_consumer::status::{Telegram, TelegramSettings};
/// use freeipa_consumer::text::{Pages, Texts};
///
/// # fn texts() -> Arc<Texts> { Arc::new(Texts::load(&"en".parse().unwrap(), None, Pages::default()).unwrap()) }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let telegram = Telegram::new(&TelegramSettings::new("123456:token".into()), texts())?;
/// println!("we are @{}", telegram.check().await?);
/// # Ok(())
/// # }
/// ```
pub struct Telegram {
    client: Client,
    texts: Arc<Texts>,
    pacer: Mutex<Pacer>,
    patience: Duration,
}

// === impl TelegramSettings ===

impl TelegramSettings {
    /// Where Telegram's own Bot API is.
    pub const OFFICIAL: &'static str = "https://api.telegram.org";

    /// Telegram's own servers, 20 messages a second.
    pub fn new(token: Secret) -> Self {
        Self {
            token,
            base_url: Self::OFFICIAL.to_owned(),
            ca_file: None,
            allow_plain_http: false,
            rate: 20,
            timeout: Duration::from_secs(15),
            patience: Duration::from_secs(10),
        }
    }

    /// Another server.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }
}

// === impl Telegram ===

impl Telegram {
    /// A bot. Nothing is sent yet.
    ///
    /// # Errors
    /// The settings are wrong.
    pub fn new(settings: &TelegramSettings, texts: Arc<Texts>) -> Result<Self, TelegramError> {
        if settings.rate == 0 {
            return Err(TelegramError::Rate);
        }
        let gap = Duration::from_secs(1) / settings.rate;
        Ok(Self {
            client: Client::new(settings)?,
            texts,
            pacer: Mutex::new(Pacer::new(gap, Instant::now())),
            patience: settings.patience,
        })
    }

    /// Whether Telegram knows the bot, and what it is called.
    ///
    /// # Errors
    /// As [`report`](StatusReporter::report); nobody is told anything.
    pub async fn check(&self) -> Result<String, ReportError> {
        match self.client.get_me().await? {
            Answer::Me(name) => Ok(name),
            Answer::Flooded(retry_after) => {
                self.pause(retry_after);
                Err(ReportError::Paused { retry_after })
            }
            answer => Err(answer.into_error()),
        }
    }

    /// Waits for a turn: neither too soon after the last message, nor while Telegram wants none.
    async fn turn(&self) -> Result<(), ReportError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let now = Instant::now();
            let at = self.pacer().reserve(now, deadline.saturating_duration_since(now));
            let at = at.map_err(|retry_after| ReportError::Paused { retry_after })?;
            sleep_until(at).await;
            // Somebody else may have been told to wait meanwhile.
            if self.pacer().pause(Instant::now()).is_none() {
                return Ok(());
            }
        }
    }

    fn pause(&self, retry_after: Duration) {
        // Others that share the bot wait for the same moment.
        let jitter = Duration::from_millis(rand::random_range(0..500));
        self.pacer().pause_until(Instant::now() + retry_after + jitter);
    }

    fn pacer(&self) -> std::sync::MutexGuard<'_, Pacer> {
        // It holds two times, each of which is whole whoever panicked.
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StatusReporter for Telegram {
    async fn report(&self, report: &Report) -> Result<Told, ReportError> {
        let mut report = report.clone();
        let mut moved_to = None;
        let mut as_html = true;
        for _ in 0..MOST_SENDS {
            self.turn().await?;
            let text = self.texts.render(&report);
            let secret = report.password().is_some() && report.to.is_private();
            match self.client.send_message(report.to.chat_id, &body(&text, as_html), secret).await? {
                Answer::Sent { message_id } => return Ok(Told { message_id: Some(message_id), moved_to }),
                Answer::Flooded(retry_after) => self.pause(retry_after),
                Answer::Moved(chat_id) if moved_to.is_none() => {
                    moved_to = Some(chat_id);
                    report.to = Recipient { chat_id, ..report.to };
                }
                Answer::Unparsable if as_html => as_html = false,
                answer => return Err(answer.into_error()),
            }
        }
        let retry_after = self.paused().unwrap_or(Duration::from_secs(1));
        Err(ReportError::Paused { retry_after })
    }

    async fn check(&self) -> Result<String, ReportError> {
        Self::check(self).await.map(|name| format!("the bot is @{name}"))
    }

    fn paused(&self) -> Option<Duration> {
        self.pacer().pause(Instant::now())
    }
}

/// What is sent of a text.
struct Body<'a> {
    text: std::borrow::Cow<'a, str>,
    is_html: bool,
}

/// A text too long for Telegram is cut: as plain text, for a cut through a tag would be no text at all.
fn body(text: &Rendered, as_html: bool) -> Body<'_> {
    if let Some((end, _)) = text.plain.char_indices().nth(LONGEST) {
        let end = text.plain[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        return Body { text: format!("{}…", &text.plain[..end]).into(), is_html: false };
    }
    let chosen = if as_html { &text.html } else { &text.plain };
    Body { text: chosen.into(), is_html: as_html }
}

impl Answer {
    fn into_error(self) -> ReportError {
        match self {
            Self::Misconfigured(reason) => ReportError::Misconfigured { reason },
            Self::Unavailable(reason) => ReportError::Unavailable { reason },
            Self::Uncertain(reason) => ReportError::Uncertain { reason },
            Self::Unreachable(why) => ReportError::Unreachable(why),
            Self::Flooded(retry_after) => ReportError::Paused { retry_after },
            // It moved twice, or did not understand plain text.
            Self::Moved(_) | Self::Unparsable | Self::Me(_) | Self::Sent { .. } => {
                ReportError::Unreachable(Unreachable::Rejected)
            }
        }
    }
}

impl fmt::Debug for Telegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telegram").field("client", &self.client).finish_non_exhaustive()
    }
}

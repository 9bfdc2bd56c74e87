//! The Telegram Bot API over HTTP.

mod action;
mod chat;
mod config;
mod entities;
mod fault;
mod message;
mod methods;
mod pace;
mod parameters;
mod reply;
mod site;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::action::TelegramAction;
pub use self::chat::ChatState;
pub use self::config::TelegramConfig;
pub use self::entities::{Entity, ParseMode};
pub use self::fault::TelegramFault;
pub use self::message::SentMessage;
pub use self::state::TelegramStats;

use self::site::BotSite;
use self::state::State;
use crate::web::Served;
use crate::{Clock, DoubleError, Faults};

/// The Telegram Bot API over HTTP: `getMe`, `sendMessage`, `editMessageText`, and what goes wrong with them.
///
/// Clones are handles to the same server, which ends when the last is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), freeipa_double::DoubleError> {
/// use freeipa_double::{ChatState, FaultRule, TelegramAction, TelegramConfig, TelegramDouble, TelegramFault};
///
/// let telegram = TelegramDouble::start(TelegramConfig::new()).await?;
/// telegram.apply(TelegramAction::SetChat { chat: 42, state: ChatState::Blocked })?;
/// telegram.faults().arm(FaultRule::new("sendMessage", TelegramFault::TooMany { retry_after: 3 }).nth(2));
///
/// // … a client sends to format!("{}/bot{}/sendMessage", telegram.url(), telegram.token())
///
/// assert!(telegram.messages_to(42).is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TelegramDouble {
    shared: Arc<Shared>,
    served: Arc<Served>,
}

/// What requests, tests and the control API share.
pub(crate) struct Shared {
    state: Mutex<State>,
    faults: Faults<TelegramFault>,
    clock: Clock,
}

// === impl TelegramDouble ===

impl TelegramDouble {
    /// Starts a server, on the runtime of the caller.
    ///
    /// # Errors
    /// The address is taken; the token is none.
    pub async fn start(config: TelegramConfig) -> Result<Self, DoubleError> {
        config.validate()?;
        let listen = config.listen;
        let clock = config.clock.clone();
        let shared =
            Arc::new(Shared { state: Mutex::new(State::new(config)), faults: Faults::default(), clock });
        let site = Arc::new(BotSite::new(Arc::clone(&shared)));
        let served = Served::start(listen, None, site).await?;
        Ok(Self { shared, served: Arc::new(served) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// `http://`, the address and the port: what clients take instead of the real one.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The token it takes right now.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.state().token.clone()
    }

    /// The faults that lie in wait.
    #[must_use]
    pub fn faults(&self) -> &Faults<TelegramFault> {
        &self.shared.faults
    }

    /// The time it lives in.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// All messages that were delivered, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<SentMessage> {
        self.shared.state().messages.clone()
    }

    /// The messages that were delivered to one chat, in order.
    #[must_use]
    pub fn messages_to(&self, chat: i64) -> Vec<SentMessage> {
        self.shared.state().messages.iter().filter(|message| message.chat == chat).cloned().collect()
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn stats(&self) -> TelegramStats {
        self.shared.state().stats.clone()
    }

    /// Does something to it that no client could.
    ///
    /// # Errors
    /// A token that is none.
    pub fn apply(&self, action: TelegramAction) -> Result<(), DoubleError> {
        action.apply(&self.shared)
    }

    /// Stops listening, and breaks all connections.
    pub async fn stop(&self) {
        self.served.stop().await;
    }
}

// The token stays out.
impl std::fmt::Debug for TelegramDouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TelegramDouble").field("address", &self.address()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

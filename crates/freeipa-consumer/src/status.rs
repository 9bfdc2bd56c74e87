//! Telling the applicant what became of the registration.
//!
//! ```text
//!  Report ─► Texts (language, placeholders) ─► StatusReporter ─┬─ Telegram: one message, once, as far as that can be known
//!  what happened, to whom                                      └─ StatusQueue: JSON for a bot that talks itself
//! ```
//!
//! Telegram has no key that would make sending idempotent: what was not answered may have arrived. So every text carries the
//! [reference](crate::registration::Reference) of the registration, and does no harm when it comes twice.

mod queue;
mod recipient;
mod report;
mod reporter;
mod telegram;

pub use self::queue::StatusQueue;
pub use self::recipient::Recipient;
pub use self::report::{Access, News, Problem, Report};
pub use self::reporter::{Nobody, ReportError, StatusReporter, Told, Unreachable};
pub use self::telegram::{Telegram, TelegramError, TelegramSettings};

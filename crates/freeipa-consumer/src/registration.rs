//! The message: what a producer says, and what of it may become an account.
//!
//! ```text
//!  payload ─► UserRegistrationData::parse ─► Rules::check ─► Registration      checked: names, logins, groups, where to answer
//!     │              │ forms, sizes               │ meaning
//!     │              └──────────┬─────────────────┘
//!     │                         ▼
//!     └──► contact ──► whom   Refusal ──► texts for the applicant, the class of the dead letter
//! ```
//!
//! What a message may never choose (numbers, rights, secrets, groups that nobody has allowed) is refused by name. Fields that
//! nobody here knows are kept, and go nowhere.

mod aliases;
mod applicant;
mod check;
mod data;
mod extra;
mod field;
mod forbidden;
mod forms;
mod id;
mod parse;
mod person;
mod refusal;

pub use self::aliases::{FieldAlias, FieldMap, InvalidAlias};
pub use self::applicant::Applicant;
pub use self::check::{Registration, Rules};
pub use self::data::{Consent, TelegramData, UserRegistrationData};
pub use self::extra::Extra;
pub use self::field::{Field, UnknownField};
pub use self::id::{InvalidRegistrationId, Reference, RegistrationId};
pub use self::parse::contact;
pub use self::refusal::{InvalidRegistration, Refusal, Why};

//! What an account may be called. Pure: whether a name is free, only the directory knows.
//!
//! ```text
//!  asked for ──────────────► rule ──────────────────────┐ refused: the applicant hears why
//!  name in Telegram ┐                                   ▼
//!  names            ├─ transliterate, clip ─► rule ─► candidates: apetrova, apetrova2 .. apetrova9, tg42
//!  id in Telegram   ┘        not even that: the next source
//! ```

mod policy;
mod rule;
mod spelling;

pub use self::policy::{InvalidNameForm, LoginPolicy, LoginSource, NameForm, Person, Suffixes};
pub use self::rule::{InvalidLogin, Login, LoginRule};

//! What is done next with a registration, whatever crashed before.
//!
//! ```text
//!             ┌──────── taken: the next name ────────┐
//!             ▼                                      │
//!  received ─► creating ─┬─ direct ──────────────────┴─► created ─► grouped ─► credentialed ─► told ─► done
//!      │                 └─ staged ─┬─ approval by people: told, done ▲
//!      │                            └─ activated ─────────────────────┘
//!      └─ refused, taken, given up ─► told ─► dead
//! ```
//!
//! [`Machine`] is pure: it is told what happened ([`Event`]) and says what to do ([`Action`]). [`Records`] keeps what has to
//! survive a crash ([`RegistrationRecord`]) in Valkey. The directory is the truth about accounts: what is remembered here says
//! where to look, and what the applicant was told. Neither a password nor anything about the person is ever in it, but for the
//! login.
//!
//! | step | remembered when | a crash after it |
//! |---|---|---|
//! | `received` | never: it is where everything begins | |
//! | `creating` | a name is about to be tried | the entry is looked for by its marker, then the same name is tried |
//! | `staged` | an entry of ours waits among the stage users | it is looked for; nothing is staged twice |
//! | `created` | the account is there, with our marker | groups are joined again, which does nothing twice |
//! | `grouped` | all groups were seen on the account | a password is made |
//! | `credentialed` | a password was made, and is in memory only | another one is made: the first was told to nobody, or is replaced |
//! | `done` | the applicant was told, or cannot be | nothing is done, and nobody is told again, unless the message says something else |
//! | `dead` | the applicant was told that it will not be | it starts over, for somebody may have replayed it; nobody is told the same again |

mod lease;
mod machine;
mod record;
mod records;
mod step;
mod words;

pub use self::lease::{Turn, Turns};
pub use self::machine::{Machine, Next, Unexpected};
pub use self::record::{RecordFault, RegistrationRecord, Token};
pub(crate) use self::records::SHORTEST_LIFETIME;
pub use self::records::{Records, StateError, Untold};
pub use self::step::Step;
pub use self::words::{
    Action, Event, Failure, Finish, Flow, InvalidWord, OnPartial, Owner, Place, Plan, Tell,
};

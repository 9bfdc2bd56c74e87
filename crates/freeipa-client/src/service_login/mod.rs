//! Logging the service in: what the server says to it, how often it may be asked, and doing it.

mod attempt;
mod gate;
mod guard;
mod outcome;

pub(crate) use self::attempt::{Refused, attempt};
pub use self::gate::ServiceLogin;
pub(crate) use self::gate::{Admission, Gate, Told};
pub use self::guard::{EarlierRefusal, LoginAttempt, LoginGuard, LoginLeave, LoginVerdict};
pub use self::outcome::{LoginError, LoginOutcome, LoginRejected, LoginUnavailable, login_outcome};

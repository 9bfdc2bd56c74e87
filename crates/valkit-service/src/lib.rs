//! What every long-running program of valkit has, whatever it serves.
//!
//! - [`Shutdown`]: the wish to end, in two steps.
//! - [`signals`]: who wishes it from outside.
//! - [`http`]: health and metrics, for whatever a [`Site`](http::Site) says of itself.
//! - [`sources`]: where its settings come from.
//! - [`logs`]: lines on stderr.
//! - [`Exit`]: how it ended.
//!
//! It is for programs: it speaks on stderr, and [`signals`] may end the process.

mod exit;
pub mod http;
pub mod logs;
mod settings;
mod shutdown;
pub mod signals;

pub use self::exit::Exit;
pub use self::settings::{LogFormat, sources};
pub use self::shutdown::Shutdown;

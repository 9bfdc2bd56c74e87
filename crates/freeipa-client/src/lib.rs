//! A client of FreeIPA's JSON-RPC.
//!
//! ```text
//!  Client ─ server(key) ─► Pinned ─ command ─► session ─► turn (4 a server) ─► POST /ipa/session/json ─► Class, Outcome
//!                                                 │
//!                                     none, or forgotten: one login for all who wait ─► Gate: never locks the account
//! ```
//!
//! # What is promised
//!
//! - **The account is not locked by the client.** Within a [pause](Settings::login_pause) of 10 minutes or more there are at most two rejected logins,
//!   over all servers; while the credentials are not proven, one. What looks like a wrong password and is an outage of the server is told
//!   apart ([`login_outcome`]). See [`Client::service_login`]. That is one client; several processes share what they know by a [`LoginGuard`].
//! - **Nothing is written twice by the client.** What only reads is asked again; what writes is sent again only if the server has not looked
//!   at it. Every error says whether it may have been done: [`CallError::outcome`].
//! - **Every error says what to do**: [`CallError::class`], by one table over the codes of the server, and
//!   [`CallError::field`] for values that are refused.
//! - **A session belongs to one server**, and so does whoever works in several steps: [`Client::server`], [`Pinned`].
//! - **Nothing personal and nothing secret is shown**, in no error, log or `Debug`. Only [`Fault::text`] and [`Fault::data`] hold what
//!   the server said.
//! - A call ends within its [timeout](Settings::timeout), and at most [so many](Settings::max_in_flight) are on their way to one server.
//!
//! # What may be repeated
//!
//! | call | after `Outcome::Unknown` |
//! |---|---|
//! | all that only read | at once |
//! | [`group_add_member`](Pinned::group_add_member), [`user_disable`](Pinned::user_disable) | at once: what is done already stays done |
//! | [`user_reset_password`](Pinned::user_reset_password) | at once: there is another password then |
//! | [`user_mod`](Pinned::user_mod), [`stageuser_mod`](Pinned::stageuser_mod) | at once, if nobody else changes the same |
//! | [`user_add`](Pinned::user_add), [`stageuser_add`](Pinned::stageuser_add) | after a look by the mark in `userclass`: [`User::has_class`] |
//! | [`stageuser_activate`](Pinned::stageuser_activate) | after a look for the active user, by the same mark |
//! | [`user_del`](Pinned::user_del), [`stageuser_del`](Pinned::stageuser_del) | after a look whose it is now |
//!
//! # An example
//!
//! ```no_run
//! use freeipa_client::{Class, Client, Credentials, Membership, NewUser, Outcome, Server, Settings, Trust};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::new(Credentials::password("svc-registrar", "correct horse"))
//!     .server(Server::new("ipa.example.org")?)
//!     .trust(Trust::Only(std::fs::read("/etc/ipa/ca.crt")?));
//! let client = Client::new(&settings)?;
//!
//! let (mark, login) = ("registration:4711", "apetrova".parse()?);
//! let ipa = client.server(mark);
//! let user = NewUser::new(login, "Anna", "Petrova").user_class(mark);
//! let user = match ipa.user_add(&user).await {
//!     Ok(user) => user,
//!     // Perhaps an earlier attempt of ours, whose answer was lost.
//!     Err(error) if error.class() == Class::Exists || error.outcome() == Outcome::Unknown => {
//!         let found = ipa.user_show(user.login()).await?;
//!         if found.has_class(mark) { found } else { return Err("the login is taken".into()) }
//!     }
//!     Err(error) => return Err(error.into()),
//! };
//! match ipa.group_add_member("staff", &user.login()?).await? {
//!     Membership::Added | Membership::AlreadyMember => {}
//!     refused => return Err(refused.as_str().into()),
//! }
//! let password = ipa.user_reset_password(&user.login()?).await?; // the last step, and repeatable
//! # let _ = password;
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `keytab`, off by default: the type `Keytab`, which logs in without a password. Building it takes the headers of MIT Kerberos and libclang.
//!
//! # TLS
//!
//! rustls with aws-lc-rs, in the process's own set-up of it and no other: nothing is installed globally. Certificates are checked against
//! [`Trust`]; there is no way around that.

mod account;
mod batch;
mod call;
mod check;
mod class;
mod client;
mod command;
mod commands;
mod config;
mod cookie;
mod credentials;
mod entry;
mod envelope;
mod error;
mod fault;
mod field;
mod group;
mod health;
mod http;
#[cfg(feature = "keytab")]
mod keytab;
mod login;
mod member;
mod negotiate;
mod pin;
mod program;
mod server;
mod service_login;
mod session;
mod settings;
mod token_command;
mod transport;
mod trust;
mod user;

pub use self::batch::{Batch, NotARead};
pub use self::check::{Finding, Needs, Probe, Right, Verdict};
pub use self::class::{Class, Outcome, Retry};
pub use self::client::{Client, Pinned, ServerStatus};
pub use self::command::{Command, Effect};
pub use self::commands::{Deletion, Found};
pub use self::config::{DomainConfig, ServerInfo};
pub use self::credentials::{Credentials, InvalidCredentials};
pub use self::entry::Entry;
pub use self::envelope::{BadReply, Reply};
pub use self::error::{CallError, Cause};
pub use self::fault::Fault;
pub use self::group::{Group, Membership};
#[cfg(feature = "keytab")]
pub use self::keytab::{Keytab, NoTokenHelper};
pub use self::login::{InvalidLogin, Login};
pub use self::negotiate::{Negotiate, NegotiateError, NegotiateFault};
pub use self::server::{InvalidServer, Server};
pub use self::service_login::{
    EarlierRefusal, LoginAttempt, LoginError, LoginGuard, LoginLeave, LoginOutcome, LoginRejected,
    LoginUnavailable, LoginVerdict, ServiceLogin, login_outcome,
};
pub use self::settings::{API_VERSION, FailOver, InvalidSettings, SHORTEST_LOGIN_PAUSE, Settings};
pub use self::token_command::TokenCommand;
pub use self::transport::{CertificateFault, TransportError};
pub use self::trust::{InvalidTrust, Trust};
pub use self::user::{NewUser, User, UserChanges};

// Secrets in the API are of this crate.
pub use secrecy;

// The example of the document is a test of this crate.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

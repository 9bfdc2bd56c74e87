//! FreeIPA and the Telegram Bot API as tests need them: true to the real ones, faults included.
//!
//! For tests, and for whoever wants to see what a client makes of a server that loses replies. Everything is in memory.
//!
//! ```text
//!  program under test ──HTTPS──> FreeIpaDouble    logins, sessions, users, stage users, groups, batches
//!                     ──HTTP───> TelegramDouble   getMe, sendMessage, editMessageText
//!  test ──────calls, or HTTP──> Control           faults, outages, clocks; what is in the directory, what was delivered
//! ```
//!
//! # A test
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use freeipa_double::{AccountSpec, Change, Config, Fault, FaultRule, FreeIpaDouble, GroupSpec, Rights};
//!
//! let ipa = FreeIpaDouble::start(
//!     Config::new()
//!         .account(AccountSpec::new("svc", "Secret.123").rights(Rights::registrar()))
//!         .group(GroupSpec::new("tg-users").manager("svc")),
//! )
//! .await?;
//!
//! // The client under test takes ipa.fqdn(), ipa.address() and ipa.ca_pem(), and meets a lost reply:
//! ipa.faults().arm(FaultRule::new("user_add", Fault::CommitThenDrop).key("boris"));
//! # let client = reqwest::Client::builder()
//! #     .tls_certs_only([reqwest::Certificate::from_pem(ipa.ca_pem().as_bytes())?])
//! #     .resolve(ipa.fqdn(), ipa.address()).no_proxy().build()?;
//! # let referer = format!("https://{}/ipa", ipa.fqdn());
//! # let login = client.post(format!("{}/ipa/session/login_password", ipa.url())).header("Referer", &referer)
//! #     .form(&[("user", "svc"), ("password", "Secret.123")]).send().await?;
//! # let cookie = login.headers()["set-cookie"].to_str()?.split(';').next().unwrap_or_default().to_owned();
//! # let add = serde_json::json!({"method": "user_add", "id": 0,
//! #     "params": [["boris"], {"givenname": "Boris", "sn": "Petrov", "version": "2.251"}]});
//! # let lost = client.post(format!("{}/ipa/session/json", ipa.url())).header("Referer", &referer)
//! #     .header("Cookie", cookie).json(&add).send().await;
//! # assert!(lost.is_err());
//! // … and afterwards:
//! assert_eq!(ipa.directory().times(&Change::Created, "boris"), 1, "once, whatever was lost");
//! assert_eq!(ipa.stats().logins, 1);
//! # Ok(()) }
//! ```
//!
//! # How true it is
//!
//! The replies were held against what was recorded of FreeIPA 4.12.4 (`tests/samples`): status lines, headers, texts,
//! numbers, which attribute is a list and which is not, what is checked before what. Where the real server's behaviour is
//! not known the double refuses. In particular
//!
//! - its certificate is for its own name alone, and so are the Referer and the `Host`: another `Host` is sent on with
//!   301, and a Referer without that name is 400;
//! - the cookie is good only letter for letter, and the reason phrase is `200 Success`;
//! - six wrong passwords within a minute of each other lock an account for ten, and a wrong password, a dead KDC, a dead
//!   directory and (in 4.12.4) a locked account all give the same reason;
//! - a stage user with the login of an active one shuts the active one out;
//! - members that could not be added are told within a reply whose `error` is `null`;
//! - `user_add` without the right to the default group, and `stageuser_add` without the right to read, say no and have
//!   done it.
//!
//! What it does not do: Kerberos tickets (`login_kerberos` always asks for one), certificates, external members, OTP,
//! RADIUS, automember rules, and every command that is not in this list: `ping`, `whoami`, `config_show`, `batch`,
//! `session_logout`, `user_{add,mod,show,find,del,undel,enable,disable,unlock}`,
//! `stageuser_{add,mod,show,find,del,activate}`, `group_{add,show,del,add_member,remove_member,add_member_manager}`.
//! The others are unknown to it: 905.
//!
//! # From other processes
//!
//! The program `freeipa-double` serves both and a [`Control`] port; `freeipa-double --help` teaches it.

mod authority;
mod clock;
mod control;
mod error;
mod faults;
mod freeipa;
mod telegram;
mod web;

pub use clock::Clock;
pub use control::Control;
pub use error::DoubleError;
pub use faults::{Armed, FaultRule, Faults};
pub use freeipa::{
    AccountSpec, Change, Config, Container, DirectorySnapshot, Event, Fault, FreeIpaAction, FreeIpaDouble,
    GroupSnapshot, GroupSpec, Right, Rights, Stats, UserSnapshot, Version,
};
pub use telegram::{
    ChatState, Entity, ParseMode, SentMessage, TelegramAction, TelegramConfig, TelegramDouble, TelegramFault,
    TelegramStats,
};

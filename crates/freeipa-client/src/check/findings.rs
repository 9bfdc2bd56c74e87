//! What was found.

use std::fmt;

use super::Report;
use crate::error::{CallError, Cause};
use crate::negotiate::NegotiateFault;
use crate::service_login::{LoginError, LoginRejected};
use crate::transport::{CertificateFault, TransportError};

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The server.
    pub server: String,
    /// What was looked at.
    pub probe: Probe,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen. It names no person but the service account.
    pub text: String,
    /// What helps, unless it is fine.
    pub remedy: Option<String>,
}

/// What is looked at.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Probe {
    /// Whether the server can be reached.
    Connection,
    /// Whether it is who it says.
    Certificate,
    /// Whether it takes the name that it is called by (`Referer`).
    Name,
    /// Whether the service account is let in.
    Login,
    /// Whether it answers to the API.
    Ping,
    /// Whether the account has a right.
    Right,
    /// Whether a group is there, and the account may put users into it.
    Group,
}

/// How it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// As it must be.
    Good,
    /// Not to be known without writing.
    Unknown,
    /// It will not work.
    Bad,
}

/// What helps where the name is wrong.
pub(super) const OWN_NAME: &str = "give the server's own full name, as `hostname -f` prints it there";

/// What helps where the certificate is not believed.
fn of_certificate(fault: &CertificateFault) -> &'static str {
    match fault {
        CertificateFault::UnknownIssuer => {
            "give the CA of this directory: /etc/ipa/ca.crt of one of its servers, also after the CA was renewed"
        }
        CertificateFault::WrongName => OWN_NAME,
        CertificateFault::WrongTime => {
            "compare `date` here and on the server; `getcert list` there shows certificates that have expired"
        }
        CertificateFault::Other { .. } => {
            "see what the server shows: `openssl s_client -connect HOST:443 -showcerts`"
        }
    }
}

/// Why nothing answers as FreeIPA would.
pub(super) fn unreachable(cause: &Cause, report: &mut Report) {
    match cause {
        Cause::Transport(TransportError::Certificate(fault)) => {
            report.good(Probe::Connection, "connected");
            report.bad(Probe::Certificate, fault, of_certificate(fault));
        }
        Cause::Status { status: 400 } => {
            report.good(Probe::Connection, "connected");
            report
                .good(Probe::Certificate, "the certificate is the server's, by an authority that is trusted");
            report.bad(
                Probe::Name,
                format_args!("it refuses the Referer, which has this name: {cause}"),
                OWN_NAME,
            );
        }
        Cause::Status { status: 300..=499 } => {
            report.bad(Probe::Name, cause, "there is no FreeIPA at this name: correct it");
        }
        Cause::Status { .. } => {
            report.bad(Probe::Ping, cause, "see that its services run: `ipactl status` there");
        }
        _ => report.bad(
            Probe::Connection,
            cause,
            "see that name and port are right, that nothing is in between, and that it runs",
        ),
    }
}

/// Why there is no login.
pub(super) fn no_login(login: &LoginError, error: &CallError, account: Option<&str>, report: &mut Report) {
    match login {
        LoginError::WrongName => {
            report.bad(Probe::Name, login, OWN_NAME);
        }
        LoginError::Negotiate(error) => report.bad(Probe::Login, login, of_negotiation(error.fault(), account)),
        LoginError::Rejected { why, .. } => report.bad(Probe::Login, login, of_rejection(*why, account)),
        LoginError::RejectedEarlier(earlier) => {
            report.bad(Probe::Login, login, of_rejection(earlier.why, account));
        }
        LoginError::Spent { .. } => report.bad(
            Probe::Login,
            login,
            "correct the password everywhere, then wait: `ipa user-status` tells what the servers have counted",
        ),
        _ => report.failed(Probe::Login, error),
    }
}

/// What helps where there is no ticket, beyond what its reason says.
fn of_negotiation(fault: NegotiateFault, account: Option<&str>) -> String {
    match fault {
        NegotiateFault::Credentials => "`klist -k FILE` shows whose keys a keytab holds".to_owned(),
        NegotiateFault::Unavailable => "see that the KDC runs: `ipactl status` on the servers".to_owned(),
        NegotiateFault::Configuration => {
            "`kinit -k -t FILE`, then `kvno HTTP/SERVER`, show it here without this program".to_owned()
        }
        NegotiateFault::Rejected(why) => of_rejection(why, account),
    }
}

fn of_rejection(why: LoginRejected, account: Option<&str>) -> String {
    let login = account.unwrap_or("LOGIN");
    match why {
        LoginRejected::WrongPassword => {
            "correct the password; each wrong one brings the account nearer to being locked".to_owned()
        }
        LoginRejected::UnknownAccount => {
            "`ipa user-add` or `ipa service-add` the account, or correct its name".to_owned()
        }
        LoginRejected::Revoked => {
            format!("`ipa user-status {login}`, then `ipa user-unlock {login}` or `ipa user-enable {login}`")
        }
        LoginRejected::PasswordExpired => {
            format!("`kinit {login}` once to change it, and give its group a policy without expiry")
        }
        LoginRejected::AccountExpired => {
            format!("`ipa user-mod {login} --principal-expiration=20350101000000Z`, or another day to come")
        }
        LoginRejected::WrongKey => {
            "`ipa-getkeytab -p ACCOUNT -k FILE`; it makes all earlier keytabs of the account void".to_owned()
        }
        LoginRejected::TicketRefused => {
            "compare `date` here, on the server and on the KDC; the httpd error log of the server tells more"
                .to_owned()
        }
        LoginRejected::Denied => {
            format!("see that no stage user has the same login: `ipa stageuser-show {login}`")
        }
        LoginRejected::Unrecognized => "the httpd error log of the server tells more".to_owned(),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.verdict, self.server, self.probe, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Certificate => "certificate",
            Self::Name => "name",
            Self::Login => "login",
            Self::Ping => "ping",
            Self::Right => "right",
            Self::Group => "group",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Bad => "BAD",
        })
    }
}

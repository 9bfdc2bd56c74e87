//! Whether everything is as it must be, and what to do where it is not.

mod findings;
mod rights;

use std::fmt;

pub use self::findings::{Finding, Probe, Verdict};
pub use self::rights::Right;
pub(crate) use self::rights::needed_for;
use crate::class::Class;
use crate::client::{Client, Pinned};
use crate::command::Command;
use crate::entry::Entry;
use crate::error::{CallError, Cause};
use crate::login::Login;

/// What the service account is to be able to do.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    groups: Vec<String>,
    rights: Vec<Right>,
}

impl Needs {
    /// Nothing but a login.
    pub fn new() -> Self {
        Self::default()
    }

    /// To put users into this group.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.groups.push(name.into());
        self
    }

    /// To have this right.
    #[must_use]
    pub fn right(mut self, right: Right) -> Self {
        self.rights.push(right);
        self
    }
}

impl Client {
    /// Looks at every server: the way to it, its certificate and name, the login, and whether the account may do what it needs. Nothing
    /// is written; the login is tried only where the client would.
    ///
    /// What cannot be known without writing is said to be so: [`Verdict::Unknown`].
    ///
    /// ```no_run
    /// # async fn run(client: freeipa_client::Client) {
    /// use freeipa_client::{Needs, Right, Verdict};
    ///
    /// let needs = Needs::new().group("staff").right(Right::AddUsers).right(Right::ChangePasswords);
    /// for finding in client.check(&needs).await {
    ///     println!("{finding}");
    ///     assert_ne!(finding.verdict, Verdict::Bad);
    /// }
    /// # }
    /// ```
    pub async fn check(&self, needs: &Needs) -> Vec<Finding> {
        let mut report = Report::default();
        for server in self.servers() {
            report.server = server.server_name().to_owned();
            if let Some(principal) = reach(&server, &mut report).await {
                let account = Account::of(self.login().as_deref(), &principal);
                look(&server, needs, account.as_ref(), &mut report).await;
            }
        }
        report.findings
    }
}

/// Whose rights are looked at.
enum Account {
    User(Login),
    /// A service, which logs in with a keytab: `registrar/app.example.org`.
    Service(String),
}

impl Account {
    /// By the login that the settings give, else by the principal that the server knows.
    fn of(login: Option<&str>, principal: &str) -> Option<Self> {
        let name = login.or_else(|| principal.split('@').next())?;
        if name.contains('/') {
            return Some(Self::Service(name.to_owned()));
        }
        name.parse().ok().map(Self::User)
    }
}

/// The findings so far.
#[derive(Default)]
struct Report {
    server: String,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, probe: Probe, verdict: Verdict, text: impl fmt::Display, remedy: Option<String>) {
        let (server, text) = (self.server.clone(), text.to_string());
        self.findings.push(Finding { server, probe, verdict, text, remedy });
    }

    fn good(&mut self, probe: Probe, text: impl fmt::Display) {
        self.add(probe, Verdict::Good, text, None);
    }

    fn bad(&mut self, probe: Probe, text: impl fmt::Display, remedy: impl Into<String>) {
        self.add(probe, Verdict::Bad, text, Some(remedy.into()));
    }

    fn unknown(&mut self, probe: Probe, text: impl fmt::Display, remedy: impl Into<String>) {
        self.add(probe, Verdict::Unknown, text, Some(remedy.into()));
    }

    /// A call that failed, as a finding of `probe`.
    fn failed(&mut self, probe: Probe, error: &CallError) {
        let remedy = match error.class() {
            Class::Unavailable => {
                "see that the server and its services run: `ipactl status` there".to_owned()
            }
            Class::Configuration => findings::OWN_NAME.to_owned(),
            class => format!("see the httpd error log of the server (class {class})"),
        };
        self.bad(probe, error, remedy);
    }
}

/// Goes as far as a ping; who one is there, if it gets so far.
async fn reach(server: &Pinned, report: &mut Report) -> Option<String> {
    // Without a session: name, connection and certificate come before any login.
    match server.member.knock().await {
        Ok(()) => {
            report.good(Probe::Connection, "connected");
            report
                .good(Probe::Certificate, "the certificate is the server's, by an authority that is trusted");
        }
        Err(cause) => {
            findings::unreachable(&cause, report);
            return None;
        }
    }
    match server.ping().await {
        Ok(info) => {
            report.good(Probe::Name, "the server takes its name");
            report.good(
                Probe::Login,
                format_args!("logged in as {}", info.principal.as_deref().unwrap_or("somebody")),
            );
            report.good(
                Probe::Ping,
                format_args!("FreeIPA {}", info.version.as_deref().unwrap_or("of no version")),
            );
            Some(info.principal.unwrap_or_default())
        }
        Err(error) => {
            match error.cause() {
                Cause::Login(login) => {
                    findings::no_login(login, &error, server.member.account.login().as_deref(), report);
                }
                Cause::SessionDenied { .. } | Cause::SessionRefused => report.failed(Probe::Login, &error),
                Cause::Status { status: 400 } => {
                    report.bad(Probe::Name, &error, findings::OWN_NAME);
                }
                _ => report.failed(Probe::Ping, &error),
            }
            None
        }
    }
}

/// What may be done there.
async fn look(server: &Pinned, needs: &Needs, account: Option<&Account>, report: &mut Report) {
    if !needs.rights.is_empty() {
        let permissions = match account {
            Some(account) => permissions_of(server, account).await,
            None => Ok(Vec::new()),
        };
        rights::judge(&needs.rights, permissions, report);
    }
    for group in &needs.groups {
        // With rights: what the directory itself says that this account may do with each attribute.
        let command =
            Command::read("group_show").argument(group.as_str()).option("all", true).option("rights", true);
        match server.ask(&command, crate::envelope::Reply::entry).await {
            Ok(entry) => {
                rights::judge_group(group, &entry, account, report);
            }
            Err(error) if error.class() == Class::NotFound => {
                report.bad(
                    Probe::Group,
                    format_args!("there is no group {group}"),
                    match account {
                        Some(Account::User(login)) => format!(
                            "`ipa group-add {group}` and `ipa group-add-member-manager {group} --users={login}`, or correct the name"
                        ),
                        _ => format!("`ipa group-add {group}`, and let the account fill it; or correct the name"),
                    },
                );
            }
            Err(error) => report.failed(Probe::Group, &error),
        }
    }
}

/// The permissions that the account has, as far as its entry shows them.
async fn permissions_of(server: &Pinned, account: &Account) -> Result<Vec<String>, CallError> {
    let command = match account {
        Account::User(login) => Command::read("user_show").argument(login),
        Account::Service(principal) => Command::read("service_show").argument(principal.as_str()),
    };
    let command = command.option("all", true).option("raw", true);
    let entry: Entry = server.ask(&command, crate::envelope::Reply::entry).await?;
    Ok(rights::permissions(&entry))
}

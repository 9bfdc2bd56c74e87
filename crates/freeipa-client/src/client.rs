//! A client: several servers, one account.

use std::sync::Arc;

use crate::account::Account;
use crate::command::Command;
use crate::credentials::{Credentials, InvalidCredentials};
use crate::envelope::{BadReply, Reply};
use crate::error::CallError;
use crate::member::Member;
use crate::pin;
use crate::service_login::ServiceLogin;
use crate::settings::{FailOver, InvalidSettings, Settings};

/// A client of one FreeIPA domain. Cheap to clone; all clones share sessions and limits.
///
/// It connects and logs in when the first call needs it. The commands are methods of [`Pinned`], which is one server of it.
///
/// ```no_run
/// use freeipa_client::{Client, Credentials, NewUser, Server, Settings, Trust};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(
///     &Settings::new(Credentials::password("svc-registrar", std::fs::read_to_string("password")?.trim_end()))
///         .server(Server::new("ipa.example.org")?)
///         .trust(Trust::Only(std::fs::read("/etc/ipa/ca.crt")?)),
/// )?;
/// let ipa = client.server("registration 4711");
/// let user = ipa.user_add(&NewUser::new("apetrova".parse()?, "Anna", "Petrova").user_class("registration:4711")).await?;
/// let password = ipa.user_reset_password(&user.login()?).await?;
/// client.close().await;
/// # let _ = password;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    members: Arc<[Arc<Member>]>,
    account: Arc<Account>,
    fail_over: FailOver,
    max_in_flight: usize,
}

/// One server of a client, and its commands.
///
/// It never becomes another: what was written on one server may not have reached the others, and two of them may both accept the
/// same login. So whoever works in several steps does all of them on the same one.
#[derive(Clone, Debug)]
pub struct Pinned {
    pub(crate) member: Arc<Member>,
    is_first_choice: bool,
}

/// How one server does.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The server's name.
    pub name: String,
    /// Whether it is given new work. It is not for a while after two failures in a row.
    pub is_well: bool,
    /// Whether it answered when it was asked last, by a call or by a [check](Client::check); `true` if it was never asked.
    pub answers: bool,
}

impl Client {
    /// A client with these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`InvalidSettings`] with what is wrong with them.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let account = Arc::new(Account::new(settings));
        let member = |server| Member::new(server, settings, &account).map(Arc::new);
        let members = settings.servers.iter().map(member).collect::<Result<_, _>>()?;
        Ok(Self { members, account, fail_over: settings.fail_over, max_in_flight: settings.max_in_flight })
    }

    /// The server for this key, such as the id of a registration: the same at every call, in every process, as long as it is
    /// [well](ServerStatus::is_well). What happens while it is not, [`FailOver`] says; [`Pinned::is_first_choice`] tells.
    ///
    /// Who has begun on one server, and comes back later, asks for [that one](Self::server_named).
    pub fn server(&self, key: &str) -> Pinned {
        let order = pin::order(key, self.members.iter().map(|member| member.server.name()));
        let well = match self.fail_over {
            FailOver::ToHealthy => order.iter().position(|place| self.members[*place].is_well()),
            FailOver::Never => None,
        };
        // Where none is well, the first is as good as any.
        let rank = well.unwrap_or(0);
        Pinned { member: Arc::clone(&self.members[order[rank]]), is_first_choice: rank == 0 }
    }

    /// The server of this name; `None` if the settings have none such any more.
    pub fn server_named(&self, name: &str) -> Option<Pinned> {
        let member = self.members.iter().find(|member| member.server.name().eq_ignore_ascii_case(name))?;
        Some(Pinned { member: Arc::clone(member), is_first_choice: true })
    }

    /// Every server, in the order of the settings.
    pub fn servers(&self) -> impl Iterator<Item = Pinned> {
        self.members.iter().map(|member| Pinned { member: Arc::clone(member), is_first_choice: true })
    }

    /// How the servers do, in the order of the settings.
    pub fn status(&self) -> Vec<ServerStatus> {
        let status = |member: &Arc<Member>| ServerStatus {
            name: member.server.name().to_owned(),
            is_well: member.is_well(),
            answers: member.answers(),
        };
        self.members.iter().map(status).collect()
    }

    /// How the service account stands. After a rejection nobody logs in for a while: see [`ServiceLogin`].
    pub fn service_login(&self) -> ServiceLogin {
        self.account.standing()
    }

    /// Logs in with other credentials from now on, also after a rejection; `false` if they are those it has, which are not tried
    /// again before their time. Sessions of the former ones are not used any more.
    ///
    /// # Errors
    /// [`InvalidCredentials`] if they cannot log in; then nothing changes.
    pub fn replace_credentials(&self, credentials: Credentials) -> Result<bool, InvalidCredentials> {
        credentials.check()?;
        let new = self.account.replace(credentials);
        if new {
            self.members.iter().for_each(|member| member.session.start_afresh());
        }
        Ok(new)
    }

    /// Ends the sessions at the servers, after the calls that are on their way, and at the latest after the timeout. Later calls
    /// fail with [`Cause::Closed`](crate::Cause::Closed), those of other clones, too. Who does not close leaves sessions behind that
    /// expire by themselves.
    pub async fn close(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for member in self.members.iter() {
            let (member, max_in_flight) = (Arc::clone(member), self.max_in_flight);
            closing.spawn(async move { member.close(max_in_flight).await });
        }
        closing.join_all().await;
    }

    /// The login of the service account, as far as the credentials tell.
    pub(crate) fn login(&self) -> Option<String> {
        self.account.login()
    }
}

impl Pinned {
    /// The server's name, to be kept with what was done there.
    pub fn server_name(&self) -> &str {
        self.member.server.name()
    }

    /// Whether it is the server of the key that was asked for, and not another in its place.
    pub fn is_first_choice(&self) -> bool {
        self.is_first_choice
    }

    /// Whether it is the server of the same name, of the same client.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.member, &other.member)
    }

    /// Calls any command.
    ///
    /// # What is sent twice
    /// - After a session that the server has forgotten (401, without a reason and a body): everything, once, after one login. The server
    ///   has not looked at the call.
    /// - After a connection that broke: what only reads, once.
    /// - Nothing else. Where a write may have happened, the error's [outcome](CallError::outcome) is `Unknown`: look first.
    ///
    /// # Errors
    /// [`CallError`], which tells what is to be done.
    ///
    /// # Cancel safety
    /// A call that is dropped may happen all the same. A login that it began goes on, and serves the next call.
    pub async fn call(&self, command: &Command) -> Result<Reply, CallError> {
        self.member.call(command).await
    }

    /// What a command's reply holds, read by `read`.
    pub(crate) async fn ask<T>(
        &self,
        command: &Command,
        read: impl FnOnce(&Reply) -> Result<T, BadReply>,
    ) -> Result<T, CallError> {
        let reply = self.call(command).await?;
        read(&reply).map_err(|bad| CallError::new(command, self.server_name(), bad))
    }

    /// A command whose reply says nothing.
    pub(crate) async fn tell(&self, command: &Command) -> Result<(), CallError> {
        self.call(command).await.map(|_| ())
    }
}

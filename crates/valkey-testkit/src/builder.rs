//! What a test server should be like.

mod conf;

use std::sync::Arc;

use crate::engine::Engine;
use crate::place::Place;
use crate::server::{Given, Inner, Own};
use crate::tls::Authority;
use crate::{TestServer, TestkitError, runtime};

pub(crate) use conf::Monitor;

/// How often a server is started elsewhere when its port turned out to be taken.
const ATTEMPTS: u32 = 5;

/// The user that `cli` comes in as when the default user is off.
const OPERATOR: &str = "testkit";

/// A test server to be. Made by [`TestServer::builder`].
///
/// Without further calls it is a server that persists nothing, refuses nobody and allows `DEBUG`.
#[derive(Clone, Default)]
#[must_use = "a builder starts nothing until `start`"]
pub struct TestServerBuilder {
    directives: Vec<(String, String)>,
    users: Vec<User>,
    password: Option<String>,
    /// Of the user that `cli` comes in as when the default one is off. Servers that belong together share it.
    operator_password: Option<String>,
    tls: Option<Tls>,
    authority: Option<Arc<Authority>>,
    newest: bool,
    part: Part,
}

/// What the server is a part of, apart from what the test says about it.
#[derive(Clone, Default)]
enum Part {
    #[default]
    Alone,
    Cluster,
    Replication,
    Sentinel(Monitor),
}

#[derive(Clone)]
struct User {
    name: String,
    password: String,
    rules: String,
}

#[derive(Clone, Copy)]
enum Tls {
    ServerOnly,
    ClientsToo,
}

impl TestServerBuilder {
    /// Adds a line of `valkey.conf`: `config("maxmemory", "4mb")`, `config("save", "60 1")`. The last one of a name wins.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.directives.push((name.into(), value.into()));
        self
    }

    /// Turns the append-only file on or off. With it data survives [`TestServer::kill`] and [`TestServer::restart`];
    /// `appendfsync` is `everysec`, unless [`config`](Self::config) says otherwise.
    pub fn append_only(self, on: bool) -> Self {
        self.config("appendonly", if on { "yes" } else { "no" })
    }

    /// Serves TLS only, with a certificate of a new authority whose file is [`TestServer::tls_ca_path`].
    pub fn tls(mut self) -> Self {
        self.tls = self.tls.or(Some(Tls::ServerOnly));
        self
    }

    /// Like [`tls`](Self::tls), and refuses clients without a certificate of that authority
    /// ([`TestServer::tls_client_certificate_path`], [`TestServer::tls_client_key_path`]).
    pub fn tls_client_certificates(mut self) -> Self {
        self.tls = Some(Tls::ClientsToo);
        self
    }

    /// Sets the default user's password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a user with rules in the server's own words: `acl_user("app", "secret", "~* &* +@all -@admin")`.
    /// [`TestServer::url`] comes in as the first one added.
    pub fn acl_user(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
        rules: impl Into<String>,
    ) -> Self {
        self.users.push(User { name: name.into(), password: password.into(), rules: rules.into() });
        self
    }

    /// Turns the default user off, as a hardened server has it. [`TestServer::cli`] then uses one of its own.
    ///
    /// The default user keeps its rights, though nobody can come in as it: a server replays the transactions of its
    /// append-only file as this user, and loses them where it may not write.
    pub fn default_user_off(mut self) -> Self {
        self.operator_password = Some(crate::unique_name(OPERATOR));
        self
    }

    /// Takes the newest Valkey at hand (`VALKIT_TEST_IMAGE_NEWEST`) and not that of the other tests. Where Docker is not
    /// used or has no such image it is that of the others: [`TestServer::version`] tells, and the test has to ask.
    pub fn newest(mut self) -> Self {
        self.newest = true;
        self
    }

    /// A node of a cluster: all that are made of clones of this trust the same authority.
    pub(crate) fn cluster(self) -> Result<Self, TestkitError> {
        Ok(Self { part: Part::Cluster, authority: self.authority()?, ..self })
    }

    /// A primary or a replica: all that are made of clones of this trust the same authority.
    pub(crate) fn replication(self) -> Result<Self, TestkitError> {
        Ok(Self { part: Part::Replication, authority: self.authority()?, ..self })
    }

    /// A sentinel over servers like this one: it speaks TLS if they do, and lets everybody in.
    pub(crate) fn sentinel(&self, monitor: Monitor) -> Self {
        let (tls, authority, newest) = (self.tls, self.authority.clone(), self.newest);
        Self { tls, authority, newest, part: Part::Sentinel(monitor), ..Self::default() }
    }

    /// Whom the testkit, replicas and sentinels come in as; `None` where nobody is asked.
    pub(crate) fn operator(&self) -> Option<(String, String)> {
        match (&self.operator_password, &self.password) {
            (Some(password), _) => Some((OPERATOR.to_owned(), password.clone())),
            (None, Some(password)) => Some(("default".to_owned(), password.clone())),
            (None, None) => None,
        }
    }

    fn authority(&self) -> Result<Option<Arc<Authority>>, TestkitError> {
        match (&self.authority, self.tls) {
            (Some(shared), _) => Ok(Some(Arc::clone(shared))),
            (None, Some(_)) => Ok(Some(Arc::new(Authority::make()?))),
            (None, None) => Ok(None),
        }
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// [`TestkitError::NoEngine`] when there is no way to start one here, [`TestkitError::Start`] when it ends at
    /// once (a directive it does not know), [`TestkitError::NeedsOwnServer`] when `VALKIT_TEST_URL` names a server
    /// and this builder wants a special one.
    ///
    /// # Cancel safety
    /// A start that is no longer awaited is finished in the background, and the server then removed.
    pub async fn start(self) -> Result<TestServer, TestkitError> {
        self.validate()?;
        runtime::run(async move {
            let engine = if self.newest { Engine::newest().await? } else { Engine::get().await? };
            if let Engine::Given { url } = engine {
                self.refuse_given()?;
                return Ok(TestServer::new(Inner::Given(Given::new(url)?)));
            }
            let mut attempt = 1;
            loop {
                let place = engine.place().await?;
                let retry = place.shares_ports() && attempt < ATTEMPTS;
                match self.start_in(place).await {
                    Err(TestkitError::Start { log, .. })
                        if retry && log.contains("Address already in use") =>
                    {
                        attempt += 1;
                    }
                    Err(error) => return Err(error),
                    Ok(own) => return Ok(TestServer::new(Inner::Own(Arc::new(own)))),
                }
            }
        })
        .await
    }

    fn refuse_given(&self) -> Result<(), TestkitError> {
        let plain = self.directives.is_empty()
            && self.users.is_empty()
            && self.password.is_none()
            && self.operator_password.is_none()
            && self.tls.is_none()
            && matches!(self.part, Part::Alone);
        if plain { Ok(()) } else { Err(TestkitError::NeedsOwnServer { what: "configures it" }) }
    }

    async fn start_in(&self, place: Place) -> Result<Own, TestkitError> {
        let authority = self.authority()?;
        let mut files = vec![("valkey.conf", self.conf(&place)), ("users.acl", self.acl())];
        if let Some(authority) = &authority {
            files.extend(authority.server_files(place.ip())?);
        }
        place.write(&files).await?;
        let conf = format!("{}/valkey.conf", place.directories().0);
        let mut arguments = vec![conf];
        if matches!(self.part, Part::Sentinel(_)) {
            arguments.push("--sentinel".to_owned());
        }
        let supervisor = place.supervise(&arguments).await?;
        supervisor.start().await?;
        let operator = self.operator();
        let user = self.users.first().map(|user| (user.name.clone(), user.password.clone()));
        Ok(Own { user: user.or_else(|| operator.clone()), operator, authority, supervisor, place })
    }

    fn validate(&self) -> Result<(), TestkitError> {
        let directives = self.directives.iter().flat_map(|(name, value)| [name, value]);
        let users = self.users.iter().flat_map(|user| [&user.name, &user.password, &user.rules]);
        if directives.chain(users).chain(&self.password).any(|text| text.contains(['\n', '\r'])) {
            return Err(TestkitError::Invalid("a line break in a server's configuration".to_owned()));
        }
        let credentials =
            self.users.iter().flat_map(|user| [&user.name, &user.password]).chain(&self.password);
        if let Some(text) =
            credentials.into_iter().find(|text| text.contains(char::is_whitespace) || text.is_empty())
        {
            return Err(TestkitError::Invalid(format!("{text:?} is no name or password for an ACL file")));
        }
        Ok(())
    }
}

impl std::fmt::Debug for TestServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestServerBuilder")
            .field("directives", &self.directives)
            .field("users", &self.users.iter().map(|user| &user.name).collect::<Vec<_>>())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

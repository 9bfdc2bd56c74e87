//! The client of the directory, made of the settings; and what its account has to be allowed.

use std::path::Path;
use std::sync::Arc;

use freeipa_client::{Client, Credentials, InvalidServer, Needs, Right, Server, TokenCommand, Trust};
use valkey_config::Secret;

use crate::consumer::ConsumerError;
use crate::files;
use crate::lockout::Lockout;
#[cfg(not(feature = "keytab"))]
use crate::settings::NO_KEYTAB_LOGIN;
use crate::settings::{FreeIpaSettings, PasswordDelivery, Settings};
use crate::state::{Flow, OnPartial};

/// A client, whose logins `lockout` watches over. Nothing is sent yet.
///
/// # Errors
/// The settings are wrong, or the CA file cannot be read.
pub(crate) fn client(settings: &FreeIpaSettings, lockout: Lockout) -> Result<Client, ConsumerError> {
    let mut client = freeipa_client::Settings::new(credentials(settings)?)
        .login_guard(Arc::new(lockout))
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .max_in_flight(settings.max_in_flight.get());
    for given in &*settings.servers {
        let server = Server::new(given.fqdn());
        let server = match given.address() {
            Some(address) => server.and_then(|server| server.connect_to(address)),
            None => server,
        };
        client = client.server(server.map_err(|error: InvalidServer| ConsumerError::Server(error))?);
    }
    if let Some(file) = &settings.ca_file {
        let pem = files::read(file)
            .map_err(|source| ConsumerError::CaFile { file: file.display().to_string(), source })?;
        client = client.trust(Trust::Only(pem));
    }
    Client::new(&client).map_err(ConsumerError::Directory)
}

/// With what the service account logs in.
fn credentials(settings: &FreeIpaSettings) -> Result<Credentials, ConsumerError> {
    if let Some((program, arguments)) = settings.token_command.split_first() {
        let command = arguments.iter().fold(TokenCommand::new(program), TokenCommand::argument);
        return Ok(Credentials::Negotiate(Arc::new(command)));
    }
    if let Some(file) = &settings.keytab {
        return keytab(file, settings.principal.as_deref());
    }
    let password = settings.password.as_ref().map_or("", Secret::expose);
    Ok(Credentials::password(settings.login.trim(), password))
}

#[cfg(feature = "keytab")]
fn keytab(file: &Path, principal: Option<&str>) -> Result<Credentials, ConsumerError> {
    let keytab = freeipa_client::Keytab::new(file)
        .map_err(|error| ConsumerError::Keytab { reason: error.to_string() })?;
    let keytab = match principal {
        Some(principal) => keytab.principal(principal.trim()),
        None => keytab,
    };
    Ok(Credentials::Negotiate(Arc::new(keytab)))
}

#[cfg(not(feature = "keytab"))]
fn keytab(_file: &Path, _principal: Option<&str>) -> Result<Credentials, ConsumerError> {
    Err(ConsumerError::Keytab { reason: NO_KEYTAB_LOGIN.to_owned() })
}

/// What the service account has to be allowed with these settings.
pub(crate) fn needs(settings: &Settings) -> Needs {
    let Settings { consumer, registration, report, .. } = settings;
    let stages = consumer.flow != Flow::Direct;
    let makes_users = consumer.flow != Flow::Stage;
    let rights = [
        (makes_users, Right::AddUsers),
        (makes_users, Right::AddToDefaultGroup),
        (makes_users, Right::ReadGroupDefinition),
        (makes_users && report.password_delivery() == PasswordDelivery::Temporary, Right::ChangePasswords),
        (makes_users && consumer.on_partial_groups == OnPartial::Disable, Right::UnlockUsers),
        (stages, Right::AddStagedUsers),
        (stages, Right::ReadStagedUsers),
        (stages, Right::RemoveStagedUsers),
    ];
    let needs = rights.iter().filter(|(is_needed, _)| *is_needed);
    let needs = needs.fold(Needs::new(), |needs, (_, right)| needs.right(*right));
    if !makes_users {
        return needs;
    }
    let mut groups: Vec<&String> =
        registration.default_groups.iter().chain(registration.groups_allowed.iter()).collect();
    groups.sort();
    groups.dedup();
    groups.into_iter().fold(needs, Needs::group)
}

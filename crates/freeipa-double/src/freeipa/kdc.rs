//! What becomes of a login. The outcomes, their reasons and their texts are those measured at the real server.

use jiff::{SignedDuration, Timestamp};

use crate::freeipa::directory::{Container, Directory, Entry};
use crate::freeipa::version::Version;

/// Wrong passwords before an account is locked.
const MOST_FAILURES: u32 = 6;
/// How long one wrong password counts.
const COUNTED: SignedDuration = SignedDuration::from_secs(60);
/// How long an account stays locked.
const LOCKED: SignedDuration = SignedDuration::from_secs(600);

/// What is in order, and what is not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outages {
    pub(crate) kdc: bool,
    pub(crate) ldap: bool,
}

/// A login that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// What stands in `X-IPA-Rejection-Reason`.
    pub(crate) reason: &'static str,
    /// What stands in the body.
    pub(crate) text: String,
}

/// Logs in by name and password; the login, or why not.
pub(crate) fn log_in(
    directory: &mut Directory,
    version: Version,
    outages: Outages,
    user: &str,
    password: &str,
    now: Timestamp,
) -> Result<String, Rejection> {
    let realm = directory.names.realm.clone();
    let (name, of) = match user.split('@').collect::<Vec<_>>()[..] {
        [name] => (name, realm.as_str()),
        [name, of] if !name.is_empty() && !of.is_empty() => (name, of),
        _ => return Err(Rejection { reason: "denied", text: String::new() }),
    };
    if name.contains('\\') {
        return Err(Rejection { reason: "denied", text: String::new() });
    }
    if outages.kdc {
        return Err(invalid(&format!("Cannot contact any KDC for realm '{realm}'")));
    }
    if outages.ldap {
        return Err(invalid("Generic error (see e-text)"));
    }
    if !of.eq_ignore_ascii_case(&realm) {
        return Err(invalid(&format!("Cannot find KDC for realm \"{of}\"")));
    }
    let Some(login) = find(directory, &directory.names.principal(name)) else {
        let dormant = [Container::Staged, Container::Preserved]
            .into_iter()
            .any(|container| directory.entry(container, name).is_some());
        return Err(if dormant {
            revoked(version)
        } else {
            invalid(&format!("Client '{name}@{realm}' not found in Kerberos database"))
        });
    };
    let Some(entry) = directory.entry_mut(Container::Active, &login) else {
        return Err(invalid("Generic error (see e-text)"));
    };
    authenticate(entry, version, password, now).map(|()| login)
}

/// The active user that has this principal.
fn find(directory: &Directory, principal: &str) -> Option<String> {
    directory
        .of(Container::Active)
        .into_iter()
        .find(|entry| entry.get("krbprincipalname").iter().any(|own| own.eq_ignore_ascii_case(principal)))
        .map(|entry| entry.login.clone())
}

fn authenticate(
    entry: &mut Entry,
    version: Version,
    password: &str,
    now: Timestamp,
) -> Result<(), Rejection> {
    if entry.has_come("krbprincipalexpiration", now) {
        let text = kinit("Client's entry in database has expired");
        return Err(Rejection { reason: "krbprincipal-expired", text });
    }
    if entry.is_disabled() || is_locked(entry, now) {
        return Err(revoked(version));
    }
    if entry.password.as_deref() != Some(password) {
        count_failure(entry, now);
        return Err(invalid("Password incorrect"));
    }
    entry.failures = 0;
    if entry.has_come("krbpasswordexpiration", now) {
        return Err(Rejection { reason: "password-expired", text: kinit("Cannot read password") });
    }
    Ok(())
}

/// Whether too many wrong passwords came, and the last not long ago.
pub(crate) fn is_locked(entry: &Entry, now: Timestamp) -> bool {
    entry.failures >= MOST_FAILURES && entry.last_failure.is_some_and(|last| now < after(last, LOCKED))
}

/// Notes a wrong password.
pub(crate) fn count_failure(entry: &mut Entry, now: Timestamp) {
    if entry.last_failure.is_some_and(|last| now >= after(last, COUNTED)) {
        entry.failures = 0;
    }
    entry.failures += 1;
    entry.last_failure = Some(now);
}

/// Locks an account as so many wrong passwords do.
pub(crate) fn lock(entry: &mut Entry, now: Timestamp) {
    entry.failures = MOST_FAILURES;
    entry.last_failure = Some(now);
}

fn after(moment: Timestamp, time: SignedDuration) -> Timestamp {
    moment.saturating_add(time).unwrap_or(Timestamp::MAX)
}

fn kinit(what: &str) -> String {
    format!("kinit: {what} while getting initial credentials\n")
}

fn invalid(what: &str) -> Rejection {
    Rejection { reason: "invalid-password", text: kinit(what) }
}

/// Disabled or locked, which are told apart by nobody; 4.12.4 does not even tell them from a wrong password.
fn revoked(version: Version) -> Rejection {
    let reason = match version {
        Version::V4_12_4 => "invalid-password",
        Version::V4_13_1 => "user-locked",
    };
    Rejection { reason, text: kinit("Client's credentials have been revoked") }
}

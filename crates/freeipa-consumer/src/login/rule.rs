//! The rule that every login keeps.

use std::collections::BTreeSet;
use std::fmt;

/// A login that keeps the rule: `[a-z_][a-z0-9_.-]*`, not too long, not reserved.
///
/// A [`LoginRule`] makes one of what people write. The directory takes more (capitals, which it turns into small letters; a digit at the
/// beginning; a `$` at the end) that some program on some host stumbles over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Login(String);

/// Which logins are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRule {
    max_length: usize,
    reserved: BTreeSet<String>,
}

/// Why a login is not taken. It never repeats the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLogin {
    /// A character that no login may have.
    #[error("a login has small letters of ASCII, digits, `_`, `.` and `-` only")]
    Character,
    /// There is nothing.
    #[error("a login has at least one character")]
    Empty,
    /// It begins with what no login may begin with.
    #[error("a login begins with a letter or `_`")]
    Start,
    /// It is kept for something else: a system's own, a service's, a group of that name.
    #[error("this login is reserved")]
    Reserved,
    /// It is longer than the directory takes.
    #[error("a login has at most {limit} characters")]
    TooLong {
        /// How many it may have.
        limit: usize,
    },
}

/// Logins that mean something to systems, mail, or the directory itself; and its own groups, for an account gets a group of its
/// own name, which must be free.
const RESERVED: &[&str] = &[
    "abuse",
    "adm",
    "admin",
    "administrator",
    "admins",
    "apache",
    "backup",
    "bin",
    "cifs",
    "daemon",
    "dbus",
    "default",
    "dirsrv",
    "dns",
    "editors",
    "ftp",
    "games",
    "gdm",
    "guest",
    "hostmaster",
    "http",
    "https",
    "info",
    "ipa",
    "ipaapi",
    "ipausers",
    "kadmin",
    "kdcproxy",
    "krbtgt",
    "ldap",
    "lp",
    "mail",
    "mailer-daemon",
    "man",
    "named",
    "news",
    "nfs",
    "nobody",
    "nogroup",
    "noreply",
    "no-reply",
    "ntp",
    "operator",
    "pkiuser",
    "polkitd",
    "postmaster",
    "postgres",
    "proxy",
    "rpc",
    "root",
    "security",
    "shutdown",
    "smtp",
    "ssh",
    "sshd",
    "sssd",
    "sudo",
    "support",
    "sync",
    "sys",
    "system",
    "systemd",
    "tty",
    "tss",
    "users",
    "uucp",
    "webmaster",
    "wheel",
    "www",
    "www-data",
];

impl Login {
    /// A login that the directory has: it need not keep our rule.
    pub fn of_directory(login: impl Into<String>) -> Self {
        Self(login.into())
    }

    /// The login.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What people write for a login, as one is written: without blanks and an `@` in front, in small letters.
    pub(crate) fn fold(text: &str) -> String {
        let text = text.trim();
        text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase()
    }
}

impl LoginRule {
    /// The most characters that any login may have: more, the directory takes in no configuration.
    pub const LONGEST: usize = 255;

    /// What the directory's own configuration says unless it was changed.
    pub const USUAL: usize = 32;

    /// Logins of at most so many characters (at least 1, at most [`LONGEST`](Self::LONGEST)); the names of systems are reserved.
    pub fn new(max_length: usize) -> Self {
        Self {
            max_length: max_length.clamp(1, Self::LONGEST),
            reserved: RESERVED.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Reserves further names: those of services, of groups.
    #[must_use]
    pub fn reserve<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.reserved.extend(names.into_iter().map(|name| Login::fold(name.as_ref())));
        self
    }

    /// The rule for a directory that takes at most so many characters.
    #[must_use]
    pub fn within(mut self, max_length: usize) -> Self {
        self.max_length = self.max_length.min(max_length.max(1));
        self
    }

    /// How many characters a login may have.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Takes a login, as people write one: blanks around it, an `@` in front and capitals do not matter.
    ///
    /// ```
    /// use freeipa_consumer::login::{InvalidLogin, LoginRule};
    ///
    /// let rule = LoginRule::new(32);
    /// assert_eq!(rule.take(" @Ada ")?.as_str(), "ada");
    /// assert_eq!(rule.take("42"), Err(InvalidLogin::Start));
    /// # Ok::<(), InvalidLogin>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&self, text: &str) -> Result<Login, InvalidLogin> {
        let login = Login::fold(text);
        let first = login.bytes().next().ok_or(InvalidLogin::Empty)?;
        if !login.bytes().all(is_allowed) {
            return Err(InvalidLogin::Character);
        }
        if !is_start(first) {
            return Err(InvalidLogin::Start);
        }
        if login.len() > self.max_length {
            return Err(InvalidLogin::TooLong { limit: self.max_length });
        }
        if self.reserved.contains(&login) {
            return Err(InvalidLogin::Reserved);
        }
        Ok(Login(login))
    }
}

pub(super) fn is_start(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

pub(super) fn is_allowed(byte: u8) -> bool {
    is_start(byte) || byte.is_ascii_digit() || b".-".contains(&byte)
}

impl Default for LoginRule {
    fn default() -> Self {
        Self::new(Self::USUAL)
    }
}

impl InvalidLogin {
    /// Under which key of `[reasons]` the texts for applicants say it.
    pub const fn text_key(self) -> &'static str {
        match self {
            Self::Character | Self::Start => "login_characters",
            Self::Empty => "missing",
            Self::Reserved => "login_reserved",
            Self::TooLong { .. } => "too_long",
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Login {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let rule = LoginRule::new(32).reserve(["svc-registrar", "TG-Users"]);
        for (text, expected) in [
            ("ada", Ok("ada")),
            ("  Ada.Lovelace_1815- ", Ok("ada.lovelace_1815-")),
            ("@ada", Ok("ada")),
            ("_", Ok("_")),
            (&"a".repeat(32), Ok(&*"a".repeat(32))),
            (&"a".repeat(33), Err(InvalidLogin::TooLong { limit: 32 })),
            ("", Err(InvalidLogin::Empty)),
            ("@", Err(InvalidLogin::Empty)),
            ("123456789", Err(InvalidLogin::Start)),
            ("1ada", Err(InvalidLogin::Start)),
            (".ada", Err(InvalidLogin::Start)),
            ("-ada", Err(InvalidLogin::Start)),
            ("анна", Err(InvalidLogin::Character)),
            ("İada", Err(InvalidLogin::Character)),
            ("ada$", Err(InvalidLogin::Character)),
            ("ada lovelace", Err(InvalidLogin::Character)),
            ("ada\n", Ok("ada")),
            ("a\nb", Err(InvalidLogin::Character)),
            ("ada@example.org", Err(InvalidLogin::Character)),
            ("Admin", Err(InvalidLogin::Reserved)),
            ("ROOT", Err(InvalidLogin::Reserved)),
            ("svc-registrar", Err(InvalidLogin::Reserved)),
            ("tg-users", Err(InvalidLogin::Reserved)),
        ] {
            let taken = rule.take(text);
            assert_eq!(
                taken.as_ref().map(Login::as_str),
                expected.as_ref().map(|login| &**login),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_directory_may_take_less_and_never_more() {
        assert_eq!(LoginRule::new(32).within(8).max_length(), 8);
        assert_eq!(LoginRule::new(16).within(255).max_length(), 16);
        assert_eq!(LoginRule::new(1_000).max_length(), LoginRule::LONGEST);
        assert_eq!(LoginRule::new(0).max_length(), 1);
    }
}

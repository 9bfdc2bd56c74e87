//! Accounts: as they are, as they are to be, and what is to change.

use std::fmt;
use std::ops::Deref;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::entry::Entry;
use crate::login::{InvalidLogin, Login};

/// A user, active, staged or preserved.
///
/// It is an [`Entry`] with names for what is asked most. A staged one has no numbers yet, and cannot log in.
#[derive(Clone, PartialEq)]
pub struct User {
    entry: Entry,
}

impl User {
    /// The user that an entry is.
    pub fn new(entry: Entry) -> Self {
        Self { entry }
    }

    /// The login.
    ///
    /// # Errors
    /// [`InvalidLogin`] if the entry has none, or one that was made by other means.
    pub fn login(&self) -> Result<Login, InvalidLogin> {
        self.entry.text("uid").unwrap_or_default().parse()
    }

    /// The first name.
    pub fn first_name(&self) -> Option<&str> {
        self.entry.text("givenname")
    }

    /// The last name.
    pub fn last_name(&self) -> Option<&str> {
        self.entry.text("sn")
    }

    /// The mail addresses.
    pub fn mail(&self) -> Vec<&str> {
        self.entry.texts("mail")
    }

    /// Whether one of the values of `userclass` is this one, to the letter. Users cannot change theirs.
    pub fn has_class(&self, class: &str) -> bool {
        self.entry.has("userclass", class)
    }

    /// The groups that the user is a direct member of.
    pub fn groups(&self) -> Vec<&str> {
        self.entry.texts("memberof_group")
    }

    /// Whether the user is a member of the group, directly or through another.
    pub fn is_member_of(&self, group: &str) -> bool {
        ["memberof_group", "memberofindirect_group"]
            .iter()
            .any(|list| self.entry.texts(list).iter().any(|name| name.eq_ignore_ascii_case(group)))
    }

    /// Whether the account is disabled.
    pub fn is_disabled(&self) -> bool {
        self.entry.flag("nsaccountlock").unwrap_or(false)
    }

    /// Whether the account was deleted and kept.
    pub fn is_preserved(&self) -> bool {
        self.entry.flag("preserved").unwrap_or(false)
    }

    /// Whether it has a password; `None` if that is not to be seen.
    pub fn has_password(&self) -> Option<bool> {
        self.entry.flag("has_password")
    }

    /// Whether the password is one that its owner has chosen: one that somebody else has set has expired in the moment that it was
    /// set. `None` if that cannot be told: there is no password, or its times are not to be seen.
    pub fn has_own_password(&self) -> Option<bool> {
        // In this form they are in the order of time.
        let time = |name| self.entry.text(name).filter(|time| time.len() == 15 && time.ends_with('Z'));
        let changed = time("krblastpwdchange").filter(|_| self.has_password() != Some(false))?;
        // Without a time it never expires, which nobody but the owner gets by a policy.
        Some(self.entry.get("krbpasswordexpiration").is_none() || time("krbpasswordexpiration")? > changed)
    }

    /// The number of the account.
    pub fn uid_number(&self) -> Option<i64> {
        self.entry.integer("uidnumber").filter(|number| *number >= 0)
    }
}

impl Deref for User {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("User").field(&self.entry).finish()
    }
}

/// A user to be made.
///
/// It has no password: the reply that tells a generated one may be lost, and with it the password. Set one as a step of its own, which can be
/// repeated: [`Pinned::user_reset_password`](crate::Pinned::user_reset_password).
///
/// ```
/// use freeipa_client::NewUser;
///
/// let user = NewUser::new("apetrova".parse()?, "Анна", "Петрова")
///     .mail("anna@example.org")
///     .user_class("registration:4711"); // tells one's own from others' when an answer was lost
/// assert!(!format!("{user:?}").contains("anna"));
/// # Ok::<(), freeipa_client::InvalidLogin>(())
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "nobody is made before `user_add`"]
pub struct NewUser {
    login: Login,
    values: Map<String, Value>,
}

impl NewUser {
    /// A user with what is needed at least. Names without spaces around them, not empty.
    pub fn new(login: Login, first_name: impl Into<String>, last_name: impl Into<String>) -> Self {
        Self { login, values: Map::new() }.set("givenname", first_name.into()).set("sn", last_name.into())
    }

    /// Adds a mail address. Without one the server makes one up from the login. It does not keep two users from having the same.
    pub fn mail(self, address: impl Into<String>) -> Self {
        self.add("mail", address.into())
    }

    /// Adds a telephone number: digits, spaces, and a few signs.
    pub fn phone(self, number: impl Into<String>) -> Self {
        self.add("telephonenumber", number.into())
    }

    /// Adds a word of one's own to `userclass`, which the user cannot change. Good for telling what made the account, and for what.
    pub fn user_class(self, class: impl Into<String>) -> Self {
        self.add("userclass", class.into())
    }

    /// The name as it is shown. Without it, first and last name.
    pub fn display_name(self, name: impl Into<String>) -> Self {
        self.set("displayname", name.into())
    }

    /// The preferred language, such as `ru` or `de-DE`.
    pub fn preferred_language(self, language: impl Into<String>) -> Self {
        self.set("preferredlanguage", language.into())
    }

    /// Sets any other option of `user_add`, by the name of the API: `loginshell`, `employeenumber`.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    fn add(mut self, name: &str, value: String) -> Self {
        add(&mut self.values, name, value);
        self
    }

    /// The login.
    pub fn login(&self) -> &Login {
        &self.login
    }

    pub(crate) fn values(&self) -> &Map<String, Value> {
        &self.values
    }
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewUser").field(&Names(&self.values)).finish()
    }
}

/// What is to change in a user.
#[derive(Clone, Default, PartialEq)]
#[must_use = "nothing changes before `user_mod`"]
pub struct UserChanges {
    values: Map<String, Value>,
}

impl UserChanges {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an attribute, by the name of the API, to this value or list of values.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Takes an attribute away.
    pub fn clear(self, name: impl Into<String>) -> Self {
        self.set(name, "")
    }

    /// Sets the password. It is expired at once: the user must change it at the first login.
    pub fn password(self, password: &SecretString) -> Self {
        self.set("userpassword", password.expose_secret())
    }

    pub(crate) fn values(&self) -> &Map<String, Value> {
        &self.values
    }
}

impl fmt::Debug for UserChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserChanges").field(&Names(&self.values)).finish()
    }
}

fn add(values: &mut Map<String, Value>, name: &str, value: String) {
    match values.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.push(value.into()),
        other => *other = Value::Array(vec![other.take(), value.into()]),
    }
}

/// Names without their values.
struct Names<'a>(&'a Map<String, Value>);

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_user_is_what_is_sent() {
        let user = NewUser::new("anna".parse().unwrap(), "Анна", "Петрова")
            .mail("a@x.org")
            .mail("b@x.org")
            .user_class("reg:1")
            .set("loginshell", "/bin/sh");
        let expected = json!({
            "givenname": "Анна", "sn": "Петрова", "mail": ["a@x.org", "b@x.org"], "userclass": ["reg:1"], "loginshell": "/bin/sh",
        });
        assert_eq!(Value::Object(user.values().clone()), expected);
        assert_eq!(user.login().as_str(), "anna");
    }

    #[test]
    fn a_value_that_was_set_is_added_to() {
        let user = NewUser::new("anna".parse().unwrap(), "A", "P").set("mail", "a@x.org").mail("b@x.org");
        assert_eq!(user.values()["mail"], json!(["a@x.org", "b@x.org"]));
    }

    #[test]
    fn nothing_personal_is_shown() {
        let secret = SecretString::from("hunter2");
        let shown = format!(
            "{:?} {:?}",
            NewUser::new("anna".parse().unwrap(), "Anna", "Petrova").mail("a@x.org"),
            UserChanges::new().password(&secret).clear("mail")
        );
        for hidden in ["anna", "Anna", "x.org", "hunter2"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn a_password_is_its_owners_if_it_has_not_expired_in_the_moment_that_it_was_set() {
        let (set, later) = ("20261121205259Z", "20270219205259Z");
        for (entry, expected) in [
            (
                json!({"krblastpwdchange": [set], "krbpasswordexpiration": [{"__datetime__": set}]}),
                Some(false),
            ),
            (
                json!({"krblastpwdchange": [{"__datetime__": set}], "krbpasswordexpiration": [later]}),
                Some(true),
            ),
            (json!({"krblastpwdchange": [set]}), Some(true)),
            (json!({"krblastpwdchange": [set], "has_password": false}), None),
            (json!({"krblastpwdchange": [set], "krbpasswordexpiration": ["never"]}), None),
            (json!({"krbpasswordexpiration": [later]}), None),
            (json!({}), None),
        ] {
            assert_eq!(User::new(Entry::of(&entry).unwrap()).has_own_password(), expected, "{entry}");
        }
    }

    #[test]
    fn a_staged_user_has_no_number_yet() {
        let staged = User::new(
            Entry::of(&json!({"uid": ["anna"], "uidnumber": ["-1"], "nsaccountlock": true})).unwrap(),
        );
        assert_eq!(staged.uid_number(), None);
        assert!(staged.is_disabled() && !staged.is_preserved());
    }

    #[test]
    fn classes_count_to_the_letter_and_groups_do_not() {
        let user = User::new(
            Entry::of(&json!({"userclass": ["Reg:1"], "memberof_group": ["ipausers"], "memberofindirect_group": ["Staff"]}))
                .unwrap(),
        );
        assert!(user.has_class("Reg:1") && !user.has_class("reg:1"));
        assert!(user.is_member_of("IPAUSERS") && user.is_member_of("staff") && !user.is_member_of("admins"));
    }
}

//! Where logins come from, and what is tried when they are taken.

use std::fmt;
use std::str::FromStr;

use super::rule::{InvalidLogin, Login, LoginRule};
use super::spelling::{clip, word};

/// How accounts are called.
///
/// ```
/// use freeipa_consumer::login::{LoginPolicy, Person};
///
/// let person = Person { first_name: "Анна", last_name: "Петрова", user_id: 42, ..Person::default() };
/// let logins = LoginPolicy::default().candidates(&person)?;
/// assert_eq!(logins[0].as_str(), "apetrova");
/// assert_eq!(logins[1].as_str(), "apetrova2");
/// assert_eq!(logins[9].as_str(), "tg42");
/// # Ok::<(), freeipa_consumer::login::InvalidLogin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginPolicy {
    /// Which logins are taken.
    pub rule: LoginRule,
    /// Where the login of somebody who asked for none comes from, the best source first.
    pub sources: Vec<LoginSource>,
    /// How a login is made of names.
    pub form: NameForm,
    /// What stands before the id of Telegram: `tg`, `user`.
    pub id_prefix: String,
    /// Whether `2` to `9` are put behind a login that is taken.
    pub suffixes: Suffixes,
}

/// Whom a login is for.
#[derive(Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)] // Made in one place, and in tests.
pub struct Person<'a> {
    /// The login asked for.
    pub requested: Option<&'a str>,
    /// The name in Telegram.
    pub username: Option<&'a str>,
    /// The given name.
    pub first_name: &'a str,
    /// The family name.
    pub last_name: &'a str,
    /// The id in Telegram.
    pub user_id: i64,
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginSource {
    /// The id of Telegram, after a prefix: `tg42`.
    Id,
    /// The names, transliterated.
    Names,
    /// The name in Telegram.
    Username,
}

/// How a login is made of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameForm {
    /// `anna`
    First,
    /// `anna.petrova`
    FirstDotLast,
    /// `apetrova`
    #[default]
    InitialLast,
}

/// Whether `2` to `9` are put behind a login that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suffixes {
    /// Behind every login, one that was asked for included.
    Always,
    /// Behind those that we chose ourselves: who asked for one gets that one, or is told that it is taken.
    #[default]
    Derived,
    /// Behind none.
    Never,
}

/// A text that names no source of logins or no form of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidNameForm {
    expected: &'static str,
}

// === impl LoginPolicy ===

impl LoginPolicy {
    /// What the account of that person may be called, the best name first, each once, at least one.
    ///
    /// A login that was asked for is the only source there is. Otherwise the sources are asked in their order, and those that
    /// give no login (names of nothing but symbols, a reserved word) are passed over; the id always gives one.
    ///
    /// # Errors
    /// The login that was asked for breaks the rule; or the rule leaves no room even for the id.
    pub fn candidates(&self, person: &Person<'_>) -> Result<Vec<Login>, InvalidLogin> {
        if let Some(requested) = person.requested {
            let login = self.rule.take(requested)?;
            return Ok(self.with_suffixes(login, self.suffixes == Suffixes::Always));
        }
        let made = self.sources.iter().find_map(|source| self.derived(*source, person));
        let by_id = self.rule.take(&format!("{}{}", self.id_prefix, person.user_id));
        let first = self.sources.first() == Some(&LoginSource::Id);
        match (made, by_id) {
            (Some(made), by_id) if !first || by_id.is_err() => {
                let mut logins = self.with_suffixes(made, self.suffixes != Suffixes::Never);
                logins.extend(by_id.ok().filter(|login| !logins.contains(login)));
                Ok(logins)
            }
            (_, by_id) => by_id.map(|login| vec![login]),
        }
    }

    fn derived(&self, source: LoginSource, person: &Person<'_>) -> Option<Login> {
        let text = match source {
            LoginSource::Id => return None,
            LoginSource::Names => self.of_names(&word(person.first_name), &word(person.last_name)),
            LoginSource::Username => word(person.username?),
        };
        self.rule.take(&clip(&text, self.rule.max_length())).ok()
    }

    fn of_names(&self, first: &str, last: &str) -> String {
        match (self.form, first.is_empty(), last.is_empty()) {
            (_, false, true) | (NameForm::First, false, false) => first.to_owned(),
            (_, true, _) => last.to_owned(),
            (NameForm::FirstDotLast, false, false) => format!("{first}.{last}"),
            (NameForm::InitialLast, false, false) => {
                // The words are ASCII; one that begins with a separator gives no initial.
                let initial: String = first.chars().find(char::is_ascii_alphanumeric).into_iter().collect();
                format!("{initial}{last}")
            }
        }
    }

    fn with_suffixes(&self, login: Login, wanted: bool) -> Vec<Login> {
        let limit = self.rule.max_length();
        let numbered = (2..=9).filter(|_| wanted && limit > 1).filter_map(|number| {
            let stem = clip(login.as_str(), limit - 1);
            self.rule.take(&format!("{stem}{number}")).ok().filter(|numbered| *numbered != login)
        });
        let numbered: Vec<Login> = numbered.collect();
        std::iter::once(login).chain(numbered).collect()
    }
}

impl Default for LoginPolicy {
    fn default() -> Self {
        Self {
            rule: LoginRule::default(),
            sources: vec![LoginSource::Names, LoginSource::Username, LoginSource::Id],
            form: NameForm::default(),
            id_prefix: "tg".to_owned(),
            suffixes: Suffixes::default(),
        }
    }
}

/// Nothing of it.
impl fmt::Debug for Person<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}

macro_rules! words {
    ($($of:ident, $expected:literal: $($text:literal => $value:ident),+;)+) => { $(
        impl FromStr for $of {
            type Err = InvalidNameForm;

            fn from_str(text: &str) -> Result<Self, InvalidNameForm> {
                match text {
                    $($text => Ok(Self::$value),)+
                    _ => Err(InvalidNameForm { expected: $expected }),
                }
            }
        }

        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$value => $text,)+ })
            }
        }
    )+ };
}

words! {
    LoginSource, "`names`, `username` or `id`": "id" => Id, "names" => Names, "username" => Username;
    NameForm, "`first`, `first.last` or `flast`": "first" => First, "first.last" => FirstDotLast, "flast" => InitialLast;
    Suffixes, "`always`, `derived` or `never`": "always" => Always, "derived" => Derived, "never" => Never;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(policy: &LoginPolicy, person: Person<'_>) -> Result<Vec<String>, InvalidLogin> {
        let logins = policy.candidates(&person)?;
        Ok(logins.iter().map(ToString::to_string).collect())
    }

    fn named(first_name: &'static str, last_name: &'static str) -> Person<'static> {
        Person { first_name, last_name, user_id: 42, ..Person::default() }
    }

    #[test]
    fn names_make_logins_in_the_form_chosen() {
        for (form, expected) in [
            (NameForm::InitialLast, "apetrova"),
            (NameForm::FirstDotLast, "anna.petrova"),
            (NameForm::First, "anna"),
        ] {
            let policy = LoginPolicy { form, ..LoginPolicy::default() };
            assert_eq!(candidates(&policy, named("Анна", "Петрова")).unwrap()[0], expected);
        }
        let policy = LoginPolicy::default();
        for (person, expected) in [
            (named("Madonna", ""), "madonna"),
            (named("張", "偉"), "zwei"),
            (named("Işık", "Ünal"), "iunal"),
            (named("Jürgen", "Groß"), "jgross"),
            // Nothing that could be spelt, a reserved word, a login that is no login: the next source.
            (named("🔥", "❤️"), "tg42"),
            (named("R", "oot"), "tg42"),
            (named("1", "2"), "tg42"),
            (Person { username: Some("Ada_L"), ..named("🔥", "") }, "ada_l"),
        ] {
            assert_eq!(candidates(&policy, person).unwrap()[0], expected, "{expected}");
        }
    }

    #[test]
    fn a_login_that_was_asked_for_is_taken_as_it_is_or_refused() {
        let policy = LoginPolicy::default();
        let asking = |requested| Person { requested: Some(requested), ..named("Ada", "L") };
        assert_eq!(candidates(&policy, asking("Countess")).unwrap(), ["countess"]);
        assert_eq!(candidates(&policy, asking("12345")), Err(InvalidLogin::Start));
        let policy = LoginPolicy { suffixes: Suffixes::Always, ..policy };
        let logins = candidates(&policy, asking("countess")).unwrap();
        assert_eq!((logins.len(), &*logins[8]), (9, "countess9"));
    }

    #[test]
    fn suffixes_fit_and_the_id_comes_last() {
        let rule = LoginRule::new(8);
        let policy = LoginPolicy { rule, ..LoginPolicy::default() };
        let logins = candidates(&policy, named("Anna", "Petrovskaya")).unwrap();
        assert_eq!(logins[..2], ["apetrovs", "apetrov2"]);
        assert_eq!(logins.last().unwrap(), "tg42");
        let policy = LoginPolicy { suffixes: Suffixes::Never, ..policy };
        assert_eq!(candidates(&policy, named("Anna", "Petrova")).unwrap(), ["apetrova", "tg42"]);
        let policy = LoginPolicy { sources: vec![LoginSource::Id], ..policy };
        assert_eq!(candidates(&policy, named("Anna", "Petrova")).unwrap(), ["tg42"]);
    }

    #[test]
    fn an_id_too_long_for_the_rule_is_said() {
        let policy = LoginPolicy { rule: LoginRule::new(4), ..LoginPolicy::default() };
        let person = Person { user_id: 4_503_599_627_370_495, ..Person::default() };
        assert_eq!(candidates(&policy, person), Err(InvalidLogin::TooLong { limit: 4 }));
    }

    #[test]
    fn words_are_read_as_they_are_shown() {
        for word in ["id", "names", "username"] {
            assert_eq!(word.parse::<LoginSource>().unwrap().to_string(), word);
        }
        for word in ["first", "first.last", "flast"] {
            assert_eq!(word.parse::<NameForm>().unwrap().to_string(), word);
        }
        assert!("x".parse::<Suffixes>().unwrap_err().to_string().contains("`derived`"));
    }

    proptest! {
        #[test]
        fn whatever_somebody_is_called_there_is_a_login_and_each_keeps_the_rule(
            first in ".{0,40}", last in ".{0,40}", username in proptest::option::of(".{0,40}"),
            user_id in 1_i64..(1 << 52), limit in 18_usize..40,
        ) {
            let policy = LoginPolicy { rule: LoginRule::new(limit), ..LoginPolicy::default() };
            let person = Person {
                requested: None, username: username.as_deref(), first_name: &first, last_name: &last, user_id,
            };
            let logins = policy.candidates(&person).unwrap();
            prop_assert!(!logins.is_empty());
            for login in &logins {
                let taken = policy.rule.take(login.as_str());
                prop_assert_eq!(taken.as_ref(), Ok(login));
            }
            let mut once = logins.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), logins.len());
        }
    }
}

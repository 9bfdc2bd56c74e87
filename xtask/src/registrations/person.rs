//! People: each with names, addresses and numbers that nobody else has.

use super::random::Random;

/// Syllables as they are written, and what a login makes of them. Two letters each, so that all names are equally long.
const SYLLABLES: [(&str, &str); 16] = [
    ("ба", "ba"),
    ("во", "vo"),
    ("гу", "gu"),
    ("да", "da"),
    ("зо", "zo"),
    ("ка", "ka"),
    ("ли", "li"),
    ("мо", "mo"),
    ("ну", "nu"),
    ("пи", "pi"),
    ("ра", "ra"),
    ("со", "so"),
    ("ту", "tu"),
    ("фи", "fi"),
    ("ло", "lo"),
    ("ми", "mi"),
];

/// Given names, and what a login makes of their first letter.
const GIVEN: [(&str, &str, char); 6] = [
    ("Анна", "Anna", 'a'),
    ("Борис", "Boris", 'b'),
    ("Вера", "Vera", 'v'),
    ("Дина", "Dina", 'd'),
    ("Олег", "Oleg", 'o'),
    ("Тимур", "Timur", 't'),
];

/// What languages clients say they speak, and in which one they are answered.
const LANGUAGES: [(Option<&str>, &str); 8] = [
    (Some("ru"), "ru"),
    (Some("ru-RU"), "ru"),
    (Some("en"), "en"),
    (Some("de"), "de"),
    (Some("de-AT"), "de"),
    (Some("fr"), "en"),
    (Some("русский"), "en"),
    (None, "en"),
];

/// Somebody who wants an account.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// In Telegram; also the private chat.
    pub(crate) id: i64,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    /// The login that is made of the names.
    pub(crate) derived_login: String,
    /// A login that nobody else asks for.
    pub(crate) own_login: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    /// What the client says.
    pub(crate) language_code: Option<&'static str>,
    /// The texts it gets.
    pub(crate) language: &'static str,
}

impl Person {
    /// The person of that number, below 65,536.
    pub(crate) fn new(number: usize, cyrillic: bool, random: &mut Random) -> Self {
        let digits = [number >> 12, number >> 8, number >> 4, number].map(|digit| SYLLABLES[digit & 15]);
        let latin: String = digits.iter().map(|(_, latin)| *latin).collect();
        let (given, given_latin, initial) = *random.pick(&GIVEN);
        let (language_code, language) = *random.pick(&LANGUAGES);
        let (first_name, last_name) = if cyrillic {
            (given, digits.iter().map(|(cyrillic, _)| *cyrillic).collect())
        } else {
            (given_latin, latin.clone())
        };
        Self {
            id: 7_000_000_000 + i64::from(number as u32),
            first_name: first_name.to_owned(),
            last_name: capital(&last_name),
            derived_login: format!("{initial}{latin}"),
            own_login: format!("x.{latin}-{number}"),
            email: format!("{latin}.{number}@applicants.example.org"),
            phone: format!(
                "+7 900 {:03}-{:02}-{:02}",
                number / 10_000 + 100,
                number / 100 % 100,
                number % 100
            ),
            language_code,
            language,
        }
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_shares_anything() {
        let mut random = Random::new(3);
        let people: Vec<Person> = (0..5000).map(|i| Person::new(i, i % 2 == 0, &mut random)).collect();
        let distinct = |of: fn(&Person) -> String| people.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(|person| person.derived_login.clone()), people.len());
        assert_eq!(distinct(|person| person.own_login.clone()), people.len());
        assert_eq!(distinct(|person| person.email.clone()), people.len());
        assert_eq!(distinct(|person| person.phone.clone()), people.len());
        assert_eq!(distinct(|person| person.id.to_string()), people.len());
    }

    #[test]
    fn names_of_both_scripts_make_the_same_login() {
        let of = |cyrillic| Person::new(0x1234, cyrillic, &mut Random::new(5));
        assert_eq!(of(true).derived_login, of(false).derived_login);
        assert_eq!(of(true).last_name, "Вогудазо");
        assert_eq!(of(false).last_name, "Vogudazo");
    }
}

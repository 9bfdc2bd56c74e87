//! The kinds of registrations there are: each is a row of the books.

use serde::Serialize;

/// What is special about a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Fresh,
    Redelivered,
    GoInline,
    GoBase64,
    Cyrillic,
    NoLastName,
    WithoutId,
    DerivedTaken,
    HostileName,
    Flaky,
    Unreachable,
    Group,
    SealedGroup,
    MissingGroup,
    TakenLogin,
    GroupNameLogin,
    ReservedLogin,
    LongLogin,
    DigitsLogin,
    CyrillicLogin,
    BadPhone,
    BadEmail,
    TwoFaults,
    ForeignGroup,
    NoConsent,
    Nobody,
    Forbidden,
    Malformed,
    Newer,
    NoRegistration,
    NoEnvelope,
    Expired,
    SecondAccount,
    SameEmail,
}

/// Each kind, what it is called, and how many of it there are for each of the others.
const ALL: &[(Kind, &str, usize)] = &[
    (Kind::Fresh, "fresh", 24),
    (Kind::Redelivered, "delivered two or three times", 8),
    (Kind::GoInline, "Go names, inline", 6),
    (Kind::GoBase64, "Go names, base64", 6),
    (Kind::Cyrillic, "Cyrillic names", 8),
    (Kind::NoLastName, "no last name", 4),
    (Kind::WithoutId, "no id", 4),
    (Kind::DerivedTaken, "login from the names taken", 4),
    (Kind::HostileName, "hostile names", 4),
    (Kind::Flaky, "Telegram fails twice", 2),
    (Kind::Unreachable, "bot blocked, not found, ..", 4),
    (Kind::Group, "asked for in a group", 3),
    (Kind::SealedGroup, "group not ours to fill", 1),
    (Kind::MissingGroup, "group that is not there", 1),
    (Kind::TakenLogin, "login taken", 4),
    (Kind::GroupNameLogin, "login is a group's name", 2),
    (Kind::ReservedLogin, "login reserved", 2),
    (Kind::LongLogin, "login of 33 characters", 2),
    (Kind::DigitsLogin, "login of digits", 1),
    (Kind::CyrillicLogin, "login in Cyrillic", 1),
    (Kind::BadPhone, "bad phone number", 2),
    (Kind::BadEmail, "bad mail address", 2),
    (Kind::TwoFaults, "bad address and number", 1),
    (Kind::ForeignGroup, "group not on the list", 1),
    (Kind::NoConsent, "did not agree", 1),
    (Kind::Nobody, "from nobody", 1),
    (Kind::Forbidden, "forbidden fields", 3),
    (Kind::Malformed, "malformed fields", 2),
    (Kind::Newer, "newer schema", 1),
    (Kind::NoRegistration, "poison: no registration", 2),
    (Kind::NoEnvelope, "poison: no envelope", 2),
    (Kind::Expired, "too late", 1),
    // Made of others that have an account by then.
    (Kind::SecondAccount, "has an account already", 0),
    (Kind::SameEmail, "mail address of somebody else", 0),
];

impl Kind {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|(kind, ..)| *kind == self).map_or("?", |(_, name, _)| name)
    }

    /// So many registrations, of each kind at least one, as far as there is room; the rest is fresh.
    pub(crate) fn shares(count: usize) -> Vec<Self> {
        let total: usize = ALL.iter().map(|(.., share)| share).sum();
        let mut kinds: Vec<Self> = ALL
            .iter()
            .rev()
            .filter(|(.., share)| *share > 0)
            .flat_map(|(kind, _, share)| std::iter::repeat_n(*kind, (count * share / total).max(1)))
            .collect();
        kinds.truncate(count);
        kinds.resize(count, Self::Fresh);
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_as_many_as_wanted() {
        for count in [60, 100, 1000] {
            let kinds = Kind::shares(count);
            assert_eq!(kinds.len(), count);
            assert!(ALL.iter().all(|(kind, _, share)| *share == 0 || kinds.contains(kind)), "{count}");
        }
        assert_eq!(Kind::shares(5).len(), 5);
    }
}

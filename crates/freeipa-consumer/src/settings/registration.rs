//! `[registration]`: what a message may say, and how accounts are called.

use std::collections::BTreeSet;

use valkey_config::{Contradiction, CsvList, Validate, settings};

use crate::login::{LoginPolicy, LoginRule, LoginSource, NameForm, Suffixes};
use crate::registration::{Field, FieldAlias, FieldMap, Rules};

settings! {
    /// What a message may say, and how accounts are called.
    #[derive(PartialEq)]
    pub struct RegistrationSettings in [registration] {
        /// Groups that a message may ask for. Any other is refused.
        pub groups_allowed: CsvList<String>,
        /// Groups that every account gets, beyond those that the directory itself gives.
        pub default_groups: CsvList<String>,
        /// Names that fields have in messages of this deployment, beyond those that are known anyway (`first_name`, `firstName`,
        /// ..): `first_name=GivenName`, `email=profile.mail`.
        #[env("FIELDS")]
        pub fields: CsvList<FieldAlias>,
        /// Fields that must be there beyond a first name and somebody to answer: `last_name`, `email`, `phone`, `requested_login`,
        /// `consent`, ..
        #[env("REQUIRED_FIELDS")]
        pub required_fields: CsvList<Field>,
        /// The family name of those who have none: the directory insists on one.
        pub last_name_placeholder: String = "-".to_owned(),
        /// Domains whose mail addresses are taken; any, if none is given.
        pub email_domains: CsvList<String>,
        /// Whether a mail address that another account has is refused. The directory itself does not mind.
        pub email_unique: bool = true,
        /// Where the login of somebody who asked for none comes from, the best source first: `names`, `username` (that of
        /// Telegram), `id` (that of Telegram, after `login_id_prefix`).
        pub login_sources: CsvList<LoginSource> =
            CsvList(vec![LoginSource::Names, LoginSource::Username, LoginSource::Id]),
        /// How a login is made of names: `flast` (apetrova), `first.last` (anna.petrova) or `first` (anna).
        #[text("`flast`, `first.last` or `first`")]
        pub login_form: NameForm = NameForm::InitialLast,
        /// What stands before the id of Telegram in a login: `tg42`.
        pub login_id_prefix: String = "tg".to_owned(),
        /// Whether 2 to 9 are put behind a login that is taken: `derived` (behind those made of names), `always` (also behind one
        /// that was asked for) or `never`.
        #[text("`derived`, `always` or `never`")]
        pub login_suffixes: Suffixes = Suffixes::Derived,
        /// The most characters of a login. Where the directory takes fewer, its own limit holds.
        pub login_max_length: usize = LoginRule::USUAL,
        /// Logins that nobody gets, beyond those that mean something to systems and mail, and the groups named here.
        pub login_reserved: CsvList<String>,
    }
}

/// The longest prefix: the id behind it has up to 16 digits.
const LONGEST_PREFIX: usize = 16;

impl RegistrationSettings {
    /// The names of fields.
    pub fn field_map(&self) -> FieldMap {
        FieldMap::new(self.fields.iter().cloned())
    }

    /// The rules for registrations. The login of the service account is reserved, too: who got it would be the service to whoever
    /// looks.
    pub fn rules(&self, service_login: Option<&str>) -> Rules {
        let groups: BTreeSet<String> = self.groups_allowed.iter().cloned().collect();
        let default_groups: BTreeSet<String> = self.default_groups.iter().cloned().collect();
        // An account has a group of its own name, which must be free.
        let rule = LoginRule::new(self.login_max_length)
            .reserve(&groups)
            .reserve(&default_groups)
            .reserve(self.login_reserved.iter())
            .reserve(service_login);
        let mut rules = Rules::default();
        rules.last_name_placeholder.clone_from(&self.last_name_placeholder);
        rules.email_domains = self.email_domains.iter().map(|domain| domain.to_ascii_lowercase()).collect();
        rules.required = self.required_fields.iter().copied().collect();
        rules.logins = LoginPolicy {
            rule,
            sources: self.login_sources.to_vec(),
            form: self.login_form,
            id_prefix: self.login_id_prefix.clone(),
            suffixes: self.login_suffixes,
        };
        rules.groups_allowed = groups;
        rules.default_groups = default_groups;
        rules
    }
}

impl Validate for RegistrationSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, field: &'static str, message: &str| {
            if wrong {
                found.push(Contradiction::new([field], message));
            }
        };
        refuse(
            self.last_name_placeholder.trim().is_empty()
                || self.last_name_placeholder != self.last_name_placeholder.trim(),
            "last_name_placeholder",
            "the directory takes no empty name, and none with blanks around it: `-` will do",
        );
        refuse(
            !(20..=LoginRule::LONGEST).contains(&self.login_max_length),
            "login_max_length",
            "from 20, so that every id of Telegram fits, to 255, which the directory never exceeds",
        );
        let prefix = LoginRule::new(LONGEST_PREFIX).take(&format!("{}1", self.login_id_prefix));
        refuse(
            self.login_id_prefix.is_empty()
                || prefix.is_err()
                || self.login_id_prefix.len().saturating_add(16) > self.login_max_length,
            "login_id_prefix",
            "a prefix is the beginning of a login, such as `tg` or `user`, and leaves room for 16 digits",
        );
        refuse(
            self.login_sources.is_empty(),
            "login_sources",
            "somebody who asked for no login could have none: name `id` at least",
        );
        refuse(
            self.email_domains.iter().any(|domain| domain.contains('@') || !domain.contains('.')),
            "email_domains",
            "a domain is what stands behind the @, such as example.org",
        );
        found
    }
}

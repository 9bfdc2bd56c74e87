//! Entries as replies carry them: attributes as lists, some as scalars, times as the client understands them.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{Output, Run};
use crate::freeipa::directory::{Container, Entry, Group};

/// What a user is shown with unless all of it is asked for.
pub(super) const SHOWN: &[&str] = &[
    "uid",
    "givenname",
    "sn",
    "homedirectory",
    "loginshell",
    "uidnumber",
    "gidnumber",
    "mail",
    "ou",
    "telephonenumber",
    "title",
    "ipauserauthtype",
    "userclass",
    "ipatokenradiusconfiglink",
    "ipatokenradiususername",
    "ipaidpconfiglink",
    "ipaidpsub",
    "krbprincipalexpiration",
    "krbprincipalname",
    "krbcanonicalname",
];

/// What a user is found with.
pub(super) const FOUND: &[&str] = &[
    "uid",
    "givenname",
    "sn",
    "homedirectory",
    "krbcanonicalname",
    "krbprincipalname",
    "loginshell",
    "mail",
    "telephonenumber",
    "title",
    "uidnumber",
    "gidnumber",
];

const TIMES: &[&str] = &[
    "krbprincipalexpiration",
    "krbpasswordexpiration",
    "krblastpwdchange",
    "krblastfailedauth",
    "krblastadminunlock",
];

/// What only those see who may do everything.
const SECRET: &[&str] = &["userpassword", "krbprincipalkey"];

/// Which attributes are wanted.
pub(super) enum Wanted<'a> {
    All,
    These(BTreeSet<&'a str>),
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    pub(super) fn these(names: &'a [&'a str], more: impl IntoIterator<Item = &'a str>) -> Self {
        Self::These(names.iter().copied().chain(more).collect())
    }

    fn wants(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

// === impl Run ===

impl Run<'_> {
    /// What every reply on a user begins with: the wanted attributes and the groups.
    pub(super) fn render(
        &self,
        container: Container,
        entry: &Entry,
        wanted: &Wanted<'_>,
        members: bool,
    ) -> Output {
        let mut output = Output::new();
        for (name, values) in &entry.attributes {
            if wanted.wants(name) && name != "nsaccountlock" {
                output.insert(name.clone(), self.values(name, values));
            }
        }
        if matches!(wanted, Wanted::All) {
            self.render_all(&mut output, container, entry);
        }
        if members && container == Container::Active {
            let (direct, indirect) = self.directory.groups_of(&entry.login);
            let raw = self.parameters.switch("raw");
            let names = |groups: Vec<String>| -> Vec<String> {
                if raw {
                    groups.iter().map(|group| self.directory.names.group(group)).collect()
                } else {
                    groups
                }
            };
            let (name, more) = if raw {
                ("memberof", "memberofindirect")
            } else {
                ("memberof_group", "memberofindirect_group")
            };
            insert_unless_empty(&mut output, name, &names(direct));
            insert_unless_empty(&mut output, more, &names(indirect));
        }
        output
    }

    /// What the directory adds of its own accord.
    fn render_all(&self, output: &mut Output, container: Container, entry: &Entry) {
        let mut classes = vec![
            "top",
            "person",
            "organizationalperson",
            "inetorgperson",
            "inetuser",
            "posixaccount",
            "krbprincipalaux",
            "krbticketpolicyaux",
            "ipaobject",
            "ipasshuser",
        ];
        if !entry.get("userclass").is_empty() {
            classes.push("ipauser");
        }
        if container == Container::Active && self.directory.group(&entry.login).is_some() {
            classes.push("mepOriginEntry");
            output.insert("mepmanagedentry".into(), json!([self.directory.names.group(&entry.login)]));
        }
        output.insert("objectclass".into(), json!(classes));
        // Hashes are for the eyes of those who may do everything, and come to them unasked.
        if self.rights.is_admin() && entry.password.is_some() {
            for name in SECRET {
                output.insert((*name).to_owned(), json!([{"__base64__": "e1BCS0RGMl9TSEEyNTZ9AAAIAA=="}]));
            }
        }
    }

    pub(super) fn values(&self, name: &str, values: &[String]) -> Json {
        if TIMES.contains(&name) && self.wire.has_times() && !self.parameters.switch("raw") {
            values.iter().map(|value| json!({"__datetime__": value})).collect()
        } else {
            json!(values)
        }
    }

    pub(super) fn render_group(&self, group: &Group, members: bool, all: bool) -> Output {
        let mut output = Output::new();
        output.insert("cn".into(), json!([group.name]));
        if let Some(description) = &group.description {
            output.insert("description".into(), json!([description]));
        }
        if let Some(id) = &group.id {
            output.insert("gidnumber".into(), json!([id]));
        }
        if members {
            insert_unless_empty(&mut output, "member_user", &group.users);
            insert_unless_empty(&mut output, "member_group", &group.groups);
            insert_unless_empty(&mut output, "membermanager_user", &group.manager_users);
            insert_unless_empty(&mut output, "membermanager_group", &group.manager_groups);
            let over: Vec<String> = self
                .directory
                .groups
                .values()
                .filter(|over| over.groups.contains(&group.name))
                .map(|over| over.name.clone())
                .collect();
            insert_unless_empty(&mut output, "memberof_group", &over);
        }
        if all {
            output.insert("objectclass".into(), json!(group_classes(group)));
            output.insert("ipauniqueid".into(), json!([group.unique]));
            if let Some(user) = &group.private_of {
                output.insert(
                    "mepmanagedby".into(),
                    json!([self.directory.names.user(Container::Active, user)]),
                );
            }
        }
        output.insert("dn".into(), json!(self.directory.names.group(&group.name)));
        output
    }
}

/// Whether an account can log in at all.
pub(super) fn add_password_state(output: &mut Output, entry: &Entry) {
    output.insert("has_password".into(), json!(entry.password.is_some()));
    output.insert("has_keytab".into(), json!(entry.password.is_some()));
}

pub(super) fn group_classes(group: &Group) -> Vec<&'static str> {
    let mut classes = vec!["top", "groupofnames", "nestedgroup", "ipausergroup", "ipaobject"];
    if group.private_of.is_some() {
        classes = vec!["posixgroup", "ipaobject", "mepManagedEntry", "top"];
    } else if group.id.is_some() {
        classes.push("posixgroup");
    }
    classes
}

fn insert_unless_empty(output: &mut Output, name: &str, values: &[String]) {
    if !values.is_empty() {
        output.insert(name.to_owned(), json!(values));
    }
}

//! Distinguished names.

use super::Container;

/// The realm, and where in the tree things are.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) realm: String,
    pub(crate) suffix: String,
}

// === impl Names ===

impl Names {
    pub(crate) fn new(domain: &str) -> Self {
        let parts: Vec<String> = domain.split('.').map(|part| format!("dc={part}")).collect();
        Self { realm: domain.to_uppercase(), suffix: parts.join(",") }
    }

    pub(crate) fn principal(&self, login: &str) -> String {
        format!("{login}@{}", self.realm)
    }

    pub(crate) fn container(&self, container: Container) -> String {
        let within = match container {
            Container::Active => "cn=users,cn=accounts",
            Container::Staged => "cn=staged users,cn=accounts,cn=provisioning",
            Container::Preserved => "cn=deleted users,cn=accounts,cn=provisioning",
        };
        format!("{within},{}", self.suffix)
    }

    pub(crate) fn user(&self, container: Container, login: &str) -> String {
        format!("uid={login},{}", self.container(container))
    }

    pub(crate) fn group(&self, name: &str) -> String {
        format!("cn={name},cn=groups,cn=accounts,{}", self.suffix)
    }
}

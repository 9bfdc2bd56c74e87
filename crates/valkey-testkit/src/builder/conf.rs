//! The text of a server's configuration files.

use std::fmt::Write as _;
use std::time::Duration;

use super::{OPERATOR, Part, TestServerBuilder, Tls, User};
use crate::place::Place;

/// What a sentinel watches.
#[derive(Clone)]
pub(crate) struct Monitor {
    /// The name under which clients ask for it.
    pub(crate) service: String,
    pub(crate) primary: (String, String),
    pub(crate) quorum: usize,
    pub(crate) down_after: Duration,
    pub(crate) failover_timeout: Duration,
    pub(crate) credentials: Option<(String, String)>,
}

impl TestServerBuilder {
    pub(super) fn conf(&self, place: &Place) -> String {
        let mut lines = self.network(place);
        if let Part::Sentinel(monitor) = &self.part {
            lines.extend(monitor.conf());
            return lines.join("\n") + "\n";
        }
        lines.extend([
            format!("aclfile {}/users.acl", place.directories().0),
            "enable-debug-command yes".to_owned(),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            "appendfsync everysec".to_owned(),
            // A replica should not wait for a second one before its first synchronisation.
            "repl-diskless-sync-delay 0".to_owned(),
        ]);
        match self.part {
            Part::Cluster => lines.extend([
                "cluster-enabled yes".to_owned(),
                format!("cluster-port {}", place.ports().1),
                "cluster-node-timeout 2000".to_owned(),
                format!("tls-cluster {}", if self.tls.is_some() { "yes" } else { "no" }),
            ]),
            // Else a primary takes a replica that comes through a proxy for something at the proxy's address.
            Part::Replication => lines.push(format!("replica-announce-ip {}", place.ip())),
            Part::Alone | Part::Sentinel(_) => {}
        }
        if let (Part::Cluster | Part::Replication, Some((user, password))) = (&self.part, self.operator()) {
            // The older names are understood by all versions.
            lines.extend([format!("masteruser {user}"), format!("masterauth {}", quoted(&password))]);
        }
        lines.extend(self.directives.iter().map(|(name, value)| format!("{name} {value}")));
        lines.join("\n") + "\n"
    }

    /// Where it listens and how.
    fn network(&self, place: &Place) -> Vec<String> {
        let (directory, data) = place.directories();
        let port = place.ports().0;
        let mut lines = vec![
            format!("bind {}", if place.shares_ports() { "127.0.0.1" } else { "*" }),
            "protected-mode no".to_owned(),
            format!("dir {data}"),
        ];
        match self.tls {
            None => lines.push(format!("port {port}")),
            Some(tls) => lines.extend([
                "port 0".to_owned(),
                format!("tls-port {port}"),
                format!("tls-ca-cert-file {directory}/ca.pem"),
                format!("tls-cert-file {directory}/server.pem"),
                format!("tls-key-file {directory}/server.key"),
                format!("tls-auth-clients {}", if matches!(tls, Tls::ClientsToo) { "yes" } else { "no" }),
                "tls-replication yes".to_owned(),
            ]),
        }
        lines
    }

    pub(super) fn acl(&self) -> String {
        let mut acl = match (&self.operator_password, &self.password) {
            (Some(password), _) => {
                format!(
                    "user default off resetpass ~* &* +@all\nuser {OPERATOR} on >{password} ~* &* +@all\n"
                )
            }
            (None, Some(password)) => format!("user default on >{password} ~* &* +@all\n"),
            (None, None) => "user default on nopass ~* &* +@all\n".to_owned(),
        };
        for User { name, password, rules } in &self.users {
            let _ = writeln!(acl, "user {name} on >{password} {rules}");
        }
        acl
    }
}

impl Monitor {
    fn conf(&self) -> Vec<String> {
        let Self { service, primary: (host, port), quorum, down_after, failover_timeout, credentials } = self;
        let mut lines = vec![
            format!("sentinel monitor {service} {host} {port} {quorum}"),
            format!("sentinel down-after-milliseconds {service} {}", down_after.as_millis()),
            format!("sentinel failover-timeout {service} {}", failover_timeout.as_millis()),
            format!("sentinel parallel-syncs {service} 8"),
        ];
        if let Some((user, password)) = credentials {
            lines.extend([
                format!("sentinel auth-user {service} {user}"),
                format!("sentinel auth-pass {service} {}", quoted(password)),
            ]);
        }
        lines
    }
}

/// One argument of a configuration file, whatever is in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_argument_whatever_is_in_it() {
        assert_eq!(quoted(r#"a"b\c#"#), r#""a\"b\\c#""#);
    }
}

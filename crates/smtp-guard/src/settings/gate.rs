//! `[gate]`: the connection gate.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Network;
use valkey_config::{Contradiction, CsvList, Invalid, Raw, Setting, Validate, settings};
use valkey_ratelimit as ratelimit;

settings! {
    /// The connection gate: where it listens, whom it trusts, where it passes connections on to.
    #[derive(PartialEq)]
    pub struct GateSettings in [gate] {
        /// Where SMTP clients connect, one or several addresses with port. An empty list in a file, `[]`: no gate.
        #[env("GATE_LISTEN")]
        pub listen: CsvList<SocketAddr> = CsvList(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2525))]),
        /// The mail server behind: `host:port`, looked up for each connection.
        #[env("GATE_BACKEND")]
        pub backend: String = "127.0.0.1:10025".to_owned(),
        /// Whether the mail server is told the client's address, with a header of the PROXY protocol, version 2.
        #[env("GATE_BACKEND_PROXY")]
        pub backend_proxy: bool = true,
        /// Networks of balancers. Whoever connects from there has to begin with a PROXY header, version 1 or 2, and the
        /// client is the one it names; from anywhere else nobody is asked for one.
        #[env("GATE_TRUSTED_PROXIES")]
        pub trusted_proxies: CsvList<Network>,
        /// How long a balancer may take for that header.
        #[env("GATE_HEADER_TIMEOUT")]
        pub header_timeout: Duration = Duration::from_secs(5),
        /// The name in replies of the gate; the node's unless set.
        #[env("GATE_HOSTNAME")]
        pub hostname: Option<String>,
        /// Leading bits of an IPv6 address that count as one client: providers give each customer a network, not an address.
        #[env("GATE_IPV6_PREFIX")]
        pub ipv6_prefix: u8 = 64,
        /// Networks that no limit is asked for, such as those of monitoring.
        #[env("GATE_ALLOWED")]
        pub allowed: CsvList<Network>,
        /// Connections that this process holds at most, whatever the cluster would allow. It bounds memory and descriptors.
        #[env("GATE_MAX_LOCAL_CONNECTIONS")]
        pub max_local_connections: NonZeroUsize = NonZeroUsize::new(20_000).expect("not 0"),
        /// How long a connection is held for a node that is silent; after it the connections of a dead node count no more.
        #[env("GATE_LEASE")]
        pub lease: Duration = Duration::from_secs(30),
        /// How long the limits may take to answer.
        #[env("GATE_CHECK_TIMEOUT")]
        pub check_timeout: Duration = Duration::from_millis(100),
        /// What becomes of a client when the limits cannot be asked: `allow` passes it on, `deny` sends it away with `421`,
        /// `local` lets each of the `nodes` count its share by itself.
        #[env("GATE_ON_UNAVAILABLE")]
        pub on_unavailable: OnUnavailable = OnUnavailable::Allow,
        /// Nodes that share the limits, for `on_unavailable = "local"`.
        #[env("GATE_NODES")]
        pub nodes: Option<NonZeroU32>,
    }
}

/// The longest that limits may take to answer.
const LONGEST_CHECK: Duration = Duration::from_mins(1);
/// The most connections of one process.
const MOST_LOCAL: usize = 10_000_000;

impl GateSettings {
    /// What becomes of a client when the limits cannot be asked.
    pub(crate) fn when_unavailable(&self) -> ratelimit::OnUnavailable {
        match self.on_unavailable {
            OnUnavailable::Allow => ratelimit::OnUnavailable::Allow,
            OnUnavailable::Deny => ratelimit::OnUnavailable::Deny,
            OnUnavailable::Local => {
                ratelimit::OnUnavailable::Local { nodes: self.nodes.unwrap_or(NonZeroU32::MIN) }
            }
        }
    }
}

impl Validate for GateSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, field: &'static str, message: &str| {
            if wrong {
                found.push(Contradiction::new([field], message));
            }
        };
        refuse(!(1..=128).contains(&self.ipv6_prefix), "ipv6_prefix", "an IPv6 address has 1 to 128 bits");
        refuse(
            !self.backend.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
            }),
            "backend",
            "a mail server is `host:port`, such as 127.0.0.1:10025",
        );
        refuse(self.header_timeout.is_zero(), "header_timeout", "zero is no time to say anything in");
        refuse(self.check_timeout.is_zero(), "check_timeout", "zero is no time to answer in");
        refuse(
            self.check_timeout > LONGEST_CHECK,
            "check_timeout",
            "nobody waits for longer than 1m: a client that is greeted then is gone",
        );
        refuse(
            self.max_local_connections.get() > MOST_LOCAL,
            "max_local_connections",
            "at most 10000000: no process has descriptors for more",
        );
        refuse(
            self.lease < Duration::from_secs(3) || self.lease > Duration::from_hours(1),
            "lease",
            "a lease is from 3s to 1h",
        );
        refuse(
            self.hostname
                .as_deref()
                .is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic())),
            "hostname",
            "a host's name has printable characters without spaces only",
        );
        if (self.on_unavailable == OnUnavailable::Local) != self.nodes.is_some() {
            let why = "`local` and the number of nodes go together: a share is one of so many";
            found.push(Contradiction::new(["on_unavailable", "nodes"], why));
        }
        found
    }
}

/// What becomes of a client when the limits cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnavailable {
    /// It passes: a limit must not stop the mail.
    #[default]
    Allow,
    /// It is sent away for now.
    Deny,
    /// It passes as long as this node alone has admitted less than its share.
    Local,
}

impl Setting for OnUnavailable {
    fn type_name() -> String {
        "`allow`, `deny` or `local`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("allow") => Ok(Self::Allow),
            Some("deny") => Ok(Self::Deny),
            Some("local") => Ok(Self::Local),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Local => "local",
        }
        .to_owned()
    }
}

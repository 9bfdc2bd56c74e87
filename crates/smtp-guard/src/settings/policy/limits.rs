//! `[policy.limits.NAME]`: one limit of the policy service.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use valkey_ratelimit::{
    Algorithm as Counted, AllowList, Network, OnUnavailable, Quota, Rule, RuleName, Share,
};

/// All limits, by their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Limits(BTreeMap<String, LimitSettings>);

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitSettings {
    /// Whom it is about.
    pub per: Per,
    /// What is counted.
    #[serde(default)]
    pub count: Count,
    /// How much in how long: `100/1m`.
    pub quota: String,
    /// How it is counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How much may come at once; for `gcra` only.
    #[serde(default)]
    pub burst: Option<u64>,
    /// What becomes of mail while the limit cannot be asked.
    #[serde(default)]
    pub on_unavailable: Outage,
    /// Among how many nodes a limit is shared while it cannot be asked; for `on_unavailable = "local"` only.
    #[serde(default)]
    pub nodes: Option<NonZeroU32>,
    /// Whether it only counts and logs.
    #[serde(default)]
    pub shadow: bool,
    /// Who is never limited: addresses, networks, names.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How much of the limit nodes may hold in advance: `1%`. None: each check is exact.
    #[serde(default)]
    pub lease: Option<String>,
    /// Leading bits of an address that make one client.
    #[serde(default)]
    pub address_bits: AddressBits,
    /// Limits for wider networks beside it.
    #[serde(default)]
    pub networks: Vec<NetworkSettings>,
}

/// Leading bits of an address that make one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AddressBits {
    /// Of an IPv4 address.
    #[serde(default = "AddressBits::all_of_v4")]
    pub v4: u8,
    /// Of an IPv6 address: a /64 is what one customer gets.
    #[serde(default = "AddressBits::customer_of_v6")]
    pub v6: u8,
}

/// A limit for all addresses of a network together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkSettings {
    /// Leading bits of an IPv4 address that make the network.
    pub v4: u8,
    /// Leading bits of an IPv6 address that make the network.
    pub v6: u8,
    /// What all its addresses may have together.
    pub quota: String,
}

/// Whom a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Per {
    /// The address of the client.
    Client,
    /// The sender's address, its domain in lower case; of the null sender, the client.
    Sender,
    /// The name under which the client has logged in, in lower case. Who has not is not limited.
    SaslUser,
    /// The domain of the recipient, in lower case. After RCPT, Postfix names the recipient only of messages with a single one:
    /// others pass there.
    RecipientDomain,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Count {
    /// Messages, each once; of one recipient domain, each once for that domain.
    #[default]
    Message,
    /// Recipients, each once for a message.
    Recipient,
}

/// How a limit counts; `valkey_ratelimit::Algorithm` says what each admits at worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than the limit in any window.
    #[default]
    SlidingWindow,
    /// The same to the instant, in the sorted sets that other nodes know. For small limits.
    SlidingLog,
    /// A burst and then evenly.
    Gcra,
    /// An estimate, small in memory.
    SlidingCounter,
    /// Windows that begin on the hour, the minute, and so on.
    FixedWindow,
}

/// What becomes of mail while a limit cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outage {
    /// It passes, and is counted as such.
    #[default]
    Allow,
    /// It is deferred with `451 4.3.2`.
    Deny,
    /// Each node counts by itself, and lets its share pass.
    Local,
}

impl Deref for Limits {
    type Target = BTreeMap<String, LimitSettings>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is wrong is told of all limits, and of which.
impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = Limits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables, [policy.limits.NAME]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut tables: A) -> Result<Limits, A::Error> {
                let (mut limits, mut wrong) = (BTreeMap::new(), Vec::new());
                while let Some(name) = tables.next_key::<String>()? {
                    match tables.next_value::<LimitSettings>() {
                        Ok(limit) => drop(limits.insert(name, limit)),
                        Err(error) => {
                            wrong.push(format!(
                                "[policy.limits.{name}]: {}",
                                error.to_string().trim_end().replace('\n', ", ")
                            ));
                        }
                    }
                }
                if wrong.is_empty() { Ok(Limits(limits)) } else { Err(A::Error::custom(wrong.join("; "))) }
            }
        }

        deserializer.deserialize_map(Tables)
    }
}

impl AddressBits {
    fn all_of_v4() -> u8 {
        32
    }

    fn customer_of_v6() -> u8 {
        64
    }
}

impl Default for AddressBits {
    fn default() -> Self {
        Self { v4: Self::all_of_v4(), v6: Self::customer_of_v6() }
    }
}

impl LimitSettings {
    /// The rule that they describe.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub fn rule(&self, name: &str) -> Result<Rule, String> {
        let name: RuleName = name.parse().map_err(text)?;
        if name.as_str() == "ip" {
            return Err("the name `ip` is that of the gate's own limit: take another".to_owned());
        }
        let quota: Quota = self.quota.parse().map_err(text)?;
        let algorithm = match (self.algorithm, self.burst) {
            (Algorithm::Gcra, Some(burst)) if burst > 0 => Counted::Gcra { burst },
            (Algorithm::Gcra, _) => return Err("gcra needs a burst above 0, as in burst = 20".to_owned()),
            (_, Some(_)) => {
                return Err("only gcra has a burst: remove it, or take algorithm = \"gcra\"".to_owned());
            }
            (Algorithm::SlidingWindow, None) => Counted::SlidingWindow,
            (Algorithm::SlidingLog, None) => Counted::SlidingLog,
            (Algorithm::SlidingCounter, None) => Counted::SlidingCounter,
            (Algorithm::FixedWindow, None) => Counted::FixedWindow,
        };
        let on_unavailable = match (self.on_unavailable, self.nodes) {
            (Outage::Local, Some(nodes)) => OnUnavailable::Local { nodes },
            (Outage::Local, None) => {
                return Err(
                    "local needs to know among how many nodes it is shared, as in nodes = 3".to_owned()
                );
            }
            (_, Some(_)) => return Err("nodes goes with on_unavailable = \"local\" only".to_owned()),
            (Outage::Allow, None) => OnUnavailable::Allow,
            (Outage::Deny, None) => OnUnavailable::Deny,
        };
        let AddressBits { v4, v6 } = self.address_bits;
        bits(v4, v6)?;
        let mut rule = Rule::new(name, quota)
            .with_algorithm(algorithm)
            .with_on_unavailable(on_unavailable)
            .with_address_bits(v4, v6)
            .with_allowed(AllowList::parse(&self.allow).map_err(text)?);
        for NetworkSettings { v4, v6, quota } in &self.networks {
            bits(*v4, *v6)?;
            if *v4 >= self.address_bits.v4 && *v6 >= self.address_bits.v6 {
                return Err("a network has fewer bits than an address of address_bits".to_owned());
            }
            rule = rule.with_network(Network { v4: *v4, v6: *v6, quota: quota.parse().map_err(text)? });
        }
        if let Some(share) = &self.lease {
            rule = rule.with_lease(share.parse::<Share>().map_err(text)?);
        }
        let rule = if self.shadow { rule.shadow() } else { rule };
        rule.validate().map_err(text)?;
        Ok(rule)
    }
}

fn bits(v4: u8, v6: u8) -> Result<(), String> {
    let fits = (1..=32).contains(&v4) && (1..=128).contains(&v6);
    if fits { Ok(()) } else { Err("an IPv4 address has 1 to 32 bits, an IPv6 address 1 to 128".to_owned()) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

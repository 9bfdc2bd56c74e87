//! Who is never limited.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use crate::subject::Subject;

/// Addresses, networks and names that a limit lets pass.
///
/// An entry is an address, a network such as `10.0.0.0/8`, or else a name that has to be the same letter by letter. A lookup
/// costs one probe for each length of prefix among the entries, however many entries there are.
///
/// ```
/// use valkey_ratelimit::AllowList;
///
/// let list = AllowList::parse(["10.0.0.0/8", "2001:db8::/32", "ada@example.org"])?;
/// assert!(list.contains_address("10.1.2.3".parse()?));
/// assert!(list.contains_address("::ffff:10.1.2.3".parse()?));
/// assert!(list.contains_text("ada@example.org") && !list.contains_text("eve@example.org"));
///
/// let error = AllowList::parse(["10.1.0.0/8"]).unwrap_err();
/// assert!(error.to_string().contains("write 10.0.0.0/8"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    v4: Networks<u32>,
    v6: Networks<u128>,
    /// As subjects, so that long ones compare by what stands in keys.
    names: HashSet<Subject>,
}

/// By the length of their prefix, the networks of that length, masked.
type Networks<Bits> = BTreeMap<u8, HashSet<Bits>>;

/// Why a list of the allowed is none.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAllowed {
    /// An entry without text.
    #[error("an entry is empty: write an address, a network or a name, or take it out")]
    Empty,
    /// Something between an address and a name.
    #[error(
        "`{0}` looks like an address or network, but is none: write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
    )]
    Address(String),
    /// More bits than an address has, or no number of bits.
    #[error("`{entry}`: the part behind the slash has to be a number from 0 to {most}")]
    Prefix {
        /// The entry.
        entry: String,
        /// How many bits such an address has.
        most: u8,
    },
    /// An address with a prefix that cuts into it: is one address meant, or the whole network?
    #[error(
        "`{entry}` has bits beyond its prefix: write {network} for the network, or {address} for the one address"
    )]
    Host {
        /// The entry.
        entry: String,
        /// The network that it is in.
        network: String,
        /// The address itself.
        address: IpAddr,
    },
    /// Names are compared as they are.
    #[error("`{0}`: there are no patterns, `*` would be a letter: write each name, or a network")]
    Pattern(String),
}

impl AllowList {
    /// A list of these entries. The same one twice is no mistake.
    ///
    /// # Errors
    /// [`InvalidAllowed`], which names the first entry that is none.
    pub fn parse<I>(entries: I) -> Result<Self, InvalidAllowed>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut list = Self::default();
        for entry in entries {
            list.add(entry.as_ref().trim())?;
        }
        Ok(list)
    }

    /// Whether an address is one of the allowed, or in a network that is. An IPv4 address mapped into IPv6 is that IPv4
    /// address.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let bits = address.to_bits();
                self.v4.iter().any(|(prefix, networks)| networks.contains(&(bits & mask_v4(*prefix))))
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.v6.iter().any(|(prefix, networks)| networks.contains(&(bits & mask_v6(*prefix))))
            }
        }
    }

    /// Whether a name is one of the allowed. Upper and lower case are different names.
    pub fn contains_text(&self, text: &str) -> bool {
        !self.names.is_empty() && self.names.contains(&Subject::text(text))
    }

    /// Whether nobody is allowed.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.names.is_empty()
    }

    fn add(&mut self, entry: &str) -> Result<(), InvalidAllowed> {
        if entry.is_empty() {
            return Err(InvalidAllowed::Empty);
        }
        let (host, prefix) = entry.split_once('/').map_or((entry, None), |(host, bits)| (host, Some(bits)));
        let Ok(address) = host.parse::<IpAddr>() else {
            if looks_like_address(host) {
                return Err(InvalidAllowed::Address(entry.to_owned()));
            }
            if entry.contains('*') {
                return Err(InvalidAllowed::Pattern(entry.to_owned()));
            }
            self.names.insert(Subject::text(entry));
            return Ok(());
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |bits| number(bits).filter(|bits| *bits <= most));
        let prefix = prefix.ok_or_else(|| InvalidAllowed::Prefix { entry: entry.to_owned(), most })?;
        self.add_network(entry, address, prefix)
    }

    fn add_network(&mut self, entry: &str, address: IpAddr, prefix: u8) -> Result<(), InvalidAllowed> {
        let host = |network| InvalidAllowed::Host { entry: entry.to_owned(), network, address };
        match (address.to_canonical(), address) {
            // Mapped, and with a prefix that reaches into the IPv4 address.
            (IpAddr::V4(canonical), IpAddr::V6(_)) if prefix >= 96 => {
                self.add_network(entry, canonical.into(), prefix - 96)
            }
            (_, IpAddr::V4(v4)) => {
                let masked = v4.to_bits() & mask_v4(prefix);
                if masked != v4.to_bits() {
                    return Err(host(Subject::network(address, prefix).to_string()));
                }
                self.v4.entry(prefix).or_default().insert(masked);
                Ok(())
            }
            (_, IpAddr::V6(v6)) => {
                let masked = v6.to_bits() & mask_v6(prefix);
                if masked != v6.to_bits() {
                    return Err(host(format!("{}/{prefix}", Ipv6Addr::from_bits(masked))));
                }
                self.v6.entry(prefix).or_default().insert(masked);
                Ok(())
            }
        }
    }
}

/// A typing mistake in an address must not become a name that nobody has: the entry would be there, and do nothing.
fn looks_like_address(text: &str) -> bool {
    let only = |allowed: fn(&char) -> bool| text.chars().all(|letter| allowed(&letter));
    (text.contains('.') && only(|letter| letter.is_ascii_digit() || matches!(letter, '.' | '*')))
        || (text.matches(':').count() > 1
            && only(|letter| letter.is_ascii_hexdigit() || matches!(letter, ':' | '.' | '*')))
}

/// Digits only: `+8` is no prefix.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for entries in [["192.0.2.0/24"], ["::ffff:192.0.2.0/120"], ["::ffff:c000:200/120"]] {
            let list = AllowList::parse(entries).expect("a list");
            for (text, expected) in [
                ("192.0.2.9", true),
                ("::ffff:192.0.2.9", true),
                ("192.0.3.9", false),
                ("::192.0.2.9", false),
            ] {
                assert_eq!(list.contains_address(address(text)), expected, "{entries:?} {text}");
            }
        }
        let one = AllowList::parse(["::ffff:192.0.2.7"]).expect("a list");
        assert!(one.contains_address(address("192.0.2.7")) && !one.contains_address(address("192.0.2.6")));
    }

    #[test]
    fn all_of_one_family_is_none_of_the_other() {
        let v4 = AllowList::parse(["0.0.0.0/0"]).expect("a list");
        assert!(v4.contains_address(address("203.0.113.1")) && !v4.contains_address(address("::1")));
        let v6 = AllowList::parse(["::/0"]).expect("a list");
        assert!(v6.contains_address(address("::1")) && !v6.contains_address(address("203.0.113.1")));
        assert!(!AllowList::default().contains_address(address("::1")) && AllowList::default().is_empty());
    }

    #[test]
    fn a_typing_mistake_is_no_name() {
        let error = |entry: &str| AllowList::parse([entry]).expect_err(entry);
        assert_eq!(error(" "), InvalidAllowed::Empty);
        for entry in ["300.1.1.1", "10.0.0/8", "10.0.0.01", "fe80:::1", "2001:db8:/32", "1.2.3.*", "10.*/8"] {
            assert_eq!(error(entry), InvalidAllowed::Address(entry.to_owned()));
        }
        for (entry, most) in
            [("10.0.0.0/33", 32), ("10.0.0.0/", 32), ("10.0.0.0/+8", 32), ("::/129", 128), ("::/a", 128)]
        {
            assert_eq!(error(entry), InvalidAllowed::Prefix { entry: entry.to_owned(), most });
        }
        assert_eq!(error("*@example.org"), InvalidAllowed::Pattern("*@example.org".to_owned()));
        let text = error("2001:db8::1/32").to_string();
        assert!(text.contains("2001:db8::/32") && text.contains("2001:db8::1 "), "{text}");
        assert!(error("::ffff:10.1.0.0/104").to_string().contains("10.0.0.0/8"));
        assert!(error("::ffff:10.1.0.0/90").to_string().contains("::ffc0:0:0/90"));
    }

    #[test]
    fn names_are_as_subjects_have_them() {
        let long = "x".repeat(500);
        let list = AllowList::parse(["ada@example.org", "42", "team/mail", "ünï", &long]).expect("a list");
        for name in ["ada@example.org", "42", "team/mail", "ünï", &long] {
            assert!(list.contains_text(name), "{name}");
        }
        for name in ["Ada@example.org", "ada@example.or", "", &"x".repeat(499)] {
            assert!(!list.contains_text(name), "{name}");
        }
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        // Few bits vary, so that networks and addresses meet.
        prop_oneof![
            (0..4_u32, 0..4_u32).prop_map(|(high, low)| IpAddr::from((high << 30 | low).to_be_bytes())),
            (0..4_u128, 0..4_u128).prop_map(|(high, low)| IpAddr::from((high << 126 | low).to_be_bytes())),
            (0..4_u32).prop_map(|low| IpAddr::from(Ipv6Addr::from_bits(0xffff_0000_0000 | u128::from(low)))),
        ]
    }

    /// The family and the leading bits, as text.
    fn leading(address: IpAddr, prefix: u8) -> String {
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => format!("4{:032b}", address.to_bits()),
            IpAddr::V6(address) => format!("6{:0128b}", address.to_bits()),
        };
        bits.chars().take(1 + usize::from(prefix)).collect()
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(
            networks in proptest::collection::vec((any_address(), 0..=128_u8), 0..12),
            asked in proptest::collection::vec(any_address(), 1..12),
        ) {
            let texts = networks.iter().map(|(address, prefix)| Subject::network(*address, *prefix).to_string());
            let list = AllowList::parse(texts).expect("a list");
            for address in asked {
                let scanned = networks
                    .iter()
                    .any(|(network, prefix)| leading(address, *prefix) == leading(*network, *prefix));
                prop_assert_eq!(list.contains_address(address), scanned, "{} in {:?}", address, networks);
            }
        }

        #[test]
        fn no_text_makes_it_panic(entry in "\\PC{0,40}", near in "[0-9a-f:./*]{0,24}") {
            for entry in [entry, near] {
                if let Err(error) = AllowList::parse([&entry]) {
                    prop_assert!(entry.trim().is_empty() || error.to_string().contains(entry.trim()));
                }
            }
        }
    }
}

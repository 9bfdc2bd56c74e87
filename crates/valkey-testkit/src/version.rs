//! Which server it is.

use std::fmt;

/// Who makes a server.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// Valkey, from 7.2 on.
    Valkey,
    /// Redis, of which Valkey's versions go on from 7.2.
    Redis,
}

/// What a server says it is, so that a test can say truthfully why it skips something. See
/// [`TestServer::version`](crate::TestServer::version).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    /// Who makes it.
    pub product: Product,
    /// The 8 of 8.0.1.
    pub major: u32,
    /// The 0 of 8.0.1.
    pub minor: u32,
    /// The 1 of 8.0.1.
    pub patch: u32,
}

impl ServerVersion {
    /// Whether it is this version or a later one, of whatever product.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        (self.major, self.minor, self.patch) >= (major, minor, patch)
    }

    /// Whether it is a Valkey.
    #[must_use]
    pub fn is_valkey(&self) -> bool {
        self.product == Product::Valkey
    }

    /// What `valkey-server --version` prints: `Valkey server v=8.0.1 sha=...`.
    pub(crate) fn from_program(text: &str) -> Option<Self> {
        let product = match text.split_whitespace().next()? {
            "Valkey" => Product::Valkey,
            "Redis" => Product::Redis,
            _ => return None,
        };
        Self::parse(product, text.split_whitespace().find_map(|word| word.strip_prefix("v="))?)
    }

    /// What `INFO server` answers. A Valkey also tells of the Redis whose clients it understands.
    pub(crate) fn from_info(info: &str) -> Option<Self> {
        let field = |name| Some(crate::poll::field(info, name)).filter(|value| !value.is_empty());
        if let Some(version) = field("valkey_version") {
            return Self::parse(Product::Valkey, version);
        }
        let valkey = field("server_name") == Some("valkey");
        Self::parse(if valkey { Product::Valkey } else { Product::Redis }, field("redis_version")?)
    }

    fn parse(product: Product, version: &str) -> Option<Self> {
        // A release candidate of 9.1.0 calls itself 9.1.0-rc1 or 9.0.240.
        let mut parts = version.split(['.', '-']).map(|part| part.parse().ok());
        let mut next = || parts.next().flatten();
        Some(Self { product, major: next()?, minor: next()?, patch: next()? })
    }
}

/// `Valkey 8.0.1`.
impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { product, major, minor, patch } = self;
        write!(f, "{product:?} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_is() {
        for (text, expected) in [
            ("Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", "Valkey 8.0.1"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", "Redis 7.0.15"),
        ] {
            let version = ServerVersion::from_program(text).map(|version| version.to_string());
            assert_eq!(version.as_deref(), Some(expected));
        }
        assert_eq!(ServerVersion::from_program("KeyDB server v=6.3.4"), None);
        assert_eq!(ServerVersion::from_program(""), None);
    }

    #[test]
    fn a_running_server_says_what_it_is() {
        for (info, expected) in [
            (
                "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n",
                "Valkey 8.0.1",
            ),
            ("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n", "Valkey 7.2.4"),
            ("# Server\r\nredis_version:7.0.15\r\n", "Redis 7.0.15"),
            ("valkey_version:9.1.0-rc1\r\n", "Valkey 9.1.0"),
        ] {
            let version = ServerVersion::from_info(info).map(|version| version.to_string());
            assert_eq!(version.as_deref(), Some(expected));
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = ServerVersion::from_program("Valkey server v=8.0.11").expect("a version");
        assert!(version.at_least(8, 0, 2) && version.at_least(7, 2, 20) && version.is_valkey());
        assert!(!version.at_least(8, 0, 12) && !version.at_least(8, 1, 0) && !version.at_least(10, 0, 0));
    }
}

//! Somebody else's server, named by `VALKIT_TEST_URL`.

use crate::TestkitError;

pub(crate) struct Given {
    pub(super) url: String,
    pub(super) address: String,
}

impl Given {
    pub(crate) fn new(url: &str) -> Result<Self, TestkitError> {
        let invalid =
            || TestkitError::Invalid("VALKIT_TEST_URL is no URL like valkey://host:port".to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        if !["valkey", "valkeys", "redis", "rediss"].contains(&scheme) {
            return Err(invalid());
        }
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:6379") };
        Ok(Self { url: url.to_owned(), address })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_given_server_is_found_in_its_url() {
        for (url, address) in [
            ("valkey://h:7", "h:7"),
            ("rediss://user:p%40ss@h.example:7/3", "h.example:7"),
            ("valkey://:secret@h", "h:6379"),
            ("valkey://[::1]:7/0?x=y", "[::1]:7"),
        ] {
            assert_eq!(Given::new(url).unwrap().address, address);
        }
        for url in ["h:7", "http://h:7", "valkey://", "valkey:///0"] {
            assert!(Given::new(url).is_err(), "{url}");
        }
    }
}

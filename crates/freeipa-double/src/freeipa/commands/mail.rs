//! Mail addresses: completed, and refused.

use super::Run;
use crate::freeipa::error::RpcError;

// === impl Run ===

impl Run<'_> {
    /// The domain of addresses that have none.
    pub(super) fn mail_domain(&self) -> &str {
        self.config.mail_domain.as_deref().unwrap_or_else(|| self.config.domain())
    }

    /// Addresses with their domain. What is none is refused.
    pub(super) fn complete(&self, addresses: &[String]) -> Result<Vec<String>, RpcError> {
        let domain = self.mail_domain();
        addresses
            .iter()
            .map(|address| {
                let address =
                    if address.contains('@') { address.clone() } else { format!("{address}@{domain}") };
                if is_address(&address) {
                    Ok(address)
                } else {
                    Err(RpcError::validation("email", &format!("invalid e-mail format: {address}")))
                }
            })
            .collect()
    }
}

/// Something, `@`, and a domain with a dot and letters at its end.
fn is_address(address: &str) -> bool {
    let Some((user, domain)) = address.trim().split_once('@') else { return false };
    let in_user = |c: char| !matches!(c, ' ' | '\t' | '\n' | '\r' | '@' | '<' | '>' | '(' | ')');
    let in_domain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    let Some((before, last)) = domain.rsplit_once('.') else { return false };
    !user.is_empty()
        && user.chars().all(in_user)
        && before.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && before.bytes().all(in_domain)
        && !last.is_empty()
        && last.bytes().all(|c| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_the_server_has_them() {
        for good in ["a@example.org", "a.b+c@mail.example.org", "о@example.org", "a@1.example.org"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@example.org",
            "a b@example.org",
            "a@example",
            "a@b@example.org",
            "a@пример.рф",
            "a@-example.org",
            "<a>@example.org",
            "a@example.org1",
            "a@.org",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}

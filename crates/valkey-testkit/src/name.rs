//! Names that no other test uses.

use uuid::Uuid;

/// `prefix`, a hyphen and twelve random hexadecimal digits: a name of one's own on a shared server.
///
/// ```
/// let (one, other) = (valkey_testkit::unique_name("orders"), valkey_testkit::unique_name("orders"));
/// assert!(one.starts_with("orders-") && one != other);
/// ```
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}

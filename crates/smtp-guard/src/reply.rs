//! What a client is told that is sent away.

/// A temporary refusal, as one line of SMTP.
pub(crate) fn refusal(code: &str, hostname: &str, reason: &str) -> String {
    format!("421 {code} {hostname} {reason}\r\n")
}

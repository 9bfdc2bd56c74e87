//! What a client is told that is sent away: one line of SMTP, a temporary refusal, so that honest clients come again.
//!
//! `421` is the one code that may stand in the place of a greeting and be followed by a close (RFC 5321, 3.8). `4.7.0` says that
//! it is a matter of policy, `4.3.2` that the system takes no mail now (RFC 3463).

use std::net::IpAddr;
use std::time::Duration;

use crate::limits::Refused;
use crate::telemetry::Refusal;

/// The line for a client that a limit refuses.
pub(crate) fn refused(hostname: &str, client: IpAddr, refused: &Refused) -> String {
    let Refused { reason, most, retry_after } = *refused;
    let text = match reason {
        Refusal::Connections => format!("too many connections ({most}), try again later"),
        Refusal::ConnectionsPerIp => {
            format!(
                "too many connections from {client} at the same time ({most}), close some or try again later"
            )
        }
        Refusal::Rate => {
            let after = retry_after.map_or(1, seconds);
            format!("too many connections from {client} ({most} in the window), try again in {after}s")
        }
        reason => return unavailable(hostname, reason),
    };
    format!("421 4.7.0 {hostname} Error: {text}\r\n")
}

/// The line for a client that would be taken at another time.
pub(crate) fn unavailable(hostname: &str, reason: Refusal) -> String {
    let text = match reason {
        Refusal::Backend => "the mail server does not answer",
        Refusal::Draining => "this node is about to end",
        Refusal::Local | Refusal::Descriptors => "this node is full",
        _ => "the limits cannot be asked",
    };
    format!("421 4.3.2 {hostname} Error: {text}, try again later\r\n")
}

/// Rounded up: who comes a moment too early is refused again.
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_is_one_short_line_that_says_when_to_come_again() {
        let client = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address");
        for reason in [
            Refusal::Connections,
            Refusal::ConnectionsPerIp,
            Refusal::Rate,
            Refusal::Unavailable,
            Refusal::Local,
            Refusal::Descriptors,
            Refusal::Backend,
            Refusal::Draining,
        ] {
            let refused = Refused { reason, most: 1_000, retry_after: Some(Duration::from_millis(1_001)) };
            let line = super::refused("mx1.example.org", client, &refused);
            assert!(
                line.starts_with("421 4.") && line.ends_with("\r\n") && line.contains("try again"),
                "{line}"
            );
            // RFC 5321 allows 512 bytes.
            assert!(line.len() < 200 && line.matches('\n').count() == 1, "{line}");
        }
        let rate =
            Refused { reason: Refusal::Rate, most: 20, retry_after: Some(Duration::from_millis(1_001)) };
        let line = refused("mx1", "192.0.2.7".parse().expect("an address"), &rate);
        assert_eq!(
            line,
            "421 4.7.0 mx1 Error: too many connections from 192.0.2.7 (20 in the window), try again in 2s\r\n"
        );
    }
}

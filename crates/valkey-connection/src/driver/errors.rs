//! The driver's errors in our terms. The server's own arrive as replies and never come here, unless the driver took one
//! for a reason to drop a connection.

use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind as FredKind};

use crate::classify;
use crate::error::{Error, ErrorKind, Progress};

/// Words by which a failed handshake gives itself away; the driver calls it an I/O error.
const TLS_WORDS: &[&str] =
    &["certificate", "alertreceived", "handshake", "invalidmessage", "peerincompatible"];

/// What the driver says when it could not even queue or route a command.
const NOT_SENT: &[&str] = &["Client is not initialized.", "Failed to route command."];

/// An error while connecting: nothing was sent.
pub(super) fn of_connect(error: &FredError) -> Error {
    let detail = tidy(error.details());
    let (kind, detail) = match error.kind() {
        FredKind::Auth => (ErrorKind::Auth, detail),
        FredKind::Tls => (ErrorKind::Tls, detail),
        FredKind::Timeout => (ErrorKind::Timeout, "connecting took too long".to_owned()),
        _ if speaks_of_tls(&detail) => (ErrorKind::Tls, detail),
        FredKind::Protocol if detail.contains("cluster state") => {
            (ErrorKind::Transient, "the cluster does not say cluster_state:ok".to_owned())
        }
        FredKind::IO | FredKind::Canceled => (ErrorKind::Disconnected, detail),
        FredKind::Config | FredKind::Url => (ErrorKind::Configuration, detail),
        _ if is_server_message(&detail) => {
            (classify::classify(&detail).0, classify::redact(&detail).into_owned())
        }
        FredKind::Protocol | FredKind::Parse => (ErrorKind::Protocol, detail),
        _ => (ErrorKind::Disconnected, detail),
    };
    Error::new(kind, Progress::NotSent, detail)
}

pub(super) fn timed_out(limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, Progress::Unknown, format!("no reply within {limit:?}"))
}

/// An error that the driver made (the server's own arrive as frames).
pub(super) fn of_call(error: &FredError, limit: Duration) -> Error {
    let detail = tidy(error.details());
    let (kind, progress) = match error.kind() {
        FredKind::Timeout => return timed_out(limit),
        FredKind::Backpressure => (ErrorKind::Backpressure, Progress::NotSent),
        // The driver's answer to `fail_fast` while it is not connected; its other cancellations come after sending.
        FredKind::Canceled if detail == "Connection closed unexpectedly." => {
            return Error::new(ErrorKind::Disconnected, Progress::NotSent, "not connected");
        }
        FredKind::Config | FredKind::Url | FredKind::InvalidArgument | FredKind::InvalidCommand => {
            (ErrorKind::Configuration, Progress::NotSent)
        }
        FredKind::Routing if detail == "Too many redirections." => return Error::redirection(),
        FredKind::Routing => (ErrorKind::Disconnected, Progress::NotSent),
        FredKind::Unknown if NOT_SENT.contains(&&*detail) => (ErrorKind::Disconnected, Progress::NotSent),
        FredKind::Tls => (ErrorKind::Tls, Progress::Unknown),
        FredKind::Protocol | FredKind::Parse => (ErrorKind::Protocol, Progress::Unknown),
        // A reply to some command made the driver drop the connection, and this one with it.
        _ if is_server_message(&detail) => (classify::classify(&detail).0, Progress::Unknown),
        _ => (ErrorKind::Disconnected, Progress::Unknown),
    };
    Error::new(kind, progress, detail)
}

/// Whether the driver's text is the server's: it begins with an upper-case error code.
fn is_server_message(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or("");
    code.len() >= 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn speaks_of_tls(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    TLS_WORDS.iter().any(|word| detail.contains(word))
}

/// The driver prints I/O errors with `Debug`; people want the message.
fn tidy(detail: &str) -> String {
    if let Some(rest) = detail.strip_prefix("Os { ")
        && let Some((_, message)) = rest.split_once("message: \"")
        && let Some(message) = message.strip_suffix("\" }")
    {
        return message.to_owned();
    }
    if let Some(rest) = detail.strip_prefix("Custom { ")
        && let Some((_, inner)) = rest.split_once("error: ")
        && let Some(inner) = inner.strip_suffix(" }")
    {
        return inner.trim_matches('"').to_owned();
    }
    detail.strip_prefix("Kind(").and_then(|kind| kind.strip_suffix(')')).unwrap_or(detail).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_debug_output_is_made_readable() {
        let os = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(tidy(os), "Connection refused");
        let custom = "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }";
        assert_eq!(tidy(custom), "InvalidCertificate(UnknownIssuer)");
        assert_eq!(tidy("Kind(UnexpectedEof)"), "UnexpectedEof");
        assert_eq!(of_connect(&FredError::new(FredKind::IO, custom)).kind(), ErrorKind::Tls);
        assert_eq!(of_connect(&FredError::new(FredKind::IO, os)).kind(), ErrorKind::Disconnected);
    }

    #[test]
    fn only_certain_errors_say_not_sent() {
        let limit = Duration::from_secs(1);
        let not_sent = [
            FredError::new(FredKind::Backpressure, "Max in-flight commands reached."),
            FredError::new(FredKind::Canceled, "Connection closed unexpectedly."),
            FredError::new(FredKind::Unknown, "Failed to route command."),
            FredError::new(FredKind::Unknown, "Client is not initialized."),
        ];
        for error in &not_sent {
            assert!(of_call(error, limit).is_not_sent(), "{error:?}");
        }
        let unknown = [
            FredError::new(FredKind::IO, "Connection reset by peer"),
            FredError::new(FredKind::Unknown, "Too many failed write attempts."),
            FredError::new(FredKind::Canceled, "Canceled."),
            FredError::new(FredKind::Timeout, "Request timed out."),
            FredError::new(FredKind::Cluster, "CLUSTERDOWN Hash slot not served"),
        ];
        for error in &unknown {
            let error = of_call(error, limit);
            assert!(error.outcome_unknown() && !error.is_not_sent() && error.is_transient(), "{error:?}");
        }
    }
}

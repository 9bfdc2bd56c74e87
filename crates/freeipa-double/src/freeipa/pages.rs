//! The replies that are no JSON.

use http::StatusCode;
use http::header::{HeaderName, LOCATION, WWW_AUTHENTICATE};

use crate::web::Reply;

const HTML: &str = "text/html; charset=utf-8";
/// Why a login or a session was rejected.
const REJECTION: HeaderName = HeaderName::from_static("x-ipa-rejection-reason");

/// The reason phrase of what went well.
pub(super) const SUCCESS: &[u8] = b"Success";

/// A page with a title, a heading and one strong sentence.
fn page(status: StatusCode, heading: &str, message: &str) -> Reply {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let html = format!(
        "<html>\n<head>\n<title>{title}</title>\n</head>\n<body>\n<h1>{heading}</h1>\n<p>\n<strong>{}</strong>\n\
         </p>\n</body>\n</html>",
        escape(message)
    );
    Reply::new(status).with_body(HTML, html)
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) fn bad_request(message: &str) -> Reply {
    page(StatusCode::BAD_REQUEST, "Bad Request", message)
}

pub(super) fn not_found(path: &str) -> Reply {
    page(StatusCode::NOT_FOUND, "Not Found", path)
}

pub(super) fn server_error() -> Reply {
    page(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Internal Server Error",
        "The server could not complete the request",
    )
}

pub(super) fn unavailable() -> Reply {
    page(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", "Server is unwilling to perform: ")
}

/// What a proxy says that has nobody behind it, and does not say so by the status.
pub(super) fn maintenance() -> Reply {
    page(StatusCode::OK, "Maintenance", "We are back soon")
}

pub(super) fn unauthorized(reason: &str, message: &str) -> Reply {
    page(StatusCode::UNAUTHORIZED, "Invalid Authentication", message).with_header(REJECTION, reason)
}

/// Without a session: an empty body, and no reason.
pub(super) fn need_login() -> Reply {
    Reply::new(StatusCode::UNAUTHORIZED)
}

/// Where tickets are taken, and nobody brought one.
pub(super) fn negotiate() -> Reply {
    page(StatusCode::UNAUTHORIZED, "Unauthorized", "Kerberos is asked for")
        .with_header(WWW_AUTHENTICATE, "Negotiate")
}

/// To the server by its own name.
pub(super) fn moved(fqdn: &str, path: &str) -> Reply {
    let to = format!("http://{fqdn}{path}");
    page(StatusCode::MOVED_PERMANENTLY, "Moved Permanently", &to).with_header(LOCATION, &to)
}

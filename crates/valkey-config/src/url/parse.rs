//! From a text to a [`ServerUrl`].

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::{DEFAULT_PORT, Endpoint, Scheme, ServerUrl, ServerUrlError};
use crate::Secret;

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ServerUrlError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return parse(if text.starts_with('/') { Scheme::Unix } else { Scheme::Bare }, text);
        };
        match &*scheme.to_ascii_lowercase() {
            "valkey" | "redis" => parse(Scheme::Tcp, rest),
            "valkeys" | "rediss" => parse(Scheme::Tls, rest),
            "unix" | "valkey+unix" | "redis+unix" => parse(Scheme::Unix, rest),
            // Only what looks like a scheme is repeated: `user:pass://word@host` has its password here.
            other if other.len() <= 16 && other.chars().all(|c| c.is_ascii_alphabetic() || c == '+') => {
                Err(ServerUrlError::Scheme(other.to_owned()))
            }
            _ => Err(ServerUrlError::Host),
        }
    }
}

/// Parses what follows the `://`.
fn parse(scheme: Scheme, rest: &str) -> Result<ServerUrl, ServerUrlError> {
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The last `@` ends the user and password: an unencoded one in a password is common and unambiguous.
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let mut url = if scheme == Scheme::Unix {
        socket(host, path, query)?
    } else {
        if query.is_some() {
            return Err(ServerUrlError::Query);
        }
        let (host, port) = host_and_port(host)?;
        let mut url = ServerUrl::at(scheme, Endpoint::Network { host: host.to_owned(), port });
        url.database = database(path.strip_prefix('/').unwrap_or(path))?;
        url
    };
    if let Some(login) = login {
        let (username, password) = match login.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (login, None),
        };
        url.username = Some(percent_decode(username)?).filter(|username| !username.is_empty());
        url.password = password
            .map(percent_decode)
            .transpose()?
            .filter(|password| !password.is_empty())
            .map(Secret::from);
    }
    Ok(url)
}

fn socket(host: &str, path: &str, query: Option<&str>) -> Result<ServerUrl, ServerUrlError> {
    if !host.is_empty() || path.len() < 2 {
        return Err(ServerUrlError::SocketPath);
    }
    let mut url = ServerUrl::at(Scheme::Unix, Endpoint::Socket(path.into()));
    if let Some(query) = query {
        url.database = database(query.strip_prefix("?db=").ok_or(ServerUrlError::Query)?)?;
    }
    Ok(url)
}

fn database(text: &str) -> Result<Option<u32>, ServerUrlError> {
    match text {
        "" => Ok(None),
        // `parse` alone would take a sign.
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Some).map_err(|_| ServerUrlError::Database)
        }
        _ => Err(ServerUrlError::Database),
    }
}

/// Splits `host:port`, `[v6]:port`, `host` and a bare IPv6 address.
fn host_and_port(text: &str) -> Result<(&str, u16), ServerUrlError> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, DEFAULT_PORT));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(ServerUrlError::Host)?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(ServerUrlError::Host);
            }
            match after {
                "" => (host, None),
                after => (host, Some(after.strip_prefix(':').ok_or(ServerUrlError::Port)?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0).ok_or(ServerUrlError::Port)?
        }
        Some(_) => return Err(ServerUrlError::Port),
    };
    Ok((valid_host(host)?, port))
}

pub(super) fn valid_host(host: &str) -> Result<&str, ServerUrlError> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.parse::<Ipv6Addr>().is_ok() || (!host.is_empty() && host.len() <= 255 && host.bytes().all(name)) {
        Ok(host)
    } else {
        Err(ServerUrlError::Host)
    }
}

fn percent_decode(text: &str) -> Result<String, ServerUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (pair, after) = after.split_at_checked(2).ok_or(ServerUrlError::PercentEncoding)?;
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(ServerUrlError::PercentEncoding);
            bytes.push((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| ServerUrlError::PercentEncoding)
}

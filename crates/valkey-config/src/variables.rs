//! Environment variables: which are ours, which are Kubernetes', which are slips.

use std::ffi::{OsStr, OsString};

use crate::entry::{Entry, Value};
use crate::error::{Problem, ProblemKind};
use crate::field::Spelling;
use crate::{Notice, Origin, Section};

/// Picks the variables under `prefix`. `std::env::vars` would panic on one foreign variable that is not UTF-8.
pub(crate) fn entries(
    vars: &[(OsString, OsString)],
    prefix: &str,
    except: &[String],
    problems: &mut Vec<Problem>,
) -> Vec<Entry<'static>> {
    let mut entries = Vec::new();
    for (name, value) in vars {
        let Some(name) = name.to_str() else {
            let name = name.to_string_lossy();
            if name.starts_with(prefix) && !is_excepted(&name, except) {
                problems.push(Problem::new(ProblemKind::Encoding, name, "the variable's name is not UTF-8"));
            }
            continue;
        };
        let Some(suffix) = name.strip_prefix(prefix) else { continue };
        if suffix.is_empty() || is_excepted(name, except) {
            continue;
        }
        match value.to_str() {
            Some(value) => entries.push(Entry {
                section: None,
                name: suffix.to_owned(),
                spelling: Spelling::Capitals,
                origin: Origin::Variable(name.to_owned()),
                value: Value::Text(value.to_owned()),
            }),
            None => problems.push(Problem::new(ProblemKind::Encoding, name, "the value is not UTF-8")),
        }
    }
    // The order of the environment is arbitrary; that of errors and warnings should not be.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Variables spelled so that nothing would read them: `valkey_sender_pool_size`.
pub(crate) fn misspelled_prefix(
    vars: &[(OsString, OsString)],
    prefix: &str,
    sections: &[Section],
) -> Vec<Notice> {
    if prefix.is_empty() {
        return Vec::new();
    }
    vars.iter()
        .filter_map(|(name, _)| OsStr::to_str(name))
        .filter_map(|name| {
            let upper = name.to_ascii_uppercase();
            let suffix = upper.strip_prefix(prefix).filter(|_| upper != name)?;
            let known = sections
                .iter()
                .flat_map(|section| section.fields)
                .any(|field| field.role(suffix, Spelling::Capitals).is_some());
            known.then(|| Notice::UnknownVariable { variable: name.to_owned(), nearest: Some(upper.clone()) })
        })
        .collect()
}

fn is_excepted(name: &str, except: &[String]) -> bool {
    except.iter().any(|prefix| name.starts_with(prefix.as_str()))
}

/// Whether a variable that no struct knows is one that Kubernetes injects for a service of that name:
/// `*_SERVICE_HOST`, `*_SERVICE_PORT[_NAME]`, `*_PORT`, `*_PORT_6379_TCP[_PROTO|_PORT|_ADDR]`.
pub(crate) fn is_service_link(suffix: &str) -> bool {
    let words: Vec<&str> = suffix.split('_').collect();
    words.windows(2).any(|pair| pair[0] == "SERVICE" && matches!(pair[1], "HOST" | "PORT"))
        || words.last() == Some(&"PORT")
        || words.windows(3).any(|three| {
            three[0] == "PORT"
                && !three[1].is_empty()
                && three[1].bytes().all(|byte| byte.is_ascii_digit())
                && matches!(three[2], "TCP" | "UDP" | "SCTP")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_told_from_slips() {
        for suffix in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_METRICS",
            "PORT",
            "PORT_6379_TCP",
            "PORT_6379_TCP_PROTO",
            "PORT_6379_TCP_PORT",
            "PORT_6379_TCP_ADDR",
            "CACHE_SERVICE_HOST",
            "CACHE_PORT_53_UDP_ADDR",
        ] {
            assert!(is_service_link(suffix), "{suffix}");
        }
        for suffix in ["POOLSIZE", "SERVICE", "SERVICE_NAME", "PORTS", "PORT_RANGE", "PORT__TCP", "REPORT"] {
            assert!(!is_service_link(suffix), "{suffix}");
        }
    }
}

//! Routes as TOML text.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use valkey_envelope::QueueName;

use crate::pattern::Pattern;
use crate::routes::{Route, Routes};

/// Routes that cannot be used: every fault found, each with the rule it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RoutesError {
    faults: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<String>,
    /// Each rule is read on its own, so that one fault does not hide the next.
    #[serde(default)]
    route: Vec<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: Option<String>,
    queue: String,
    kind: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    payload: toml::Table,
    #[serde(default)]
    payload_exists: Vec<String>,
}

pub(crate) fn parse(text: &str) -> Result<Routes, RoutesError> {
    let file: File = toml::from_str(text).map_err(|error| RoutesError { faults: vec![error.to_string()] })?;
    let mut faults = Vec::new();
    let mut routes = Routes::new();
    if let Some(default) = file.default {
        match default.parse::<QueueName>() {
            Ok(queue) => routes = routes.with_default(queue),
            Err(error) => faults.push(format!("default: {error}")),
        }
    }
    for (index, table) in file.route.into_iter().enumerate() {
        let label = match table.get("name").and_then(toml::Value::as_str) {
            Some(name) => format!("route {} ({name:?})", index + 1),
            None => format!("route {}", index + 1),
        };
        // Kept from before: on its way through serde, a date turns into a table.
        let payload = table.get("payload").and_then(toml::Value::as_table).cloned();
        match Rule::deserialize(table) {
            Ok(rule) => match (Rule { payload: payload.unwrap_or_default(), ..rule }).build() {
                Ok(route) => routes = routes.with_route(route),
                Err(reasons) => faults.extend(reasons.into_iter().map(|reason| format!("{label}: {reason}"))),
            },
            // The message of a single table carries no position worth repeating, only its first line tells.
            Err(error) => faults.push(format!("{label}: {}", error.message().trim())),
        }
    }
    if faults.is_empty() { Ok(routes) } else { Err(RoutesError { faults }) }
}

impl Rule {
    fn build(self) -> Result<Route, Vec<String>> {
        let mut faults = Vec::new();
        let queue = match self.queue.parse::<QueueName>() {
            Ok(queue) => Some(queue),
            Err(error) => {
                faults.push(format!("queue: {error}"));
                None
            }
        };
        let mut fields = Vec::new();
        for (pointer, value) in self.payload {
            check_pointer("payload", &pointer, &mut faults);
            match json(value) {
                Ok(value) => fields.push((pointer, value)),
                Err(reason) => faults.push(format!("payload {pointer:?}: {reason}")),
            }
        }
        for pointer in &self.payload_exists {
            check_pointer("payload_exists", pointer, &mut faults);
        }
        let Some(queue) = queue.filter(|_| faults.is_empty()) else { return Err(faults) };
        let mut route = Route::to(queue);
        if let Some(name) = self.name {
            route = route.named(name);
        }
        // The cheap questions first; a payload is parsed only if a rule gets that far.
        if let Some(kind) = self.kind {
            route = route.kind(Pattern::new(kind));
        }
        for (name, value) in self.headers {
            route = route.header(name, Pattern::new(value));
        }
        for (pointer, value) in fields {
            route = route.payload(pointer, value);
        }
        for pointer in self.payload_exists {
            route = route.payload_exists(pointer);
        }
        Ok(route)
    }
}

fn check_pointer(field: &str, pointer: &str, faults: &mut Vec<String>) {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        faults.push(format!("{field} {pointer:?}: a JSON pointer starts with \"/\", as in \"/{pointer}\""));
    }
}

/// The JSON value that a TOML value means, where there is one.
fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => return Err(format!("JSON has no {number}")),
        },
        toml::Value::Datetime(_) => return Err("JSON has no dates, write it in quotes".into()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => Value::Object(
            table.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect::<Result<_, String>>()?,
        ),
    })
}

impl RoutesError {
    /// Every fault, each beginning with the rule it is in.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for RoutesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("routes cannot be used")?;
        for fault in &self.faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use valkey_envelope::Envelope;

    #[test]
    fn all_faults_are_told_with_their_rules() {
        let error = parse(
            r#"
            default = "no spaces allowed"

            [[route]]
            name = "typo"
            queue = "a"
            kinds = "x"

            [[route]]
            kind = "x"

            [[route]]
            name = "pointers"
            queue = "bad{name}"
            payload = { "address/country" = "DE", "/since" = 2020-01-01 }
            payload_exists = ["email"]
            "#,
        )
        .expect_err("nothing in it is right");
        let text = error.to_string();
        let starts = [
            "default: ",
            "route 1 (\"typo\"): unknown field `kinds`",
            "route 2: missing field `queue`",
            "route 3 (\"pointers\"): queue: ",
            "route 3 (\"pointers\"): payload \"address/country\": a JSON pointer starts with",
            "route 3 (\"pointers\"): payload \"/since\": JSON has no dates",
            "route 3 (\"pointers\"): payload_exists \"email\"",
        ];
        for start in starts {
            assert!(
                error.faults().iter().any(|fault| fault.starts_with(start)),
                "{start:?} is not in {text}"
            );
        }
        assert_eq!(error.faults().len(), starts.len(), "{text}");
    }

    #[test]
    fn broken_toml_says_where() {
        let error = parse("[[route]\nqueue = 1").expect_err("a bracket is missing");
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(parse("routes = []").expect_err("unknown key").to_string().contains("routes"));
    }

    #[test]
    fn a_file_says_the_same_as_code() {
        let from_file = parse(
            r#"
            default = "rest"
            [[route]]
            name = "first"
            queue = "a"
            kind = "user.*"
            headers = { tenant = "acme" }
            payload = { "/n" = 1, "/list" = [1, true, "x", 1.5], "/map" = { a = "b" } }
            payload_exists = ["/email"]
            "#,
        )
        .expect("it is right");
        let queue = |name: &str| name.parse::<QueueName>().expect("a valid name");
        let in_code = Routes::new().with_default(queue("rest")).with_route(
            Route::to(queue("a"))
                .named("first")
                .kind("user.*")
                .header("tenant", "acme")
                .payload("/list", json!([1, true, "x", 1.5]))
                .payload("/map", json!({"a": "b"}))
                .payload("/n", 1)
                .payload_exists("/email"),
        );
        assert_eq!(from_file, in_code);
        let fits = Envelope::new(&json!({
            "n": 1, "list": [1, true, "x", 1.5], "map": {"a": "b"}, "email": null
        }))
        .expect("it is JSON")
        .with_kind("user.created")
        .with_header("tenant", "acme");
        assert_eq!(from_file.explain(&fits).rule(), Some("first"));
    }
}

//! The parameters of a method: from the query, a form, or JSON.

use serde_json::{Map, Value as Json};

use super::reply::Failure;
use crate::web::Request;

/// The parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Parameters(Map<String, Json>);

// === impl Parameters ===

impl Parameters {
    /// All of a request. Bodies of other kinds do not count.
    pub(super) fn of(request: &Request) -> Result<Self, Failure> {
        let mut all = Map::new();
        let mut take = |encoded: &[u8]| {
            for (name, value) in form_urlencoded::parse(encoded) {
                all.insert(name.into_owned(), Json::String(value.into_owned()));
            }
        };
        take(request.query.as_bytes());
        if request.is("application/x-www-form-urlencoded") {
            take(&request.body);
        } else if request.is("application/json") {
            match serde_json::from_slice(&request.body) {
                Ok(Json::Object(members)) => all.extend(members),
                _ => return Err(Failure::bad("can't parse JSON object")),
            }
        }
        Ok(Self(all))
    }

    /// Text, or a number as text; empty if it is neither, or not there.
    pub(super) fn text(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Json::Bool(on)) => *on,
            _ => matches!(self.text(name).to_ascii_lowercase().as_str(), "true" | "1" | "yes"),
        }
    }

    /// An object or list, which forms write as text.
    pub(super) fn json(&self, name: &str) -> Result<Option<Json>, Failure> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) if text.is_empty() => Ok(None),
            Some(Json::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| Failure::bad(&format!("can't parse {} JSON object", name.replace('_', " ")))),
            Some(json) => Ok(Some(json.clone())),
        }
    }
}

//! Envelopes, and the way from one to a command and back.

use serde_json::{Map, Value as Json, json};

use crate::freeipa::commands::{Output, Run};
use crate::freeipa::error::RpcError;
use crate::freeipa::facts;
use crate::freeipa::parameters::{Parameters, Setting};
use crate::freeipa::state::State;
use crate::freeipa::version::ApiVersion;

/// A request, taken out of its envelope.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) method: String,
    arguments: Vec<Json>,
    options: Map<String, Json>,
    id: Json,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    id: Json,
    outcome: Result<Output, RpcError>,
}

// === impl Envelope ===

impl Envelope {
    /// Takes a request out of its envelope. What is wrong with that is 909.
    pub(crate) fn open(body: &[u8]) -> Result<Self, RpcError> {
        let json: Json = serde_json::from_slice(body).map_err(|error| {
            RpcError::json(&format!("Expecting value: line {} column {}", error.line(), error.column()))
        })?;
        let Json::Object(mut members) = json else { return Err(RpcError::json("Request must be a dict")) };
        let Some(method) = members.remove("method") else {
            return Err(RpcError::json("Request is missing \"method\""));
        };
        let Some(params) = members.remove("params") else {
            return Err(RpcError::json("Request is missing \"params\""));
        };
        let Json::Array(params) = params else { return Err(RpcError::json("params must be a list")) };
        let Ok([arguments, options]) = <[Json; 2]>::try_from(params) else {
            return Err(RpcError::json("params must contain [args, options]"));
        };
        let Json::Array(arguments) = arguments else {
            return Err(RpcError::json("params[0] (aka args) must be a list"));
        };
        let Json::Object(options) = options else {
            return Err(RpcError::json("params[1] (aka options) must be a dict"));
        };
        let id = members.remove("id").unwrap_or(Json::Null);
        let method = method.as_str().map_or_else(|| method.to_string(), str::to_owned);
        Ok(Self { method, arguments, options, id })
    }

    /// The command without its version.
    pub(crate) fn command(&self) -> &str {
        self.method.strip_suffix("/1").unwrap_or(&self.method)
    }

    /// The login or group it is about.
    pub(crate) fn key(&self) -> Option<&str> {
        self.arguments
            .first()
            .and_then(|first| first.as_array().map_or(Some(first), |list| list.first()))?
            .as_str()
    }

    /// Runs it on behalf of `caller`.
    pub(crate) fn run(self, state: &mut State, caller: &str) -> Answered {
        let wire = match self.options.get("version").and_then(Json::as_str) {
            Some(version) => ApiVersion::parse(version).unwrap_or(ApiVersion::UNSAID),
            None => ApiVersion::UNSAID,
        };
        let outcome = call(state, caller, &self.method, &self.arguments, &self.options, wire);
        Answered { id: self.id, outcome }
    }

    /// An error instead of running it.
    pub(crate) fn refuse(self, error: RpcError) -> Answered {
        Answered { id: self.id, outcome: Err(error) }
    }
}

// === impl Answered ===

impl Answered {
    /// What never came out of an envelope.
    pub(crate) fn unopened(error: RpcError) -> Self {
        Self { id: Json::Null, outcome: Err(error) }
    }

    /// The same request, with another outcome than it had.
    pub(crate) fn instead(self, error: RpcError) -> Self {
        Self { outcome: Err(error), ..self }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.outcome.is_ok()
    }

    /// The number of the error, if it is one.
    pub(crate) fn code(&self) -> Option<i64> {
        self.outcome.as_ref().err().map(|error| error.code)
    }

    /// The reply's envelope.
    pub(crate) fn seal(self, principal: &str, version: &str) -> Json {
        let (result, error) = match self.outcome {
            Ok(output) => (Json::Object(output), Json::Null),
            Err(error) => (Json::Null, error.to_envelope()),
        };
        json!({"result": result, "error": error, "id": self.id, "principal": principal, "version": version})
    }
}

/// One call, of a request or of a batch.
fn call(
    state: &mut State,
    caller: &str,
    method: &str,
    arguments: &[Json],
    options: &Map<String, Json>,
    wire: ApiVersion,
) -> Result<Output, RpcError> {
    let command = facts::command(method).ok_or_else(|| RpcError::unknown_command(method))?;
    let server = state.config.version.api();
    let said = match options.get("version") {
        None => None,
        Some(Json::String(version)) => Some(version.clone()),
        Some(other) => Some(other.to_string()),
    };
    let api = match &said {
        None => ApiVersion::parse(server),
        Some(version) => ApiVersion::parse(version).filter(|version| version.major == 2),
    }
    .ok_or_else(|| RpcError::version(said.as_deref().unwrap_or_default(), server, &state.config.fqdn))?;

    let now = state.config.clock.now();
    let realm = state.directory.names.realm.clone();
    let parameters = Parameters::check(command, arguments, options, Setting { realm: &realm, now })?;
    let mut output = if command.name == "batch" {
        batch(state, caller, &parameters, said.as_deref().unwrap_or(server), wire)
    } else {
        let rights = state.directory.active(caller).map(|entry| entry.rights.clone()).unwrap_or_default();
        let mut run = Run {
            directory: &mut state.directory,
            config: &state.config,
            caller,
            rights,
            now,
            parameters,
            api,
            wire,
        };
        run.run(command.name)?
    };
    if said.is_none() {
        let text = format!(
            "API Version number was not sent, forward compatibility not guaranteed. Assuming server's API version, \
             {server}"
        );
        let message = json!({
            "type": "warning", "name": "VersionMissing", "code": 13001, "message": text,
            "data": {"server_version": server},
        });
        match output.get_mut("messages").and_then(Json::as_array_mut) {
            Some(messages) => messages.push(message),
            None => {
                output.insert("messages".to_owned(), json!([message]));
            }
        }
    }
    Ok(output)
}

/// One call after the other. What fails does not end it, and does not make it fail.
fn batch(
    state: &mut State,
    caller: &str,
    parameters: &Parameters,
    version: &str,
    wire: ApiVersion,
) -> Output {
    let keep = parameters.get("keeponly").is_some().then(|| parameters.many("keeponly"));
    let results: Vec<Json> = parameters
        .calls()
        .iter()
        .map(|element| match batched(state, caller, element, version, wire) {
            Ok(mut output) => {
                output.insert("error".to_owned(), Json::Null);
                if let (Some(keep), Some(Json::Object(result))) = (keep, output.get_mut("result")) {
                    result.retain(|name, _| keep.contains(name));
                }
                Json::Object(output)
            }
            Err(error) => error.to_batch(),
        })
        .collect();
    let mut output = Output::new();
    output.insert("count".to_owned(), results.len().into());
    output.insert("results".to_owned(), results.into());
    output
}

fn batched(
    state: &mut State,
    caller: &str,
    element: &Json,
    version: &str,
    wire: ApiVersion,
) -> Result<Output, RpcError> {
    let method = element.get("method").ok_or_else(|| RpcError::required("method"))?;
    let params = element.get("params").ok_or_else(|| RpcError::required("params"))?;
    let method = method.as_str().map_or_else(|| method.to_string(), str::to_owned);
    if facts::command(&method).is_none() {
        return Err(RpcError::unknown_command(&method));
    }
    let malformed = || RpcError::conversion("params", "must contain a tuple (list, dict)");
    let [Json::Array(arguments), Json::Object(options)] = params.as_array().map_or(&[][..], Vec::as_slice)
    else {
        return Err(malformed());
    };
    let mut options = options.clone();
    options.entry("version").or_insert_with(|| version.into());
    state.stats.count_call(method.strip_suffix("/1").unwrap_or(&method));
    // What does not fit the command's interface is told in other words here.
    call(state, caller, &method, arguments, &options, wire).map_err(|error| match error.code {
        3003..=3006 => RpcError::conversion("params", &error.message),
        _ => error,
    })
}

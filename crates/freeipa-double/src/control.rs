//! Steers the doubles from other processes: plain HTTP, JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::web::{Answer, Reply, Request, Served, Site};
use crate::{DoubleError, FaultRule, Faults, FreeIpaAction, FreeIpaDouble, TelegramAction, TelegramDouble};

/// Steers doubles from other processes, over plain HTTP with JSON. Whoever reaches it may do everything: let it listen
/// on the loopback address.
///
/// | request | does |
/// |---|---|
/// | `GET /` | this table |
/// | `GET /freeipa/directory` | the users, the groups, and what happened: [`DirectorySnapshot`](crate::DirectorySnapshot) |
/// | `GET /freeipa/stats` | what was asked: [`Stats`](crate::Stats) |
/// | `GET /freeipa/ca.pem` | the root of its certificate |
/// | `POST /freeipa/do` | a [`FreeIpaAction`] |
/// | `POST /freeipa/password` | `{"login","password"}`: whether that is the password |
/// | `GET`, `POST`, `DELETE /freeipa/faults` | all of them; one more, a [`FaultRule`]; none |
/// | `GET /telegram/messages`, `…?chat=42` | what was delivered: [`SentMessage`](crate::SentMessage)s |
/// | `GET /telegram/stats` | what was asked: [`TelegramStats`](crate::TelegramStats) |
/// | `POST /telegram/do` | a [`TelegramAction`] |
/// | `GET`, `POST`, `DELETE /telegram/faults` | as above, with [`TelegramFault`](crate::TelegramFault)s |
///
/// What makes no sense is 400 and says why: `{"error":"…"}`. A member that nobody knows makes no sense.
///
/// ```text
/// $ curl -d '{"on":"user_add","kind":"commit_then_drop","nth":2}' http://127.0.0.1:9000/freeipa/faults
/// $ curl -d '{"do":"set_chat","chat":42,"state":"blocked"}' http://127.0.0.1:9000/telegram/do
/// ```
#[derive(Debug)]
pub struct Control {
    served: Served,
}

#[derive(Debug)]
struct ControlSite {
    freeipa: Option<FreeIpaDouble>,
    telegram: Option<TelegramDouble>,
}

/// What `GET /` says.
const TABLE: &str = "\
GET /freeipa/directory   users, groups, and what happened
GET /freeipa/stats       what was asked
GET /freeipa/ca.pem      the root of its certificate
POST /freeipa/do         {\"do\":\"kdc_down\",\"down\":true} and the like
POST /freeipa/password   {\"login\":\"x\",\"password\":\"y\"}: whether that is the password
GET, POST, DELETE /freeipa/faults    {\"on\":\"user_add\",\"kind\":\"commit_then_drop\",\"nth\":1,\"times\":1}
GET /telegram/messages   what was delivered; ?chat=42: to one chat
GET /telegram/stats      what was asked
POST /telegram/do        {\"do\":\"set_chat\",\"chat\":42,\"state\":\"blocked\"} and the like
GET, POST, DELETE /telegram/faults   {\"on\":\"sendMessage\",\"kind\":\"too_many\",\"retry_after\":3}
";

// === impl Control ===

impl Control {
    /// Serves an address, for the doubles there are.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(
        address: SocketAddr,
        freeipa: Option<FreeIpaDouble>,
        telegram: Option<TelegramDouble>,
    ) -> Result<Self, DoubleError> {
        let site = Arc::new(ControlSite { freeipa, telegram });
        Ok(Self { served: Served::start(address, None, site).await? })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// Stops listening.
    pub async fn stop(&self) {
        self.served.stop().await;
    }
}

impl Site for ControlSite {
    async fn answer(&self, request: Request) -> Answer {
        self.reply(&request)
            .unwrap_or_else(|why| Reply::json(StatusCode::BAD_REQUEST, &json!({"error": why})))
            .into()
    }
}

// === impl ControlSite ===

impl ControlSite {
    /// The reply, or why the request makes no sense.
    fn reply(&self, request: &Request) -> Result<Reply, String> {
        let found = match request.path.split_once('/').map(|(_, path)| path) {
            Some("") if request.method == Method::GET => {
                Some(Reply::new(StatusCode::OK).with_body("text/plain; charset=utf-8", TABLE))
            }
            Some(path) => match (path.split_once('/'), &self.freeipa, &self.telegram) {
                (Some(("freeipa", path)), Some(freeipa), _) => of_freeipa(freeipa, path, request)?,
                (Some(("telegram", path)), _, Some(telegram)) => of_telegram(telegram, path, request)?,
                _ => None,
            },
            None => None,
        };
        Ok(found.unwrap_or_else(|| {
            let why = format!("there is no {} {}; GET / says what there is", request.method, request.path);
            Reply::json(StatusCode::NOT_FOUND, &json!({"error": why}))
        }))
    }
}

fn of_freeipa(freeipa: &FreeIpaDouble, path: &str, request: &Request) -> Result<Option<Reply>, String> {
    Ok(Some(match (&request.method, path) {
        (&Method::GET, "directory") => fine(&freeipa.directory()),
        (&Method::GET, "stats") => fine(&freeipa.stats()),
        (&Method::GET, "ca.pem") => {
            Reply::new(StatusCode::OK).with_body("application/x-pem-file", freeipa.ca_pem().to_owned())
        }
        (&Method::POST, "do") => {
            let action: FreeIpaAction = read(request)?;
            freeipa.apply(action).map_err(|error| error.to_string())?;
            fine(&json!({}))
        }
        (&Method::POST, "password") => {
            let json: Json = read(request)?;
            let member = |name: &str| json[name].as_str().ok_or_else(|| format!("it needs a text {name:?}"));
            fine(&json!({"matches": freeipa.has_password(member("login")?, member("password")?)}))
        }
        (_, "faults") => return on_faults(freeipa.faults(), request),
        _ => return Ok(None),
    }))
}

fn of_telegram(telegram: &TelegramDouble, path: &str, request: &Request) -> Result<Option<Reply>, String> {
    Ok(Some(match (&request.method, path) {
        (&Method::GET, "messages") => match request.query.strip_prefix("chat=") {
            None => fine(&telegram.messages()),
            Some(chat) => {
                let chat = chat.parse().map_err(|_| format!("{chat:?} is the number of no chat"))?;
                fine(&telegram.messages_to(chat))
            }
        },
        (&Method::GET, "stats") => fine(&telegram.stats()),
        (&Method::POST, "do") => {
            let action: TelegramAction = read(request)?;
            telegram.apply(action).map_err(|error| error.to_string())?;
            fine(&json!({}))
        }
        (_, "faults") => return on_faults(telegram.faults(), request),
        _ => return Ok(None),
    }))
}

fn on_faults<F>(faults: &Faults<F>, request: &Request) -> Result<Option<Reply>, String>
where
    F: Clone + Serialize + DeserializeOwned,
{
    match request.method {
        Method::GET => {}
        Method::POST => faults.arm(rule(request)?),
        Method::DELETE => faults.clear(),
        _ => return Ok(None),
    }
    Ok(Some(fine(&faults.armed())))
}

/// A rule, without a member that nobody knows: a slip would make it another rule.
fn rule<F: Serialize + DeserializeOwned>(request: &Request) -> Result<FaultRule<F>, String> {
    let given: Json = read(request)?;
    let rule: FaultRule<F> = serde_json::from_value(given.clone()).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(&rule).map_err(|error| error.to_string())?;
    let members = given.as_object().into_iter().flat_map(serde_json::Map::keys);
    match members.into_iter().find(|name| known.get(name.as_str()).is_none() && *name != "key") {
        Some(stranger) => {
            Err(format!("a rule has no {stranger:?}; it has on, kind and its parts, key, nth and times"))
        }
        None => Ok(rule),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body).map_err(|error| error.to_string())
}

fn fine(body: &impl Serialize) -> Reply {
    Reply::json(StatusCode::OK, body)
}

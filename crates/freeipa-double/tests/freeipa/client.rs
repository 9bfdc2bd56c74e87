//! A plain client, as anybody would write one: it knows nothing of the double but name, address and root.

use freeipa_double::{AccountSpec, Clock, Config, FreeIpaDouble, GroupSpec, Rights};
use reqwest::header::{COOKIE, REFERER, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// The login of the service account.
pub(crate) const SERVICE: &str = "svc-registrar";
/// Its password.
pub(crate) const PASSWORD: &str = "Secret.123";

/// A client, logged in or not.
pub(crate) struct Caller {
    client: Client,
    base: String,
    fqdn: String,
    cookie: Option<String>,
}

/// A double with a service account of these rights that manages `tg-users`. Its clock moves only when told to.
pub(crate) async fn double(rights: Rights) -> FreeIpaDouble {
    FreeIpaDouble::start(config(rights).clock(Clock::standing())).await.unwrap()
}

pub(crate) fn config(rights: Rights) -> Config {
    Config::new()
        .fqdn("ipa.ipa.test")
        .account(AccountSpec::new(SERVICE, PASSWORD).rights(rights))
        .account(AccountSpec::new("admin", "Admin.12345").rights(Rights::admin()))
        .group(GroupSpec::new("tg-users").manager(SERVICE))
        .group(GroupSpec::new("others"))
}

/// A double, and its service account logged in.
pub(crate) async fn service(rights: Rights) -> (FreeIpaDouble, Caller) {
    let ipa = double(rights).await;
    let caller = Caller::logged_in(&ipa, SERVICE, PASSWORD).await;
    (ipa, caller)
}

impl Caller {
    pub(crate) fn of(ipa: &FreeIpaDouble) -> Self {
        let root = Certificate::from_pem(ipa.ca_pem().as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([root])
            .resolve(ipa.fqdn(), ipa.address())
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { client, base: ipa.url(), fqdn: ipa.fqdn().to_owned(), cookie: None }
    }

    pub(crate) async fn logged_in(ipa: &FreeIpaDouble, login: &str, password: &str) -> Self {
        let mut caller = Self::of(ipa);
        let reply = caller.log_in(login, password).await;
        assert_eq!(reply.status(), 200, "{:?}", reply.headers());
        caller
    }

    /// A request to a path, with the right Referer.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.bare(path).header(REFERER, format!("https://{}/ipa", self.fqdn))
    }

    /// A request to a path, without a Referer.
    pub(crate) fn bare(&self, path: &str) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.base));
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    pub(crate) async fn log_in(&mut self, login: &str, password: &str) -> Response {
        let form = [("user", login), ("password", password)];
        let reply = self.post("/ipa/session/login_password").form(&form).send().await.unwrap();
        if let Some(cookie) = reply.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        }
        reply
    }

    /// A login that is rejected: status, reason, and what the page says.
    pub(crate) async fn rejected(&mut self, login: &str, password: &str) -> (u16, String, String) {
        let reply = self.log_in(login, password).await;
        let reason = reply.headers().get("x-ipa-rejection-reason");
        let reason = reason.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (reply.status().as_u16(), reason, reply.text().await.unwrap())
    }

    pub(crate) fn request(&self, method: &str, arguments: &Value, options: &Value) -> RequestBuilder {
        let mut options = options.clone();
        options.as_object_mut().unwrap().entry("version").or_insert_with(|| json!("2.251"));
        self.post("/ipa/session/json")
            .json(&json!({"method": method, "params": [arguments, options], "id": 0}))
    }

    /// A call; the whole envelope.
    pub(crate) async fn call(&self, method: &str, arguments: Value, options: Value) -> Value {
        let reply = self.request(method, &arguments, &options).send().await.unwrap();
        assert_eq!(reply.status(), 200, "{method}");
        reply.json().await.unwrap()
    }

    /// A call that goes well; its `result`.
    pub(crate) async fn ok(&self, method: &str, arguments: Value, options: Value) -> Value {
        let mut envelope = self.call(method, arguments, options).await;
        assert_eq!(envelope["error"], Value::Null, "{method}: {envelope}");
        envelope["result"].take()
    }

    /// A call that does not; number, name and text.
    pub(crate) async fn error(&self, method: &str, arguments: Value, options: Value) -> (i64, String) {
        let envelope = self.call(method, arguments, options).await;
        assert_eq!(envelope["result"], Value::Null, "{method}: {envelope}");
        (
            envelope["error"]["code"].as_i64().unwrap(),
            envelope["error"]["message"].as_str().unwrap().to_owned(),
        )
    }

    /// Adds a user of which only the login matters.
    pub(crate) async fn add(&self, login: &str) -> Value {
        self.ok("user_add", json!([login]), json!({"givenname": "Boris", "sn": "Petrov"})).await
    }
}

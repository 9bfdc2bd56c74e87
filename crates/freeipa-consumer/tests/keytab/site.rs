//! The web server as FreeIPA sets it up: Kerberos once, then a session in a cookie; and behind it, who answers calls.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use valkey_testkit::eventually;

use crate::programs::{Process, free_port};
use crate::realm::{Realm, SERVER, STRANGER};

/// Methods that were called, each with the principal that the web server vouches for.
type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// A web server that asks for Kerberos.
pub(crate) struct Site {
    pub(crate) port: u16,
    calls: Calls,
    behind: JoinHandle<()>,
    _apache: Process,
}

impl Site {
    pub(crate) async fn start(realm: &Realm) -> Self {
        let (behind, calls, answers_at) = behind().await;
        let port = free_port();
        certify(realm);
        std::fs::write(realm.path("apache.conf"), configuration(realm, port, answers_at)).unwrap();
        // Started by root, it works as somebody else, who has to read what it needs.
        open(realm.directory(), 0o755);
        open(&realm.path("http.keytab"), 0o644);
        let mut apache = Process::start(
            realm.command("apache2").args(["-DFOREGROUND", "-f"]).arg(realm.path("apache.conf")),
        );
        eventually("the web server", async || {
            let said = std::fs::read_to_string(realm.path("error.log")).unwrap_or_default();
            assert!(!apache.has_ended(), "the web server ended: {said}");
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { port, calls, behind, _apache: apache }
    }

    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        self.calls.lock().unwrap().clone()
    }

    /// How often somebody got through to a login.
    pub(crate) fn logins(&self) -> usize {
        self.calls().iter().filter(|(method, _)| method == "login").count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.behind.abort();
    }
}

fn open(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// One certificate for both names.
fn certify(realm: &Realm) {
    let names = vec![SERVER.to_owned(), STRANGER.to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(realm.path("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(realm.path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

fn configuration(realm: &Realm, port: u16, behind: u16) -> String {
    let modules = realm.programs.apache_modules();
    let names = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "auth_gssapi",
        "session",
        "session_cookie",
        "headers",
        "proxy",
        "proxy_http",
        "ssl",
    ];
    let load = |name| format!("LoadModule {name}_module {}/mod_{name}.so\n", modules.display());
    let load: String = names.into_iter().map(load).collect();
    let dir = realm.directory().display();
    format!(
        r#"{load}
ServerName {SERVER}
ServerRoot "{dir}"
DefaultRuntimeDir "{dir}"
PidFile "{dir}/apache.pid"
Mutex "file:{dir}"
ErrorLog "{dir}/error.log"
LogLevel info
User #65534
Group #65534
StartServers 1
ServerLimit 1
Listen 127.0.0.1:{port}
SSLEngine on
SSLCertificateFile "{dir}/cert.pem"
SSLCertificateKeyFile "{dir}/key.pem"
ProxyPass "/ipa" "http://127.0.0.1:{behind}/ipa"
<Location "/ipa">
    AuthType GSSAPI
    AuthName "Kerberos Login"
    GssapiUseSessions On
    Session On
    SessionCookieName ipa_session path=/ipa;httponly;secure;
    SessionHeader IPASESSION
    GssapiCredStore keytab:{dir}/http.keytab
    GssapiAllowedMech krb5
    Require valid-user
    RequestHeader set X-Principal "expr=%{{REMOTE_USER}}"
</Location>
"#
    )
}

/// Who answers: a domain in which the service account may add users.
async fn behind() -> (JoinHandle<()>, Calls, u16) {
    let calls = Calls::default();
    let note = |calls: &Calls, headers: &HeaderMap, method: &str| {
        let principal = headers.get("x-principal").map(|value| value.to_str().unwrap().to_owned());
        let principal = principal.unwrap_or_default();
        calls.lock().unwrap().push((method.to_owned(), principal.clone()));
        principal
    };
    let (of_logins, of_calls) = (Arc::clone(&calls), Arc::clone(&calls));
    let login = post(move |headers: HeaderMap| async move {
        note(&of_logins, &headers, "login");
    });
    let json = post(move |headers: HeaderMap, body: Bytes| async move {
        let call: Value = serde_json::from_slice(&body).unwrap();
        let method = call["method"].as_str().unwrap().split('/').next().unwrap().to_owned();
        let principal = note(&of_calls, &headers, &method);
        let result = match method.as_str() {
            "ping" => json!({"summary": "IPA server version 4.12.4. API version 2.254"}),
            "service_show" | "user_show" => json!({"result": {
                "memberof": ["cn=System: Add Users,cn=permissions,cn=pbac,dc=example,dc=test"],
            }}),
            _ => json!({"result": null}),
        };
        let reply =
            json!({"result": result, "error": null, "id": 0, "principal": principal, "version": "4.12.4"});
        ([(header::CONTENT_TYPE, "application/json")], reply.to_string()).into_response()
    });
    let site = Router::new().route("/ipa/session/login_kerberos", login).route("/ipa/session/json", json);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
    (behind, calls, port)
}

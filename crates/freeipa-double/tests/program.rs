//! The program, and the port it is steered from.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::{Certificate, Client};
use serde_json::{Value, json};

/// A running program; killed if a test leaves it behind.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeipa-double"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Starts it, and reads where everything is.
fn start(arguments: &[&str]) -> (Program, Value) {
    let mut child = program(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Program(child), serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn it_says_where_it_is_can_be_steered_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, password) = (directory.path().join("ca.pem"), directory.path().join("password"));
    std::fs::write(&password, "Secret.123\n").unwrap();
    let (mut program, places) = start(&[
        "--ca-out",
        ca.to_str().unwrap(),
        "--service-login",
        "svc",
        "--service-password-file",
        password.to_str().unwrap(),
        "--group",
        "tg-users",
        "--telegram",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
    ]);
    assert_eq!(
        (&places["freeipa"]["fqdn"], &places["freeipa"]["realm"]),
        (&json!("ipa.example.test"), &json!("EXAMPLE.TEST"))
    );
    let (url, control) =
        (places["freeipa"]["url"].as_str().unwrap(), places["control"]["url"].as_str().unwrap());
    let root = Certificate::from_pem(&std::fs::read(&ca).unwrap()).unwrap();
    let address = places["freeipa"]["address"].as_str().unwrap().parse().unwrap();
    let client = Client::builder()
        .tls_certs_only([root])
        .resolve("ipa.example.test", address)
        .no_proxy()
        .build()
        .unwrap();
    let login = async |password: &str| {
        let request = client.post(format!("{url}/ipa/session/login_password"));
        let request = request.header("Referer", "https://ipa.example.test/ipa");
        request.form(&[("user", "svc"), ("password", password)]).send().await.unwrap().status().as_u16()
    };
    assert_eq!(login("Secret.123").await, 200);

    let post = async |path: &str, body: Value| {
        let reply = client.post(format!("{control}{path}")).json(&body).send().await.unwrap();
        (reply.status().as_u16(), reply.json::<Value>().await.unwrap())
    };
    let get = async |path: &str| client.get(format!("{control}{path}")).send().await.unwrap();
    assert_eq!(
        post("/freeipa/do", json!({"do": "set_password", "login": "svc", "password": "Other.456"})).await.0,
        200
    );
    assert_eq!((login("Secret.123").await, login("Other.456").await), (401, 200));
    let matches = post("/freeipa/password", json!({"login": "svc", "password": "Other.456"})).await.1;
    assert_eq!(matches, json!({"matches": true}));
    assert_eq!(post("/freeipa/faults", json!({"on": "login", "kind": "http503"})).await.0, 200);
    assert_eq!((login("Other.456").await, login("Other.456").await), (503, 200));
    let stats: Value = get("/freeipa/stats").await.json().await.unwrap();
    assert_eq!(
        (&stats["logins_accepted"], &stats["logins_rejected"]),
        (&json!(3), &json!({"invalid-password": 1}))
    );
    let found: Value = get("/freeipa/directory").await.json().await.unwrap();
    let group = found["groups"].as_array().unwrap().iter().find(|group| group["name"] == "tg-users").unwrap();
    assert_eq!(group["managers"], json!(["svc"]));
    assert!(!found.to_string().contains("Other.456"), "passwords are nobody's business");
    assert_eq!(get("/freeipa/ca.pem").await.text().await.unwrap(), std::fs::read_to_string(&ca).unwrap());
    let cleared = client.delete(format!("{control}/freeipa/faults")).send().await.unwrap();
    assert_eq!(cleared.json::<Value>().await.unwrap(), json!([]));

    assert_eq!(post("/telegram/do", json!({"do": "set_chat", "chat": 7, "state": "blocked"})).await.0, 200);
    let send = format!(
        "{}/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0/sendMessage",
        places["telegram"]["url"].as_str().unwrap()
    );
    for (chat, status) in [(7, 403), (8, 200)] {
        let reply = client.post(&send).json(&json!({"chat_id": chat, "text": "x"})).send().await.unwrap();
        assert_eq!(reply.status(), status);
    }
    let messages: Value = get("/telegram/messages?chat=8").await.json().await.unwrap();
    assert_eq!(messages[0]["text"], "x");

    for (path, body) in [
        ("/freeipa/faults", json!({"on": "ping", "kind": "http503", "nht": 2})),
        ("/freeipa/faults", json!({"on": "ping", "kind": "nonsense"})),
        ("/freeipa/do", json!({"do": "kdc_down"})),
        ("/freeipa/do", json!({"do": "set_disabled", "login": "ghost", "disabled": true})),
        ("/telegram/do", json!({"do": "set_token", "token": "x"})),
    ] {
        let (code, reply) = post(path, body.clone()).await;
        assert!(code == 400 && reply["error"].is_string(), "{path} {body}: {reply}");
    }
    assert_eq!(get("/nothing").await.status(), 404);
    assert!(get("/").await.text().await.unwrap().contains("/freeipa/faults"));

    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(program.0.wait().unwrap().code(), Some(0));
}

#[test]
fn it_says_what_is_wrong_and_teaches() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let password = ["--service-login", "svc", "--service-password-file", empty.to_str().unwrap()];
    for (arguments, code, why) in [
        (&["--fqdn", "localhost"][..], 1, "ipa.example.test"),
        (&password[..], 1, "is empty"),
        (&["--service-login", "svc"][..], 2, "--service-password-file"),
        (&["--ipa-version", "3.0"][..], 2, "4.12.4"),
    ] {
        let output = program(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && said.contains(why), "{arguments:?}: {said}");
    }
    let help = String::from_utf8(program(&["--help"]).output().unwrap().stdout).unwrap();
    assert!(help.contains("curl --cacert") && help.contains("SIGTERM"), "{help}");
}

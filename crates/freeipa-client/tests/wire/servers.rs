//! Several servers, and how they are told apart.

use freeipa_client::{
    Cause, CertificateFault, Class, Client, FailOver, Outcome, Server, TransportError, Trust,
};

use crate::support::{NAME, Wire, ca, foreign_ca, logged_in, other_ca, user};

async fn well(name: &'static str) -> Wire {
    Wire::named(name, move |seen, _| if seen.is_login() { logged_in(name) } else { user("anna") }.into())
        .await
}

/// An address where nobody listens.
fn nowhere(name: &str) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    Server::new(name).unwrap().connect_to(&address.to_string()).unwrap()
}

/// A key whose server is this one.
fn key_of(client: &Client, name: &str) -> String {
    (0..1000)
        .map(|number| format!("key-{number}"))
        .find(|key| client.server(key).server_name() == name)
        .unwrap()
}

#[tokio::test]
async fn a_cookie_goes_to_its_own_server_only() {
    let (one, other) = (well("ipa1.example.test").await, well("ipa2.example.test").await);
    let client = Client::new(&one.settings().server(other.server())).unwrap();
    for _ in 0..2 {
        for server in client.servers() {
            server.ping().await.unwrap();
        }
    }
    for (wire, name) in [(one, "ipa1.example.test"), (other, "ipa2.example.test")] {
        let seen = wire.seen();
        assert_eq!(seen.len(), 3);
        for seen in seen.iter().filter(|seen| !seen.is_login()) {
            assert_eq!(seen.header("cookie"), Some(format!("ipa_session=MagBearerToken={name}").as_str()));
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_the_servers_ends_it_before_anything_is_sent() {
    let wire = well(NAME).await;
    let alias =
        Server::new("alias.example.test").unwrap().connect_to(&format!("127.0.0.1:{}", wire.port())).unwrap();
    let credentials = || freeipa_client::Credentials::password("svc", "x");
    let rows = [
        (wire.settings().trust(Trust::Only(other_ca())), CertificateFault::UnknownIssuer),
        (wire.settings().trust(Trust::Only(foreign_ca())), CertificateFault::UnknownIssuer),
        (
            freeipa_client::Settings::new(credentials()).server(alias).trust(Trust::Only(ca())),
            CertificateFault::WrongName,
        ),
    ];
    for (settings, fault) in rows {
        let error = Client::new(&settings).unwrap().server("x").ping().await.unwrap_err();
        let Cause::Login(freeipa_client::LoginError::Transport(transport)) = error.cause() else {
            panic!("{error}")
        };
        assert_eq!(*transport, TransportError::Certificate(fault));
        assert_eq!((error.class(), error.outcome()), (Class::Configuration, Outcome::NotDone));
    }
    assert!(wire.seen().is_empty());
}

#[tokio::test]
async fn one_connects_to_a_host_by_another_name() {
    let wire = well(NAME).await;
    let server = Server::new(NAME).unwrap().connect_to(&format!("localhost:{}", wire.port())).unwrap();
    let settings = freeipa_client::Settings::new(freeipa_client::Credentials::password("svc", "x"));
    let client = Client::new(&settings.server(server).trust(Trust::Only(ca()))).unwrap();
    client.server("x").ping().await.unwrap();
    assert_eq!(wire.seen()[0].header("host"), Some(NAME));
}

#[tokio::test]
async fn new_work_goes_elsewhere_and_work_that_has_begun_stays() {
    let up = well("ipa1.example.test").await;
    let down = "ipa2.example.test";
    let client = Client::new(&up.settings().server(nowhere(down))).unwrap();
    let key = key_of(&client, down);
    let begun = client.server(&key);
    assert!(begun.is_first_choice());
    for _ in 0..2 {
        let error = begun.ping().await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::NotDone));
        // The pause after a login that failed.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    assert_eq!(begun.server_name(), down, "a flow that has begun is never moved");
    let instead = client.server(&key);
    assert_eq!((instead.server_name(), instead.is_first_choice()), ("ipa1.example.test", false));
    instead.ping().await.unwrap();
    assert!(client.server_named(down).unwrap().is_same(&begun));
    let status: Vec<_> = client.status().into_iter().map(|status| (status.name, status.is_well)).collect();
    assert_eq!(status, [("ipa1.example.test".to_owned(), true), (down.to_owned(), false)]);
}

#[tokio::test]
async fn who_wants_no_other_server_gets_none() {
    let up = well("ipa1.example.test").await;
    let down = "ipa2.example.test";
    let client = Client::new(&up.settings().server(nowhere(down)).fail_over(FailOver::Never)).unwrap();
    let key = key_of(&client, down);
    for _ in 0..3 {
        client.server(&key).ping().await.unwrap_err();
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    assert!(!client.status()[1].is_well);
    assert!(client.server(&key).is_first_choice());
}

#[tokio::test]
async fn a_server_that_answers_is_well_whatever_it_says() {
    let wire = Wire::start(|seen, _| {
        if seen.is_login() {
            logged_in("x")
        } else {
            crate::support::fault(4001, "NotFound", "x: user not found")
        }
        .into()
    })
    .await;
    let client = wire.client();
    for _ in 0..5 {
        let error = client.server("x").user_show(&"x".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
    }
    assert!(client.status()[0].is_well);
}

//! What a check finds.

use std::sync::Arc;

use freeipa_client::{
    Client, Credentials, Finding, Needs, Negotiate, NegotiateError, Probe, Right, Trust, Verdict,
};

use crate::support::{
    Seen, Wire, fault, logged_in, no_session, other_ca, page, refused, reply_to, result, wrong_password,
};

fn is_knock(seen: &Seen) -> bool {
    !seen.is_login() && seen.header("cookie").is_none()
}

async fn found(client: &Client) -> Vec<Finding> {
    let needs =
        Needs::new().group("staff").group("ghosts").right(Right::AddUsers).right(Right::ChangePasswords);
    client.check(&needs).await
}

fn bad(findings: &[Finding]) -> Vec<Probe> {
    findings.iter().filter(|finding| finding.verdict == Verdict::Bad).map(|finding| finding.probe).collect()
}

type Script = Box<dyn Fn(&Seen) -> Vec<u8> + Send + Sync>;

#[tokio::test]
async fn each_thing_that_is_wrong_is_named() {
    let kdc = || refused("invalid-password", "kinit: Cannot contact any KDC for realm 'X'");
    let rows: [(Script, Probe); 5] = [
        (Box::new(|_| page("400 Bad Request")), Probe::Name),
        (Box::new(|_| page("404 Not Found")), Probe::Name),
        (Box::new(|seen| if is_knock(seen) { no_session() } else { wrong_password() }), Probe::Login),
        (Box::new(move |seen| if is_knock(seen) { no_session() } else { kdc() }), Probe::Login),
        (
            Box::new(|seen| match seen {
                seen if is_knock(seen) => no_session(),
                seen if seen.is_login() => logged_in("x"),
                _ => page("500 Internal Server Error"),
            }),
            Probe::Ping,
        ),
    ];
    for (script, probe) in rows {
        let wire = Wire::start(move |seen, _| script(seen).into()).await;
        let findings = found(&wire.client()).await;
        assert_eq!(bad(&findings), [probe], "{findings:#?}");
        assert!(
            findings.iter().all(|finding| finding.remedy.is_some() == (finding.verdict != Verdict::Good))
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_named_and_no_login_is_tried() {
    let wire = Wire::start(|_, _| wrong_password().into()).await;
    let client = Client::new(&wire.settings().trust(Trust::Only(other_ca()))).unwrap();
    assert_eq!(bad(&found(&client).await), [Probe::Certificate]);
    assert!(wire.seen().is_empty());
}

#[tokio::test]
async fn a_rejected_account_is_not_tried_again_for_a_check() {
    let wire =
        Wire::start(|seen, _| if is_knock(seen) { no_session() } else { wrong_password() }.into()).await;
    let client = wire.client();
    for _ in 0..3 {
        assert_eq!(bad(&found(&client).await), [Probe::Login]);
    }
    assert_eq!(wire.logins(), 1);
}

#[tokio::test]
async fn the_rights_of_a_service_are_read_from_its_own_entry() {
    let wire = Wire::start(|seen, _| {
        match seen.method().as_deref() {
            None => logged_in("x"),
            Some(_) if is_knock(seen) => no_session(),
            Some("service_show") if seen.body.contains("registrar/app.example.test") => {
                result(r#"{"result":{"memberof":["cn=System: Add Users,cn=permissions,cn=pbac,dc=x"]}}"#)
            }
            Some("group_show") => result(r#"{"result":{"attributelevelrights":{"member":"rsc"}}}"#),
            Some(_) => reply_to(
                "registrar/app.example.test@IPA.TEST",
                r#"{"summary":"IPA server version 4.12.4. API version 2.254"}"#,
            ),
        }
        .into()
    })
    .await;
    let client = wire.client();
    client.replace_credentials(Credentials::Negotiate(Arc::new(Ticket))).unwrap();
    let findings = client.check(&Needs::new().group("staff").right(Right::AddUsers)).await;
    let of = |probe| findings.iter().find(|finding| finding.probe == probe).unwrap();
    assert_eq!(of(Probe::Right).verdict, Verdict::Good, "{findings:#?}");
    // No service can be a member manager.
    assert!(of(Probe::Group).remedy.as_ref().unwrap().contains("--targetgroup=staff"), "{findings:#?}");
}

#[derive(Debug)]
struct Ticket;

impl Negotiate for Ticket {
    fn token(&self, _host: &str) -> Result<Vec<u8>, NegotiateError> {
        Ok(vec![0x60])
    }
}

#[tokio::test]
async fn rights_are_read_where_they_are_to_be_seen() {
    let wire = Wire::start(|seen, _| {
        match seen.method().as_deref() {
            None => logged_in("x"),
            Some(_) if is_knock(seen) => no_session(),
            Some("user_show") => result(
                r#"{"result":{"uid":["svc"],"memberof":["cn=System: Add Users,cn=permissions,cn=pbac,dc=x","cn=ipausers,cn=groups,dc=x"]}}"#,
            ),
            Some("group_show") if seen.body.contains("staff") => {
                result(r#"{"result":{"cn":["staff"],"attributelevelrights":{"member":"rscwo"}}}"#)
            }
            Some("group_show") => fault(4001, "NotFound", "ghosts: group not found"),
            Some(_) => result(r#"{"summary":"IPA server version 4.12.4. API version 2.254"}"#),
        }
        .into()
    })
    .await;
    let findings = found(&wire.client()).await;
    let seen: Vec<_> = findings.iter().map(|finding| (finding.probe, finding.verdict)).collect();
    assert_eq!(
        seen,
        [
            (Probe::Connection, Verdict::Good),
            (Probe::Certificate, Verdict::Good),
            (Probe::Name, Verdict::Good),
            (Probe::Login, Verdict::Good),
            (Probe::Ping, Verdict::Good),
            (Probe::Right, Verdict::Good),
            (Probe::Right, Verdict::Unknown),
            (Probe::Group, Verdict::Good),
            (Probe::Group, Verdict::Bad),
        ],
        "{findings:#?}"
    );
    let wrote = wire
        .seen()
        .iter()
        .filter_map(Seen::method)
        .any(|method| !method.ends_with("_show") && method != "ping");
    assert!(!wrote, "a check only reads");
}

//! What concerns everybody costs nobody an attempt: no message is lost, none is dead, and nothing is tried too often.

use std::time::Duration;

use freeipa_consumer::Consumer;
use freeipa_double::{Fault, FaultRule, FreeIpaAction, FreeIpaDouble, Right, Rights, TelegramAction};
use tokio::time::sleep;
use valkey_testkit::eventually;

use crate::people::somebody;
use crate::scene::{SERVICE, Scene, config, get};

/// Whoever counts an attempt here makes a dead letter.
const ONE_ATTEMPT: &str = "[receiver]\nmax_retries = 0\n";
const NAMES: [&str; 6] = ["Ada", "Eve", "Bob", "Kim", "Max", "Zoe"];

async fn send_all(scene: &Scene) {
    for (chat, name) in (1..).zip(NAMES) {
        scene.send(&somebody(chat, name)).await;
    }
}

async fn assert_all_are_served(scene: &Scene) {
    for (chat, name) in (1..).zip(NAMES) {
        scene.assert_has_account(chat, &name.to_lowercase());
    }
    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
}

/// Everybody is still in the queue, uncounted.
async fn assert_nobody_is_lost(scene: &Scene) {
    let stats = scene.stats().await;
    assert_eq!(stats.ready.total() + stats.delayed + stats.in_flight, NAMES.len() as u64);
    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_nobody_an_attempt() {
    for kdc in [false, true] {
        let scene = Scene::set(ONE_ATTEMPT).await;
        let down = |down| {
            // Without sessions nobody gets on without the KDC.
            scene.ipa.apply(FreeIpaAction::ExpireSessions).unwrap();
            let action = if kdc { FreeIpaAction::KdcDown { down } } else { FreeIpaAction::LdapDown { down } };
            scene.ipa.apply(action).unwrap();
        };
        let running = scene.start().await;
        running.until_ready().await;
        down(true);
        send_all(&scene).await;
        let parked = running.until("parked").await;
        assert_eq!(parked["kind"], "directory", "{parked}");
        assert!(get(running.http, "/healthz").await.0.starts_with("HTTP/1.1 200"), "it is alive");
        assert!(get(running.http, "/readyz").await.0.starts_with("HTTP/1.1 503"));
        assert!(get(running.http, "/metrics").await.1.contains("valkit_freeipa_parked 1"));
        sleep(Duration::from_secs(3)).await;
        assert_nobody_is_lost(&scene).await;
        let logins = scene.ipa.stats().logins;
        assert!(logins < 12, "{logins} logins in about three seconds");
        down(false);
        scene.settled().await;
        running.until_ready().await;
        running.end().await;
        assert_all_are_served(&scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_the_middle_is_none_to_those_who_were_under_way() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    let running = scene.start().await;
    running.until_ready().await;
    // Otherwise all might be served before the directory is away.
    for command in ["user_add", "group_add_member", "user_mod"] {
        scene.ipa.faults().arm(FaultRule::new(command, Fault::Delay { ms: 400 }).always());
    }
    send_all(&scene).await;
    for command in ["user_add", "group_add_member", "user_mod"] {
        let seen = scene.ipa.stats().calls_of(command);
        eventually(command, async || (scene.ipa.stats().calls_of(command) > seen).then_some(())).await;
        scene.ipa.apply(FreeIpaAction::LdapDown { down: true }).unwrap();
        running.until("parked").await;
        scene.ipa.apply(FreeIpaAction::LdapDown { down: false }).unwrap();
        running.until_ready().await;
        if scene.ipa.directory().created().len() == NAMES.len() {
            break;
        }
    }
    scene.settled().await;
    running.end().await;
    assert_all_are_served(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_nobody_is_lost() {
    let scene = Scene::set(&format!("{ONE_ATTEMPT}[freeipa]\npassword = \"wrong\"\n")).await;
    send_all(&scene).await;
    let (one, other) = (scene.start().await, scene.start().await);
    for running in [&one, &other] {
        eventually("trouble with the login", async || {
            let ready = running.ready().await;
            (ready["kind"] == "login")
                .then(|| assert!(ready["reason"].as_str().unwrap().contains("wrong password")))
        })
        .await;
    }
    // Some probes later.
    sleep(Duration::from_secs(4)).await;
    assert_nobody_is_lost(&scene).await;
    let logins = scene.ipa.stats().logins;
    assert_eq!(logins, 1, "one of two consumers tries, and tells the other");
    assert!(get(one.http, "/metrics").await.1.contains("valkit_freeipa_service_login_rejected"));
    one.end().await;
    other.end().await;

    scene
        .ipa
        .apply(FreeIpaAction::SetPassword { login: SERVICE.to_owned(), password: "wrong".to_owned() })
        .unwrap();
    // Somebody says that it is right now.
    Consumer::check_login_anew(&scene.settings()).await.unwrap();
    scene.work_off().await;
    assert_all_are_served(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_parks_until_it_is_unlocked() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    let locked = |locked| {
        scene.ipa.apply(FreeIpaAction::SetLocked { login: SERVICE.to_owned(), locked }).unwrap();
    };
    locked(true);
    send_all(&scene).await;
    let running = scene.start().await;
    let kind = eventually("trouble", async || {
        let ready = running.ready().await;
        (ready["kind"] != "starting").then(|| ready["kind"].clone())
    });
    assert_eq!(kind.await, "login");
    sleep(Duration::from_secs(3)).await;
    assert_nobody_is_lost(&scene).await;
    assert!(scene.ipa.stats().logins <= 2);
    running.end().await;
    // The client does not try again for ten minutes; who starts it anew does.
    locked(false);
    scene.work_off().await;
    assert_all_are_served(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_or_name_parks() {
    let stranger = FreeIpaDouble::start(config(Rights::registrar())).await.unwrap();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), stranger.ca_pem()).unwrap();
    let of_stranger = format!("{ONE_ATTEMPT}[freeipa]\nca_file = \"{}\"\n", ca.path().display());
    let scene = Scene::set(&of_stranger).await;
    assert_parks_as_configuration(&scene).await;

    let scene = Scene::set(ONE_ATTEMPT).await;
    let alias = format!("{ONE_ATTEMPT}[freeipa]\nservers = \"alias.example.test={}\"\n", scene.ipa.address());
    let scene = scene.but(&alias);
    assert_parks_as_configuration(&scene).await;
    let scene = scene.but(ONE_ATTEMPT);
    scene.work_off().await;
    assert_all_are_served(&scene).await;
}

/// A balancer in between, whose certificate has both names: nothing is wrong but the Referer.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_the_certificate_has_is_refused_by_its_referer_and_parks() {
    let scene = Scene::with(config(Rights::registrar()).alias("balancer.example.test"), ONE_ATTEMPT).await;
    let alias =
        format!("{ONE_ATTEMPT}[freeipa]\nservers = \"balancer.example.test={}\"\n", scene.ipa.address());
    let scene = scene.but(&alias);
    let reason = assert_parks_as_configuration(&scene).await;
    assert!(reason.contains("Referer") && reason.contains("hostname -f"), "{reason}");
    assert!(scene.ipa.stats().bad_referers > 0);
    let (code, told) = crate::program::check(&scene).await;
    assert_eq!(code, Some(1), "{told}");
    for part in ["Referer", "the certificate is the server's", "give the server's own full name"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let scene = scene.but(ONE_ATTEMPT);
    scene.work_off().await;
    assert_all_are_served(&scene).await;
}

async fn assert_parks_as_configuration(scene: &Scene) -> String {
    send_all(scene).await;
    let running = scene.start().await;
    let reason = eventually("trouble", async || {
        let ready = running.ready().await;
        (ready["kind"] == "configuration").then(|| ready["reason"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(reason.contains("certificate") || reason.contains("name"), "{reason}");
    sleep(Duration::from_secs(2)).await;
    assert_nobody_is_lost(scene).await;
    assert_eq!(scene.ipa.stats().logins, 0, "no password goes to somebody else");
    running.end().await;
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_parks_until_it_is_granted() {
    let scene = Scene::with(config(Rights::registrar().without(Right::AddUsers)), ONE_ATTEMPT).await;
    send_all(&scene).await;
    let running = scene.start().await;
    let reason = eventually("trouble", async || {
        let ready = running.ready().await;
        (ready["kind"] == "rights").then(|| ready["reason"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(reason.contains("right to add"), "{reason}");
    sleep(Duration::from_secs(4)).await;
    assert_nobody_is_lost(&scene).await;
    let tries = scene.ipa.stats().calls_of("user_add");
    assert!(tries <= 4 * 8, "{tries} tries of four at a time in about five seconds");
    let rights = Rights::registrar();
    scene.ipa.apply(FreeIpaAction::SetRights { login: SERVICE.to_owned(), rights }).unwrap();
    scene.settled().await;
    // That it works shows only with a registration, and one has gone well.
    running.until_ready().await;
    running.end().await;
    assert_all_are_served(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_nobody_knows_parks_until_somebody_does() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    let token = scene.telegram.token();
    let running = scene.start().await;
    running.until_ready().await;
    let other = "220201543:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0".to_owned();
    scene.telegram.apply(TelegramAction::SetToken { token: other }).unwrap();
    send_all(&scene).await;
    let parked = running.until("parked").await;
    assert_eq!(parked["kind"], "reports", "{parked}");
    sleep(Duration::from_secs(2)).await;
    assert_nobody_is_lost(&scene).await;
    scene.telegram.apply(TelegramAction::SetToken { token }).unwrap();
    scene.settled().await;
    running.end().await;
    assert_all_are_served(&scene).await;
}

/// With two servers, one that is away is a reason to wait for those who have begun there, and for nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_may_be_away() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = free.local_addr().unwrap();
    drop(free);
    let servers = format!("ipa.example.test={},ipa2.example.test={nowhere}", scene.ipa.address());
    let scene = scene.but(&format!("{ONE_ATTEMPT}[freeipa]\nservers = \"{servers}\"\n"));
    send_all(&scene).await;
    let running = scene.start().await;
    scene.settled().await;
    assert_eq!(running.ready().await["status"], "ready");
    running.end().await;
    assert_all_are_served(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_parked_ends_when_it_is_told_to() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    scene.ipa.faults().arm(FaultRule::new("*", Fault::Http503).always());
    send_all(&scene).await;
    let running = scene.start().await;
    eventually("trouble", async || (running.ready().await["kind"] == "directory").then_some(())).await;
    let report = running.books().await;
    assert!(report.is_clean(), "{report}");
    assert_nobody_is_lost(&scene).await;
}

//! Users who wait for approval.

use freeipa_client::{Class, NewUser, UserChanges};
use freeipa_double::{AccountSpec, Change, FreeIpaDouble, Rights};

use crate::support::{SERVICE, anna, client, config, double, login};

async fn stage() -> (FreeIpaDouble, freeipa_client::Pinned) {
    let ipa = double(Rights::registrar().and(&Rights::stage_administrator())).await;
    let client = client(&ipa).server("x");
    (ipa, client)
}

#[tokio::test]
async fn a_staged_user_becomes_an_active_one_with_its_mark() {
    let (ipa, client) = stage().await;
    let staged = client.stageuser_add(&anna()).await.unwrap();
    assert!(staged.uid_number().is_none() && staged.is_disabled());
    assert_eq!(client.stageuser_add(&anna()).await.unwrap_err().class(), Class::Exists);
    client.stageuser_mod(&login("anna"), &UserChanges::new().set("title", "Dr.")).await.unwrap();
    assert_eq!(client.stageuser_show(&login("anna")).await.unwrap().text("title"), Some("Dr."));
    let active = client.stageuser_activate(&login("anna")).await.unwrap();
    assert_eq!(active.login().unwrap(), login("anna"));
    assert!(client.user_show(&login("anna")).await.unwrap().has_class("reg:1"));
    // The answer of the first may have been lost: this is how it looks then.
    assert_eq!(client.stageuser_activate(&login("anna")).await.unwrap_err().class(), Class::NotFound);
    assert_eq!(ipa.directory().times(&Change::Activated, "anna"), 1);
}

#[tokio::test]
async fn one_that_cannot_be_activated_stays_and_can_be_deleted() {
    let (_ipa, client) = stage().await;
    client.stageuser_add(&anna()).await.unwrap();
    client.user_add(&anna()).await.unwrap();
    assert_eq!(client.stageuser_activate(&login("anna")).await.unwrap_err().class(), Class::Exists);
    client.stageuser_show(&login("anna")).await.unwrap();
    client.stageuser_del(&login("anna")).await.unwrap();
    assert_eq!(client.stageuser_show(&login("anna")).await.unwrap_err().class(), Class::NotFound);
    assert_eq!(client.stageuser_del(&login("anna")).await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn a_twin_of_the_service_account_shuts_it_out_and_no_login_helps() {
    let config =
        config(Rights::registrar()).account(AccountSpec::new("boss", "Boss.12345").rights(Rights::admin()));
    let ipa = FreeIpaDouble::start(config).await.unwrap();
    let service = client(&ipa).server("x");
    service.ping().await.unwrap();
    let boss = client(&ipa);
    boss.replace_credentials(freeipa_client::Credentials::password("boss", "Boss.12345")).unwrap();
    let boss = boss.server("x");
    boss.stageuser_add(&NewUser::new(login(SERVICE), "A", "B")).await.unwrap();
    let logins = ipa.stats().logins;
    for _ in 0..5 {
        let error = service.ping().await.unwrap_err();
        assert_eq!(error.class(), Class::LoginRejected, "{error}");
        assert!(error.to_string().contains("stage user"), "{error}");
    }
    assert_eq!(ipa.stats().logins, logins);
    boss.stageuser_del(&login(SERVICE)).await.unwrap();
    service.ping().await.unwrap();
}

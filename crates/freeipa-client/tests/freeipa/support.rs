//! A double, and a client of it.

use freeipa_client::{Client, Credentials, Login, NewUser, Pinned, Server, Settings, Trust};
use freeipa_double::{AccountSpec, Config, FreeIpaDouble, GroupSpec, Rights};

pub(crate) const SERVICE: &str = "svc-registrar";
pub(crate) const PASSWORD: &str = "Secret.123 <&+%>";
pub(crate) const GROUP: &str = "tg-users";

pub(crate) fn config(rights: Rights) -> Config {
    Config::new()
        .account(AccountSpec::new(SERVICE, PASSWORD).rights(rights))
        .group(GroupSpec::new(GROUP).manager(SERVICE))
        .group(GroupSpec::new("others"))
}

/// A FreeIPA whose service account has these rights and manages one group.
pub(crate) async fn double(rights: Rights) -> FreeIpaDouble {
    FreeIpaDouble::start(config(rights)).await.unwrap()
}

pub(crate) fn settings(ipa: &FreeIpaDouble) -> Settings {
    let server = Server::new(ipa.fqdn()).unwrap().connect_to(&ipa.address().to_string()).unwrap();
    Settings::new(Credentials::password(SERVICE, PASSWORD))
        .server(server)
        .trust(Trust::Only(ipa.ca_pem().as_bytes().to_vec()))
}

pub(crate) fn client(ipa: &FreeIpaDouble) -> Client {
    Client::new(&settings(ipa)).unwrap()
}

/// A FreeIPA, and a client that may do all that making accounts takes.
pub(crate) async fn registrar() -> (FreeIpaDouble, Pinned) {
    let ipa = double(Rights::registrar()).await;
    let client = client(&ipa).server("x");
    (ipa, client)
}

pub(crate) fn login(text: &str) -> Login {
    text.parse().unwrap()
}

pub(crate) fn anna() -> NewUser {
    NewUser::new(login("anna"), "Анна", "Петрова").user_class("reg:1")
}

//! Logins with a keytab, in a realm of MIT Kerberos, at the Apache with `mod_auth_gssapi` that FreeIPA has in front.
//!
//! | what happens | test |
//! |---|---|
//! | the keytab is right | `logins::a_keytab_logs_in_and_its_session_serves_calls` |
//! | a key that the account does not have any more, an account that is gone or disabled | `faults::what_the_kdc_refuses_is_a_rejected_login` |
//! | no keytab, none of this account | `faults::a_keytab_that_is_of_no_use_is_named` |
//! | a service or a realm that nobody knows | `faults::a_wrong_set_up_is_named` |
//! | the server does not take the ticket | `faults::a_ticket_that_the_server_does_not_take_is_named` |
//! | clocks that do not agree | `faults::clocks_that_do_not_agree_are_named` |
//! | the KDC is away, and comes back | `outages::a_kdc_that_is_away_parks_until_it_is_back` |
//! | the KDC does not answer | `outages::a_kdc_that_does_not_answer_is_not_waited_for` |
//! | a program gives the tokens | `logins::a_program_may_give_the_tokens` |
#![allow(clippy::unwrap_used)]

#[cfg(feature = "keytab")]
mod faults;
#[cfg(feature = "keytab")]
mod logins;
#[cfg(feature = "keytab")]
mod outages;
#[cfg(feature = "keytab")]
mod programs;
#[cfg(feature = "keytab")]
mod realm;
#[cfg(feature = "keytab")]
mod scene;
#[cfg(feature = "keytab")]
mod site;

#[cfg(not(feature = "keytab"))]
#[test]
fn logins_with_a_keytab() {
    valkey_testkit::skipped(
        "built without the feature keytab, which takes the packages libkrb5-dev and libclang-dev",
    );
}

//! What a code of Kerberos means for a login with a keytab: the table.

use crate::negotiate::NegotiateFault;
use crate::service_login::LoginRejected;

// By the numbers of MIT Kerberos, which Heimdal shares as far as they come from the protocol.
const NAME_EXPIRED: i32 = -1_765_328_383;
const CLIENT_UNKNOWN: i32 = -1_765_328_378;
const SERVER_UNKNOWN: i32 = -1_765_328_377;
const NO_ENCRYPTION_TYPE: i32 = -1_765_328_370;
const CLIENT_REVOKED: i32 = -1_765_328_366;
const KEY_EXPIRED: i32 = -1_765_328_361;
const PREAUTHENTICATION_FAILED: i32 = -1_765_328_360;
const SERVICE_UNAVAILABLE: i32 = -1_765_328_355;
const BAD_INTEGRITY: i32 = -1_765_328_353;
const CLOCK_SKEW: i32 = -1_765_328_347;
const CONFIG_UNREADABLE: i32 = -1_765_328_249;
const CONFIG_MALFORMED: i32 = -1_765_328_248;
const NO_CREDENTIALS: i32 = -1_765_328_243;
const REPLY_SKEW: i32 = -1_765_328_236;
const REALM_UNKNOWN: i32 = -1_765_328_230;
const KDC_UNREACHABLE: i32 = -1_765_328_228;
const NO_KEY: i32 = -1_765_328_203;
const PREAUTHENTICATION_IMPOSSIBLE: i32 = -1_765_328_174;
const HOST_REALM_UNKNOWN: i32 = -1_765_328_167;
const REALM_UNRESOLVED: i32 = -1_765_328_164;
const NO_DEFAULT_REALM: i32 = -1_765_328_160;

/// Whose business it is, and what helps.
pub(super) fn meaning(code: i32) -> (NegotiateFault, &'static str) {
    use NegotiateFault::{Configuration, Credentials, Rejected, Unavailable};
    match code {
        PREAUTHENTICATION_FAILED | PREAUTHENTICATION_IMPOSSIBLE | BAD_INTEGRITY => (
            Rejected(LoginRejected::WrongKey),
            "the account has got another key since: fetch a new keytab with `ipa-getkeytab`",
        ),
        CLIENT_UNKNOWN => (
            Rejected(LoginRejected::UnknownAccount),
            "make the account, or fetch a keytab of one that there is",
        ),
        CLIENT_REVOKED => (Rejected(LoginRejected::Revoked), "`ipa user-unlock` or `ipa user-enable` helps"),
        KEY_EXPIRED => (
            Rejected(LoginRejected::PasswordExpired),
            "fetch a new keytab, and exempt the account from expiry",
        ),
        NAME_EXPIRED => {
            (Rejected(LoginRejected::AccountExpired), "`ipa user-mod --principal-expiration` helps")
        }
        NO_CREDENTIALS | NO_KEY => (
            Credentials,
            "the keytab has no key of this account: `klist -k FILE` shows whose it has; `ipa-getkeytab -p ACCOUNT -k FILE` adds one",
        ),
        NO_ENCRYPTION_TYPE => {
            (Credentials, "the keytab has no key of a kind that the KDC takes: fetch a new one")
        }
        KDC_UNREACHABLE | SERVICE_UNAVAILABLE | REALM_UNRESOLVED => {
            (Unavailable, "see that the KDC runs and can be reached: `ipactl status` there")
        }
        SERVER_UNKNOWN => (
            Configuration,
            "the realm has no such service: give the server's own full name, and see that /etc/krb5.conf maps it to its realm and has `dns_canonicalize_hostname = false`",
        ),
        CLOCK_SKEW | REPLY_SKEW => {
            (Configuration, "the clocks here and on the KDC are more than 5 minutes apart: run chronyd")
        }
        REALM_UNKNOWN | HOST_REALM_UNKNOWN | NO_DEFAULT_REALM | CONFIG_UNREADABLE | CONFIG_MALFORMED => (
            Configuration,
            "/etc/krb5.conf has to name the realm and its KDCs, or DNS has to; one of a FreeIPA client does",
        ),
        _ => (Credentials, "`KRB5_TRACE=/dev/stderr` shows what Kerberos does"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_nobodys_fault_and_a_stale_key_counts_as_a_rejection() {
        let rows = [
            (KDC_UNREACHABLE, NegotiateFault::Unavailable),
            (SERVICE_UNAVAILABLE, NegotiateFault::Unavailable),
            (PREAUTHENTICATION_FAILED, NegotiateFault::Rejected(LoginRejected::WrongKey)),
            (CLIENT_REVOKED, NegotiateFault::Rejected(LoginRejected::Revoked)),
            (NO_CREDENTIALS, NegotiateFault::Credentials),
            (SERVER_UNKNOWN, NegotiateFault::Configuration),
            (CLOCK_SKEW, NegotiateFault::Configuration),
            (0, NegotiateFault::Credentials),
        ];
        for (code, fault) in rows {
            assert_eq!(meaning(code).0, fault, "{code}");
        }
    }
}

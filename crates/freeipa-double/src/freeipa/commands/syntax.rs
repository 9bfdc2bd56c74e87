//! What the directory's schema refuses, after all checks of the server were passed.

use crate::freeipa::error::RpcError;

/// The attributes of users that no command has a parameter for, and the schema knows all the same.
const OTHERS: &[&str] = &[
    "businesscategory",
    "description",
    "homephone",
    "inetuserhttpurl",
    "labeleduri",
    "roomnumber",
    "secretary",
    "seealso",
];

/// As the schema spells a name that commands have in lower case.
pub(super) fn spelled(attribute: &str) -> &str {
    match attribute {
        "telephonenumber" => "telephoneNumber",
        "facsimiletelephonenumber" => "facsimileTelephoneNumber",
        "homedirectory" => "homeDirectory",
        "loginshell" => "loginShell",
        "userpassword" => "userPassword",
        "nsaccountlock" => "nsAccountLock",
        "krbpasswordexpiration" => "krbPasswordExpiration",
        "krbprincipalexpiration" => "krbPrincipalExpiration",
        "krbprincipalname" => "krbPrincipalName",
        "uidnumber" => "uidNumber",
        "gidnumber" => "gidNumber",
        "employeetype" => "employeeType",
        "userclass" => "userClass",
        "ipasshpubkey" => "ipaSshPubKey",
        other => other,
    }
}

/// Whether the schema knows an attribute of users that is no parameter.
pub(super) fn is_known(attribute: &str) -> bool {
    OTHERS.contains(&attribute)
}

/// Whether the values of an attribute are written as its syntax has them.
pub(super) fn check(attribute: &str, values: &[String]) -> Result<(), RpcError> {
    let fine: fn(&str) -> bool = match attribute {
        "telephonenumber" | "mobile" | "pager" | "facsimiletelephonenumber" | "homephone" => is_printable,
        "mail" | "homedirectory" | "loginshell" => str::is_ascii,
        _ => |value| !value.is_empty(),
    };
    match values.iter().find(|value| !fine(value)) {
        Some(_) => Err(RpcError::syntax(spelled(attribute))),
        None => Ok(()),
    }
}

/// A printable string, as telephone numbers are.
fn is_printable(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(
                    c,
                    b' ' | b'\'' | b'(' | b')' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b'?' | b'='
                )
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn telephone_numbers_are_printable_ascii() {
        let check = |value: &str| check("telephonenumber", &[value.to_owned()]);
        for good in ["+7 999 000-11-22", "(030) 1234/56", "ext. 7"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["восемь", "+7_999", "12;34", "1*2#"] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.code, 4208, "{bad}");
            assert!(error.message.starts_with("telephoneNumber: "), "{}", error.message);
        }
    }
}

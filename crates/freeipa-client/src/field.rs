//! Which attribute an error is about.

use crate::fault::Fault;

/// The attribute at fault, by its LDAP name in lower case.
///
/// The server names it in three ways: by the attribute (3007), by the name of the command line's option (3008, 3009),
/// or only in the directory's text (4208).
pub(crate) fn of(fault: &Fault) -> Option<&str> {
    let named =
        |key: &str| fault.data().get(key).and_then(serde_json::Value::as_str).filter(|name| is_name(name));
    match fault.code() {
        3007 => named("name"),
        3008 | 3009 => named("name").map(of_option),
        3005 => named("option"),
        4024 => Some("uid"),
        4207 => named("attr"),
        4208 => {
            fault.text().split_once(':').map(|(name, _)| name).filter(|name| is_name(name)).map(of_directory)
        }
        _ => None,
    }
}

/// The attribute behind an option of the command line.
fn of_option(option: &str) -> &str {
    match option {
        "first" => "givenname",
        "last" => "sn",
        "login" => "uid",
        // The number, not the login.
        "uid" => "uidnumber",
        "email" => "mail",
        "phone" => "telephonenumber",
        "fax" => "facsimiletelephonenumber",
        "class" => "userclass",
        "password" => "userpassword",
        "homedir" => "homedirectory",
        "shell" => "loginshell",
        "principal" => "krbprincipalname",
        "principal_expiration" => "krbprincipalexpiration",
        "password_expiration" => "krbpasswordexpiration",
        "sshpubkey" => "ipasshpubkey",
        "user_auth_type" => "ipauserauthtype",
        "orgunit" => "ou",
        "city" => "l",
        "state" => "st",
        other => other,
    }
}

/// The directory's spelling of an attribute in lower case, for those that people give.
fn of_directory(name: &str) -> &str {
    const GIVEN: [&str; 12] = [
        "givenname",
        "sn",
        "cn",
        "uid",
        "mail",
        "telephonenumber",
        "mobile",
        "facsimiletelephonenumber",
        "userclass",
        "preferredlanguage",
        "employeenumber",
        "title",
    ];
    GIVEN.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name)
}

/// Whether it can be the name of an attribute, and so can be shown.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b';'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn field(code: i64, message: &str, data: Value) -> Option<String> {
        Fault::new(code, "Any", message, data).field().map(str::to_owned)
    }

    #[test]
    fn options_of_the_command_line_become_attributes() {
        let pairs = [
            ("first", "givenname"),
            ("last", "sn"),
            ("login", "uid"),
            ("email", "mail"),
            ("phone", "telephonenumber"),
            ("class", "userclass"),
            ("principal_expiration", "krbprincipalexpiration"),
            ("uid", "uidnumber"),
            ("mobile", "mobile"),
        ];
        for code in [3008, 3009] {
            for (option, attribute) in pairs {
                assert_eq!(field(code, "", json!({"name": option})).as_deref(), Some(attribute));
            }
        }
    }

    #[test]
    fn what_is_required_is_named_by_its_attribute() {
        assert_eq!(field(3007, "'sn' is required", json!({"name": "sn"})).as_deref(), Some("sn"));
        assert_eq!(field(3007, "'uid' is required", json!({"name": "uid"})).as_deref(), Some("uid"));
    }

    #[test]
    fn the_directory_names_it_in_its_text() {
        let text = "telephoneNumber: value #0 invalid per syntax: Invalid syntax.";
        assert_eq!(field(4208, text, json!({})).as_deref(), Some("telephonenumber"));
        assert_eq!(field(4208, "Invalid syntax.", json!({})), None);
    }

    #[test]
    fn a_text_that_is_no_name_is_no_field() {
        assert_eq!(field(3009, "", json!({"name": "anna petrova"})), None);
        assert_eq!(field(3009, "", json!({"name": 5})), None);
        assert_eq!(field(3009, "", json!([])), None);
        assert_eq!(field(4001, "", json!({"name": "login"})), None);
    }
}

//! The process that gets one token: what it is asked, what it does, what it says.

use std::io::Write;
use std::process::{Command, ExitCode};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use libgssapi::context::{ClientCtx, CtxFlags};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{
    GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL, Oid, OidSet,
};

/// The service to get a token for. Whoever has it in the environment is a helper.
const SERVICE: &str = "FREEIPA_CLIENT_TOKEN_FOR";
/// As whom, unless as the first of the keytab.
const PRINCIPAL: &str = "FREEIPA_CLIENT_TOKEN_AS";

const TOKEN: &str = "token";
const ERROR: &str = "error";

/// What a helper said.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Said {
    Token(Vec<u8>),
    /// A code of Kerberos, and its text.
    Error {
        code: i32,
        text: String,
    },
}

/// Makes a helper of what this command starts.
pub(super) fn ask(command: &mut Command, host: &str, principal: Option<&str>) {
    command.env(SERVICE, format!("HTTP@{host}")).env_remove(PRINCIPAL);
    if let Some(principal) = principal {
        command.env(PRINCIPAL, principal);
    }
}

/// Does the work, if this process is a helper.
pub(super) fn answer() -> Option<ExitCode> {
    let service = std::env::var(SERVICE).ok()?;
    let principal = std::env::var(PRINCIPAL).ok();
    let said = match first_token(&service, principal.as_deref()) {
        Ok(token) => Said::Token(token),
        Err(error) => Said::of(error),
    };
    Some(match std::io::stdout().write_all(said.line().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// What the first step gives for the service.
fn first_token(service: &str, principal: Option<&str>) -> Result<Vec<u8>, Error> {
    let mut mechanisms = OidSet::new();
    mechanisms.add(GSS_MECH_KRB5)?;
    let principal = principal.map(|name| Name::new(name.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL)));
    let cred = Cred::acquire(principal.transpose()?.as_ref(), None, CredUsage::Initiate, Some(&mechanisms))?;
    let step = |mechanism: Oid<'static>| {
        let target = Name::new(service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE))?;
        let mut context = ClientCtx::new(Some(cred.clone()), target, CtxFlags::empty(), Some(mechanism));
        Ok::<_, Error>(context.step(None, None)?.map(|token| token.to_vec()).unwrap_or_default())
    };
    // Kerberos by itself first, for its codes, which SPNEGO replaces by one of its own. The ticket is here then.
    step(GSS_MECH_KRB5)?;
    step(GSS_MECH_SPNEGO)
}

impl Said {
    fn of(error: Error) -> Self {
        // The text of the layer above says nothing, the one in brackets what is wrong.
        let text = error.to_string();
        let text = text.split_once(" (").map_or(&*text, |(_, inner)| inner.trim_end().trim_end_matches(')'));
        // Codes of Kerberos are negative numbers, and pass through GSSAPI as they are.
        Self::Error { code: error.minor.cast_signed(), text: text.replace(['\n', '\r'], " ") }
    }

    /// As one line.
    fn line(&self) -> String {
        match self {
            Self::Token(token) => format!("{TOKEN} {}\n", BASE64_STANDARD.encode(token)),
            Self::Error { code, text } => format!("{ERROR} {code} {text}\n"),
        }
    }
}

/// Reads what a helper printed; `None` if that was no helper.
pub(super) fn read(printed: &[u8]) -> Option<Said> {
    let line = String::from_utf8_lossy(printed);
    let (kind, rest) = line.trim_end().split_once(' ')?;
    match kind {
        TOKEN => {
            let token = BASE64_STANDARD.decode(rest).ok()?;
            (!token.is_empty()).then_some(Said::Token(token))
        }
        ERROR => {
            let (code, text) = rest.split_once(' ')?;
            Some(Said::Error { code: code.parse().ok()?, text: text.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let said = [
            Said::Token(vec![0x60, 0, 255]),
            Said::Error { code: -1_765_328_360, text: "Preauthentication failed".to_owned() },
        ];
        for said in said {
            assert_eq!(read(said.line().as_bytes()), Some(said));
        }
        for other in ["", "token", "token ", "token ?", "error x y", "usage: app [--check]\n"] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn without_a_question_there_is_no_answer() {
        assert_eq!(answer(), None);
    }
}

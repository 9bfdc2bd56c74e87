//! What an error of the directory means for a registration: one table.

use freeipa_client::{CallError, Cause, Class, Outcome, TransportError};

use crate::park::TroubleKind;
use crate::registration::Field;
use crate::state::{Action, Event};

/// What an error means for the action that met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same once more, at once.
    Again,
    /// The server seems to be away. If it answers all the same, that is what happened.
    Away(Event),
    /// That is what happened.
    Said(Event),
    /// Everybody would meet it, until somebody changes something.
    Trouble(TroubleKind),
}

/// What an error is like for a registration. An answer that is none of the API's (a maintenance page, half a reply, one without an
/// end) says as little as no answer: whoever runs the server has to look.
pub(super) fn class_of(error: &CallError) -> Class {
    match error.cause() {
        Cause::BadReply(_) | Cause::Transport(TransportError::TooLong { .. }) => Class::Unavailable,
        Cause::Status { .. } if error.class() == Class::Failed => Class::Unavailable,
        _ => error.class(),
    }
}

/// Whether the directory takes no writes at present, from anybody.
pub(super) fn is_read_only(error: &CallError) -> bool {
    error.fault().is_some_and(|fault| {
        let text = fault.text().to_ascii_lowercase();
        fault.code() == 4203 && (text.contains("read-only") || text.contains("read only"))
    })
}

/// That it failed for reasons of its own.
pub(super) fn failed(action: &Action, outcome: Outcome) -> Event {
    match outcome {
        Outcome::Unknown if may_be_unknown(action) => Event::Unknown,
        Outcome::Unknown | Outcome::NotDone => Event::Busy,
    }
}

/// The table. `field` is the attribute that is at fault.
pub(super) fn verdict(action: &Action, class: Class, outcome: Outcome, field: Option<&str>) -> Verdict {
    use Verdict::{Again, Away, Said, Trouble};
    let failed = failed(action, outcome);
    match (class, action) {
        (Class::Collision, _) => Again,
        (Class::Unavailable, _) => Away(failed),
        (Class::LoginRejected, _) => Trouble(TroubleKind::Login),
        (Class::Denied, _) => Trouble(TroubleKind::Rights),
        (Class::Configuration, _) => Trouble(TroubleKind::Configuration),
        (Class::Misuse, _) => Said(Event::Misunderstood),
        (Class::Invalid, Action::Create { .. } | Action::Activate { .. }) => {
            Said(Event::Refused { field: field_of(field) })
        }
        (Class::Exists, Action::Create { .. } | Action::Activate { .. }) => Said(Event::Exists),
        (Class::NotFound, Action::Activate { .. }) => Said(Event::Gone),
        (Class::NotFound, Action::Join { .. } | Action::SetPassword { .. }) => Said(Event::Unknown),
        // Overloaded, failed for a reason of its own, a session that was lost; and what does not go with such an action.
        _ => Said(failed),
    }
}

/// What an answer that never came means: the server may still do it. What is done late does no harm, but for a password, which voids
/// the one that was told meanwhile.
pub(super) fn late(action: &Action, event: Event, cause: &Cause) -> Event {
    let is_open = matches!(cause, Cause::Transport(_) | Cause::Status { status: 502 | 504 });
    match (action, event) {
        (Action::SetPassword { .. }, Event::Unknown) if is_open => Event::Unanswered,
        (_, event) => event,
    }
}

/// Whether the action is one of those after which somebody can look what became of it.
fn may_be_unknown(action: &Action) -> bool {
    matches!(
        action,
        Action::Create { .. } | Action::Activate { .. } | Action::Join { .. } | Action::SetPassword { .. }
    )
}

/// What the trouble is that makes a server useless.
pub(super) fn trouble(class: Class) -> TroubleKind {
    match class {
        Class::LoginRejected => TroubleKind::Login,
        Class::Denied => TroubleKind::Rights,
        Class::Configuration | Class::Misuse => TroubleKind::Configuration,
        _ => TroubleKind::Directory,
    }
}

/// The field of a registration that becomes an attribute.
fn field_of(attribute: Option<&str>) -> Field {
    match attribute {
        Some("givenname") => Field::FirstName,
        Some("sn") => Field::LastName,
        Some("mail") => Field::Email,
        Some("telephonenumber" | "mobile") => Field::Phone,
        Some("uid") => Field::RequestedLogin,
        _ => Field::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Login;
    use crate::state::Place;

    #[test]
    fn the_table() {
        use Class::*;
        use Outcome::{NotDone, Unknown};
        let login = Login::of_directory("ada");
        let create = Action::Create { login: login.clone(), place: Place::Active };
        let join = Action::Join { login: login.clone() };
        let activate = Action::Activate { login: login.clone() };
        let password = Action::SetPassword { login: login.clone() };
        let disable = Action::Disable { login };
        let said = Verdict::Said;
        let rows = [
            (&create, Collision, Unknown, None, Verdict::Again),
            (&create, Unavailable, Unknown, None, Verdict::Away(Event::Unknown)),
            (&create, Unavailable, NotDone, None, Verdict::Away(Event::Busy)),
            (&Action::Find, Unavailable, NotDone, None, Verdict::Away(Event::Busy)),
            (&disable, Unavailable, Unknown, None, Verdict::Away(Event::Busy)),
            (&create, LoginRejected, NotDone, None, Verdict::Trouble(TroubleKind::Login)),
            (&create, Denied, Unknown, None, Verdict::Trouble(TroubleKind::Rights)),
            (&create, Configuration, NotDone, None, Verdict::Trouble(TroubleKind::Configuration)),
            (&create, Misuse, NotDone, None, said(Event::Misunderstood)),
            (&create, Invalid, NotDone, Some("mail"), said(Event::Refused { field: Field::Email })),
            (&activate, Invalid, NotDone, Some("userclass"), said(Event::Refused { field: Field::Message })),
            (&password, Invalid, NotDone, None, said(Event::Busy)),
            (&create, Exists, NotDone, None, said(Event::Exists)),
            (&activate, Exists, NotDone, None, said(Event::Exists)),
            (&activate, NotFound, NotDone, None, said(Event::Gone)),
            (&join, NotFound, NotDone, None, said(Event::Unknown)),
            (&create, Failed, Unknown, None, said(Event::Unknown)),
            (&create, Overloaded, Unknown, None, said(Event::Unknown)),
            (&password, Session, Unknown, None, said(Event::Unknown)),
            (&Action::Find, Failed, NotDone, None, said(Event::Busy)),
            (&disable, Failed, Unknown, None, said(Event::Busy)),
        ];
        for (action, class, outcome, field, expected) in rows {
            assert_eq!(verdict(action, class, outcome, field), expected, "{action:?} {class} {outcome:?}");
        }
    }

    #[test]
    fn only_a_password_must_not_come_late() {
        let login = Login::of_directory("ada");
        let password = Action::SetPassword { login: login.clone() };
        let lost = Cause::from(freeipa_client::TransportError::Lost { reason: "reset".to_owned() });
        let status = |status| Cause::Status { status };
        for (cause, event) in [
            (&lost, Event::Unanswered),
            (&status(504), Event::Unanswered),
            (&status(500), Event::Unknown), // it has ended
        ] {
            assert_eq!(late(&password, Event::Unknown, cause), event, "{cause}");
        }
        assert_eq!(late(&password, Event::Busy, &lost), Event::Busy, "nothing was sent");
        assert_eq!(late(&Action::Join { login }, Event::Unknown, &lost), Event::Unknown);
    }

    #[test]
    fn attributes_are_told_as_the_fields_they_came_from() {
        for (attribute, field) in [
            ("givenname", Field::FirstName),
            ("sn", Field::LastName),
            ("telephonenumber", Field::Phone),
            ("uid", Field::RequestedLogin),
            ("krbprincipalname", Field::Message),
        ] {
            assert_eq!(field_of(Some(attribute)), field);
        }
    }
}

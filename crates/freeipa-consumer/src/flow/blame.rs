//! Whose fault it is that an action fails: everybody's, or one registration's. Pure: what came of the last ones goes in.
//!
//! What the directory says does not always tell. A database that takes no more writes answers each with an error of its own while a ping
//! goes well; and an account that somebody has put among the administrators is refused as if a right were missing. What tells these
//! apart is how others fare at the same action.

use std::collections::BTreeMap;

use freeipa_client::Class;

use crate::registration::RegistrationId;

/// So many different registrations in a row that fail alike, and none that passes in between, are no coincidence.
const IN_A_ROW: usize = 3;
/// As many that were refused are remembered of an action.
const REMEMBERED: usize = 64;

/// What came of the last actions.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    actions: BTreeMap<&'static str, History>,
}

#[derive(Debug, Default)]
struct History {
    /// Who failed, alike, since somebody passed.
    alike: Option<Class>,
    failed: Vec<RegistrationId>,
    /// Who was refused, the latest last, and whether somebody else has passed since.
    refused: Vec<(RegistrationId, bool)>,
}

/// Whom a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concerns {
    /// Everybody who comes to this action.
    Everybody,
    /// This registration only.
    ThisOne,
}

impl Blame {
    /// An action did what it should.
    pub(super) fn passed(&mut self, action: &'static str, id: RegistrationId) {
        let Some(history) = self.actions.get_mut(action) else { return };
        history.alike = None;
        history.failed.clear();
        history.refused.retain(|(refused, _)| *refused != id);
        for (_, others_passed) in &mut history.refused {
            *others_passed = true;
        }
    }

    /// An action failed in a way that is one registration's own trouble, unless others have the same.
    pub(super) fn failed(&mut self, action: &'static str, class: Class, id: RegistrationId) -> Concerns {
        let history = self.actions.entry(action).or_default();
        if history.alike != Some(class) {
            history.alike = Some(class);
            history.failed.clear();
        }
        if !history.failed.contains(&id) && history.failed.len() < IN_A_ROW {
            history.failed.push(id);
        }
        if history.failed.len() >= IN_A_ROW { Concerns::Everybody } else { Concerns::ThisOne }
    }

    /// An action was refused in a way that is everybody's trouble, unless others pass.
    pub(super) fn refused(&mut self, action: &'static str, id: RegistrationId) -> Concerns {
        let history = self.actions.entry(action).or_default();
        match history.refused.iter().find(|(refused, _)| *refused == id) {
            Some((_, true)) => return Concerns::ThisOne,
            Some((_, false)) => {}
            None => {
                if history.refused.len() >= REMEMBERED {
                    history.refused.remove(0);
                }
                history.refused.push((id, false));
            }
        }
        Concerns::Everybody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> RegistrationId {
        RegistrationId::of_bytes(&[number])
    }

    #[test]
    fn three_that_fail_alike_in_a_row_are_everybodys_trouble() {
        let mut blame = Blame::default();
        let fail = |blame: &mut Blame, number| blame.failed("create", Class::Failed, id(number));
        for _ in 0..5 {
            assert_eq!(fail(&mut blame, 1), Concerns::ThisOne, "one that fails again and again");
        }
        assert_eq!(fail(&mut blame, 2), Concerns::ThisOne);
        assert_eq!(fail(&mut blame, 3), Concerns::Everybody);
        assert_eq!(fail(&mut blame, 4), Concerns::Everybody, "until somebody passes");
        assert_eq!(blame.failed("join", Class::Failed, id(4)), Concerns::ThisOne, "another action");
        blame.passed("create", id(5));
        assert_eq!(fail(&mut blame, 1), Concerns::ThisOne);
    }

    #[test]
    fn who_fails_otherwise_or_while_others_pass_fails_alone() {
        let mut blame = Blame::default();
        for (number, class) in
            [(1, Class::Failed), (2, Class::Unavailable), (3, Class::Failed), (4, Class::Session)]
        {
            assert_eq!(blame.failed("create", class, id(number)), Concerns::ThisOne);
        }
        for number in 0..20 {
            assert_eq!(blame.failed("create", Class::Failed, id(number)), Concerns::ThisOne);
            blame.passed("create", id(100 + number));
        }
    }

    #[test]
    fn who_is_refused_again_while_others_pass_is_refused_alone() {
        let mut blame = Blame::default();
        for _ in 0..3 {
            assert_eq!(blame.refused("set_password", id(1)), Concerns::Everybody, "nobody else has tried");
        }
        blame.passed("create", id(2));
        assert_eq!(blame.refused("set_password", id(1)), Concerns::Everybody, "another action");
        blame.passed("set_password", id(2));
        assert_eq!(blame.refused("set_password", id(1)), Concerns::ThisOne);
        assert_eq!(blame.refused("set_password", id(3)), Concerns::Everybody, "it may have been taken since");
        blame.passed("set_password", id(1));
        assert_eq!(blame.refused("set_password", id(1)), Concerns::Everybody);
    }

    #[test]
    fn it_does_not_grow() {
        let mut blame = Blame::default();
        for number in 0..=255 {
            blame.refused("create", id(number));
            blame.failed("create", Class::Failed, id(number));
        }
        let history = &blame.actions["create"];
        assert_eq!((history.refused.len(), history.failed.len()), (REMEMBERED, IN_A_ROW));
    }
}

//! The machine, one story at a time.

mod world;

use std::time::Duration;

use super::*;
use crate::login::LoginRule;
use crate::registration::Field;
use crate::state::words::Owner;
use crate::status::Unreachable;

pub(super) fn login(name: &str) -> Login {
    LoginRule::default().take(name).expect("a login")
}

pub(super) fn plan(names: &[&str]) -> Plan {
    Plan { has_groups: true, has_password: true, ..Plan::new(names.iter().map(|name| login(name)).collect()) }
}

fn record(step: Step) -> RegistrationRecord {
    RegistrationRecord { step, login: Some("ada".to_owned()), ..RegistrationRecord::default() }
}

/// Plays events, and gives the last action and whether the record was to be saved with it.
fn play((mut machine, first): (Machine, Next), events: &[Event]) -> (Next, RegistrationRecord) {
    let mut next = first;
    for event in events {
        next = machine.on(event.clone()).expect("an answer");
    }
    (next, machine.record().clone())
}

/// The same, and the machine itself.
fn play_on(plan: Plan, events: &[Event]) -> (Machine, Next) {
    let (mut machine, mut next) = Machine::accepted(plan, None);
    for event in events {
        next = machine.on(event.clone()).expect("an answer");
    }
    (machine, next)
}

#[test]
fn a_fresh_registration_goes_all_the_way() {
    let (mut machine, next) = Machine::accepted(plan(&["ada", "ada2"]), None);
    assert_eq!(
        next,
        Next { save: true, action: Action::Create { login: login("ada"), place: Place::Active } }
    );
    for (event, step, action) in [
        (Event::Created, Step::Created, Action::Join { login: login("ada") }),
        (Event::Joined, Step::Grouped, Action::SetPassword { login: login("ada") }),
        (Event::PasswordSet, Step::Credentialed, Action::Tell(Tell::Created { login: login("ada") })),
        (Event::Told { message_id: Some(7) }, Step::Done, Action::Finish(Finish::Ack)),
    ] {
        let next = machine.on(event).expect("an answer");
        assert_eq!((next.save, next.action, machine.record().step), (true, action, step));
    }
    let done = machine.record().clone();
    assert_eq!((done.told.as_deref(), done.message_id, done.runs), (Some("created"), Some(7), 1));
    let (_, next) = Machine::accepted(plan(&["ada"]), Some(done));
    assert_eq!(next, Next { save: false, action: Action::Finish(Finish::Ack) }, "nobody is told twice");
}

#[test]
fn a_taken_name_is_followed_by_the_next_and_an_own_one_is_gone_on_with() {
    let taken = [Event::Exists, Event::Owned(Owner::Stranger)];
    let (next, record) = play(Machine::accepted(plan(&["ada", "ada2"]), None), &taken);
    assert_eq!(next.action, Action::Create { login: login("ada2"), place: Place::Active });
    assert_eq!((next.save, record.login.as_deref()), (true, Some("ada2")));

    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &taken);
    assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::LoginTaken)));

    let ours = [Event::Unknown, Event::Owned(Owner::Ours(Place::Active))];
    let (next, record) = play(Machine::accepted(plan(&["ada"]), None), &ours);
    assert_eq!((next.action, record.step), (Action::Join { login: login("ada") }, Step::Created));

    // The name of a group, or another name of somebody: nobody has it, and still it exists.
    let group = [Event::Exists, Event::Owned(Owner::Nobody)];
    let (next, _) = play(Machine::accepted(plan(&["ada", "ada2"]), None), &group);
    assert_eq!(next.action, Action::Create { login: login("ada2"), place: Place::Active });

    let removed = [Event::Exists, Event::Owned(Owner::Ours(Place::Preserved))];
    let (next, _) = play(Machine::accepted(plan(&["ada", "ada2"]), None), &removed);
    assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::Removed)));
}

#[test]
fn who_may_have_begun_is_looked_for_by_the_marker_first() {
    let redelivered = Plan { is_redelivered: true, ..plan(&["ada"]) };
    assert_eq!(Machine::accepted(redelivered, None).1.action, Action::Find);
    for step in [Step::Creating, Step::Staged, Step::Created, Step::Grouped, Step::Credentialed, Step::Dead] {
        assert_eq!(Machine::accepted(plan(&["ada"]), Some(record(step))).1.action, Action::Find, "{step}");
    }
    let found = [Event::Found { login: login("ada"), place: Place::Active }];
    for (step, action) in [
        (Step::Creating, Action::Join { login: login("ada") }),
        (Step::Created, Action::Join { login: login("ada") }),
        (Step::Grouped, Action::SetPassword { login: login("ada") }),
        (Step::Credentialed, Action::SetPassword { login: login("ada") }),
    ] {
        let (next, _) = play(Machine::accepted(plan(&["ada"]), Some(record(step))), &found);
        assert_eq!(next.action, action, "{step}");
    }
    // A replica that does not have it yet is no reason to make a second one.
    let (next, _) = play(Machine::accepted(plan(&["ada"]), Some(record(Step::Created))), &[Event::NotFound]);
    assert_eq!(next.action, Action::Finish(Finish::Retry));
    // The name that was being tried is tried again, and not the first one.
    let (next, _) =
        play(Machine::accepted(plan(&["eve", "ada"]), Some(record(Step::Creating))), &[Event::NotFound]);
    assert_eq!(next.action, Action::Create { login: login("ada"), place: Place::Active });
}

#[test]
fn nobody_is_staged_in_the_way_of_an_active_user() {
    let staging = Plan { flow: Flow::StageThenActivate, ..plan(&["ada", "ada2"]) };
    let (next, _) = play(Machine::accepted(staging.clone(), None), &[]);
    assert_eq!(next.action, Action::Probe { login: login("ada") });
    let (next, _) =
        play(Machine::accepted(staging.clone(), None), &[Event::Taken, Event::Owned(Owner::Stranger)]);
    assert_eq!(next.action, Action::Probe { login: login("ada2") });
    // Somebody came between the question and the entry.
    let raced = [Event::Free, Event::Created, Event::Taken, Event::Owned(Owner::Stranger)];
    let (next, _) = play(Machine::accepted(staging.clone(), None), &raced);
    assert_eq!(next.action, Action::Unstage { login: login("ada") });
    let (next, _) = play(
        Machine::accepted(staging.clone(), None),
        &[&raced[..], &[Event::Unstaged, Event::NotFound][..]].concat(),
    );
    assert_eq!(next.action, Action::Probe { login: login("ada2") });
    // The same, and nobody knew whether it was staged: the other hides it.
    let hidden = [Event::Free, Event::Unknown, Event::Owned(Owner::Stranger)];
    let (next, _) = play(Machine::accepted(staging.clone(), None), &hidden);
    assert_eq!(next.action, Action::Unstage { login: login("ada") });
    // Activated before, and the answer was lost.
    let lost =
        [Event::Free, Event::Created, Event::Free, Event::Gone, Event::Owned(Owner::Ours(Place::Active))];
    let (next, record) = play(Machine::accepted(staging, None), &lost);
    assert_eq!((next.action, record.step), (Action::Join { login: login("ada") }, Step::Created));
}

#[test]
fn what_is_not_ours_any_more_is_looked_for_and_not_written_to() {
    let account = [Event::Created, Event::NotOurs];
    let (next, _) = play(Machine::accepted(plan(&["ada", "ada2"]), None), &account);
    assert_eq!(next.action, Action::Find);
    let renamed = Event::Found { login: login("countess"), place: Place::Active };
    let (next, record) = play(
        Machine::accepted(plan(&["ada"]), None),
        &[&account[..], std::slice::from_ref(&renamed)].concat(),
    );
    assert_eq!(next.action, Action::Join { login: login("countess") });
    assert_eq!(record.login.as_deref(), Some("countess"));
    // It was there: no second one is made.
    let (next, _) =
        play(Machine::accepted(plan(&["ada"]), None), &[&account[..], &[Event::NotFound]].concat());
    assert_eq!(next.action, Action::Finish(Finish::Retry));
    // Whoever renames it all the time is not followed for ever.
    let chase = [Event::Created, Event::NotOurs, renamed.clone(), Event::NotOurs, renamed, Event::NotOurs];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &chase);
    assert_eq!(next.action, Action::Finish(Finish::Retry));

    let lost = [Event::Unknown, Event::Owned(Owner::Nobody), Event::NotFound];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &lost);
    assert_eq!(next.action, Action::Create { login: login("ada"), place: Place::Active });
}

#[test]
fn a_password_that_the_owner_has_chosen_is_kept() {
    let (next, record) =
        play(Machine::accepted(plan(&["ada"]), None), &[Event::Created, Event::Joined, Event::PasswordKept]);
    assert_eq!(next.action, Action::Tell(Tell::Created { login: login("ada") }));
    assert_eq!(record.step, Step::Grouped);
}

#[test]
fn approval_by_people_ends_the_message() {
    let approval = Plan { flow: Flow::Stage, ..plan(&["ada"]) };
    let staged = [Event::Free, Event::Created, Event::Free];
    let (next, record) = play(Machine::accepted(approval.clone(), None), &staged);
    assert_eq!((next.save, next.action, record.step), (true, Action::Tell(Tell::Queued), Step::Staged));
    let told = [&staged[..], &[Event::Told { message_id: None }][..]].concat();
    let (next, record) = play(Machine::accepted(approval, None), &told);
    assert_eq!((next.action, record.step), (Action::Finish(Finish::Ack), Step::Done));
}

#[test]
fn groups_that_cannot_be_joined_are_a_matter_of_the_last_run() {
    let not_joined = [Event::Created, Event::NotJoined];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &not_joined);
    assert_eq!(next.action, Action::Finish(Finish::Retry));
    let last = Plan { is_last: true, ..plan(&["ada"]) };
    let (next, _) = play(Machine::accepted(last.clone(), None), &not_joined);
    assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::PartialGroups)));
    let disabling = Plan { on_partial: OnPartial::Disable, ..last };
    for answer in [Event::Disabled, Event::Busy] {
        let events = [&not_joined[..], &[answer][..]].concat();
        let (next, _) = play(Machine::accepted(disabling.clone(), None), &events);
        assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::PartialGroups)));
    }
}

#[test]
fn a_failure_is_told_once_and_a_replay_starts_over() {
    let refused = [Event::Refused { field: Field::Email }];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &refused);
    let failure = Failure::RefusedField(Field::Email);
    assert_eq!(next.action, Action::Tell(Tell::Failed(failure)));
    let told = [&refused[..], &[Event::Told { message_id: Some(1) }][..]].concat();
    let (next, dead) = play(Machine::accepted(plan(&["ada"]), None), &told);
    assert_eq!((next.save, next.action), (true, Action::Finish(Finish::DeadLetter(failure))));
    // Replayed, and nothing has changed: it dies again, in silence.
    let again = [Event::NotFound, Event::Refused { field: Field::Email }];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), Some(dead.clone())), &again);
    assert_eq!(next.action, Action::Finish(Finish::DeadLetter(failure)));
    // Replayed, and the fault is mended.
    let mended = [Event::NotFound, Event::Created];
    let (next, _) = play(Machine::accepted(plan(&["ada"]), Some(dead)), &mended);
    assert_eq!(next.action, Action::Join { login: login("ada") });
}

#[test]
fn a_refused_message_touches_nothing_that_another_of_its_id_has_done() {
    let (next, _) = play(Machine::refused(plan(&[]), None), &[]);
    assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::Invalid)));
    for step in [Step::Creating, Step::Created, Step::Credentialed, Step::Done] {
        let (_, next) = Machine::refused(plan(&[]), Some(record(step)));
        let dead = Action::Finish(Finish::DeadLetter(Failure::Invalid));
        assert_eq!(next, Next { save: false, action: dead }, "{step}");
    }
}

#[test]
fn a_password_that_may_come_late_is_waited_for_before_another_is_made() {
    let late = [Event::Created, Event::Joined, Event::Unanswered];
    let quiet = Duration::from_secs(7);
    let (next, record) = play(Machine::accepted(Plan { quiet, ..plan(&["ada"]) }, None), &late);
    assert_eq!((next.action, record.step), (Action::Finish(Finish::RetryAfter(quiet)), Step::Grouped));
    let last = Plan { quiet, is_last: true, ..plan(&["ada"]) };
    let (mut next, mut record) = play(Machine::accepted(last.clone(), None), &late);
    let mut waited = Duration::ZERO;
    while let Action::Finish(Finish::Snooze(pause)) = next.action {
        assert!(next.save, "it is remembered how often it was waited");
        waited += pause;
        let again = [Event::Found { login: login("ada"), place: Place::Active }, Event::Unanswered];
        (next, record) = play(Machine::accepted(last.clone(), Some(record)), &again);
    }
    assert_eq!((next.action, waited), (Action::Tell(Tell::Failed(Failure::Exhausted)), quiet * LAST_WORDS));
}

#[test]
fn groups_are_given_up_before_everything_else_is() {
    let not_joined = [Event::Created, Event::NotJoined];
    let impatient = Plan { gives_up_groups: true, ..plan(&["ada"]) };
    let (next, _) = play(Machine::accepted(impatient.clone(), None), &not_joined);
    assert_eq!(next.action, Action::Tell(Tell::Failed(Failure::PartialGroups)));
    let (next, _) = play(Machine::accepted(impatient, None), &[Event::Created, Event::Busy]);
    assert_eq!(next.action, Action::Finish(Finish::Retry));
}

#[test]
fn what_is_another_persons_is_let_go_of() {
    let taken = Action::Tell(Tell::Failed(Failure::IdTaken));
    for (begun, events) in [
        (Some(record(Step::Grouped)), vec![Event::IdTaken]),
        (None, vec![Event::IdTaken]),
        (None, vec![Event::Exists, Event::Owned(Owner::OtherApplicant)]),
    ] {
        let (next, left) = play(Machine::accepted(plan(&["ada"]), begun), &events);
        assert_eq!((next.action, left.login), (taken.clone(), None));
    }
    // Nobody remembers that it could not be said, so it is not tried for ever.
    let last = Plan { is_last: true, ..plan(&["ada"]) };
    let (next, _) = play(Machine::of_another(last, Failure::IdTaken), &[Event::Unknown]);
    assert_eq!(next.action, Action::Finish(Finish::DeadLetter(Failure::IdTaken)));
    let (next, _) = play(Machine::of_another(plan(&["ada"]), Failure::IdTaken), &[Event::Unknown]);
    assert_eq!(next.action, Action::Finish(Finish::Retry));
}

#[test]
fn what_was_forgotten_and_is_found_before_it_is_made_is_gone_on_with() {
    let found = [Event::Found { login: login("lovelace"), place: Place::Active }];
    let (next, record) = play(Machine::accepted(plan(&["ada"]), None), &found);
    assert_eq!(next.action, Action::Join { login: login("lovelace") });
    assert_eq!((record.step, record.login.as_deref()), (Step::Created, Some("lovelace")));
}

#[test]
fn who_cannot_be_told_has_an_account_all_the_same() {
    let until_told = [Event::Created, Event::Joined, Event::PasswordSet];
    let with = |event| [&until_told[..], &[event][..]].concat();
    let (next, record) =
        play(Machine::accepted(plan(&["ada"]), None), &with(Event::Unreachable(Unreachable::Blocked)));
    assert_eq!((next.save, next.action), (true, Action::Finish(Finish::Ack)));
    assert_eq!((record.step, record.unreported, record.told), (Step::Done, Some(Unreachable::Blocked), None));

    let pause = std::time::Duration::from_secs(30);
    let (next, _) = play(Machine::accepted(plan(&["ada"]), None), &with(Event::Paused(pause)));
    assert_eq!(next.action, Action::Finish(Finish::Snooze(pause)));
    // It may have arrived, and may yet: the same password is told again, before there is another one.
    let (mut machine, next) = play_on(plan(&["ada"]), &with(Event::Unknown));
    assert_eq!(next.action, Action::Tell(Tell::Created { login: login("ada") }));
    let next = machine.on(Event::Unknown).expect("an answer");
    assert_eq!(next.action, Action::Finish(Finish::Retry));
}

fn saying(what: &str) -> Plan {
    Plan { said: Some(what.to_owned()), ..plan(&["ada"]) }
}

#[test]
fn who_says_something_else_is_answered_and_what_was_done_stays() {
    let done = RegistrationRecord { said: Some("one".to_owned()), ..record(Step::Done) };
    let (_, next) = Machine::accepted(saying("one"), Some(done.clone()));
    assert_eq!(next.action, Action::Finish(Finish::Ack), "a redelivery");
    let (_, next) = Machine::accepted(plan(&["ada"]), Some(done.clone()));
    assert_eq!(next.action, Action::Finish(Finish::Ack), "nobody knows");

    let found = |place| Event::Found { login: login("ada"), place };
    let answers = [(Place::Active, Failure::HasAccount), (Place::Preserved, Failure::Removed)];
    for (place, failure) in answers {
        let (mut machine, next) = Machine::accepted(saying("other"), Some(done.clone()));
        assert_eq!(next.action, Action::Find);
        let next = machine.on(found(place)).expect("an answer");
        assert_eq!(next, Next { save: false, action: Action::Tell(Tell::Failed(failure)) });
        let next = machine.on(Event::Told { message_id: None }).expect("an answer");
        assert_eq!(next, Next { save: false, action: Action::Finish(Finish::DeadLetter(failure)) });
    }
    let (next, record) = play(Machine::accepted(saying("other"), Some(done.clone())), &[Event::NotFound]);
    assert_eq!(
        next,
        Next { save: true, action: Action::Create { login: login("ada"), place: Place::Active } }
    );
    assert_eq!((record.said.as_deref(), record.step), (Some("other"), Step::Creating));

    let (_, next) = Machine::refused(saying("one"), Some(done.clone()));
    assert_eq!(next.action, Action::Finish(Finish::DeadLetter(Failure::Invalid)), "stricter rules by now");
    let (_, next) = Machine::refused(saying("other"), Some(done));
    assert_eq!(next, Next { save: false, action: Action::Tell(Tell::Failed(Failure::Invalid)) });
}

#[test]
fn another_refusal_is_other_news() {
    let refused = |field| [Event::Refused { field }, Event::Told { message_id: None }];
    let (_, dead) = play(Machine::accepted(saying("one"), None), &refused(Field::Email));
    assert_eq!(dead.told.as_deref(), Some("failed:refused_by_directory:email"));
    for (what, field, is_told) in
        [("one", Field::Email, false), ("one", Field::Phone, true), ("other", Field::Email, true)]
    {
        let events = [Event::NotFound, Event::Refused { field }];
        let (next, _) = play(Machine::accepted(saying(what), Some(dead.clone())), &events);
        assert_eq!(matches!(next.action, Action::Tell(_)), is_told, "{what} {field}");
    }
    let because = |why: &str| Plan { refusal: Some(why.to_owned()), ..saying("one") };
    let told = [Event::Told { message_id: None }];
    let (_, dead) = play(Machine::refused(because("phone=syntax"), None), &told);
    for (why, is_told) in [("phone=syntax", false), ("email=syntax", true)] {
        let (_, next) = Machine::refused(because(why), Some(dead.clone()));
        assert_eq!(matches!(next.action, Action::Tell(_)), is_told, "{why}");
    }
}

#[test]
fn without_tries_left_it_is_still_tried_to_say_so() {
    let last = Plan { is_last: true, ..plan(&["ada"]) };
    let refused = Event::Refused { field: Field::Email };
    let found = Event::Found { login: login("ada"), place: Place::Active };
    for (first, again, end) in [
        (vec![refused.clone()], vec![Event::NotFound, refused.clone()], Failure::RefusedField(Field::Email)),
        (
            vec![Event::Created, Event::Joined, Event::PasswordSet],
            vec![found, Event::PasswordSet],
            Failure::Untold,
        ),
    ] {
        let unsaid = |mut events: Vec<Event>| {
            events.push(Event::Busy);
            events
        };
        let (mut next, mut record) = play(Machine::accepted(last.clone(), None), &unsaid(first));
        let mut waited = Duration::ZERO;
        while let Action::Finish(Finish::Snooze(pause)) = next.action {
            assert!(next.save, "it is remembered how often");
            waited += pause;
            assert!(waited < Duration::from_hours(1), "not for ever");
            (next, record) = play(Machine::accepted(last.clone(), Some(record)), &unsaid(again.clone()));
        }
        assert_eq!(next.action, Action::Finish(Finish::DeadLetter(end)));
        assert!(next.save && record.unsaid == 0, "a replay has all of it again");
        assert!(waited > Duration::from_mins(5), "{waited:?}");

        let (_, record) = play(Machine::accepted(last.clone(), Some(record)), &unsaid(again.clone()));
        let told = [&again[..], &[Event::Told { message_id: None }][..]].concat();
        let (_, record) = play(Machine::accepted(last.clone(), Some(record)), &told);
        assert_eq!(record.unsaid, 0);
    }
}

#[test]
fn trouble_and_the_wish_to_stop_cost_no_attempt_at_any_step() {
    let steps = [Event::Created, Event::Joined, Event::PasswordSet];
    for last in 0..=steps.len() {
        for (event, finish) in [(Event::Stop, Finish::HandBack), (Event::Trouble, Finish::Park)] {
            let events = [&steps[..last], &[event][..]].concat();
            let (next, _) = play(Machine::accepted(Plan { is_last: true, ..plan(&["ada"]) }, None), &events);
            assert_eq!(next, Next { save: false, action: Action::Finish(finish) });
        }
    }
}

#[test]
fn a_login_that_somebody_hidden_has_is_given_up_with_the_stage_user() {
    let staging = Plan { flow: Flow::StageThenActivate, ..plan(&["ada", "ada2"]) };
    let clash =
        [Event::Free, Event::Created, Event::Free, Event::Exists, Event::Owned(Owner::Ours(Place::Staged))];
    let (next, _) = play(Machine::accepted(staging, None), &clash);
    assert_eq!(next.action, Action::Unstage { login: login("ada") });
}

#[test]
fn what_stands_against_a_new_account_is_told_before_a_name_is_tried() {
    for flow in [Flow::Direct, Flow::StageThenActivate] {
        for (event, failure) in [
            (Event::HasAccount, Failure::HasAccount),
            (Event::EmailTaken, Failure::EmailTaken),
            (Event::Refused { field: Field::Email }, Failure::RefusedField(Field::Email)),
            (Event::Misunderstood, Failure::Misunderstood),
        ] {
            let (next, _) = play(Machine::accepted(Plan { flow, ..plan(&["ada"]) }, None), &[event]);
            assert_eq!(next.action, Action::Tell(Tell::Failed(failure)), "{flow}");
        }
    }
    let (mut machine, _) = play_on(plan(&["ada"]), &[Event::Created]);
    assert!(machine.on(Event::HasAccount).is_err(), "there is one by now");
}

#[test]
fn a_pause_costs_no_attempt_at_any_step() {
    let wait = Duration::from_secs(9);
    let steps = [Event::Created, Event::Joined, Event::PasswordSet];
    for last in 0..=steps.len() {
        let events = [&steps[..last], &[Event::Paused(wait)][..]].concat();
        let (next, _) = play(Machine::accepted(Plan { is_last: true, ..plan(&["ada"]) }, None), &events);
        assert_eq!(next, Next { save: false, action: Action::Finish(Finish::Snooze(wait)) });
    }
}

#[test]
fn an_event_that_answers_nothing_changes_nothing() {
    let (mut machine, _) = Machine::accepted(plan(&["ada"]), None);
    let before = machine.record().clone();
    for event in [Event::Joined, Event::PasswordSet, Event::NotFound, Event::Told { message_id: None }] {
        assert!(machine.on(event).is_err());
        assert_eq!(machine.record(), &before);
    }
    assert!(machine.on(Event::Created).is_ok());
}

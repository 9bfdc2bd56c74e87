//! Registrations as they go: a real Valkey, and doubles of FreeIPA and Telegram that go wrong as the real ones do.
//!
//! | what happens | test |
//! |---|---|
//! | fresh | `applicants::a_fresh_registration_becomes_an_account_and_its_password_works` |
//! | redelivery after each step, killed in between | `crashes::killed_before_or_after_any_call_there_is_one_account_and_a_password_that_works`, `crashes::killed_in_the_stage_flow_there_is_one_account_and_nothing_left_over`, `program::killed_by_force_its_work_goes_on_elsewhere` |
//! | the reply to `user_add` is lost | `losses::whatever_answer_is_lost_there_is_one_account` |
//! | `user_mod` is carried out after the answer was given up | `losses::a_password_that_is_made_late_does_not_void_the_one_that_is_told` |
//! | login taken by a stranger | `logins::a_taken_login_is_told_or_gets_a_number` |
//! | own earlier attempt | `logins::an_earlier_attempt_of_our_own_is_gone_on_with` |
//! | renamed, and the login given to somebody else | `strangers::who_gets_a_login_meanwhile_is_left_alone_and_the_applicant_hears_of_his_own` |
//! | the record is lost | `strangers::a_lost_record_is_no_second_account_whatever_logins_are_free`, `strangers::a_password_that_its_owner_has_chosen_stays` |
//! | corrected, and sent again | `corrections::a_second_refusal_is_told_as_the_first_was`, `corrections::who_says_something_else_than_what_was_done_is_answered` |
//! | preserved twin | `logins::a_login_of_somebody_removed_is_taken` |
//! | login is the name of a group | `logins::a_login_that_is_a_group_is_taken` |
//! | 33 characters, all digits, Cyrillic login | `applicants::what_breaks_a_rule_is_told_by_field_and_kept_with_a_reason` |
//! | Cyrillic name, no last name | `applicants::names_of_all_kinds_get_logins` |
//! | bad phone | `applicants::what_breaks_a_rule_is_told_by_field_and_kept_with_a_reason`, `applicants::what_only_the_directory_refuses_is_told_by_field_too` |
//! | duplicate mail | `applicants::an_address_that_somebody_has_is_refused` |
//! | group missing, denied | `groups::a_group_that_cannot_be_joined_costs_tries_and_not_the_account` |
//! | session expired in the middle | `losses::a_session_may_end_at_any_call` |
//! | wrong service password | `parking::a_wrong_password_is_tried_once_and_nobody_is_lost` |
//! | wrong service password, in many processes | `lockout::restarts_and_instances_and_checks_do_not_add_up_to_a_lock`, `lockout::all_at_once_and_nobody_knows_anything_yet` |
//! | account locked | `parking::a_locked_account_parks_until_it_is_unlocked` |
//! | KDC, LDAP down and back | `parking::an_outage_costs_nobody_an_attempt` |
//! | CA mismatch, another name | `parking::a_wrong_certificate_or_name_parks` |
//! | Referer by alias | `parking::an_alias_that_the_certificate_has_is_refused_by_its_referer_and_parks` |
//! | 429 with `retry_after` | `telling::who_talks_too_much_waits_and_it_costs_no_attempt` |
//! | 403 blocked | `telling::who_has_blocked_the_bot_has_an_account_all_the_same` |
//! | hostile names, entities that cannot be parsed | `telling::hostile_names_break_nothing` |
//! | who could not be told is listed | `program::who_does_not_know_what_became_of_it_is_listed` |
//! | the same id with another person | `applicants::an_id_that_comes_with_another_person_is_refused_and_tells_nothing_of_the_first`, `applicants::an_id_of_another_person_is_known_by_the_entry_when_the_record_is_lost` |
//! | Telegram times out | `telling::what_may_have_been_told_is_told_again` |
//! | Telegram delivers late | `telling::a_message_that_comes_late_has_the_password_that_holds` |
//! | poison JSON | `applicants::poison_is_kept_as_it_is_with_a_reason` |
//! | many messages, two consumers | `many::two_consumers_make_each_account_once` |
//! | secrets absent from logs, Valkey, metrics | `secrets::no_secret_is_in_logs_valkey_or_metrics` |
#![allow(clippy::unwrap_used)]

mod alerts;
mod applicants;
mod blame;
mod corrections;
mod crashes;
mod groups;
mod lockout;
mod log;
mod logins;
mod losses;
mod many;
mod parking;
mod people;
mod program;
mod rights;
mod scene;
mod secrets;
mod staging;
mod strangers;
mod telling;
mod upkeep;

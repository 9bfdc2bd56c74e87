//! Records and turns on a real server.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use freeipa_consumer::registration::RegistrationId;
use freeipa_consumer::state::{Records, RegistrationRecord, StateError, Step, Token, Turns};
use freeipa_consumer::status::Unreachable;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_testkit::{Cut, FaultProxy, TestServer, eventually, unique_name};

const DAY: Duration = Duration::from_hours(24);

async fn connection_to(address: &str) -> Connection {
    let settings = ConnectionSettings::from_url(&format!("valkey://{address}")).unwrap();
    Connection::connect(&settings).await.unwrap()
}

async fn connection() -> Connection {
    connection_to(&TestServer::shared().await.address()).await
}

async fn records() -> Records {
    Records::new(connection().await, format!("{}:", unique_name("reg")), DAY)
}

fn id() -> RegistrationId {
    RegistrationId::of_bytes(unique_name("id").as_bytes())
}

fn at(step: Step) -> RegistrationRecord {
    let mut record = RegistrationRecord::default();
    record.step = step;
    record.login = Some("ada".to_owned());
    record
}

async fn cli(arguments: &[&str]) -> String {
    TestServer::shared().await.cli(arguments).await.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_loaded_and_lasts_for_a_month_at_least() {
    let (records, id, run) = (records().await, id(), Token::new());
    assert_eq!(records.load(id).await.unwrap(), None);
    let mut record = at(Step::Creating);
    records.save(id, &mut record, &run).await.unwrap();
    record.step = Step::Done;
    record.runs = 2;
    record.told = Some("created".to_owned());
    record.message_id = Some(7);
    record.unreported = Some(Unreachable::Blocked);
    records.save(id, &mut record, &run).await.unwrap();
    let loaded = records.load(id).await.unwrap().unwrap();
    assert!(loaded.updated.is_some_and(|updated| updated > 1_700_000_000_000));
    assert_eq!((loaded.step, loaded.login.as_deref(), loaded.runs), (Step::Done, Some("ada"), 2));
    assert_eq!((loaded.told.as_deref(), loaded.message_id), (Some("created"), Some(7)));
    assert_eq!(loaded.unreported, Some(Unreachable::Blocked));
    let lasts: u64 = cli(&["PTTL", &records.key(id)]).await.parse().unwrap();
    // A day was asked for.
    assert!(lasts > 29 * 24 * 3_600_000, "{lasts}");
    // What is no more is gone from the store, too; what others have written stays.
    cli(&["HSET", &records.key(id), "mood", "good"]).await;
    let mut record = loaded;
    record.unreported = None;
    records.save(id, &mut record, &run).await.unwrap();
    let fields = cli(&["HKEYS", &records.key(id)]).await;
    assert!(!fields.contains("unreported") && fields.contains("mood"), "{fields}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_read_the_same_one_writes() {
    let (records, id) = (records().await, id());
    let (one, other) = (Token::new(), Token::new());
    let mut first = at(Step::Creating);
    records.save(id, &mut first, &one).await.unwrap();
    let mut second = records.load(id).await.unwrap().unwrap();
    second.step = Step::Created;
    records.save(id, &mut second, &other).await.unwrap();
    first.step = Step::Dead;
    let error = records.save(id, &mut first, &one).await.unwrap_err();
    assert!(matches!(error, StateError::Overtaken { .. }), "{error}");
    // Nor does one who has read nothing begin anew.
    let error = records.save(id, &mut at(Step::Creating), &one).await.unwrap_err();
    assert!(matches!(error, StateError::Overtaken { .. }), "{error}");
    assert_eq!(records.load(id).await.unwrap().unwrap().step, Step::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_has_lost_is_written_anew_by_who_has_it() {
    let (records, id) = (records().await, id());
    let (one, other) = (Token::new(), Token::new());
    let mut record = RegistrationRecord::default();
    for step in [Step::Creating, Step::Created] {
        record.step = step;
        record.login = Some("ada".to_owned());
        records.save(id, &mut record, &one).await.unwrap();
    }
    let mut slower = record.clone();
    cli(&["DEL", &records.key(id)]).await;
    record.step = Step::Grouped;
    records.save(id, &mut record, &one).await.unwrap();
    let kept = records.load(id).await.unwrap().unwrap();
    assert_eq!((kept.step, kept.login.as_deref()), (Step::Grouped, Some("ada")));
    // Still one writes, of two who have read the same; and none who has read nothing.
    for late in [&mut slower, &mut at(Step::Creating)] {
        let error = records.save(id, late, &other).await.unwrap_err();
        assert!(matches!(error, StateError::Overtaken { .. }), "{error}");
    }
    record.step = Step::Done;
    records.save(id, &mut record, &one).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_repeated_and_done_once() {
    let proxy = FaultProxy::start(&TestServer::shared().await.address()).await.unwrap();
    let records =
        Records::new(connection_to(&proxy.address()).await, format!("{}:", unique_name("reg")), DAY);
    let (id, run) = (id(), Token::new());
    let mut record = at(Step::Creating);
    records.save(id, &mut record, &run).await.unwrap();
    record.step = Step::Created;
    let mut cut = proxy.arm(Cut::reply_before(0).of_command("EVALSHA"));
    let error = records.save(id, &mut record, &run).await.unwrap_err();
    assert!(matches!(&error, StateError::Store(error) if error.outcome_unknown()), "{error}");
    cut.wait().await;
    assert_eq!(cli(&["HMGET", &records.key(id), "step", "revision"]).await, "created\n2");
    eventually("the repetition", async || records.save(id, &mut record.clone(), &run).await.ok()).await;
    records.save(id, &mut record, &run).await.unwrap();
    assert_eq!(cli(&["HGET", &records.key(id), "revision"]).await, "2");
    // And the next step is the next one.
    record.step = Step::Grouped;
    records.save(id, &mut record, &run).await.unwrap();
    assert_eq!(cli(&["HGET", &records.key(id), "revision"]).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_left_alone() {
    let (records, id, run) = (records().await, id(), Token::new());
    cli(&["SET", &records.key(id), "somebody's"]).await;
    assert!(matches!(records.load(id).await, Err(StateError::NotARecord { .. })));
    let error = records.save(id, &mut at(Step::Creating), &run).await.unwrap_err();
    assert!(matches!(error, StateError::NotARecord { .. }), "{error}");
    assert_eq!(cli(&["GET", &records.key(id)]).await, "somebody's");
    cli(&["DEL", &records.key(id)]).await;
    cli(&["HSET", &records.key(id), "step", "praised", "revision", "1"]).await;
    let error = records.load(id).await.unwrap_err();
    assert!(error.to_string().contains("`step`") && matches!(error, StateError::Fault { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_person_is_in_the_store_but_the_login() {
    let (records, id, run) = (records().await, id(), Token::new());
    records.save(id, &mut at(Step::Credentialed), &run).await.unwrap();
    let fields = cli(&["HKEYS", &records.key(id)]).await;
    let mut fields: Vec<&str> = fields.lines().collect();
    fields.sort_unstable();
    assert_eq!(fields, ["by", "login", "revision", "runs", "step", "updated"]);
    let turns = Turns::new(connection().await, "p:", DAY);
    assert!(!turns.key(123_456_789).contains("123456789"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registration_of_a_person_at_a_time() {
    let prefix = format!("{}:", unique_name("reg"));
    let turns = Turns::new(connection().await, prefix.as_str(), Duration::from_mins(1));
    let turn = turns.take(42).await.unwrap().expect("a turn");
    assert!(turns.take(42).await.unwrap().is_none());
    let other = turns.take(43).await.unwrap().expect("somebody else's turn");
    assert!(turn.renew().await.unwrap());
    assert!(turn.release().await.unwrap());
    let turn = turns.take(42).await.unwrap().expect("a free turn");
    // It ended, and somebody else has it: it is neither renewed nor released.
    cli(&["DEL", &turns.key(42)]).await;
    let theirs = turns.take(42).await.unwrap().expect("their turn");
    assert!(!turn.renew().await.unwrap());
    assert!(!turn.release().await.unwrap());
    assert!(theirs.renew().await.unwrap() && other.release().await.unwrap());
    let lasts: u64 = cli(&["PTTL", &turns.key(42)]).await.parse().unwrap();
    assert!(lasts > 30_000 && lasts <= 60_000, "{lasts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_ends_when_its_holder_is_silent() {
    let turns = Turns::new(connection().await, format!("{}:", unique_name("reg")), Duration::from_secs(1));
    let turn = turns.take(42).await.unwrap().expect("a turn");
    let theirs = eventually("the end of the turn", async || turns.take(42).await.unwrap()).await;
    assert!(!turn.release().await.unwrap());
    assert!(theirs.release().await.unwrap());
}

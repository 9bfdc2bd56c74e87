//! A receiver of several queues whose user may not touch one of them: the others are served as if nothing were, the one is
//! named, and it is served again when the right is there, without a restart.
#![allow(clippy::unwrap_used)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use valkey_connection::{Command, Connection, ConnectionSettings, ErrorKind};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::{
    DrainReport, Message, ReceiveError, Receiver, ReceiverBuilder, ReceiverHandle, ReceiverSettings,
};
use valkey_testkit::TestServer;

use support::books::Books;
use support::{Bed, soon, until};

const LEASE: Duration = Duration::from_secs(2);
/// How long the right is away: whoever waited for it would have lost the lease twice over.
const AWAY: Duration = Duration::from_secs(5);
/// Between two messages of a queue.
const PACE: Duration = Duration::from_millis(5);

/// One server, one user, and queues of which it may touch some.
struct Scene {
    beds: Vec<Bed>,
    books: Books,
    times: Arc<Mutex<Times>>,
}

#[derive(Default)]
struct Times {
    /// By id.
    pushed: HashMap<String, Instant>,
    /// The longest that a message of each queue has waited for its handler.
    longest: HashMap<QueueName, Duration>,
}

type Service = (ReceiverHandle, JoinHandle<Result<DrainReport, ReceiveError>>);

impl Scene {
    async fn of(queues: usize) -> Self {
        let server = TestServer::builder().acl_user("watcher", "pw", "~* &* +@all").acl_user("app", "pw", "");
        let server: &'static TestServer = Box::leak(Box::new(server.start().await.unwrap()));
        let mut beds = Vec::new();
        for _ in 0..queues {
            beds.push(Bed::on(server, "rights").await);
        }
        Self { beds, books: Books::default(), times: Arc::default() }
    }

    /// The user may do everything to the first `queues` queues, and touch no key and no channel of the others.
    async fn allow(&self, queues: usize) {
        let mut rules: Vec<String> = ["on", "+@all", "resetkeys", "resetchannels"].map(str::to_owned).into();
        for bed in &self.beds[..queues] {
            let tag = bed.keys.tag();
            rules.extend([format!("~{}", bed.keys.public()), format!("~{tag}:*"), format!("&{tag}:*")]);
        }
        let set = Command::new("ACL").arg("SETUSER").arg("app").args(rules);
        self.beds[0].ask(set).await;
    }

    async fn builder(&self) -> ReceiverBuilder {
        let url = self.beds[0].server.url_as("app", "pw");
        let connection = Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap();
        let builder = Receiver::builder(&connection).settings(ReceiverSettings::default().lease(LEASE));
        self.beds.iter().fold(builder, |builder, bed| builder.queue(bed.queue.clone()))
    }

    fn serve(&self, receiver: Receiver) -> Service {
        let (books, times) = (self.books.clone(), Arc::clone(&self.times));
        let handle = receiver.handle();
        let service = receiver.serve(move |message: Message| {
            books.handed(message.raw());
            {
                let mut times = times.lock().unwrap();
                let waited = times.pushed[message.envelope().id().as_str()].elapsed();
                let longest = times.longest.entry(message.queue().clone()).or_default();
                *longest = waited.max(*longest);
            }
            let books = books.clone();
            async move {
                // Some are under way whenever the right goes.
                tokio::time::sleep(Duration::from_millis(15)).await;
                books.finished(message.raw());
            }
        });
        (handle, tokio::spawn(service.into_future()))
    }

    async fn push(&self, bed: &Bed) {
        let envelope = Envelope::new("x").unwrap();
        self.times.lock().unwrap().pushed.insert(envelope.id().as_str().to_owned(), Instant::now());
        self.books.sent([bed.push(&envelope).await]);
    }

    /// Sends to all queues for so long. How many to each.
    async fn load(&self, duration: Duration) -> i64 {
        let end = Instant::now() + duration;
        let mut count = 0;
        while Instant::now() < end {
            for bed in &self.beds {
                self.push(bed).await;
            }
            count += 1;
            tokio::time::sleep(PACE).await;
        }
        count
    }

    fn forget_times(&self) {
        self.times.lock().unwrap().longest.clear();
    }

    /// The longest that a message of any of `beds` has waited for its handler since times were forgotten.
    fn longest(&self, beds: &[Bed]) -> Duration {
        let longest = &self.times.lock().unwrap().longest;
        beds.iter().map(|bed| longest.get(&bed.queue).copied().unwrap_or(Duration::MAX)).max().unwrap()
    }

    async fn until_empty(&self) {
        for bed in &self.beds {
            bed.until_empty().await;
        }
    }

    /// Ends it, and shows the books.
    async fn close(self, (handle, service): Service, recovery: Duration, waited: Duration) -> u64 {
        handle.drain();
        let report = soon("the end", service).await.unwrap().unwrap();
        let beds: Vec<&Bed> = self.beds.iter().collect();
        let balance = self.books.balance(&beds).await;
        let note = format!(
            "recovery: from the right until the queue was served; of the other queues none waited more than {} ms \
             while the right was away for {} ms",
            waited.as_millis(),
            AWAY.as_millis()
        );
        balance.figures().recovery(recovery).note(note).publish();
        eprintln!("{balance:?}, recovery {recovery:?}, others waited {waited:?}; {report}");
        assert_eq!(balance.lost, 0);
        for bed in beds {
            assert_eq!((bed.held_anywhere().await, bed.dead().await), (0, vec![]));
            assert_eq!(bed.consumers().await, [""; 0]);
        }
        balance.twice
    }
}

/// The one queue that is not served, if it is the only one, and why.
fn the_unserved(handle: &ReceiverHandle) -> Option<(QueueName, ErrorKind, String)> {
    let [ReceiveError::Unserved { queue, source }] = &handle.unserved()[..] else { return None };
    Some((queue.clone(), source.kind(), source.to_string()))
}

#[tokio::test]
async fn a_queue_whose_right_is_missing_at_the_start_is_named_and_served_once_the_right_is_there() {
    log::keep();
    let scene = Scene::of(3).await;
    scene.allow(2).await;
    for bed in &scene.beds {
        scene.push(bed).await;
    }
    let service = scene.serve(soon("the start", scene.builder().await.start()).await.unwrap());
    let denied = &scene.beds[2];
    let (queue, kind, text) = the_unserved(&service.0).unwrap();
    assert_eq!((&queue, kind), (&denied.queue, ErrorKind::Denied));
    assert!(text.contains("user `app`"), "{text}");
    log::until_line(&["WARN", denied.queue.as_str(), "user `app`"]).await;

    let count = scene.load(AWAY).await;
    for bed in &scene.beds[..2] {
        bed.until_empty().await;
    }
    let waited = scene.longest(&scene.beds[..2]);
    assert!(waited < LEASE, "they are not held up: {waited:?}");
    let waiting = i64::try_from(denied.waiting().await.len()).unwrap();
    assert_eq!((waiting, denied.consumers().await), (count + 1, vec![]), "it is left alone");
    assert_eq!(the_unserved(&service.0).map(|(queue, ..)| queue), Some(denied.queue.clone()));
    let lines = log::lines_with(&["WARN", denied.queue.as_str()]).len();
    assert!(lines < 5, "{lines} lines say the same");

    scene.allow(3).await;
    let allowed = Instant::now();
    until("the queue to be served", async || service.0.unserved().is_empty().then_some(())).await;
    let recovery = allowed.elapsed();
    scene.load(LEASE).await;
    scene.until_empty().await;
    assert_eq!(scene.close(service, recovery, waited).await, 0, "handed out twice");
}

#[tokio::test]
async fn a_queue_whose_right_is_taken_at_work_holds_up_no_other_and_is_served_again_with_the_right() {
    log::keep();
    let scene = Scene::of(3).await;
    scene.allow(3).await;
    let service = scene.serve(soon("the start", scene.builder().await.start()).await.unwrap());
    let denied = &scene.beds[2];
    let mut recovery = Duration::ZERO;
    let mut waited = Duration::ZERO;
    for _ in 0..2 {
        scene.load(LEASE).await;
        assert!(service.0.unserved().is_empty(), "{:?}", service.0.unserved());
        scene.forget_times();
        scene.allow(2).await;
        let count = scene.load(AWAY).await;
        for bed in &scene.beds[..2] {
            bed.until_empty().await;
        }
        waited = waited.max(scene.longest(&scene.beds[..2]));
        assert!(waited < LEASE, "they are not held up: {waited:?}");
        let (queue, kind, text) = the_unserved(&service.0).unwrap();
        assert_eq!((&queue, kind), (&denied.queue, ErrorKind::Denied));
        assert!(text.contains("user `app`"), "{text}");
        log::until_line(&["WARN", denied.queue.as_str(), "user `app`"]).await;
        assert!(denied.held_anywhere().await >= count, "what is sent to it waits");

        scene.allow(3).await;
        let allowed = Instant::now();
        until("the queue to be served", async || service.0.unserved().is_empty().then_some(())).await;
        recovery = recovery.max(allowed.elapsed());
        scene.until_empty().await;
    }
    // What it held each time: at most as many as handlers run and are prefetched.
    let twice = scene.close(service, recovery, waited).await;
    assert!(twice <= 2 * (10 + 64), "{twice}");
}

#[tokio::test]
async fn without_a_right_to_any_queue_a_receiver_does_not_start() {
    let scene = Scene::of(2).await;
    scene.allow(0).await;
    let error = soon("the start", scene.builder().await.start()).await.unwrap_err();
    let ReceiveError::Join { queue, source } = error else { panic!("{error}") };
    assert_eq!((&queue, source.kind()), (&scene.beds[0].queue, ErrorKind::Denied), "{source}");
}

#[tokio::test]
async fn a_receiver_ends_as_ever_although_one_of_its_queues_never_let_it_in() {
    let scene = Scene::of(2).await;
    scene.allow(1).await;
    let (handle, service) = scene.serve(soon("the start", scene.builder().await.start()).await.unwrap());
    for bed in &scene.beds {
        scene.push(bed).await;
    }
    scene.beds[0].until_empty().await;
    handle.drain();
    let report = soon("the end", service).await.unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.acked, report.handed_back), (1, 0), "{report}");
    assert_eq!(scene.beds[1].waiting().await.len(), 1, "it is left alone");
}

/// A queue can be refused for other reasons than a right.
#[tokio::test]
async fn whatever_a_queue_is_refused_for_the_others_are_served() {
    let scene = Scene::of(3).await;
    scene.allow(3).await;
    let [served, squatted, newer] = &scene.beds[..] else { panic!() };
    squatted.ask(Command::new("SET").key(squatted.keys.redo()).arg("squatter")).await;
    newer.ask(Command::new("HSET").key(newer.keys.control()).arg("version").arg("2")).await;
    let service = scene.serve(soon("the start", scene.builder().await.start()).await.unwrap());
    let unserved = service.0.unserved();
    let [ReceiveError::Unserved { queue, source }, ReceiveError::NewerFormat { queue: other, .. }] =
        &unserved[..]
    else {
        panic!("{unserved:?}")
    };
    assert_eq!((queue, source.kind(), other), (&squatted.queue, ErrorKind::WrongType, &newer.queue));
    for bed in &scene.beds {
        scene.push(bed).await;
    }
    served.until_empty().await;
    squatted.ask(Command::new("DEL").key(squatted.keys.redo())).await;
    newer.ask(Command::new("HDEL").key(newer.keys.control()).arg("version")).await;
    scene.until_empty().await;
    assert!(service.0.unserved().is_empty());
    let beds: Vec<&Bed> = scene.beds.iter().collect();
    service.0.drain();
    let _ = soon("the end", service.1).await.unwrap().unwrap();
    let balance = scene.books.balance(&beds).await;
    balance.figures().publish();
    assert_eq!((balance.lost, balance.twice), (0, 0));
}

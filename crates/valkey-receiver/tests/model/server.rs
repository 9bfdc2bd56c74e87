//! The real thing: each call as the script or command it is, on a queue of its own.

use bytes::Bytes;
use valkey_connection::{Arg, Command, Connection, ConnectionSettings, Error, Reply, Script};
use valkey_envelope::{Lane, QueueKeys, QueueName};
use valkey_testkit::{TestServer, unique_name};

use crate::call::{Answer, Call, HandBack, Push, Source, Take};
use crate::clock::When;
use crate::image::{CLEAR, Image, LOOK};
use crate::lua::Scripts;
use crate::queue::{Field, Place};
use crate::scripted::{Scripted, is_unknown};

pub(crate) struct Server {
    connection: Connection,
    scripts: Scripts,
    queue: QueueName,
    keys: QueueKeys,
    run_id: String,
    /// The server's clock when it was last looked at.
    seen_ms: u64,
}

/// What became of a call.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) when: When,
    pub(crate) image: Image,
}

impl Server {
    pub(crate) async fn new(scripts: Scripts) -> Self {
        let settings = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
        let connection = Connection::connect(&settings).await.unwrap();
        let queue: QueueName = unique_name("model").parse().unwrap();
        let info = connection.execute(Command::new("INFO").arg("server")).await.unwrap();
        let info = info.into_string().unwrap();
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned();
        Self { connection, scripts, keys: queue.keys(), queue, run_id, seen_ms: 0 }
    }

    pub(crate) fn seen_ms(&self) -> u64 {
        self.seen_ms
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    fn all_keys(&self) -> String {
        format!("*{}*", self.keys.public())
    }

    /// Removes every key of the queue.
    pub(crate) async fn clear(&mut self) {
        let clear = Scripted::new(&CLEAR).arg(self.all_keys()).in_full();
        let now_ms = self.connection.execute(clear).await.unwrap().as_int().unwrap();
        self.seen_ms = u64::try_from(now_ms).unwrap();
    }

    pub(crate) async fn play(&mut self, call: &Call) -> Outcome {
        let before_ms = self.seen_ms;
        let (reply, image) = match self.scripted(call) {
            Some(scripted) => self.run(&scripted).await,
            None => self.run_plain(call).await,
        };
        let (now_ms, image) = Image::read(&self.queue, image);
        self.seen_ms = now_ms;
        let mut answer = Answer::new();
        match reply {
            Ok(reply) => flatten(reply, &mut answer),
            Err(error) => answer = vec!["error".into(), error.to_string().into()],
        }
        let told = call.clock_at().filter(|at| answer.len() > *at).map(|at| answer.remove(at));
        let told = told.and_then(|told| std::str::from_utf8(&told).ok()?.parse().ok());
        let when = told.map_or(When::Between { before_ms, after_ms: self.seen_ms }, |ms| When::Told { ms });
        Outcome { answer, when, image }
    }

    /// The call's reply and all there is of the queue then, in one round trip.
    async fn run(&self, scripted: &Scripted<'_>) -> (Result<Reply, Error>, Reply) {
        let look = Scripted::new(&LOOK).arg(self.all_keys());
        let [mut reply, mut image] = self.both(scripted.by_hash(), look.by_hash()).await;
        if is_unknown(&reply) {
            // It had no effect, and the look came too early.
            [reply, image] = self.both(scripted.in_full(), look.in_full()).await;
        } else if is_unknown(&image) {
            image = self.connection.execute(look.in_full()).await;
        }
        (reply, image.unwrap())
    }

    async fn both(&self, first: Command, second: Command) -> [Result<Reply, Error>; 2] {
        self.connection.execute_all(vec![first, second]).await.try_into().unwrap()
    }

    /// What is no script of ours. Its own answer is not compared, but for what a plain peer sees.
    async fn run_plain(&self, call: &Call) -> (Result<Reply, Error>, Reply) {
        let mut commands = self.plain(call);
        commands.push(Scripted::new(&LOOK).arg(self.all_keys()).in_full());
        let mut replies = self.connection.execute_all(commands).await;
        let image = replies.pop().unwrap().unwrap();
        match call {
            Call::PlainPush(_) | Call::PlainPop | Call::Park => (replies.remove(0), image),
            // `RENAME` of what is not there is refused.
            _ => (Ok(Reply::Array(Vec::new())), image),
        }
    }

    fn scripted(&self, call: &Call) -> Option<Scripted<'_>> {
        let (keys, scripts) = (&self.keys, &self.scripts);
        let lanes = [keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low)];
        let dead = [keys.dead(), keys.dead_body()];
        Some(match call {
            Call::Join(join) => {
                self.take_keys(&scripts.join, &join.cid).arg(&join.cid).arg(join.lease_ms).args(join.knows)
            }
            Call::Take(take) => self.take(take),
            Call::Reap(reap) => Scripted::new(&scripts.reap)
                .keys([keys.consumers(), keys.control(), &keys.inflight(&reap.cid), keys.redo()])
                .keys(dead)
                .keys([keys.stats(1).as_str(), keys.bell()])
                .arg(&reap.cid)
                .args([reap.lease_ms, u64::from(reap.max_crashes)])
                .args([reap.limit, reap.byte_limit]),
            Call::Release(release) => Scripted::new(&scripts.release)
                .keys(lanes)
                .keys([&keys.inflight(&release.cid), keys.consumers(), keys.redo(), keys.control()])
                .key(keys.bell())
                .arg(&release.cid)
                .args([release.limit, release.byte_limit]),
            Call::Push(push) => self.push(push),
            Call::Control(pairs) => Scripted::new(&scripts.control)
                .keys([keys.control(), keys.bell()])
                .args(pairs.iter().flat_map(|(name, value)| [name, value])),
            Call::Replay(pairs) => Scripted::new(&scripts.replay)
                .keys(dead)
                .keys(lanes)
                .key(keys.bell())
                .args(pairs.iter().flat_map(|(id, lane)| [id.as_str(), lane_word(*lane)])),
            Call::DeadRemove(ids) => Scripted::new(&scripts.dead_remove).keys(dead).args(ids),
            Call::Purge { place, most } => {
                let (key, kind) = self.place(*place);
                Scripted::new(&scripts.purge).key(key).arg(kind).arg(*most)
            }
            Call::HandBack(back) => self.hand_back(back),
            Call::HandBackRaw { place, most } => Scripted::new(&scripts.hand_back_raw)
                .keys([self.place(*place).0, keys.public()])
                .arg(if *place == Place::Low { "tail" } else { "head" })
                .arg(*most),
            _ => return None,
        })
    }

    fn plain(&self, call: &Call) -> Vec<Command> {
        let keys = &self.keys;
        match call {
            Call::PlainPush(all) => vec![Command::new("LPUSH").key(keys.public()).args(all)],
            Call::PlainPop => vec![Command::new("RPOP").key(keys.public())],
            Call::Park => {
                let park = Command::new("LMOVE").keys([keys.public(), keys.woken()]);
                vec![park.args(["RIGHT", "LEFT"])]
            }
            Call::LeaseEnds { cid, at_ms } => {
                vec![Command::new("ZADD").key(keys.consumers()).arg("XX").arg(*at_ms).arg(cid)]
            }
            Call::Due { member, at_ms } => {
                vec![Command::new("ZADD").key(keys.delayed()).arg("XX").arg(*at_ms).arg(member)]
            }
            Call::PublicExpires { at_ms } => {
                vec![Command::new("PEXPIREAT").key(keys.public()).arg(*at_ms)]
            }
            Call::ServerRestarted { known } => {
                vec![Command::new("HSET").key(keys.control()).arg("run_id").arg(known)]
            }
            Call::WindowPasses { generation, window_ms } => {
                let [current, before] = [keys.dedup(*generation), keys.dedup(generation - 1)];
                vec![
                    Command::new("DEL").key(&before),
                    Command::new("RENAME").keys([&current, &before]),
                    Command::new("PEXPIREAT").key(&before).arg((generation + 1) * window_ms),
                ]
            }
            _ => vec![Command::new("SCRIPT").arg("FLUSH")],
        }
    }

    /// The keys that `join.lua` and `take.lua` begin with.
    fn take_keys<'a>(&self, script: &'a Script, cid: &str) -> Scripted<'a> {
        let keys = &self.keys;
        Scripted::new(script)
            .keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken()])
            .keys([&keys.inflight(cid), keys.consumers(), keys.redo(), keys.delayed()])
            .keys([keys.dead(), keys.dead_body(), keys.control()])
    }

    fn take(&self, take: &Take) -> Scripted<'_> {
        let mut call = self
            .take_keys(&self.scripts.take, &take.cid)
            .keys([self.keys.stats(1).as_str(), self.keys.bell()])
            .arg(&take.cid)
            .args([take.number, take.lease_ms])
            .args([take.want, take.byte_limit]);
        call = call.arg(take.acks.len()).args(take.acks.iter().map(field));
        call = call.arg(take.retries.len());
        for (at, delay_ms, counted) in &take.retries {
            call = call.args([field(at), (*delay_ms).into(), u64::from(*counted).into()]);
        }
        call = call.arg(take.deads.len());
        for (at, story) in &take.deads {
            call = call.args([field(at), story.into()]);
        }
        call.arg(take.backs.len()).args(take.backs.iter().map(field))
    }

    fn push(&self, push: &Push) -> Scripted<'_> {
        let keys = &self.keys;
        let (current, previous) =
            (keys.dedup(push.generation), keys.dedup(push.generation.saturating_sub(1)));
        let mut call = Scripted::new(&self.scripts.push)
            .keys([
                keys.public(),
                keys.lane(Lane::High),
                keys.lane(Lane::Low),
                keys.delayed(),
                keys.control(),
            ])
            .keys([current.as_str(), previous.as_str(), keys.woken(), keys.redo(), keys.bell()])
            .args([push.window_ms, push.generation])
            .arg(push.max_length.map_or_else(|| Arg::from_static(""), Arg::from));
        for item in &push.items {
            let lane = lane_word(item.lane);
            let head = match item.due_ms {
                0 => String::new(),
                _ => format!("{}|0|0|{lane}|", item.member_id),
            };
            let dedup = item.dedup.as_deref().unwrap_or("");
            call = call.arg(lane).arg(item.due_ms).arg(head).arg(dedup).arg(&item.raw);
        }
        call
    }

    fn hand_back(&self, back: &HandBack) -> Scripted<'_> {
        let (keys, call) = (&self.keys, Scripted::new(&self.scripts.hand_back));
        let call = match &back.source {
            Source::Redo => call.keys([keys.redo(), keys.public()]).arg("list").arg(""),
            Source::Delayed => call.keys([keys.delayed(), keys.public()]).arg("zset").arg(""),
            Source::InFlight(cid) => call
                .keys([&keys.inflight(cid), keys.public(), keys.consumers(), keys.control()])
                .arg("hash")
                .arg(cid),
        };
        call.args(back.elements.iter().flat_map(|(element, plain)| [element, plain]))
    }

    fn place(&self, place: Place) -> (&str, &'static str) {
        match place {
            Place::Normal => (self.keys.public(), "list"),
            Place::High => (self.keys.lane(Lane::High), "list"),
            Place::Low => (self.keys.lane(Lane::Low), "list"),
            Place::Woken => (self.keys.woken(), "list"),
            Place::Redo => (self.keys.redo(), "list"),
            Place::Delayed => (self.keys.delayed(), "zset"),
        }
    }
}

fn field((take, item): &Field) -> Arg {
    format!("{take}-{item}").into()
}

const fn lane_word(lane: Lane) -> &'static str {
    match lane {
        Lane::High => "h",
        Lane::Normal => "n",
        Lane::Low => "l",
    }
}

fn flatten(reply: Reply, into: &mut Answer) {
    match reply {
        Reply::Array(all) => all.into_iter().for_each(|part| flatten(part, into)),
        Reply::Nil => {}
        Reply::Int(number) => into.push(number.to_string().into()),
        Reply::Bytes(bytes) => into.push(bytes),
        other => into.push(Bytes::from(format!("{other:?}"))),
    }
}

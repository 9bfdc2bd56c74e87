//! The real thing: each call as the script or command it is, on a queue of its own.

use bytes::Bytes;
use valkey_connection::{Arg, Command, Connection, ConnectionSettings, Error, Reply, ScriptCall};
use valkey_envelope::{Lane, QueueKeys, QueueName};
use valkey_testkit::{TestServer, unique_name};

use crate::call::{Answer, Call, HandBack, Push, Source, Take};
use crate::clock::When;
use crate::image::{Image, LOOK};
use crate::lua::Scripts;
use crate::queue::{Field, Place};

pub(crate) struct Server {
    connection: Connection,
    scripts: Scripts,
    queue: QueueName,
    keys: QueueKeys,
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
        Self { connection, scripts, keys: queue.keys(), queue, seen_ms: 0 }
    }

    pub(crate) fn seen_ms(&self) -> u64 {
        self.seen_ms
    }

    pub(crate) async fn run_id(&self) -> String {
        let info = self.connection.execute(Command::new("INFO").arg("server")).await.unwrap();
        let info = info.into_string().unwrap();
        info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned()
    }

    /// Removes every key of the queue.
    pub(crate) async fn clear(&mut self) {
        let image = self.look().await;
        let names = image.0.keys().map(|name| match name.strip_prefix(':') {
            Some(_) => format!("{}{name}", self.keys.tag()),
            None => self.keys.public().to_owned(),
        });
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            self.connection.execute(Command::new("DEL").keys(names)).await.unwrap();
        }
        self.look().await;
    }

    /// Everything there is of the queue.
    async fn look(&mut self) -> Image {
        let call = LOOK.call().arg(format!("*{}*", self.keys.public()));
        let (now_ms, image) = Image::read(&self.queue, self.connection.invoke(call).await.unwrap());
        self.seen_ms = now_ms;
        image
    }

    pub(crate) async fn play(&mut self, call: &Call) -> Outcome {
        let before_ms = self.seen_ms;
        let reply = self.send(call).await;
        let image = self.look().await;
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

    async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let (keys, scripts) = (&self.keys, &self.scripts);
        let lanes = [keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low)];
        let dead = [keys.dead(), keys.dead_body()];
        let call = match call {
            Call::Join(join) => {
                self.take_keys(scripts.join.call(), &join.cid).arg(&join.cid).arg(join.lease_ms)
            }
            Call::Take(take) => self.take(take),
            Call::Reap(reap) => scripts
                .reap
                .call()
                .keys([keys.consumers(), keys.control(), &keys.inflight(&reap.cid), keys.redo()])
                .keys(dead)
                .keys([keys.stats(1).as_str(), keys.bell()])
                .arg(&reap.cid)
                .args([reap.lease_ms, u64::from(reap.max_crashes)])
                .args([reap.limit, reap.byte_limit]),
            Call::Release(release) => scripts
                .release
                .call()
                .keys(lanes)
                .keys([&keys.inflight(&release.cid), keys.consumers(), keys.redo(), keys.control()])
                .key(keys.bell())
                .arg(&release.cid)
                .args([release.limit, release.byte_limit]),
            Call::Push(push) => self.push(push),
            Call::Control(pairs) => scripts
                .control
                .call()
                .keys([keys.control(), keys.bell()])
                .args(pairs.iter().flat_map(|(name, value)| [name, value])),
            Call::Replay(pairs) => scripts
                .replay
                .call()
                .keys(dead)
                .keys(lanes)
                .key(keys.bell())
                .args(pairs.iter().flat_map(|(id, lane)| [id.as_str(), lane_word(*lane)])),
            Call::DeadRemove(ids) => scripts.dead_remove.call().keys(dead).args(ids),
            Call::Purge { place, most } => {
                let (key, kind) = self.place(*place);
                scripts.purge.call().key(key).arg(kind).arg(*most)
            }
            Call::HandBack(back) => self.hand_back(back),
            Call::HandBackRaw { place, most } => scripts
                .hand_back_raw
                .call()
                .keys([self.place(*place).0, keys.public()])
                .arg(if *place == Place::Low { "tail" } else { "head" })
                .arg(*most),
            plain => return self.plain(plain).await,
        };
        self.connection.invoke(call).await
    }

    /// What is no script of ours. Its own answer is not compared, but for what a plain peer sees.
    async fn plain(&self, call: &Call) -> Result<Reply, Error> {
        let keys = &self.keys;
        let commands = match call {
            Call::PlainPush(all) => {
                return self.connection.execute(Command::new("LPUSH").key(keys.public()).args(all)).await;
            }
            Call::PlainPop => return self.connection.execute(Command::new("RPOP").key(keys.public())).await,
            Call::Park => {
                let park = Command::new("LMOVE").keys([keys.public(), keys.woken()]);
                return self.connection.execute(park.args(["RIGHT", "LEFT"])).await;
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
        };
        for command in commands {
            // `RENAME` of what is not there is refused.
            let _ = self.connection.execute(command).await;
        }
        Ok(Reply::Array(Vec::new()))
    }

    /// The keys that `join.lua` and `take.lua` begin with.
    fn take_keys(&self, call: ScriptCall, cid: &str) -> ScriptCall {
        let keys = &self.keys;
        call.keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low), keys.woken()])
            .keys([&keys.inflight(cid), keys.consumers(), keys.redo(), keys.delayed()])
            .keys([keys.dead(), keys.dead_body(), keys.control()])
    }

    fn take(&self, take: &Take) -> ScriptCall {
        let mut call = self
            .take_keys(self.scripts.take.call(), &take.cid)
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

    fn push(&self, push: &Push) -> ScriptCall {
        let keys = &self.keys;
        let (current, previous) =
            (keys.dedup(push.generation), keys.dedup(push.generation.saturating_sub(1)));
        let mut call = self
            .scripts
            .push
            .call()
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

    fn hand_back(&self, back: &HandBack) -> ScriptCall {
        let (keys, call) = (&self.keys, self.scripts.hand_back.call());
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

//! Every key of a queue, with its type. No key name is made anywhere else.

use std::sync::Arc;

use crate::{lane::Lane, queue::QueueName};

/// The keys of one queue. All of them are in the cluster slot of the public list.
///
/// Cloning shares the texts. `docs/wire-format.md` says what each key holds.
///
/// ```
/// use valkey_envelope::{Lane, QueueName};
///
/// let keys = QueueName::try_from("orders")?.keys();
/// assert_eq!(keys.public(), "queue:orders");
/// assert_eq!(keys.lane(Lane::Normal), keys.public());
/// assert_eq!(keys.lane(Lane::High), "{queue:orders}:lane:high");
/// assert_eq!(keys.dead(), "{queue:orders}:dead");
/// # Ok::<(), valkey_envelope::InvalidQueueName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueKeys(Arc<Texts>);

#[derive(Debug, PartialEq, Eq)]
struct Texts {
    name: QueueName,
    public: String,
    tag: String,
    high: String,
    low: String,
    woken: String,
    consumers: String,
    redo: String,
    delayed: String,
    dead: String,
    dead_body: String,
    control: String,
    bell: String,
}

// === impl QueueKeys ===

impl QueueKeys {
    /// The version of the keys and frames of a queue that this crate describes. A queue of a newer one says so in the field
    /// `version` of its [`control`](Self::control); without the field it is 1.
    pub const FORMAT: u32 = 1;

    /// What stands before a queue's name in the key of its public list.
    pub const PREFIX: &'static str = "queue:";

    pub(crate) fn new(name: &QueueName) -> Self {
        let public = format!("{}{name}", Self::PREFIX);
        // The braces make Cluster hash just the part between them, which is the public key: same slot.
        let tag = format!("{{{public}}}");
        Self(Arc::new(Texts {
            name: name.clone(),
            high: format!("{tag}:lane:high"),
            low: format!("{tag}:lane:low"),
            woken: format!("{tag}:woken"),
            consumers: format!("{tag}:consumers"),
            redo: format!("{tag}:redo"),
            delayed: format!("{tag}:delayed"),
            dead: format!("{tag}:dead"),
            dead_body: format!("{tag}:dead:body"),
            control: format!("{tag}:control"),
            bell: format!("{tag}:bell"),
            public,
            tag,
        }))
    }

    /// The queue that a key belongs to: `queue:NAME` and every `{queue:NAME}:...` lead to NAME.
    ///
    /// ```
    /// use valkey_envelope::QueueKeys;
    ///
    /// let name = |key| QueueKeys::queue_of(key).map(|name| name.to_string());
    /// assert_eq!(name("queue:orders"), Some("orders".into()));
    /// assert_eq!(name("{queue:orders}:dead:body"), Some("orders".into()));
    /// assert_eq!(name("session:7"), None);
    /// ```
    pub fn queue_of(key: &str) -> Option<QueueName> {
        let public = match key.strip_prefix('{') {
            Some(tagged) => tagged.split_once("}:")?.0,
            None => key,
        };
        public.strip_prefix(Self::PREFIX)?.parse().ok()
    }

    /// The queue these keys belong to.
    pub fn name(&self) -> &QueueName {
        &self.0.name
    }

    /// LIST: the public lane, exact bytes as pushed; pushed on the left, taken from the right.
    pub fn public(&self) -> &str {
        &self.0.public
    }

    /// The hash tag `{queue:NAME}`, in front of every other key of the queue.
    pub fn tag(&self) -> &str {
        &self.0.tag
    }

    /// LIST: the list of a lane. The normal one is the public list.
    pub fn lane(&self, lane: Lane) -> &str {
        match lane {
            Lane::High => &self.0.high,
            Lane::Normal => &self.0.public,
            Lane::Low => &self.0.low,
        }
    }

    /// LIST: where an idle consumer's blocking move puts what arrives; every take drains it first.
    pub fn woken(&self) -> &str {
        &self.0.woken
    }

    /// HASH: the messages claimed by a consumer. Field `<take>-<i>`: an [`InFlight`](crate::InFlight); field
    /// `#`: the number of the last take. `consumer` is a consumer id, 32 hexadecimal digits.
    pub fn inflight(&self, consumer: &str) -> String {
        format!("{}:inflight:{consumer}", self.0.tag)
    }

    /// ZSET: consumer id -> lease deadline in milliseconds of the server's clock; 0 = fenced for good.
    pub fn consumers(&self) -> &str {
        &self.0.consumers
    }

    /// LIST: [`Frame`](crate::Frame)s to deliver again.
    pub fn redo(&self) -> &str {
        &self.0.redo
    }

    /// ZSET: [`Delayed`](crate::Delayed) members by due time in milliseconds.
    pub fn delayed(&self) -> &str {
        &self.0.delayed
    }

    /// ZSET: dead ids by the time of death in milliseconds.
    pub fn dead(&self) -> &str {
        &self.0.dead
    }

    /// HASH: dead id -> [`DeadBody`](crate::DeadBody).
    pub fn dead_body(&self) -> &str {
        &self.0.dead_body
    }

    /// SET: ids seen in one generation of the deduplication window.
    pub fn dedup(&self, generation: u64) -> String {
        format!("{}:dedup:{generation}", self.0.tag)
    }

    /// HASH: pause, bounds and rates of the queue.
    pub fn control(&self) -> &str {
        &self.0.control
    }

    /// HASH: counters of one minute; `minute` counts from the Unix epoch.
    pub fn stats(&self, minute: u64) -> String {
        format!("{}:stats:{minute}", self.0.tag)
    }

    /// STRING: the mark of an effect that happened once; `key` is the message's id, or what the handler's inbox says.
    pub fn inbox(&self, key: &str) -> String {
        format!("{}:inbox:{key}", self.0.tag)
    }

    /// A key of the program's own, of any type, in the slot of the queue. Nothing here reads or writes it.
    pub fn app(&self, name: &str) -> String {
        format!("{}:app:{name}", self.0.tag)
    }

    /// Shard channel: a hint that there is something to take. May be lost, carries no data.
    pub fn bell(&self) -> &str {
        &self.0.bell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cluster's key hash: CRC16 (XMODEM) modulo 16384 of the first `{...}` that is not empty, else of it all.
    fn slot(key: &str) -> u16 {
        let hashed = key
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
        let crc = hashed.bytes().fold(0u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            })
        });
        crc % 16384
    }

    fn all(keys: &QueueKeys) -> Vec<String> {
        let mut all: Vec<String> = [
            keys.public(),
            keys.lane(Lane::High),
            keys.lane(Lane::Low),
            keys.woken(),
            keys.consumers(),
            keys.redo(),
            keys.delayed(),
            keys.dead(),
            keys.dead_body(),
            keys.control(),
            keys.bell(),
        ]
        .map(str::to_owned)
        .into();
        all.extend([
            keys.inflight("0195c0ffee00700080000000000000ff"),
            keys.dedup(7),
            keys.stats(29_000_000),
            keys.inbox("0198a3c2-7b1e-7cc3-98c4-dc0c0c07398f"),
            keys.app("balance"),
        ]);
        all
    }

    #[test]
    fn slot_agrees_with_the_cluster_specification() {
        // The check value of CRC16/XMODEM, and `CLUSTER KEYSLOT foo`.
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("{foo}:x"), 12182);
    }

    #[test]
    fn all_keys_share_the_slot_of_the_public_list() {
        for name in ["orders", "user-registrations", "a:b.c_d-e", &"q".repeat(200)] {
            let keys = QueueName::try_from(name).unwrap().keys();
            for key in all(&keys) {
                assert_eq!(slot(&key), slot(keys.public()), "{key}");
            }
        }
    }

    #[test]
    fn keys_differ_and_lead_back_to_the_queue() {
        let name = QueueName::try_from("a:b").unwrap();
        let keys = all(&name.keys());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        for key in &keys {
            assert_eq!(QueueKeys::queue_of(key).as_ref(), Some(&name), "{key}");
        }
        for foreign in ["queue:", "{queue:a}", "{queue:a b}:dead", "queue:a b", "aqueue:b", ""] {
            assert_eq!(QueueKeys::queue_of(foreign), None, "{foreign}");
        }
    }
}

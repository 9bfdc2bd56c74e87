//! A queue seen from outside.

use valkey_connection::{Command, Connection, Script};
use valkey_envelope::{QueueKeys, QueueName};
use valkey_testkit::eventually;

/// KEYS: three lists, the delayed ones, and what each consumer has in flight (where the field `#` is no message).
static COUNT: Script = Script::new(
    "count",
    "local sum = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2]) + redis.call('LLEN', KEYS[3])
     sum = sum + redis.call('ZCARD', KEYS[4])
     for i = 5, #KEYS do sum = sum + math.max(redis.call('HLEN', KEYS[i]) - 1, 0) end
     return sum",
);

pub(crate) struct Look {
    pub(crate) connection: Connection,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

impl Look {
    /// Waits until the queue holds nothing but dead letters.
    pub(crate) async fn until_empty(&self) {
        eventually("an empty queue", async || (self.held().await? == 0).then_some(())).await;
    }

    /// Waits for the number of dead letters.
    pub(crate) async fn dead(&self) -> i64 {
        let count = async || {
            let count = self.connection.execute(Command::new("HLEN").key(self.keys.dead_body())).await;
            count.ok()?.as_int().ok()
        };
        eventually("the dead letters", count).await
    }

    /// All messages but the dead ones, counted at one instant: they move while one looks.
    async fn held(&self) -> Option<i64> {
        let consumers = Command::new("ZRANGE").key(self.keys.consumers()).arg("0").arg("-1");
        let consumers = self.connection.execute(consumers).await.ok()?.into_array().ok()?;
        let mut count =
            COUNT.call().keys([self.keys.public(), self.keys.redo(), self.keys.woken(), self.keys.delayed()]);
        for cid in consumers {
            count = count.key(self.keys.inflight(&cid.into_string().ok()?));
        }
        self.connection.invoke(count).await.ok()?.as_int().ok()
    }
}

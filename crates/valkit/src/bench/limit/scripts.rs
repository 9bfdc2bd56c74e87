//! The scripts that limits are measured against.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use valkey_connection::{Script, ScriptCall};
use valkey_ratelimit::Quota;

static PLAIN: Script = Script::new("plain", include_str!("../../../lua/plain.lua"));
static NOTHING: Script = Script::new("nothing", "return 1");

/// The least that a script call costs.
pub(crate) fn nothing() -> ScriptCall {
    NOTHING.call().key("bench")
}

/// The usual sliding log; it answers 1 if the request is admitted.
pub(crate) fn plain(key: &str, quota: Quota) -> ScriptCall {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = format!("{}.{:06}", now.as_secs(), now.subsec_micros());
    let member = format!("{now}-{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let window = quota.window().as_secs_f64().to_string();
    PLAIN.call().key(key).arg(now).arg(window).arg(quota.limit()).arg(member)
}

//! The Lua scripts. Each file says in its first lines what it moves, takes, returns and keeps.

use valkey_connection::Script;

pub(crate) static INBOX_APPLY: Script = Script::new("inbox_apply", include_str!("../lua/inbox_apply.lua"));
pub(crate) static INBOX_CLAIM: Script = Script::new("inbox_claim", include_str!("../lua/inbox_claim.lua"));
pub(crate) static INBOX_FINISH: Script = Script::new("inbox_finish", include_str!("../lua/inbox_finish.lua"));
pub(crate) static JOIN: Script = Script::new("join", include_str!("../lua/join.lua"));
pub(crate) static REAP: Script = Script::new("reap", include_str!("../lua/reap.lua"));
pub(crate) static RELEASE: Script = Script::new("release", include_str!("../lua/release.lua"));
pub(crate) static TAKE: Script = Script::new("take", include_str!("../lua/take.lua"));

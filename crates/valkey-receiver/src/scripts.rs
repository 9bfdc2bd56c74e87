//! The Lua scripts. Each file says in its first lines what it moves, takes, returns and keeps.

use valkey_connection::Script;

pub(crate) static JOIN: Script = Script::new("join", include_str!("../lua/join.lua"));
pub(crate) static REAP: Script = Script::new("reap", include_str!("../lua/reap.lua"));
pub(crate) static RELEASE: Script = Script::new("release", include_str!("../lua/release.lua"));
pub(crate) static TAKE: Script = Script::new("take", include_str!("../lua/take.lua"));

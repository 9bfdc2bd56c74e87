//! The scripts under test, as they are, or with something done to them.

use valkey_connection::Script;

#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) join: Script,
    pub(crate) take: Script,
    pub(crate) reap: Script,
    pub(crate) release: Script,
    pub(crate) push: Script,
    pub(crate) control: Script,
    pub(crate) replay: Script,
    pub(crate) dead_remove: Script,
    pub(crate) purge: Script,
    pub(crate) hand_back: Script,
    pub(crate) hand_back_raw: Script,
}

impl Scripts {
    /// As they are.
    pub(crate) fn ours() -> Self {
        Self::with(|_, source| source)
    }

    /// With `change` made to each, given its name and its source.
    pub(crate) fn with(change: impl Fn(&'static str, &'static str) -> &'static str) -> Self {
        let script = |name, source| Script::new(name, change(name, source));
        Self {
            join: script("join", include_str!("../../lua/join.lua")),
            take: script("take", include_str!("../../lua/take.lua")),
            reap: script("reap", include_str!("../../lua/reap.lua")),
            release: script("release", include_str!("../../lua/release.lua")),
            push: script("push", include_str!("../../../valkey-sender/lua/push.lua")),
            control: script("control", include_str!("../../../valkey-admin/lua/control.lua")),
            replay: script("replay", include_str!("../../../valkey-admin/lua/replay.lua")),
            dead_remove: script("dead_remove", include_str!("../../../valkey-admin/lua/dead_remove.lua")),
            purge: script("purge", include_str!("../../../valkey-admin/lua/purge.lua")),
            hand_back: script("hand_back", include_str!("../../../valkey-admin/lua/hand_back.lua")),
            hand_back_raw: script(
                "hand_back_raw",
                include_str!("../../../valkey-admin/lua/hand_back_raw.lua"),
            ),
        }
    }
}

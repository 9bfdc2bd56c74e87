//! All that one double has in memory.

use crate::freeipa::config::Config;
use crate::freeipa::directory::{Container, Directory};
use crate::freeipa::kdc::Outages;
use crate::freeipa::session::Sessions;
use crate::freeipa::stats::Stats;

/// All that one double has in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    pub(crate) sessions: Sessions,
    pub(crate) outages: Outages,
    pub(crate) stats: Stats,
}

/// Why a session does not get through to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barred {
    /// The directory does not know which of two entries this is, or knows none.
    Denied,
    /// The account was disabled since it logged in.
    Disabled,
}

// === impl State ===

impl State {
    /// Whether the directory lets a session's user in.
    pub(crate) fn bar(&self, login: &str) -> Option<Barred> {
        let Some(entry) = self.directory.active(login) else { return Some(Barred::Denied) };
        // A stage user of the same principal: the search for whom the ticket is of finds two, and takes neither.
        let twin = self.directory.of(Container::Staged).into_iter().any(|staged| {
            staged.get("krbprincipalname").iter().any(|name| entry.get("krbprincipalname").contains(name))
        });
        if twin {
            return Some(Barred::Denied);
        }
        entry.is_disabled().then_some(Barred::Disabled)
    }
}

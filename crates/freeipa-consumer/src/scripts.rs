//! The scripts of this crate.

use valkey_connection::Script;

pub(crate) static SAVE: Script = Script::new("registration_save", include_str!("../lua/save.lua"));
pub(crate) static RENEW: Script = Script::new("registration_renew", include_str!("../lua/renew.lua"));
pub(crate) static RELEASE: Script = Script::new("registration_release", include_str!("../lua/release.lua"));
pub(crate) static ADMIT: Script = Script::new("service_login_admit", include_str!("../lua/admit.lua"));
pub(crate) static SETTLE: Script = Script::new("service_login_settle", include_str!("../lua/settle.lua"));

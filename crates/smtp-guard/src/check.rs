//! `--check`: what would run, and whether it could.

use std::io::{self, Write as _};

use smtp_guard::{Guard, GuardSettings};

use crate::exit::Exit;

/// Reaches Valkey, and says what would run. It listens nowhere: a node that runs is not disturbed.
pub(crate) async fn run(settings: GuardSettings) -> Result<Exit, (Exit, String)> {
    let node = Guard::check(&settings).await.map_err(|error| (Exit::of(&error), error.to_string()))?;
    let _ = writeln!(io::stdout(), "node {node}\n{}all is well", describe(&settings));
    Ok(Exit::Ok)
}

fn describe(settings: &GuardSettings) -> String {
    let GuardSettings { resources, gate, connection, .. } = settings;
    let on = |list: &dyn std::fmt::Display| format!("{list}").replace(',', ", ");
    let mut text = format!("valkey {}, keys {}*\n", on(&connection.address), resources.valkey_key_prefix);
    if gate.listen.is_empty() {
        text.push_str("no gate\n");
    } else {
        text.push_str(&format!(
            "gate {} -> {}{}\n     {} connections, {} of an address; {} an address in {}; without Valkey: {}\n",
            on(&gate.listen),
            gate.backend,
            if gate.backend_proxy { " with PROXY v2" } else { "" },
            resources.max_connections,
            resources.max_connections_per_ip,
            resources.max_requests_per_window,
            valkey_config::format_duration(resources.rate_limit_window),
            valkey_config::Setting::show(&gate.on_unavailable),
        ));
    }
    text
}

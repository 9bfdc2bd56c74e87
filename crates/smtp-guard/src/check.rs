//! `--check`: what would run, and whether it could.

use std::io::{self, Write as _};

use smtp_guard::{Guard, GuardSettings};
use valkey_config::{Setting as _, format_duration};
use valkit_service::Exit;

use crate::exit;

/// Reaches Valkey, and says what would run. It listens nowhere: a node that runs is not disturbed.
pub(crate) async fn run(settings: GuardSettings) -> Result<Exit, (Exit, String)> {
    let node = Guard::check(&settings).await.map_err(|error| (exit::of(&error), error.to_string()))?;
    let _ = writeln!(io::stdout(), "node {node}\n{}\nall is well", describe(&settings));
    Ok(Exit::Ok)
}

fn describe(settings: &GuardSettings) -> String {
    let GuardSettings { resources, gate, policy, http, connection, .. } = settings;
    let on = |list: &dyn std::fmt::Display| format!("{list}").replace(',', ", ");
    let mut lines =
        vec![format!("valkey {}, keys {}*", on(&connection.address), resources.valkey_key_prefix)];
    if gate.listen.is_empty() {
        lines.push("no gate".to_owned());
    } else {
        let proxy = if gate.backend_proxy { " with PROXY v2" } else { "" };
        lines.push(format!("gate {} -> {}{proxy}", on(&gate.listen), gate.backend));
        lines.push(format!(
            "     {} connections, {} of an address; {} an address in {}; without Valkey: {}",
            resources.max_connections,
            resources.max_connections_per_ip,
            resources.max_requests_per_window,
            format_duration(resources.rate_limit_window),
            gate.on_unavailable.show(),
        ));
    }
    if policy.listen.is_empty() {
        let idle = match policy.limits.len() {
            0 => "",
            _ => ": policy.listen is empty, so nobody asks the limits of [policy.limits]",
        };
        lines.push(format!("no policy service{idle}"));
    } else {
        let names: Vec<&str> = policy.limits.keys().map(String::as_str).collect();
        lines.push(format!("policy service {}: {}", on(&policy.listen), names.join(", ")));
    }
    lines.extend(http.listen.map(|listen| format!("metrics and health {listen}")));
    lines.join("\n")
}

//! What a node says of itself over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the text format of Prometheus |
//! | `/healthz` | `200` as long as the process lives |
//! | `/readyz` | `200` if this node should get clients, else `503`; how the store does, as JSON |
//!
//! A node is ready without its store, too, as long as its gate lets clients pass then: it says `"degraded":true`. It is not ready
//! once it drains.

use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tracing::warn;
use valkey_ratelimit::{Health, Limiter, NodeId};
use valkit_service::http::{Http, Readiness, Site};

use crate::guard::GuardError;
use crate::settings::{GuardSettings, OnUnavailable};
use crate::store::Store;
use crate::telemetry;

/// What a node says.
#[derive(Debug)]
pub(crate) struct NodeSite {
    node: NodeId,
    store: Store,
    /// Whether clients are sent away while the store is away.
    needs_store: bool,
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Body<'a> {
    status: &'static str,
    degraded: bool,
    node: &'a str,
    store: &'static str,
}

/// Listens, if the settings say where; also installs the recorder of this process's metrics, unless it has another.
///
/// # Errors
/// The address is taken, or not ours.
pub(crate) async fn bind(
    settings: &GuardSettings,
    node: &NodeId,
    store: Store,
) -> Result<Option<Http<NodeSite>>, GuardError> {
    let Some(address) = settings.http.listen else { return Ok(None) };
    let has_gate = !settings.gate.listen.is_empty();
    let needs_store = has_gate && settings.gate.on_unavailable == OnUnavailable::Deny;
    let site = NodeSite { node: node.clone(), store, needs_store };
    let http = Http::bind(address, site).await.map_err(|source| GuardError::Listen {
        section: "http.listen",
        address: address.to_string(),
        source,
    })?;
    if telemetry::recorder().is_none() {
        warn!("this process has another recorder of metrics: /metrics stays empty");
    }
    telemetry::begin(node);
    Ok(Some(http))
}

// === impl NodeSite ===

impl NodeSite {
    fn health(&self) -> Option<Health> {
        self.store.limiter().map(Limiter::health)
    }
}

impl Site for NodeSite {
    fn metrics(&self, _is_draining: bool) -> Option<String> {
        telemetry::state(self.health());
        telemetry::slots_held(self.store.slots().holdings().iter().map(|(_, held)| held).sum());
        telemetry::recorder().map(PrometheusHandle::render)
    }

    fn keep_up(&self) {
        if let Some(recorder) = telemetry::recorder() {
            recorder.run_upkeep();
        }
    }

    fn readiness(&self, is_draining: bool) -> Readiness {
        let health = self.health();
        let store = match health {
            Some(Health::Healthy) => "healthy",
            Some(Health::Degraded) => "degraded",
            Some(Health::Recovering) => "recovering",
            Some(_) => "away",
            None => "connecting",
        };
        let is_away = matches!(store, "away" | "connecting");
        let status = match (is_draining, is_away && self.needs_store) {
            (true, _) => "draining",
            (false, true) => "unavailable",
            (false, false) => "ready",
        };
        let degraded = health != Some(Health::Healthy);
        let body = Body { status, degraded, node: self.node.as_str(), store };
        // Texts and a boolean always have a JSON form.
        let document = serde_json::to_string(&body).unwrap_or_default();
        Readiness { is_ready: status == "ready", document }
    }
}

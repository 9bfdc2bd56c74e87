//! What a consumer says of itself over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the text format of Prometheus |
//! | `/healthz` | `200` as long as the process lives |
//! | `/readyz` | `200` if registrations are taken, else `503`; how it stands, as JSON |
//!
//! A consumer that is parked is not ready, and says why. That is for people and dashboards: to restart it helps nobody, so liveness is
//! `/healthz`.

use std::net::SocketAddr;

use freeipa_client::Client;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tracing::warn;
use valkit_service::http::{Http, Readiness, Site};

use crate::consumer::ConsumerError;
use crate::park::{Park, Standing, Trouble, TroubleKind};
use crate::telemetry;

/// The one status with which registrations are taken and can be served.
const READY: &str = "ready";

/// What a consumer says.
#[derive(Debug)]
pub(crate) struct ConsumerSite {
    park: Park,
    client: Client,
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Body {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

/// Listens; also installs the recorder of this process's metrics, unless it has another.
///
/// # Errors
/// The address is taken, or not ours.
pub(crate) async fn bind(
    address: SocketAddr,
    park: Park,
    client: Client,
) -> Result<Http<ConsumerSite>, ConsumerError> {
    let http = Http::bind(address, ConsumerSite { park, client })
        .await
        .map_err(|source| ConsumerError::Listen { address, source })?;
    if telemetry::recorder().is_none() {
        warn!("this process has another recorder of metrics: /metrics stays empty");
    }
    Ok(http)
}

// === impl ConsumerSite ===

impl Site for ConsumerSite {
    fn metrics(&self, is_draining: bool) -> Option<String> {
        telemetry::directory(&self.client);
        telemetry::parked(self.park.standing() != Standing::Open);
        telemetry::ready(self.body(is_draining).is_ready());
        telemetry::recorder().map(PrometheusHandle::render)
    }

    fn keep_up(&self) {
        if let Some(recorder) = telemetry::recorder() {
            recorder.run_upkeep();
        }
    }

    fn readiness(&self, is_draining: bool) -> Readiness {
        let body = self.body(is_draining);
        // Texts and a number always have a JSON form.
        let document = serde_json::to_string(&body).unwrap_or_default();
        Readiness { is_ready: body.is_ready(), document }
    }
}

impl ConsumerSite {
    fn body(&self, is_draining: bool) -> Body {
        let ready = |status| Body { status, kind: None, reason: None, seconds: None };
        let not = |status, Trouble { kind, reason }: Trouble, since: std::time::SystemTime| Body {
            status,
            kind: Some(kind.as_str()),
            reason: Some(reason),
            seconds: since.elapsed().ok().map(|elapsed| elapsed.as_secs()),
        };
        match (is_draining, self.park.standing()) {
            (true, _) => ready("draining"),
            (false, Standing::Open) => match self.park.unserved().first() {
                None => ready(READY),
                Some(error) => Body {
                    kind: Some(TroubleKind::Store.as_str()),
                    reason: Some(error.to_string()),
                    ..ready("unserved")
                },
            },
            (false, Standing::Parked { trouble, since }) => not("parked", trouble, since),
            (false, Standing::Trying { trouble, since }) => not("trying", trouble, since),
        }
    }
}

// === impl Body ===

impl Body {
    fn is_ready(&self) -> bool {
        self.status == READY
    }
}

//! How do I limit the clients of a web server by their address?
//!
//! `cargo run -p valkey-ratelimit --example axum -- valkey://localhost:6379`, then `curl -i http://127.0.0.1:3000` six times.
//!
//! The address is that of the connection. Behind a proxy that is the proxy's: take the client's from what your proxy
//! writes, such as `X-Forwarded-For`, and only if the connection is from a proxy that you trust. Anybody can send that header.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{Limiter, RateLimitLayer, Rule, Subject, Toll};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "valkey://localhost:6379".to_owned());
    let limiter = Limiter::new(Connection::connect(&ConnectionSettings::from_url(&url)?).await?);
    let rule = Rule::new("per-ip".parse()?, "5/10s".parse()?);

    let limits = RateLimitLayer::http(limiter, move |request: &Request| {
        let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        Some(Toll::new(&rule, Subject::ip(peer.ip())))
    });
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .layer(limits)
        .route("/health", get(async || "ok\n")); // after the layer: not limited

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

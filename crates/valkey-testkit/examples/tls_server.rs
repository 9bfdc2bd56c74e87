//! Starts a server that speaks TLS, says where it is, and ends it when standard input ends.
//!
//! ```text
//! $ cargo run -p valkey-testkit --example tls_server -- --appendonly yes
//! valkeys://172.17.0.2:6379 /tmp/.tmpXyZ/ca.pem
//! ```
//!
//! Directives of `valkey.conf` follow as on the command line of `valkey-server`.

use std::io::{Read, Write};

use valkey_testkit::TestServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut builder = TestServer::builder().tls();
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return Err(format!("no value for {}", pair[0]).into()) };
        builder = builder.config(name.trim_start_matches("--"), value);
    }
    let server = builder.start().await?;
    let authority = server.tls_ca_path().ok_or("a server with TLS has an authority")?;
    let mut out = std::io::stdout();
    writeln!(out, "{} {}", server.url(), authority.display())?;
    out.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

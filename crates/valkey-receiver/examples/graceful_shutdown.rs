//! How do I stop without losing or repeating work, when Kubernetes sends SIGTERM?
//!
//! Nothing new is started, prefetched messages go back to the queue uncounted, running handlers get `DRAIN_TIMEOUT`
//! (let it be shorter than the pod's `terminationGracePeriodSeconds`), then they are dropped and their messages go
//! back, too. A second signal ends it at once; what was running is delivered again after the lease.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use valkey_config::Sources;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_receiver::{Message, Receiver, ReceiverSettings};

async fn slow(message: Message) {
    println!("working on {}", message.envelope().id());
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("done with {}", message.envelope().id());
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let loaded = Sources::new("VALKEY_RECEIVER_")
        .env()
        .load_with_notices::<(ConnectionSettings, ReceiverSettings)>()?;
    for notice in &loaded.notices {
        eprintln!("warning: {notice}");
    }
    let (connection, receiver) = loaded.settings;
    let connection = Connection::connect(&connection).await?;
    let receiver = Receiver::builder(&connection).settings(receiver).start().await?;

    let mut terminate = signal(SignalKind::terminate())?;
    let (stopping, stop_begun) = tokio::sync::oneshot::channel::<()>();
    let service = receiver.serve(slow).with_graceful_shutdown(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        println!("stopping");
        let _ = stopping.send(());
    });
    let impatience = async move {
        let _ = stop_begun.await;
        // Opened only now: it does not see the first signal.
        let mut again = signal(SignalKind::terminate()).expect("it could be listened for before");
        tokio::select! {
            _ = again.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    tokio::select! {
        report = service => {
            let report = report?;
            println!("{report}");
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = impatience => Ok(ExitCode::FAILURE),
    }
}

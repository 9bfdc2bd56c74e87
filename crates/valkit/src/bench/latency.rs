//! How long a message takes to a consumer that has nothing else to do.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use valkey_connection::Command;
use valkey_receiver::{Message, Receiver};

use super::lab::Lab;
use crate::failure::Failure;

/// Between two messages: long enough that the consumer is parked again.
const PAUSE: Duration = Duration::from_millis(5);

/// Of a bare `BRPOP` loop: the least there is, and nothing is safe.
pub(crate) async fn bare(lab: &Lab, samples: usize) -> Result<Vec<Duration>, Failure> {
    lab.clear().await?;
    let mut link = lab.connection.dedicated().await?;
    let key = lab.queue.keys().public().to_owned();
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let consumer = tokio::spawn(async move {
        for _ in 0..samples {
            loop {
                if !link.execute(Command::new("BRPOP").key(key.as_str()).arg(1)).await?.is_nil() {
                    break;
                }
            }
            let _ = arrived.send(Instant::now());
        }
        link.close().await;
        Ok::<(), Failure>(())
    });
    let latencies = produce(lab, samples, arrivals).await?;
    consumer.await.map_err(|error| Failure::Failed(error.to_string()))??;
    Ok(latencies)
}

/// Of our receiver: parked, woken, claimed, decoded, handed to the handler.
pub(crate) async fn ours(lab: &Lab, samples: usize) -> Result<Vec<Duration>, Failure> {
    lab.clear().await?;
    let failed = |error: valkey_receiver::ReceiveError| Failure::Failed(error.to_string());
    let receiver =
        Receiver::builder(&lab.connection).queue(lab.queue.clone()).start().await.map_err(failed)?;
    let stop = receiver.handle();
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let handler = move |_: Message| {
        let _ = arrived.send(Instant::now());
        async {}
    };
    let service = tokio::spawn(receiver.serve(handler).into_future());
    let latencies = produce(lab, samples, arrivals).await?;
    stop.drain();
    let report = service.await.map_err(|error| Failure::Failed(error.to_string()))?.map_err(failed)?;
    if !report.is_clean() {
        return Err(Failure::Failed(format!("not clean: {report}")));
    }
    lab.clear().await?;
    Ok(latencies)
}

async fn produce(
    lab: &Lab,
    samples: usize,
    mut arrivals: mpsc::UnboundedReceiver<Instant>,
) -> Result<Vec<Duration>, Failure> {
    let message = lab.encoded()?;
    let mut latencies = Vec::with_capacity(samples);
    // The first park of either side.
    tokio::time::sleep(20 * PAUSE).await;
    for _ in 0..samples {
        tokio::time::sleep(PAUSE).await;
        let sent = Instant::now();
        lab.connection
            .execute(Command::new("LPUSH").key(lab.queue.keys().public()).arg(message.clone()))
            .await?;
        let arrived = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await;
        match arrived {
            Ok(Some(at)) => latencies.push(at.saturating_duration_since(sent)),
            _ => return Err(Failure::Failed("a message did not arrive within 10 s".to_owned())),
        }
    }
    Ok(latencies)
}

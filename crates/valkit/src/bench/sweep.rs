//! `valkit bench sweep`: what becomes of the rates when one thing grows.

mod axis;
mod report;

use std::{path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use valkey_connection::{Connection, ConnectionSettings};
use valkey_sender::Durability;

use self::{
    axis::{Axis, Curve},
    report::{Report, Series},
};
use super::{lab::Lab, load::Measured, machine::Machine, relay::Relay};
use crate::{context::Context, exit::Exit, failure::Failure};

pub(crate) const EXAMPLES: &str = "\
One thing grows and the rest stays: producers, consumers, waiting (messages in the queue), size (of a message), distance \
(injected round trip time), encryption (plain, then TLS: name the same machine's other port with --tls-url). Each point is \
measured in every round, and its median counts.

Waiting goes up to ten million messages of 256 bytes, which take 2.7 GB of the server's memory.

It works on queues of its own, bench-*, and removes them. Not for a server that is in use: it takes all it can get.

Examples:
  valkit bench sweep --url valkey://127.0.0.1:6379 --svg plots/
  valkit bench sweep consumers waiting -o json
  valkit bench sweep producers --durability replicated:1
  valkit bench sweep encryption --tls-url valkeys://127.0.0.1:6380";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What grows; all that can be measured here if none is named
    #[arg(value_enum, value_name = "AXIS")]
    axes: Vec<Axis>,
    /// Messages a point and round; slow ones take fewer
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: usize,
    /// Rounds; odd, so that there is a middle one
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Directory for a plot of each axis
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// How safe our sends are to be before they are answered: fast, durable or replicated:N
    #[arg(long, value_name = "HOW", default_value_t = Durability::Fast)]
    durability: Durability,
    /// The same server, or one like it, by TLS; certificates as for any connection (`VALKEY_TLS_CA_FILE`)
    #[arg(long, value_name = "URL")]
    tls_url: Option<String>,
    /// A smoke test of some seconds; its figures say little
    #[arg(long)]
    quick: bool,
}

/// Where the points of an axis are measured.
struct Site<'a> {
    connection: &'a Connection,
    settings: ConnectionSettings,
    encrypted: Option<Connection>,
    durability: Durability,
    messages: usize,
    quick: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { mut axes, messages, rounds, svg, durability, tls_url, quick } = arguments;
    let (messages, rounds) = if quick { (2_000, 1) } else { (messages.max(10_000), rounds.max(1)) };
    let settings = context.settings()?.connection;
    let can_be_measured = |axis: &Axis| match axis {
        Axis::Distance => Relay::server(&settings).map(drop),
        Axis::Encryption if tls_url.is_none() => Err(Failure::usage(
            "encryption is measured against a second URL",
            "name the same server's TLS port: --tls-url valkeys://host:port",
        )),
        _ => Ok(()),
    };
    if axes.is_empty() {
        axes = Axis::ALL.into_iter().filter(|axis| can_be_measured(axis).is_ok()).collect();
    }
    axes.iter().try_for_each(can_be_measured)?;
    let connection = Connection::connect(&settings).await?;
    let encrypted = match &tls_url {
        Some(url) => Some(encrypted(&settings, url).await?),
        None => None,
    };
    if let Some(directory) = &svg {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::io("making the directory of the plots", error))?;
    }
    let site = Site { connection: &connection, settings, encrypted, durability, messages, quick };

    let points: usize = axes.iter().map(|axis| axis.places(quick).len() * axis.curves().len()).sum();
    let bar = ProgressBar::new((rounds * points) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut series: Vec<Series> = axes.iter().map(|axis| Series::new(*axis, quick)).collect();
    for _ in 0..rounds {
        for series in &mut series {
            for (at, place) in series.axis().places(quick).into_iter().enumerate() {
                let lab = site.lab(series.axis(), place).await?;
                for curve in series.axis().curves() {
                    bar.set_message(format!("{}: {}", series.axis().title(), curve.name));
                    series.add(at, curve, site.measure(&lab, series.axis(), place, curve).await?);
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();

    let report = Report::new(Machine::of(&connection).await?, durability, rounds, series);
    if let Some(directory) = &svg {
        report.draw(directory)?;
    }
    context.output.object(&report, || report.text(&context.output))?;
    Ok(Exit::Ok)
}

async fn encrypted(settings: &ConnectionSettings, url: &str) -> Result<Connection, Failure> {
    let address = ConnectionSettings::from_url(url)?.address;
    let connection = Connection::connect(&settings.clone().address(address)).await?;
    if !connection.settings().uses_tls() {
        return Err(Failure::usage(
            "--tls-url names a server without TLS",
            "its URL begins with valkeys:// or rediss://",
        ));
    }
    Ok(connection)
}

// === impl Site ===

impl Site<'_> {
    async fn lab(&self, axis: Axis, place: f64) -> Result<Lab, Failure> {
        let connection = match (axis, &self.encrypted) {
            (Axis::Distance, _) if place > 0.0 => self.distant(Duration::from_secs_f64(place / 1e3)).await?,
            (Axis::Encryption, Some(encrypted)) if place > 0.0 => encrypted.clone(),
            _ => self.connection.clone(),
        };
        Lab::new(connection, axis::BATCH, axis.message_bytes(place))?.with_durability(self.durability).await
    }

    /// A connection through a relay.
    async fn distant(&self, round_trip: Duration) -> Result<Connection, Failure> {
        let relay = Relay::start(Relay::server(&self.settings)?, round_trip)?;
        Ok(Connection::connect(&relay.through(&self.settings)?).await?)
    }

    async fn measure(&self, lab: &Lab, axis: Axis, place: f64, curve: &Curve) -> Result<Measured, Failure> {
        axis.load(place, curve, self.messages, self.quick).measure(lab).await
    }
}

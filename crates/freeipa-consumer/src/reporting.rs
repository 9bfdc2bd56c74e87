//! The way of telling applicants, made of the settings.

use std::sync::Arc;

use valkey_connection::Connection;
use valkey_envelope::PayloadCodec;
use valkey_sender::SenderSettings;

use crate::consumer::ConsumerError;
use crate::settings::{ReportSettings, ReportWay};
use crate::status::{Nobody, StatusQueue, StatusReporter, Telegram, TelegramError};

/// The way that the settings name. Nothing is sent yet.
///
/// # Errors
/// The texts or the settings are wrong.
pub(crate) fn reporter(
    settings: &ReportSettings,
    connection: &Connection,
    codecs: &[Arc<dyn PayloadCodec>],
) -> Result<Arc<dyn StatusReporter>, ConsumerError> {
    let texts = Arc::new(settings.texts().map_err(ConsumerError::Texts)?);
    Ok(match (settings.via, &settings.status_queue) {
        (ReportWay::Telegram, _) => {
            let telegram = settings.telegram().ok_or(TelegramError::Token)?;
            Arc::new(Telegram::new(&telegram, texts)?)
        }
        (ReportWay::Queue, Some(queue)) => {
            let sender = SenderSettings::default();
            let queue =
                StatusQueue::open(connection.clone(), queue.clone(), &sender, codecs.iter().cloned(), texts);
            Arc::new(queue.with_passwords(settings.status_queue_passwords))
        }
        _ => Arc::new(Nobody),
    })
}

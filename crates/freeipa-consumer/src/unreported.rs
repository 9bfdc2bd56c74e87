//! The applicants who do not know what became of their registrations, and will not be told: for operators, who may.

use jiff::Timestamp;
use serde::Serialize;
use valkey_connection::Connection;

use crate::registration::RegistrationId;
use crate::settings::Settings;
use crate::state::{Records, RegistrationRecord, StateError, Step};

/// Why nobody tries any more where Telegram gives no reason.
const GAVE_UP: &str = "gave_up";

/// All of them that were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unreported {
    /// The oldest first.
    pub applicants: Vec<UnreportedApplicant>,
    /// Whether there are no more.
    pub is_complete: bool,
}

/// One of them. Who it is, the directory knows: nothing about the person is here but the login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnreportedApplicant {
    /// The registration, as in `userclass` behind `tgreg:`.
    pub registration: String,
    /// What the applicant would name it by.
    pub reference: String,
    /// `account`: there is one; `none`: there is none, and will not be; `begun`: there may be one, and the dead letter `untold` can be replayed.
    pub came_to: &'static str,
    /// The account's login, if it has come so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Why: `blocked`, `never_met`, `deactivated`, `no_chat`, `not_in_chat`, `rejected`, or `gave_up`, for which there was no other reason
    /// than that it failed to the end.
    pub why: &'static str,
    /// Since when, by Valkey's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Looks for them, and gives at most `most`.
///
/// # Errors
/// The settings of the connection are wrong, or the store has not answered, or refused: it needs `SCAN`.
pub async fn find(settings: &Settings, most: usize) -> Result<Unreported, StateError> {
    let connection = Connection::connect(&settings.connection).await?;
    let consumer = &settings.consumer;
    let records = Records::new(connection.clone(), consumer.key_prefix.as_str(), consumer.record_retention);
    let found = records.untold(most).await;
    connection.close().await;
    let found = found?;
    let applicants = found.registrations.into_iter().map(|(id, record)| UnreportedApplicant::of(id, record));
    Ok(Unreported { applicants: applicants.collect(), is_complete: found.is_complete })
}

// === impl Unreported ===

impl Unreported {
    /// As a table for people.
    pub fn table(&self) -> String {
        if self.applicants.is_empty() {
            return "nobody\n".to_owned();
        }
        let mut text = row("reference", "since", "why", "came to", "login", "registration");
        for applicant in &self.applicants {
            let since = applicant.since.map(|since| since.strftime("%F %TZ").to_string()).unwrap_or_default();
            let login = applicant.login.as_deref().unwrap_or("-");
            text += &row(
                &applicant.reference,
                &since,
                applicant.why,
                applicant.came_to,
                login,
                &applicant.registration,
            );
        }
        if !self.is_complete {
            text += "and more: --limit shows them\n";
        }
        text
    }
}

fn row(reference: &str, since: &str, why: &str, came_to: &str, login: &str, registration: &str) -> String {
    format!("{reference:<9}  {since:<20}  {why:<11}  {came_to:<7}  {login:<32}  {registration}\n")
}

// === impl UnreportedApplicant ===

impl UnreportedApplicant {
    fn of(id: RegistrationId, record: RegistrationRecord) -> Self {
        let came_to = match record.step {
            Step::Done => "account",
            Step::Dead => "none",
            _ => "begun",
        };
        let since = record.updated.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
        Self {
            registration: id.to_string(),
            reference: id.reference().to_string(),
            came_to,
            login: record.login.filter(|_| record.step != Step::Dead),
            why: record.unreported.map_or(GAVE_UP, |why| why.as_str()),
            since,
        }
    }
}

//! One registration of a person at a time.

use std::time::Duration;

use valkey_connection::{Command, Connection, Error};

use super::record::Token;
use crate::registration::Applicant;
use crate::scripts::{RELEASE, RENEW};

/// Turns of applicants: two registrations of one person are worked on one after the other, whichever consumers have them.
///
/// What asks "does this person have an account" and then makes one would otherwise make two. A turn ends by itself when its
/// holder is silent; it is no fence, and what must not be done twice still asks the directory.
#[derive(Clone, Debug)]
pub struct Turns {
    connection: Connection,
    prefix: String,
    lease: Duration,
}

/// A turn that is held. Dropped without [`release`](Self::release), it is free when its lease ends.
#[derive(Debug)]
#[must_use = "a turn that is not released holds the applicant up until its lease ends"]
pub struct Turn {
    turns: Turns,
    key: String,
    token: Token,
}

impl Turns {
    /// Turns under `prefix`, each held for `lease` unless it is renewed.
    pub fn new(connection: Connection, prefix: impl Into<String>, lease: Duration) -> Self {
        Self { connection, prefix: prefix.into(), lease: lease.max(Duration::from_secs(1)) }
    }

    /// The key of a person's turn, which has a hash of the id and not the id: see [`Applicant`].
    pub fn key(&self, user_id: i64) -> String {
        format!("{}applicant:{}", self.prefix, Applicant::of(user_id).hex())
    }

    /// Takes a person's turn; `None` if somebody else has it.
    ///
    /// # Errors
    /// The store's. It may have been taken, and is free when its lease ends.
    pub async fn take(&self, user_id: i64) -> Result<Option<Turn>, Error> {
        let turn = Turn { turns: self.clone(), key: self.key(user_id), token: Token::new() };
        let command = Command::new("SET").key(turn.key.as_str()).arg(turn.token.as_str()).arg("NX");
        let reply = self.connection.execute(command.arg("PX").arg(self.milliseconds())).await?;
        Ok(reply.is_ok().then_some(turn))
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
    }
}

impl Turn {
    /// Holds it for another lease from now; `false` if it was lost.
    ///
    /// # Errors
    /// The store's. It is held for as long as before, or longer.
    pub async fn renew(&self) -> Result<bool, Error> {
        let call =
            RENEW.call().key(self.key.as_str()).arg(self.token.as_str()).arg(self.turns.milliseconds());
        Ok(self.turns.connection.invoke(call).await?.as_int()? == 1)
    }

    /// Gives it back; `false` if it was lost before.
    ///
    /// # Errors
    /// The store's. It is free when its lease ends, at the latest.
    pub async fn release(self) -> Result<bool, Error> {
        let call = RELEASE.call().key(self.key.as_str()).arg(self.token.as_str());
        Ok(self.turns.connection.invoke(call).await?.as_int()? == 1)
    }
}

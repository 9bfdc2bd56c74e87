//! What the Sentinels say, and whom to believe. Pure: no clock, no sockets.

use fred::types::config::{Server, ServerConfig};

use crate::error::{Error, ErrorKind, Progress};

/// The primary by somebody's word. Each failover has a higher epoch than the one before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Primary {
    pub(super) server: Server,
    pub(super) epoch: u64,
}

impl Primary {
    pub(super) fn server_config(&self) -> ServerConfig {
        ServerConfig::Centralized { server: self.server.clone() }
    }

    /// For humans.
    pub(crate) fn address(&self) -> String {
        self.server.to_string()
    }
}

/// The last word of one Sentinel.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Unheard,
    Says(Primary),
    Failed(Error),
}

/// The words of all, and the conclusion.
#[derive(Debug)]
pub(super) struct Board {
    hosts: Vec<Server>,
    words: Vec<Word>,
    primary: Option<Primary>,
}

impl Board {
    pub(super) fn new(hosts: Vec<Server>) -> Self {
        let words = vec![Word::Unheard; hosts.len()];
        Self { hosts, words, primary: None }
    }

    /// Writes down what Sentinel number `who` says; tells whether another primary is believed in from now on.
    pub(super) fn note(&mut self, who: usize, word: Word) -> bool {
        self.words[who] = word;
        let best = self.believable();
        let changed = best.is_some() && best != self.primary;
        if changed {
            self.primary = best;
        }
        changed
    }

    /// Who was believed in last, whether or not anybody still says so.
    pub(super) fn primary(&self) -> Option<&Primary> {
        self.primary.as_ref()
    }

    /// The primary, if somebody who is there names one.
    pub(super) fn vouched(&self) -> Option<&Primary> {
        self.primary.as_ref().filter(|_| self.said().next().is_some())
    }

    /// Whether more than half of all have named a primary.
    pub(super) fn has_majority(&self) -> bool {
        self.is_majority(self.said().count())
    }

    /// Whether each has been heard, or tried in vain.
    pub(super) fn is_complete(&self) -> bool {
        self.words.iter().all(|word| !matches!(word, Word::Unheard))
    }

    /// A Sentinel that was cut off goes on telling what it knew. So the highest epoch is believed, also against the rest;
    /// and what was believed once is given up for a lower one only when nobody there tells of a higher one and most say so:
    /// somebody has set them up anew.
    fn believable(&self) -> Option<Primary> {
        let best = self.said().max_by_key(|said| (said.epoch, self.votes(said)))?;
        let Some(known) = &self.primary else { return Some(best.clone()) };
        let newer = best.epoch > known.epoch
            || self.is_majority(self.votes(best))
            || best.epoch == known.epoch && self.votes(known) == 0;
        Some(if newer { best } else { known }.clone())
    }

    fn said(&self) -> impl Iterator<Item = &Primary> {
        self.words.iter().filter_map(|word| match word {
            Word::Says(primary) => Some(primary),
            Word::Unheard | Word::Failed(_) => None,
        })
    }

    fn votes(&self, primary: &Primary) -> usize {
        self.said().filter(|said| *said == primary).count()
    }

    fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.words.len()
    }

    /// Why there is no primary to go to; nothing was sent to any.
    pub(super) fn why_not(&self, service: &str) -> Error {
        /// What a person has to mend comes before what passes.
        const RANK: &[ErrorKind] = &[
            ErrorKind::Configuration,
            ErrorKind::Auth,
            ErrorKind::Denied,
            ErrorKind::Tls,
            ErrorKind::Protocol,
        ];
        let reasons: Vec<String> = self
            .hosts
            .iter()
            .zip(&self.words)
            .map(|(host, word)| match word {
                Word::Failed(error) => format!("{host}: {}", error.detail()),
                Word::Unheard => format!("{host}: no answer yet"),
                Word::Says(_) => format!("{host}: names one"),
            })
            .collect();
        let failed = || {
            self.words.iter().filter_map(|word| match word {
                Word::Failed(error) => Some(error.kind()),
                Word::Says(_) | Word::Unheard => None,
            })
        };
        let worst = RANK.iter().copied().find(|kind| failed().any(|found| found == *kind));
        let kind = worst.unwrap_or(ErrorKind::Disconnected);
        let remedy =
            if kind == ErrorKind::Auth { ": set sentinel_username and sentinel_password" } else { "" };
        let detail = format!("no Sentinel names the primary of `{service}` ({}){remedy}", reasons.join("; "));
        Error::new(kind, Progress::NotSent, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(host: &str, epoch: u64) -> Primary {
        Primary { server: Server::new(host, 6379), epoch }
    }

    fn says(host: &str, epoch: u64) -> Word {
        Word::Says(primary(host, epoch))
    }

    fn down() -> Word {
        Word::Failed(Error::new(ErrorKind::Disconnected, Progress::NotSent, "Connection refused"))
    }

    fn board(words: [Word; 3]) -> Board {
        let mut board = Board::new((1..=3).map(|number| Server::new(format!("s{number}"), 26379)).collect());
        for (who, word) in words.into_iter().enumerate() {
            board.note(who, word);
        }
        board
    }

    #[test]
    fn the_latest_failover_is_believed_whoever_tells_of_it() {
        let mut board = board([says("a", 1), says("a", 1), says("b", 2)]);
        assert_eq!(board.vouched(), Some(&primary("b", 2)));
        // One that was cut off and knows only the old primary changes nothing, also when it is the only one left.
        board.note(1, down());
        board.note(2, down());
        assert!(!board.note(0, says("a", 1)));
        assert_eq!(board.vouched(), Some(&primary("b", 2)));
    }

    #[test]
    fn sentinels_that_were_set_up_anew_are_believed_once_most_agree() {
        let mut board = board([says("b", 7), says("b", 7), says("b", 7)]);
        assert!(!board.note(0, says("c", 0)));
        assert!(!board.note(1, says("c", 0)), "one still tells of a later failover");
        board.note(1, down());
        assert!(!board.note(2, down()), "one of three is not most");
        assert_eq!(board.vouched(), Some(&primary("b", 7)));
        assert!(board.note(1, says("c", 0)));
        assert_eq!(board.vouched(), Some(&primary("c", 0)));
    }

    #[test]
    fn nobody_left_to_ask_is_no_answer() {
        let mut board = board([says("a", 1), down(), Word::Unheard]);
        assert!(!board.has_majority() && !board.is_complete());
        board.note(0, down());
        assert_eq!(board.vouched(), None);
        assert_eq!(board.primary(), Some(&primary("a", 1)));
        board.note(2, Word::Failed(Error::configuration("it knows no such name")));
        assert!(board.is_complete());
        let error = board.why_not("orders");
        assert_eq!((error.kind(), error.is_not_sent()), (ErrorKind::Configuration, true));
        let text = error.to_string();
        for part in ["`orders`", "s1:26379: Connection refused", "s3:26379: it knows no such name"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}

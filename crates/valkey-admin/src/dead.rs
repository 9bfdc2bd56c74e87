//! Dead letters: list, show, purge.

use std::collections::HashSet;

use bytes::Bytes;
use valkey_connection::{Command, Reply};
use valkey_envelope::{DeadMeta, DeadReason, QueueKeys, QueueName};

use crate::{
    admin::{Admin, Execution},
    error::Error,
    place::Place,
    scripts::{self, DEAD_READ, DEAD_REMOVE},
    tally::Tally,
};

/// A message that was given up, with its story.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id it is filed under: ours, not the message's.
    pub id: String,
    /// When it died, in milliseconds of the server's clock since the Unix epoch.
    pub died_ms: u64,
    /// Its story; `None` if the stored form cannot be read.
    pub meta: Option<DeadMeta>,
    /// How many bytes the message has; `None` if its body is missing or cannot be read.
    pub length: Option<u64>,
    /// The message as it was pushed, as many bytes as were asked for.
    pub bytes: Bytes,
}

/// Which dead letters are meant. The default means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Only those that died for this reason.
    pub reason: Option<DeadReason>,
    /// Only those that died at or after this, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only those that died at or before this, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

/// A page to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Which ones.
    pub filter: DeadFilter,
    /// How many at most; 0 = 50.
    pub count: usize,
    /// Where the page before ended.
    pub after: Option<DeadCursor>,
    /// First those that died first; otherwise the youngest come first.
    pub oldest_first: bool,
    /// Bytes of each message to fetch.
    pub preview_bytes: u64,
}

/// The end of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadCursor {
    died_ms: u64,
    id: String,
}

/// A page of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// Where the page that follows begins, if there may be more.
    pub next: Option<DeadCursor>,
}

/// The dead letters a verb applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadSelection {
    /// All there were when the verb began.
    All,
    /// These.
    Ids(Vec<String>),
    /// Those the filter lets through, of all there were when the verb began.
    Matching(DeadFilter),
}

// === impl Admin ===

impl Admin {
    /// Ids read in one round trip.
    const DEAD_PAGE: usize = 256;
    const DEAD_BYTES: u64 = 1024 * 1024;

    /// Lists dead letters. A filter by reason reads page after page until enough are found; messages themselves
    /// travel only as far as `preview_bytes` says.
    ///
    /// # Errors
    /// [`Error::Connection`], also if a key holds something else.
    pub async fn dead_letters(&self, queue: &QueueName, query: &DeadQuery) -> Result<DeadPage, Error> {
        let keys = queue.keys();
        let wanted = if query.count == 0 { 50 } else { query.count };
        let mut page = DeadPage { letters: Vec::new(), next: query.after.clone() };
        loop {
            let batch = wanted.min(Self::DEAD_PAGE);
            let ids = self.dead_ids(&keys, query, page.next.as_ref(), batch).await?;
            let last = ids.len() < batch;
            let letters = self.read_dead(&keys, &ids, query.preview_bytes, Self::DEAD_BYTES).await?;
            for letter in letters {
                if page.letters.len() == wanted {
                    return Ok(page);
                }
                page.next = Some(DeadCursor { died_ms: letter.died_ms, id: letter.id.clone() });
                if query.filter.matches(&letter) {
                    page.letters.push(letter);
                }
            }
            if last {
                page.next = None;
                return Ok(page);
            }
            if page.letters.len() == wanted {
                return Ok(page);
            }
        }
    }

    /// A dead letter with all its bytes.
    ///
    /// # Errors
    /// [`Error::NoDeadLetter`]; [`Error::Connection`].
    pub async fn dead_letter(&self, queue: &QueueName, id: &str) -> Result<DeadLetter, Error> {
        let keys = queue.keys();
        let mut found =
            self.read_dead(&keys, &[id.to_owned()], u64::from(u32::MAX), u64::from(u32::MAX)).await?;
        found.pop().ok_or_else(|| Error::NoDeadLetter { queue: queue.clone(), id: id.to_owned() })
    }

    /// Removes dead letters for good, in slices; after each, `on_progress` gets the number removed so far.
    ///
    /// # Errors
    /// [`Error::Connection`] if nothing was removed. An error after that is in [`Tally::failed`].
    ///
    /// # Cancel safety
    /// Dropping the future stops after the current slice.
    pub async fn purge_dead(
        &self,
        queue: &QueueName,
        selection: &DeadSelection,
        execution: Execution,
        mut on_progress: impl FnMut(u64) + Send,
    ) -> Result<Tally, Error> {
        self.knows_format(queue).await?;
        let keys = queue.keys();
        let mut tally = Tally::default();
        let result = async {
            let mut walk = Walk::new(self, &keys, selection).await?;
            while let Some(letters) = walk.next(self, &keys, &mut tally).await? {
                if letters.is_empty() {
                    continue;
                }
                if execution == Execution::DryRun {
                    tally.add(Place::Dead, letters.len() as u64);
                    continue;
                }
                let call = DEAD_REMOVE
                    .call()
                    .keys([keys.dead(), keys.dead_body()])
                    .args(letters.iter().map(|l| l.id.as_str()));
                for removed in self.connection.invoke(call).await?.into_array()? {
                    match scripts::count(removed)? {
                        0 => tally.absent += 1,
                        _ => tally.add(Place::Dead, 1),
                    }
                }
                on_progress(tally.done());
            }
            Ok(())
        }
        .await;
        tally.close(result)
    }

    /// The next ids in order of death, those up to the cursor left out.
    async fn dead_ids(
        &self,
        keys: &QueueKeys,
        query: &DeadQuery,
        after: Option<&DeadCursor>,
        count: usize,
    ) -> Result<Vec<String>, Error> {
        let bound = |ms: Option<u64>, open: &str| ms.map_or_else(|| open.to_owned(), |ms| ms.to_string());
        let mut from = bound(query.filter.since_ms, "-inf");
        let mut to = bound(query.filter.until_ms, "+inf");
        if let Some(cursor) = after {
            if query.oldest_first {
                from = cursor.died_ms.to_string();
            } else {
                to = cursor.died_ms.to_string();
            }
        }
        let (mut ids, mut offset) = (Vec::new(), 0u64);
        while ids.len() < count {
            let command = Command::new("ZRANGE").key(keys.dead());
            let command = if query.oldest_first {
                command.arg(from.as_str()).arg(to.as_str()).arg("BYSCORE")
            } else {
                command.arg(to.as_str()).arg(from.as_str()).args(["BYSCORE", "REV"])
            };
            let command = command.arg("LIMIT").arg(offset).arg(count).arg("WITHSCORES");
            let found = scored(self.connection.execute(command).await?)?;
            let read = found.len();
            offset += read as u64;
            ids.extend(
                found
                    .into_iter()
                    .filter(|(id, died)| !is_behind(after, *died, id, query.oldest_first))
                    .map(|(id, _)| id),
            );
            if read < count {
                break;
            }
        }
        ids.truncate(count);
        Ok(ids)
    }

    /// The letters of those ids that are still there.
    async fn read_dead(
        &self,
        keys: &QueueKeys,
        ids: &[String],
        cap: u64,
        budget: u64,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(letters);
        }
        let call = DEAD_READ
            .call()
            .keys([keys.dead(), keys.dead_body()])
            .arg(cap)
            .arg(budget)
            .args(ids.iter().map(String::as_str));
        let entries = self.connection.invoke(call).await?.into_array()?;
        for (id, entry) in ids.iter().zip(entries) {
            let [died, meta, length, bytes] = scripts::fields("dead_read", entry)?;
            let Some(died_ms) = scripts::millis("dead_read", died)? else { continue };
            letters.push(DeadLetter {
                id: id.clone(),
                died_ms,
                meta: DeadMeta::decode(&meta.into_bytes()?).ok(),
                length: u64::try_from(length.as_int()?).ok(),
                bytes: bytes.into_bytes()?,
            });
        }
        Ok(letters)
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// A letter with all its bytes, as [`Admin::dead_letter`] gives it; for tests of what reads letters.
    pub fn new(id: impl Into<String>, died_ms: u64, meta: Option<DeadMeta>, bytes: Bytes) -> Self {
        Self { id: id.into(), died_ms, meta, length: Some(bytes.len() as u64), bytes }
    }
}

// === impl DeadFilter ===

impl DeadFilter {
    /// Whether the filter lets a letter through. One whose story cannot be read has no reason.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        self.since_ms.is_none_or(|since| letter.died_ms >= since)
            && self.until_ms.is_none_or(|until| letter.died_ms <= until)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| letter.meta.as_ref().is_some_and(|meta| meta.reason == *reason))
    }
}

// === walking a selection ===

/// Goes through a selection page by page. What dies after it began is not part of it, so that a replay whose
/// messages die again comes to an end.
pub(crate) struct Walk {
    query: DeadQuery,
    ids: Option<Vec<String>>,
    done: bool,
}

// === impl Walk ===

impl Walk {
    pub(crate) async fn new(
        admin: &Admin,
        keys: &QueueKeys,
        selection: &DeadSelection,
    ) -> Result<Self, Error> {
        let (mut filter, ids) = match selection {
            DeadSelection::All => (DeadFilter::default(), None),
            DeadSelection::Ids(ids) => {
                let mut seen = HashSet::new();
                (
                    DeadFilter::default(),
                    Some(ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect()),
                )
            }
            DeadSelection::Matching(filter) => (filter.clone(), None),
        };
        if ids.is_none() {
            let command = Command::new("ZRANGE").key(keys.dead()).args(["-1", "-1", "WITHSCORES"]);
            let youngest =
                scored(admin.connection.execute(command).await?)?.pop().map_or(0, |(_, died)| died);
            filter.until_ms = Some(filter.until_ms.map_or(youngest, |until| until.min(youngest)));
        }
        Ok(Self { query: DeadQuery { filter, oldest_first: true, ..DeadQuery::default() }, ids, done: false })
    }

    /// The next letters of the selection, without their bytes; may be empty. `None` = that was all.
    pub(crate) async fn next(
        &mut self,
        admin: &Admin,
        keys: &QueueKeys,
        tally: &mut Tally,
    ) -> Result<Option<Vec<DeadLetter>>, Error> {
        if self.done {
            return Ok(None);
        }
        let ids = match &mut self.ids {
            Some(ids) => {
                let ids: Vec<_> = ids.drain(..ids.len().min(Admin::DEAD_PAGE)).collect();
                self.done = ids.is_empty();
                ids
            }
            None => admin.dead_ids(keys, &self.query, self.query.after.as_ref(), Admin::DEAD_PAGE).await?,
        };
        let letters = admin.read_dead(keys, &ids, 0, 0).await?;
        if self.ids.is_some() {
            tally.absent += (ids.len() - letters.len()) as u64;
        } else {
            self.done = ids.len() < Admin::DEAD_PAGE;
            // A letter that went meanwhile leaves no score behind, but the one before it is as good a bookmark.
            if let Some(last) = letters.last() {
                self.query.after = Some(DeadCursor { died_ms: last.died_ms, id: last.id.clone() });
            }
        }
        Ok(Some(letters.into_iter().filter(|letter| self.query.filter.matches(letter)).collect()))
    }
}

/// Members with their scores: pairs of their own in RESP3, one after the other in RESP2.
fn scored(reply: Reply) -> Result<Vec<(String, u64)>, Error> {
    const WHAT: &str = "ZRANGE";
    let items = reply.into_array()?;
    let pairs: Vec<[Reply; 2]> = if matches!(items.first(), Some(Reply::Array(_))) {
        items.into_iter().map(|pair| scripts::fields(WHAT, pair)).collect::<Result<_, _>>()?
    } else {
        Reply::Array(items).into_pairs()?.into_iter().map(|(id, score)| [id, score]).collect()
    };
    pairs
        .into_iter()
        .map(|[id, score]| {
            let died = match score {
                Reply::Double(score) => scripts::score(WHAT, &score.to_string())?,
                text => scripts::millis(WHAT, text)?,
            };
            Ok((id.into_string()?, died.unwrap_or(0)))
        })
        .collect()
}

/// Whether a letter comes before the end of the page before. Letters of one instant are in the order of their ids.
fn is_behind(after: Option<&DeadCursor>, died_ms: u64, id: &str, oldest_first: bool) -> bool {
    after.is_some_and(|cursor| {
        let this = (died_ms, id.as_bytes());
        let end = (cursor.died_ms, cursor.id.as_bytes());
        if oldest_first { this <= end } else { this >= end }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_reason_and_time() {
        let letter = DeadLetter {
            id: "1".into(),
            died_ms: 100,
            meta: Some(DeadMeta::new(DeadReason::Expired)),
            length: Some(0),
            bytes: Bytes::new(),
        };
        let unreadable = DeadLetter { meta: None, ..letter.clone() };
        let reason = |reason| DeadFilter { reason: Some(reason), ..DeadFilter::default() };
        assert!(DeadFilter::default().matches(&unreadable));
        assert!(reason(DeadReason::Expired).matches(&letter));
        assert!(!reason(DeadReason::Rejected).matches(&letter));
        assert!(!reason(DeadReason::Expired).matches(&unreadable));
        let between =
            |since, until| DeadFilter { since_ms: Some(since), until_ms: Some(until), reason: None };
        assert!(between(100, 100).matches(&letter));
        assert!(!between(101, 200).matches(&letter));
        assert!(!between(0, 99).matches(&letter));
    }

    #[test]
    fn a_page_begins_behind_its_cursor_in_both_directions() {
        let cursor = DeadCursor { died_ms: 5, id: "b".into() };
        let behind = |died, id, oldest_first| is_behind(Some(&cursor), died, id, oldest_first);
        assert!(
            behind(5, "a", true) && behind(5, "b", true) && !behind(5, "c", true) && !behind(6, "a", true)
        );
        assert!(
            behind(5, "c", false)
                && behind(5, "b", false)
                && !behind(5, "a", false)
                && !behind(4, "z", false)
        );
        assert!(!is_behind(None, 0, "", true));
    }
}

//! Concurrent sends gathered into one push, without a timer.
//!
//! ```text
//!  send --idle--> pushes its own message at once ---\
//!  send --busy--> waits in line  \                   > done; line not empty? -> a task drains the line,
//!  send --busy--> waits in line  /                                              one push at a time
//! ```
//!
//! A lone sender pays one lock; under load each push carries whatever has gathered while the one before was on the
//! wire. One push of a queue is on the wire at a time, which also keeps the order in which the line was joined.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The way out of the process for gathered items.
pub(crate) trait Push: Send + Sync + 'static {
    /// What is pushed.
    type Item: Send + 'static;
    /// What is known about one item afterwards.
    type Outcome: Send + 'static;

    /// Pushes all, and answers for each, in order.
    fn push(&self, items: Vec<Self::Item>) -> impl Future<Output = Vec<(Self::Item, Self::Outcome)>> + Send;

    /// Bytes that the item takes on the wire.
    fn weight(item: &Self::Item) -> usize;
}

/// No push carries more items.
pub(crate) const MAX_ITEMS: usize = 512;
/// No push carries more bytes, unless a single item does.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The item was on the wire when the task that pushed it vanished: whether it arrived is unknown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Vanished;

/// Gathers items for one [`Push`].
pub(crate) struct Combiner<P: Push> {
    push: P,
    line: Mutex<Line<P>>,
}

/// Who waits, and whether somebody is pushing.
struct Line<P: Push> {
    busy: bool,
    waiting: VecDeque<Waiting<P>>,
}

struct Waiting<P: Push> {
    item: P::Item,
    answer: oneshot::Sender<Answer<P>>,
}

enum Entered<P: Push> {
    First(P::Item),
    InLine(oneshot::Receiver<Answer<P>>),
}

enum Answer<P: Push> {
    Done(P::Item, P::Outcome),
    /// Nobody took the item anywhere: join the line again.
    Again(P::Item),
}

impl<P: Push> Combiner<P> {
    pub(crate) fn new(push: P) -> Arc<Self> {
        Arc::new(Self { push, line: Mutex::new(Line { busy: false, waiting: VecDeque::new() }) })
    }

    /// The push itself, for groups that need no gathering.
    pub(crate) fn inner(&self) -> &P {
        &self.push
    }

    /// Pushes one item, alone or with others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while the item waits in line means it is not pushed; dropping it later leaves open
    /// whether it was. Items of others are never affected.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        mut item: P::Item,
    ) -> Result<(P::Item, P::Outcome), Vanished> {
        loop {
            let queued = match self.enter(item) {
                Entered::InLine(queued) => queued,
                Entered::First(item) => {
                    let turn = Turn { combiner: Arc::clone(self) };
                    let mut outcomes = self.push.push(vec![item]).await;
                    drop(turn);
                    return outcomes.pop().ok_or(Vanished);
                }
            };
            match queued.await {
                Ok(Answer::Done(item, outcome)) => return Ok((item, outcome)),
                Ok(Answer::Again(returned)) => item = returned,
                Err(_) => return Err(Vanished),
            }
        }
    }

    /// Takes the turn if it is free, else a place in the line.
    fn enter(&self, item: P::Item) -> Entered<P> {
        let mut line = self.line();
        if !mem::replace(&mut line.busy, true) {
            return Entered::First(item);
        }
        let (answer, queued) = oneshot::channel();
        line.waiting.push_back(Waiting { item, answer });
        Entered::InLine(queued)
    }

    /// Pushes the line until it is empty. The task has the turn from its creation on: a runtime that shuts down may
    /// drop it before it has run at all.
    fn drain(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        let drain = Drain { combiner: self, has_turn: true };
        async move {
            let mut drain = drain;
            loop {
                let (items, answers) = drain.combiner.next_batch();
                if items.is_empty() {
                    // The line was found empty and the turn given up under the same lock.
                    drain.has_turn = false;
                    return;
                }
                let outcomes = drain.combiner.push.push(items).await;
                for (answer, (item, outcome)) in answers.into_iter().zip(outcomes) {
                    // A receiver that is gone was cancelled; nobody wants to know.
                    let _ = answer.send(Answer::Done(item, outcome));
                }
            }
        }
    }

    fn next_batch(&self) -> (Vec<P::Item>, Vec<oneshot::Sender<Answer<P>>>) {
        let mut line = self.line();
        let (mut items, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = line.waiting.front() {
            if next.answer.is_closed() {
                line.waiting.pop_front();
                continue;
            }
            bytes += P::weight(&next.item);
            if items.len() >= MAX_ITEMS || (bytes > MAX_BYTES && !items.is_empty()) {
                break;
            }
            if let Some(Waiting { item, answer }) = line.waiting.pop_front() {
                items.push(item);
                answers.push(answer);
            }
        }
        line.busy = !items.is_empty();
        (items, answers)
    }

    /// Gives up the turn and sends everybody in line to compete for it anew.
    fn release(&self) {
        let waiting = {
            let mut line = self.line();
            line.busy = false;
            mem::take(&mut line.waiting)
        };
        for Waiting { item, answer } in waiting {
            let _ = answer.send(Answer::Again(item));
        }
    }

    fn line(&self) -> MutexGuard<'_, Line<P>> {
        // The line is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of a caller that pushes its own item; whatever ends it (also cancellation), the line goes on.
struct Turn<P: Push> {
    combiner: Arc<Combiner<P>>,
}

impl<P: Push> Drop for Turn<P> {
    fn drop(&mut self) {
        {
            let mut line = self.combiner.line();
            if line.waiting.is_empty() {
                line.busy = false;
                return;
            }
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(Arc::clone(&self.combiner).drain())),
            Err(_) => self.combiner.release(),
        }
    }
}

/// The turn of the draining task. It must not spawn a successor: a runtime that shuts down drops tasks as they are
/// spawned, and the two would chase each other.
struct Drain<P: Push> {
    combiner: Arc<Combiner<P>>,
    has_turn: bool,
}

impl<P: Push> Drop for Drain<P> {
    fn drop(&mut self) {
        if self.has_turn {
            self.combiner.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::sync::Semaphore;

    /// Pushes only when a permit is given; remembers each batch.
    struct Gated {
        permits: Semaphore,
        batches: Mutex<Vec<Vec<u32>>>,
        entered: AtomicUsize,
    }

    impl Push for Gated {
        type Item = u32;
        type Outcome = u32;

        async fn push(&self, items: Vec<u32>) -> Vec<(u32, u32)> {
            self.entered.fetch_add(1, Ordering::SeqCst);
            self.permits.acquire().await.expect("the semaphore is never closed").forget();
            self.batches.lock().expect("no panic in tests").push(items.clone());
            items.into_iter().map(|item| (item, item * 10)).collect()
        }

        fn weight(item: &u32) -> usize {
            if *item == 999 { MAX_BYTES } else { 1 }
        }
    }

    fn combiner(permits: usize) -> Arc<Combiner<Gated>> {
        Combiner::new(Gated {
            permits: Semaphore::new(permits),
            batches: Mutex::default(),
            entered: AtomicUsize::new(0),
        })
    }

    fn spawn(
        combiner: &Arc<Combiner<Gated>>,
        item: u32,
    ) -> tokio::task::JoinHandle<Result<(u32, u32), Vanished>> {
        let combiner = Arc::clone(combiner);
        tokio::spawn(async move { combiner.submit(item).await })
    }

    async fn until(condition: impl Fn() -> bool) {
        tokio::time::timeout(Duration::from_secs(10), async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the condition comes true");
    }

    fn waiting(combiner: &Combiner<Gated>) -> usize {
        combiner.line().waiting.len()
    }

    fn batches(combiner: &Combiner<Gated>) -> Vec<Vec<u32>> {
        combiner.push.batches.lock().expect("no panic in tests").clone()
    }

    #[tokio::test]
    async fn what_gathers_during_a_push_goes_out_together_in_order() {
        let combiner = combiner(0);
        let first = spawn(&combiner, 1);
        until(|| combiner.push.entered.load(Ordering::SeqCst) == 1).await;
        let mut rest = Vec::new();
        for item in 2..=5 {
            rest.push(spawn(&combiner, item));
            until(|| waiting(&combiner) == rest.len()).await;
        }
        combiner.push.permits.add_permits(2);
        assert_eq!(first.await.expect("no panic"), Ok((1, 10)));
        for (item, task) in (2..=5).zip(rest) {
            assert_eq!(task.await.expect("no panic"), Ok((item, item * 10)));
        }
        assert_eq!(batches(&combiner), [vec![1], vec![2, 3, 4, 5]]);
        until(|| !combiner.line().busy).await;
    }

    #[tokio::test]
    async fn a_cancelled_leader_hands_its_turn_over() {
        let combiner = combiner(0);
        let first = spawn(&combiner, 1);
        until(|| combiner.push.entered.load(Ordering::SeqCst) == 1).await;
        let second = spawn(&combiner, 2);
        until(|| waiting(&combiner) == 1).await;
        first.abort();
        combiner.push.permits.add_permits(1);
        assert_eq!(second.await.expect("no panic"), Ok((2, 20)));
        assert_eq!(batches(&combiner), [vec![2]]);
    }

    #[tokio::test]
    async fn a_cancelled_waiter_is_not_pushed_and_hurts_nobody() {
        let combiner = combiner(0);
        let first = spawn(&combiner, 1);
        until(|| combiner.push.entered.load(Ordering::SeqCst) == 1).await;
        let cancelled = spawn(&combiner, 2);
        until(|| waiting(&combiner) == 1).await;
        let third = spawn(&combiner, 3);
        until(|| waiting(&combiner) == 2).await;
        cancelled.abort();
        assert!(cancelled.await.expect_err("it was cancelled").is_cancelled());
        combiner.push.permits.add_permits(2);
        assert_eq!(first.await.expect("no panic"), Ok((1, 10)));
        assert_eq!(third.await.expect("no panic"), Ok((3, 30)));
        assert_eq!(batches(&combiner), [vec![1], vec![3]]);
    }

    #[tokio::test]
    async fn a_line_whose_drain_dies_with_its_runtime_goes_on_elsewhere() {
        let combiner = combiner(0);
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let leader = {
            let combiner = Arc::clone(&combiner);
            other.spawn(async move { combiner.submit(1).await })
        };
        until(|| combiner.push.entered.load(Ordering::SeqCst) == 1).await;
        let here = spawn(&combiner, 2);
        until(|| waiting(&combiner) == 1).await;
        drop(leader);
        // The leader dies, its successor is spawned on the same dying runtime and dies too.
        other.shutdown_background();
        combiner.push.permits.add_permits(8);
        let outcome =
            tokio::time::timeout(Duration::from_secs(10), here).await.expect("nobody waits for ever");
        // Either the item had not left yet and went out from here, or the dying runtime had it on the wire.
        assert!(matches!(outcome.expect("no panic"), Ok((2, 20)) | Err(Vanished)));
        assert_eq!(combiner.submit(3).await, Ok((3, 30)));
    }

    #[tokio::test]
    async fn a_heavy_item_travels_without_company() {
        let combiner = combiner(0);
        let mut tasks = vec![spawn(&combiner, 1)];
        until(|| combiner.push.entered.load(Ordering::SeqCst) == 1).await;
        for (n, item) in [2, 999, 3].into_iter().enumerate() {
            tasks.push(spawn(&combiner, item));
            until(|| waiting(&combiner) == n + 1).await;
        }
        combiner.push.permits.add_permits(8);
        for task in tasks {
            assert!(task.await.expect("no panic").is_ok());
        }
        assert_eq!(batches(&combiner), [vec![1], vec![2], vec![999], vec![3]]);
    }
}

//! Runs a handler so that its panic becomes a value: the worker lives on, the message is tried again.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::outcome::clip;

/// Awaits `work`; a panic in it becomes `Err` with the text `panicked: ...`.
///
/// Unwind safety: the handler's own state is behind `&self` and shared with the other workers, exactly as the state
/// of an axum handler is; a handler that breaks its state by panicking breaks it for the next message too, so locks
/// that poison are the right ones to use there.
pub(crate) async fn catch<F: Future>(work: F) -> Result<F::Output, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| describe(payload.as_ref()))
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is no text");
    clip(format!("panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value() {
        assert_eq!(catch(async { 7 }).await, Ok(7));
        assert_eq!(catch(async { panic!("boom") }).await, Err::<(), _>("panicked: boom".to_owned()));
        let formatted = catch(async { panic!("boom {}", 2) }).await;
        assert_eq!(formatted, Err::<(), _>("panicked: boom 2".to_owned()));
        let odd = catch(async { std::panic::panic_any(5_u8) }).await;
        assert_eq!(odd, Err::<(), _>("panicked: with something that is no text".to_owned()));
    }

    #[tokio::test]
    async fn a_panic_after_an_await_is_caught_too() {
        let late = catch(async {
            tokio::task::yield_now().await;
            panic!("late")
        });
        assert_eq!(late.await, Err::<(), _>("panicked: late".to_owned()));
    }
}

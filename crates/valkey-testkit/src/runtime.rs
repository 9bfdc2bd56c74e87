//! The testkit's own runtime.
//!
//! Every `#[tokio::test]` brings a runtime that ends with the test. What outlives one test (a shared server, pooled
//! connections to the Docker engine) must not hang on it, and a proxy must keep forwarding while the test's only
//! thread is busy or its clock is paused. So everything here runs on threads of its own.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) fn handle() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("valkey-testkit")
                .enable_all()
                .build()
                .expect("a runtime needs only threads and an epoll descriptor")
        })
        .handle()
}

/// Runs `work` on the testkit's runtime. Dropping the returned future does not stop the work.
pub(crate) async fn run<F>(work: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match handle().spawn(work).await {
        Ok(output) => output,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

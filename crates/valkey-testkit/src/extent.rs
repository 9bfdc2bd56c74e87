//! How much a test does.

/// Whether tests are to do all they can, instead of what a short run has time for: `VALKIT_LONG=1`.
///
/// A long run is the same test with larger counts, never another one.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("VALKIT_LONG").is_some_and(|long| long == "1")
}

//! A place emptied slice by slice.

use valkey_connection::ScriptCall;

use crate::{
    admin::{Admin, Execution},
    error::Error,
    place::Place,
    scripts,
    tally::Tally,
};

// === impl Admin ===

impl Admin {
    /// Makes `call` for one slice after the other, until as many elements have gone as the place had at the beginning:
    /// what a busy queue adds meanwhile is not chased. A call is told how many elements it may touch, and answers how many
    /// it did.
    pub(crate) async fn in_slices(
        &self,
        (place, key): (Place, &str),
        execution: Execution,
        tally: &mut Tally,
        on_progress: &mut (impl FnMut(u64) + Send),
        call: impl Fn(u64) -> ScriptCall,
    ) -> Result<(), Error> {
        let mut left = self.size(place, key).await?;
        if execution == Execution::DryRun {
            tally.add(place, left);
            return Ok(());
        }
        tally.add(place, 0);
        while left > 0 {
            let done = scripts::count(self.connection.invoke(call(left.min(Self::SLICE))).await?)?;
            if done == 0 {
                break;
            }
            left = left.saturating_sub(done);
            tally.add(place, done);
            on_progress(tally.done());
        }
        Ok(())
    }
}

//! How many connections so many descriptors are good for.

use std::num::NonZeroUsize;

/// What a node needs beside its connections: Valkey, metrics, listeners, look-ups of names.
const OTHERS: u64 = 256;

/// The descriptors for so many connections of the gate, which take two each, and of the policy service.
pub(crate) fn needed(gate: usize, policy: usize) -> u64 {
    (gate as u64).saturating_mul(2).saturating_add(policy as u64).saturating_add(OTHERS)
}

/// The connections of both that so many descriptors are good for; at least one of each. The policy service gets what it wishes, but no
/// more than a quarter where there is a gate.
pub(crate) fn fit(gate: usize, policy: usize, descriptors: u64) -> (NonZeroUsize, NonZeroUsize) {
    // Of very few nobody can have all that he needs.
    let room = descriptors.saturating_sub(OTHERS.min(descriptors / 2)) as usize;
    let policy = policy.min(if gate == 0 { room } else { room / 4 });
    let gate = gate.min((room - policy) / 2);
    let one_at_least = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    (one_at_least(gate), one_at_least(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_promised_more_than_there_are() {
        let fit = |gate, policy, descriptors| {
            let (gate, policy) = fit(gate, policy, descriptors);
            (gate.get(), policy.get())
        };
        assert_eq!(fit(20_000, 1_000, needed(20_000, 1_000)), (20_000, 1_000));
        assert_eq!(fit(20_000, 0, 1_024), (384, 1));
        assert_eq!(fit(20_000, 1_000, 1_024), (288, 192));
        assert_eq!(fit(0, 1_000, 1_024), (1, 768));
        assert_eq!(fit(20_000, 1_000, 64), (12, 8));
        assert_eq!(fit(20_000, 1_000, 0), (1, 1));
        for descriptors in [300, 1_000, 5_000, 100_000] {
            let (gate, policy) = fit(20_000, 1_000, descriptors);
            assert!(gate as u64 * 2 + policy as u64 <= descriptors, "{gate} and {policy} of {descriptors}");
        }
    }
}

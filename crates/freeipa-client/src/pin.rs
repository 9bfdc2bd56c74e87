//! Which server a key belongs to.

/// The places of `names` in the order of preference of `key`: the same in every process and release.
///
/// Each name gets a number that depends on it and the key (rendezvous hashing), so a server that comes or goes moves only the keys
/// that are or become its own.
pub(crate) fn order<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut ranked: Vec<(u64, usize)> =
        names.enumerate().map(|(place, name)| (weight(key.as_bytes(), name.as_bytes()), place)).collect();
    ranked.sort_unstable_by(|one, other| other.cmp(one));
    ranked.into_iter().map(|(_, place)| place).collect()
}

/// FNV-1a over both, mixed so that every bit counts.
fn weight(key: &[u8], name: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.iter().chain([&0]).chain(name) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["ipa1.example.org", "ipa2.example.org", "ipa3.example.org"];

    fn first(key: &str, names: &[&str]) -> usize {
        order(key, names.iter().copied())[0]
    }

    #[test]
    fn it_is_the_same_for_ever() {
        // Pinned: other processes, and later releases, must agree.
        assert_eq!(weight(b"a", b"b"), 0xeb38_c838_c62d_597e);
        let mut all = order("0190c9a2-0001", NAMES.into_iter());
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }

    #[test]
    fn keys_are_shared_out_evenly() {
        let mut counts = [0_u32; 3];
        for number in 0..3000 {
            counts[first(&format!("registration-{number}"), &NAMES)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_server_that_goes_moves_only_its_own() {
        for number in 0..500 {
            let key = format!("registration-{number}");
            let before = first(&key, &NAMES);
            if before != 2 {
                assert_eq!(first(&key, &NAMES[..2]), before, "{key}");
            }
        }
    }
}

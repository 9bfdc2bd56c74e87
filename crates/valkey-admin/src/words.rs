//! Numbers with their nouns.

/// `1 message`, `2 messages`: the noun without its `s`, unless it is more than one.
pub(crate) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// The verb that goes with so many: `is` or `are`, `waits` or `wait`.
pub(crate) fn agreed<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::{agreed, counted};

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "message")), ["0 messages", "1 message", "2 messages"]);
        assert_eq!([0, 1, 2].map(|n| agreed(n, "is", "are")), ["are", "is", "are"]);
    }
}

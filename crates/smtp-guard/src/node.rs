//! What this node is called.

use valkey_ratelimit::NodeId;

/// The name of this host, as far as it is fit for a node's; `node` if nothing of it is.
pub(crate) fn of_host() -> NodeId {
    made_of(&rustix::system::uname().nodename().to_string_lossy())
}

fn made_of(host: &str) -> NodeId {
    let is_fit = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-');
    let fit: String = host.chars().filter(is_fit).take(64).collect();
    let name = if fit.is_empty() { "node" } else { &fit };
    name.parse().expect("what does not fit was left out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_always_makes_a_name() {
        for (host, name) in
            [("mx1.example.org", "mx1.example.org"), ("mx 1/é", "mx1"), ("", "node"), ("é", "node")]
        {
            assert_eq!(made_of(host).as_str(), name);
        }
        assert_eq!(made_of(&"x".repeat(70)).as_str().len(), 64);
    }
}

//! What this node is called.

use std::fmt;
use std::str::FromStr;

/// The name of a node among those that share limits: `[A-Za-z0-9_.-]{1,64}`. It labels metrics, and names what the node holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node(String);

/// A node's name with other characters, or none, or too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`")]
pub struct InvalidNode;

impl Node {
    /// The name of this host, as far as it is fit for one; `node` if nothing of it is.
    pub fn of_host() -> Self {
        Self::made_of(&rustix::system::uname().nodename().to_string_lossy())
    }

    fn made_of(text: &str) -> Self {
        let fit: String = text.chars().filter(|char| is_fit(*char)).take(64).collect();
        Self(if fit.is_empty() { "node".to_owned() } else { fit })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_fit(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-')
}

impl FromStr for Node {
    type Err = InvalidNode;

    fn from_str(text: &str) -> Result<Self, InvalidNode> {
        if (1..=64).contains(&text.len()) && text.chars().all(is_fit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidNode)
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_always_makes_a_name() {
        for (host, name) in
            [("mx1.example.org", "mx1.example.org"), ("mx 1/é", "mx1"), ("", "node"), ("é", "node")]
        {
            let node = Node::made_of(host);
            assert_eq!(node.as_str(), name);
            assert_eq!(name.parse(), Ok(node));
        }
        assert_eq!(Node::made_of(&"x".repeat(70)).as_str().len(), 64);
        for text in ["", "a b", "a:b", &"x".repeat(65)] {
            assert_eq!(text.parse::<Node>(), Err(InvalidNode), "{text}");
        }
    }
}

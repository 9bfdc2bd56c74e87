//! Who started a container, in a form that a later process can check.

use std::fs;

/// Identifies this process beyond its number: numbers are used again, and mean nothing in another namespace or on
/// another machine that shares the Docker engine.
pub(crate) fn this_process() -> String {
    format!(
        "{}/{}",
        here(),
        process(std::process::id()).unwrap_or_else(|| format!("{}@", std::process::id()))
    )
}

/// Whether the process that wrote `owner` is surely gone. Anything that cannot be judged from here counts as alive.
pub(crate) fn is_gone(owner: &str) -> bool {
    let Some((place, who)) = owner.rsplit_once('/') else { return false };
    let Some((pid, started)) = who.split_once('@') else { return false };
    let (Ok(pid), false) = (pid.parse(), started.is_empty()) else { return false };
    place == here() && process(pid).is_none_or(|running| running != who)
}

/// This boot of this machine, and the namespace in which its process numbers count.
fn here() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace =
        fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    format!("{}/{namespace}", boot.trim())
}

/// Number and start time of a process, if it exists.
fn process(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything, spaces included.
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{pid}@{started}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_gone() {
        assert!(!is_gone(&this_process()));
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("true").spawn().expect("true exists");
        let owner = format!("{}/{}", here(), process(child.id()).expect("not yet reaped"));
        child.wait().expect("waits");
        assert!(is_gone(&owner));
    }

    #[test]
    fn a_number_used_again_is_gone() {
        let mine = this_process();
        let (place, who) = mine.rsplit_once('/').expect("has a place");
        let (pid, _) = who.split_once('@').expect("has a time");
        assert!(is_gone(&format!("{place}/{pid}@1")));
    }

    #[test]
    fn what_cannot_be_judged_counts_as_alive() {
        for owner in ["", "garbage", "another-boot/pid:[1]/1@2", "a/b/c@d", &format!("{}/77@", here())] {
            assert!(!is_gone(owner), "{owner}");
        }
    }
}

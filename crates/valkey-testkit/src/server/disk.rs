//! What a server has on its disk, and disks that fail.

use crate::{TestServer, TestkitError};

/// The incremental file with the highest number is the one that is written to.
const READ: &str = r#"
set -e
cat "$(ls "$1"/appendonlydir/*.incr.aof | sort -t . -k 3n | tail -n 1)"
"#;

/// Turns the lowest bit of one byte over, in place.
const FLIP: &str = r#"
set -e
file=$(ls "$1"/appendonlydir/*.incr.aof | sort -t . -k 3n | tail -n 1)
byte=$(dd if="$file" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1 | tr -d ' \n')
if [ -z "$byte" ]; then
    echo "$file has no byte $2" >&2
    exit 1
fi
printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$file" bs=1 seek="$2" conv=notrunc 2>/dev/null
"#;

/// A snapshot is written beside its place and then moved there: onto a directory with something in it, it cannot be.
/// (Permissions would not stop a server that runs as root.)
const BLOCK: &str = r#"rm -rf "$1/dump.rdb" && mkdir "$1/dump.rdb" && : >"$1/dump.rdb/in-the-way""#;
const UNBLOCK: &str = r#"rm -rf "$1/dump.rdb""#;

/// Its disk.
impl TestServer {
    /// The append-only file that is written to, as far as it is written. Also of a server that does not run.
    ///
    /// # Errors
    /// [`TestkitError::Invalid`] when there is none.
    pub async fn append_only_file(&self) -> Result<Vec<u8>, TestkitError> {
        self.on_disk("reads its append-only file", READ, String::new()).await
    }

    /// Turns the lowest bit of the byte at `at` of the append-only file over, as a failing disk does. It matters to a
    /// server that starts.
    ///
    /// # Errors
    /// [`TestkitError::Invalid`] when there is no such byte.
    pub async fn flip_append_only_bit(&self, at: u64) -> Result<(), TestkitError> {
        self.on_disk("flips a bit of its append-only file", FLIP, at.to_string()).await.map(drop)
    }

    /// Lets each snapshot (`SAVE`, `BGSAVE`) fail from now on, or work again. The one there was is gone either way.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn fail_snapshots(&self, fail: bool) -> Result<(), TestkitError> {
        let script = if fail { BLOCK } else { UNBLOCK };
        self.on_disk("lets its snapshots fail", script, String::new()).await.map(drop)
    }

    /// Runs a script with the data directory and one argument.
    async fn on_disk(
        &self,
        what: &'static str,
        script: &'static str,
        argument: String,
    ) -> Result<Vec<u8>, TestkitError> {
        self.own(what, move |own| async move {
            let data = own.place.directories().1;
            let finished = own.place.shell(script, &[data, &argument]).await?;
            if finished.code == 0 {
                return Ok(finished.stdout);
            }
            Err(TestkitError::Invalid(String::from_utf8_lossy(&finished.stderr).trim().to_owned()))
        })
        .await
    }
}

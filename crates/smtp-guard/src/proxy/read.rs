//! Reads a header off a connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Header, InvalidHeader, LONGEST};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are none.
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
    /// The connection ended in the middle of it.
    #[error("the connection ended before its PROXY header did")]
    Ended,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a header, and gives it with the bytes behind it that came along. Never holds more than [`LONGEST`] bytes.
///
/// # Errors
/// There is none; what was read is lost.
///
/// # Cancel safety
/// None: what was read is lost.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Header, Vec<u8>), ReadError> {
    // Most headers fit; one that is longer makes it grow.
    let mut bytes = Vec::with_capacity(256);
    loop {
        let room = (LONGEST - bytes.len()) as u64;
        // A header that is not complete at its greatest length is refused by the parser: there is always room.
        if stream.take(room).read_buf(&mut bytes).await? == 0 {
            return Err(ReadError::Ended);
        }
        if let Some((header, length)) = Header::parse(&bytes)? {
            bytes.drain(..length);
            return Ok((header, bytes));
        }
    }
}

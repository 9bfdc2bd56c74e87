//! One connection of Postfix: a question, an answer, and again.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout, timeout_at};
use valkit_service::Shutdown;

use crate::policy::bill::Asker;
use crate::policy::desk::Desk;
use crate::policy::request::{Malformed, Parser, Request};

/// What a connection reads at once.
const BUFFER: usize = 4 << 10;

/// How patient it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Between two questions.
    pub(crate) idle: Duration,
    /// For a question to arrive once it has begun, and for an answer to be taken.
    pub(crate) request: Duration,
}

/// Why it ended otherwise than by the other side, or by ours because it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the connection ended within a request")]
    Half,
    #[error("a request took longer than {0:?} to arrive")]
    Slow(Duration),
    #[error("an answer was not taken for {0:?}")]
    Stuck(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Talks until the other side ends it, or is silent for too long, or the shutdown begins: then the question that has begun
/// is still answered.
///
/// On anything that is no question it is closed without an answer, which is what Postfix expects: it connects anew.
pub(crate) async fn talk<S>(
    stream: S,
    asker: Asker,
    desk: &Desk,
    patience: Patience,
    shutdown: &Shutdown,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut parser = Parser::default();
    while let Some(request) = next(&mut stream, &mut parser, patience, shutdown).await? {
        let answer = desk.answer(&request, asker).await.to_wire();
        let taken = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await
        };
        timeout(patience.request, taken).await.map_err(|_| Broken::Stuck(patience.request))??;
    }
    Ok(())
}

/// The next question; none if there will be no more.
async fn next<S>(
    stream: &mut BufReader<S>,
    parser: &mut Parser,
    patience: Patience,
    shutdown: &Shutdown,
) -> Result<Option<Request>, Broken>
where
    S: AsyncRead + Unpin,
{
    let mut late = None;
    loop {
        let bytes = match late {
            // Cancel safe: what was read stays in the buffer.
            None => tokio::select! {
                biased;
                read = timeout(patience.idle, stream.fill_buf()) => match read {
                    Ok(read) => read?,
                    Err(_) => return Ok(None),
                },
                () = shutdown.draining() => return Ok(None),
            },
            Some(late) => match timeout_at(late, stream.fill_buf()).await {
                Ok(read) => read?,
                Err(_) => return Err(Broken::Slow(patience.request)),
            },
        };
        if bytes.is_empty() {
            return if parser.is_midway() { Err(Broken::Half) } else { Ok(None) };
        }
        let (all, mut rest) = (bytes.len(), bytes);
        let request = parser.push(&mut rest)?;
        let taken = all - rest.len();
        stream.consume(taken);
        if request.is_some() {
            return Ok(request);
        }
        late = late.or_else(|| Some(Instant::now() + patience.request));
    }
}

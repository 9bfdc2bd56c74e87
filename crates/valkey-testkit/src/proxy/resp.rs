//! Where commands and replies begin and end in a stream of bytes. Pure.

/// One command or reply, by the position of the byte after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) end: u64,
    /// A push message stands between replies and answers no command.
    pub(crate) is_push: bool,
}

/// The bytes are not what a Valkey client or server says, TLS perhaps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opaque;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Reply,
    Request,
}

/// Follows one direction of a connection from its first byte.
///
/// Both directions are elements: a line, or a line with a length and a body. An element that announces others adds
/// them to those still missing; a command or reply is over when none is.
#[derive(Debug)]
pub(crate) struct Framer {
    side: Side,
    position: u64,
    line: Vec<u8>,
    /// Bytes of a bulk string, its line end included, still to come.
    body: u64,
    missing: u64,
    is_push: bool,
}

/// The longest line of either side: an inline command (64 KiB) or a simple error.
const MAX_LINE: usize = 128 * 1024;

impl Framer {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, position: 0, line: Vec::new(), body: 0, missing: 1, is_push: false }
    }

    /// Takes the next bytes and adds what they complete to `units`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], units: &mut impl Extend<Unit>) -> Result<(), Opaque> {
        while !bytes.is_empty() {
            let taken = if self.body > 0 {
                let taken = bytes.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
                self.body -= taken as u64;
                self.position += taken as u64;
                if self.body == 0 {
                    self.element_done(units);
                }
                taken
            } else {
                let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                let taken = end.unwrap_or(bytes.len());
                self.line.extend_from_slice(&bytes[..taken]);
                self.position += taken as u64;
                if self.line.len() > MAX_LINE {
                    return Err(Opaque);
                }
                if end.is_some() {
                    self.line_done(units)?;
                }
                taken
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn line_done(&mut self, units: &mut impl Extend<Unit>) -> Result<(), Opaque> {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(&line);
        let text = std::str::from_utf8(text).map_err(|_| Opaque)?;
        let (kind, rest) = text.split_at_checked(1).unwrap_or(("", ""));
        match (self.side, kind) {
            (_, "$") | (Side::Reply, "=" | "!") => match rest.parse::<i64>() {
                Ok(length) if length >= 0 => {
                    self.body = length.unsigned_abs() + 2;
                    return Ok(());
                }
                Ok(_) => {}
                Err(_) => return Err(Opaque),
            },
            (_, "*") | (Side::Reply, "~" | ">" | "%" | "|") => {
                let count = rest.parse::<i64>().map_err(|_| Opaque)?.max(0).unsigned_abs();
                self.is_push |= kind == ">";
                // A map counts its pairs; attributes are a map before the element that they describe.
                self.missing += if matches!(kind, "%" | "|") { 2 * count } else { count };
                self.missing += u64::from(kind == "|");
            }
            (Side::Reply, "+" | "-" | ":" | "_" | "," | "#" | "(") | (Side::Request, _) => {}
            (Side::Reply, _) => return Err(Opaque),
        }
        self.element_done(units);
        Ok(())
    }

    fn element_done(&mut self, units: &mut impl Extend<Unit>) {
        self.missing -= 1;
        if self.missing == 0 {
            units.extend([Unit { end: self.position, is_push: self.is_push }]);
            self.missing = 1;
            self.is_push = false;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ends(side: Side, pieces: &[&[u8]]) -> Result<Vec<(u64, bool)>, Opaque> {
        let (mut framer, mut units) = (Framer::new(side), Vec::new());
        for piece in pieces {
            framer.feed(piece, &mut units)?;
        }
        Ok(units.iter().map(|unit| (unit.end, unit.is_push)).collect())
    }

    #[test]
    fn commands_end_where_they_end_however_they_are_cut() {
        let stream: &[u8] = b"*2\r\n$4\r\nLLEN\r\n$1\r\nq\r\nPING\r\n*1\r\n$4\r\n\r\n*1\r\n*3\r\n";
        let expected = vec![(21, false), (27, false), (41, false)];
        assert_eq!(ends(Side::Request, &[stream]).unwrap(), expected);
        for at in 0..stream.len() {
            let (one, other) = stream.split_at(at);
            assert_eq!(ends(Side::Request, &[one, other]).unwrap(), expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(ends(Side::Request, &bytes).unwrap(), expected);
    }

    #[test]
    fn replies_of_both_protocols_are_told_apart() {
        let replies: [&[u8]; 12] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"$2\r\n\r\n\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"%1\r\n+a\r\n*1\r\n_\r\n",
            b"|1\r\n+ttl\r\n:3\r\n~1\r\n#t\r\n",
            b"=6\r\ntxt:ab\r\n",
            b",1.5\r\n",
        ];
        for reply in replies {
            assert_eq!(ends(Side::Reply, &[reply]).unwrap(), [(reply.len() as u64, false)], "{reply:?}");
        }
        let all = replies.concat();
        assert_eq!(ends(Side::Reply, &[&all]).unwrap().len(), replies.len());
    }

    #[test]
    fn a_push_is_no_reply() {
        let stream = b">2\r\n+message\r\n+x\r\n+PONG\r\n";
        assert_eq!(ends(Side::Reply, &[stream]).unwrap(), [(18, true), (25, false)]);
    }

    #[test]
    fn encrypted_bytes_are_opaque() {
        assert_eq!(ends(Side::Reply, &[b"\x16\x03\x01\x02\x00\n"]), Err(Opaque));
        assert_eq!(ends(Side::Request, &[b"*x\r\n"]), Err(Opaque));
    }
}

//! One question of Postfix, read line by line.
//!
//! Lines of `name=value`, an empty one ends the question. What is not needed is dropped as it comes, so that a connection holds
//! a few short texts and at most one unfinished line, whatever it is sent.

use std::mem;
use std::net::IpAddr;

/// A longer line is nothing that Postfix sends.
pub const LONGEST_LINE: usize = 4 << 10;
/// A longer question neither.
pub const LONGEST_REQUEST: usize = 64 << 10;
/// More lines than that neither; Postfix 3.9 sends 30.
pub const MOST_ATTRIBUTES: usize = 256;

/// How far a mail transaction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// A recipient is named, and not accepted yet.
    Rcpt,
    /// All recipients are named.
    Data,
    /// The message is there.
    EndOfMessage,
    /// Anything else, such as `CONNECT`, `MAIL` or `VRFY`: there is no message yet, and nothing to tell one from another by.
    #[default]
    Other,
}

/// What Postfix asks about, as far as it matters here. An attribute that is absent, empty or senseless is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// How far the transaction has come.
    pub stage: Stage,
    /// What all questions about one message have in common. Postfix has none before the first recipient.
    pub instance: String,
    /// The client.
    pub client: Option<IpAddr>,
    /// The sender's address; empty for the null sender of bounces.
    pub sender: String,
    /// The login name of the client, if it has logged in.
    pub sasl_user: String,
    /// The recipient asked about; after RCPT only if it is the message's only one.
    pub recipient: String,
    /// How many recipients the message has; known after RCPT only.
    pub recipient_count: u64,
}

/// Why something is no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Too long, also one without an end.
    #[error("a line of more than {LONGEST_LINE} bytes")]
    Line,
    /// Too much in all.
    #[error("a request of more than {LONGEST_REQUEST} bytes")]
    Length,
    /// Too many lines.
    #[error("a request of more than {MOST_ATTRIBUTES} attributes")]
    Attributes,
    /// Something other than a name and a value.
    #[error("a line that is not `name=value`")]
    Form,
    /// Neither `request=smtpd_access_policy` nor anything else that is answered here.
    #[error("no `request=smtpd_access_policy`: this is not Postfix asking for a policy")]
    Kind,
}

/// Makes questions of bytes, however they are cut.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    draft: Draft,
}

#[derive(Debug, Default)]
struct Draft {
    request: Request,
    bytes: usize,
    attributes: usize,
    is_policy: bool,
}

// === impl Parser ===

impl Parser {
    /// Takes bytes, up to the end of a question or to their own, and moves `bytes` behind what it took. `None`: all are taken,
    /// and the question goes on.
    ///
    /// # Errors
    /// [`Malformed`]. What follows cannot be understood then.
    pub fn push(&mut self, bytes: &mut &[u8]) -> Result<Option<Request>, Malformed> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            *bytes = rest;
            let request = if self.line.is_empty() {
                self.draft.line(line)?
            } else {
                self.keep(line)?;
                let line = mem::take(&mut self.line);
                self.draft.line(&line)?
            };
            if request.is_some() {
                return Ok(request);
            }
        }
        self.keep(mem::take(bytes))?;
        Ok(None)
    }

    /// Whether a question has begun and not ended.
    pub fn is_midway(&self) -> bool {
        !self.line.is_empty() || self.draft.attributes > 0
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + part.len() > LONGEST_LINE {
            return Err(Malformed::Line);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }
}

// === impl Draft ===

impl Draft {
    fn line(&mut self, line: &[u8]) -> Result<Option<Request>, Malformed> {
        if line.len() > LONGEST_LINE {
            return Err(Malformed::Line);
        }
        self.bytes += line.len() + 1;
        if self.bytes > LONGEST_REQUEST {
            return Err(Malformed::Length);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let Self { request, is_policy, .. } = mem::take(self);
            return if is_policy { Ok(Some(request)) } else { Err(Malformed::Kind) };
        }
        self.attributes += 1;
        if self.attributes > MOST_ATTRIBUTES {
            return Err(Malformed::Attributes);
        }
        let equals = line.iter().position(|byte| *byte == b'=').ok_or(Malformed::Form)?;
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        if name.is_empty() || line.contains(&0) {
            return Err(Malformed::Form);
        }
        self.attribute(name, value)?;
        Ok(None)
    }

    /// Of an attribute that comes twice, the last one counts.
    fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let Self { request, is_policy, .. } = self;
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"request" if value == b"smtpd_access_policy" => *is_policy = true,
            b"request" => return Err(Malformed::Kind),
            b"protocol_state" => request.stage = Stage::of(value),
            b"instance" => request.instance = text(),
            b"client_address" => request.client = address(value),
            b"sender" => request.sender = text(),
            b"sasl_username" => request.sasl_user = text(),
            b"recipient" => request.recipient = text(),
            b"recipient_count" => request.recipient_count = text().parse().unwrap_or_default(),
            _ => {}
        }
        Ok(())
    }
}

// === impl Stage ===

impl Stage {
    fn of(word: &[u8]) -> Self {
        match word {
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"END-OF-MESSAGE" => Self::EndOfMessage,
            _ => Self::Other,
        }
    }
}

/// `unknown` is what Postfix has of a client that is gone already.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(value).ok()?;
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// As Postfix 3.7 sends it.
    const SEEN: &str = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=2001:db8::7\n\
        client_name=unknown\nclient_port=37954\nreverse_client_name=unknown\nserver_address=127.0.0.1\nserver_port=2599\n\
        helo_name=[127.0.0.1]\nsender=a b@Example.NET\nrecipient=r1@example.com\nrecipient_count=0\nqueue_id=\n\
        instance=2128.6b02e854.b6bfb.0\nsize=16\netrn_domain=\nstress=\nsasl_method=\nsasl_username=ada\nsasl_sender=\n\
        ccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=\n\
        encryption_cipher=\nencryption_keysize=0\npolicy_context=\n\n";

    fn seen() -> Request {
        Request {
            stage: Stage::Rcpt,
            instance: "2128.6b02e854.b6bfb.0".to_owned(),
            client: Some("2001:db8::7".parse().unwrap()),
            sender: "a b@Example.NET".to_owned(),
            sasl_user: "ada".to_owned(),
            recipient: "r1@example.com".to_owned(),
            recipient_count: 0,
        }
    }

    /// All questions of a stream that is cut into pieces of these lengths, over and over.
    fn read(stream: &[u8], cuts: &[usize]) -> Result<Vec<Request>, Malformed> {
        let (mut parser, mut requests, mut rest) = (Parser::default(), Vec::new(), stream);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
            rest = after;
            while !piece.is_empty() {
                requests.extend(parser.push(&mut piece)?);
            }
        }
        Ok(requests)
    }

    fn one(text: &str) -> Result<Request, Malformed> {
        let stream = format!("request=smtpd_access_policy\n{text}\n\n");
        read(stream.as_bytes(), &[usize::MAX]).map(|mut requests| requests.remove(0))
    }

    #[test]
    fn what_postfix_sends_is_understood() {
        assert_eq!(read(SEEN.as_bytes(), &[usize::MAX]), Ok(vec![seen()]));
        assert_eq!(read(SEEN.replace('\n', "\r\n").as_bytes(), &[7]), Ok(vec![seen()]));
    }

    #[test]
    fn several_in_a_row_are_several() {
        let mut parser = Parser::default();
        let stream = SEEN.repeat(3);
        let mut bytes = &stream.as_bytes()[..stream.len() - 1];
        assert_eq!(parser.push(&mut bytes), Ok(Some(seen())));
        assert!(!parser.is_midway());
        assert_eq!(parser.push(&mut bytes), Ok(Some(seen())));
        assert_eq!(parser.push(&mut bytes), Ok(None));
        assert!(parser.is_midway());
        assert_eq!(parser.push(&mut &b"\n"[..]), Ok(Some(seen())));
    }

    #[test]
    fn senseless_values_are_none_and_the_last_of_a_name_counts() {
        let request =
            one("client_address=unknown\nrecipient_count=-1\nprotocol_state=BDAT\ninstance=a\ninstance=b")
                .unwrap();
        assert_eq!(request, Request { instance: "b".to_owned(), ..Request::default() });
        let request =
            one("sender=\u{fc}@example.org\nsasl_username=a=b\nclient_address=::ffff:192.0.2.7").unwrap();
        assert_eq!((&*request.sender, &*request.sasl_user), ("\u{fc}@example.org", "a=b"));
        assert_eq!(request.client, "192.0.2.7".parse().ok());
        let bytes = b"request=smtpd_access_policy\nsender=\xff\xfe@example.org\n\n";
        assert_eq!(read(bytes, &[1]).unwrap()[0].sender, "\u{fffd}\u{fffd}@example.org");
    }

    #[test]
    fn what_postfix_never_sends_is_refused() {
        let long = "x".repeat(LONGEST_LINE);
        let whole = format!("{}\n", "x=1\n".repeat(MOST_ATTRIBUTES - 1));
        for (text, malformed) in [
            (format!("{long}x"), Malformed::Line),
            (format!("sender={long}\n\n"), Malformed::Line),
            (format!("a={}\n", &long[2..]).repeat(16) + "a=1\n", Malformed::Length),
            (format!("x=1\nx=1\n{whole}"), Malformed::Attributes),
            ("sender\n".to_owned(), Malformed::Form),
            ("=x\n".to_owned(), Malformed::Form),
            ("sender=a\0b\n".to_owned(), Malformed::Form),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Malformed::Form),
            ("\n".to_owned(), Malformed::Kind),
            ("sender=a\n\n".to_owned(), Malformed::Kind),
            ("request=junk\n".to_owned(), Malformed::Kind),
        ] {
            for cuts in [&[usize::MAX][..], &[1], &[4_095, 3]] {
                assert_eq!(read(text.as_bytes(), cuts), Err(malformed), "{text:.40}");
            }
        }
        let most = format!("request=smtpd_access_policy\n{whole}");
        assert_eq!(read(most.as_bytes(), &[usize::MAX]).map(|requests| requests.len()), Ok(1));
        let longest = format!("request=smtpd_access_policy\nsender={}\n\n", &long[7..]);
        assert_eq!(read(longest.as_bytes(), &[1_000]).unwrap()[0].sender.len(), LONGEST_LINE - 7);
    }

    /// Bytes that are often nearly right.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(SEEN.as_bytes().to_vec()),
            Just(b"request=smtpd_access_policy\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"sender=".to_vec()),
            Just(vec![b'x'; 3_000]),
            "[a-z_]{1,9}=[^\n\0]{0,9}\n".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_are_cut(stream in stream(), cuts in prop::collection::vec(1_usize..5_000, 1..9)) {
            let whole = read(&stream, &[usize::MAX]);
            prop_assert_eq!(read(&stream, &cuts), whole.clone());
            prop_assert_eq!(read(&stream, &[1]), whole);
        }

        #[test]
        fn no_more_than_a_line_is_ever_held(stream in stream(), cut in 1_usize..9_000) {
            let mut parser = Parser::default();
            for mut piece in stream.chunks(cut) {
                while !piece.is_empty() {
                    if parser.push(&mut piece).is_err() {
                        return Ok(());
                    }
                    prop_assert!(parser.line.len() <= LONGEST_LINE);
                }
            }
        }
    }
}

//! What the server answered, without the wire format.

use bytes::Bytes;
use fred::interfaces::Resp3Frame;

use crate::error::Error;

/// A reply of the server.
///
/// Strings keep the bytes as received (they are slices of the read buffer, not copies). The typed accessors answer
/// with an [`Error`] of kind [`Protocol`](crate::ErrorKind::Protocol) when the reply has another form.
///
/// ```
/// use valkey_connection::Reply;
///
/// # fn main() -> Result<(), valkey_connection::Error> {
/// assert_eq!(Reply::Int(3).as_int()?, 3);
/// assert_eq!(Reply::Bytes("17".into()).as_int()?, 17); // scripts answer with strings where precision matters
/// assert!(Reply::Nil.into_bytes().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// An integer.
    Int(i64),
    /// A string, simple or bulk.
    Bytes(Bytes),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// A list (arrays, sets and pushes).
    Array(Vec<Reply>),
    /// Pairs, in no particular order.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// Whether the reply is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// The bytes of a string.
    ///
    /// # Errors
    /// The reply is not a string.
    pub fn into_bytes(self) -> Result<Bytes, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(Error::unexpected("a string", other.form())),
        }
    }

    /// The bytes of a string, or `None` for nil.
    ///
    /// # Errors
    /// The reply is neither a string nor nil.
    pub fn into_optional_bytes(self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Nil => Ok(None),
            Self::Bytes(bytes) => Ok(Some(bytes)),
            other => Err(Error::unexpected("a string or nil", other.form())),
        }
    }

    /// A string as text.
    ///
    /// # Errors
    /// The reply is not a string, or not UTF-8.
    pub fn into_string(self) -> Result<String, Error> {
        let bytes = self.into_bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| Error::unexpected("UTF-8 text", "other bytes"))
    }

    /// An integer; a string of decimal digits counts, too.
    ///
    /// # Errors
    /// The reply is neither.
    pub fn as_int(&self) -> Result<i64, Error> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Bool(flag) => Ok(i64::from(*flag)),
            Self::Bytes(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Error::unexpected("an integer", "a string of other characters")),
            other => Err(Error::unexpected("an integer", other.form())),
        }
    }

    /// A number; integers and decimal strings count, too.
    ///
    /// # Errors
    /// The reply is none of them.
    pub fn as_double(&self) -> Result<f64, Error> {
        match self {
            Self::Double(number) => Ok(*number),
            Self::Int(number) => Ok(*number as f64),
            Self::Bytes(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Error::unexpected("a number", "a string of other characters")),
            other => Err(Error::unexpected("a number", other.form())),
        }
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// The reply is not an array.
    pub fn into_array(self) -> Result<Vec<Self>, Error> {
        match self {
            Self::Array(items) => Ok(items),
            other => Err(Error::unexpected("an array", other.form())),
        }
    }

    /// Pairs: a map, or an array of even length as older protocols have it.
    ///
    /// # Errors
    /// The reply is neither.
    pub fn into_pairs(self) -> Result<Vec<(Self, Self)>, Error> {
        match self {
            Self::Map(pairs) => Ok(pairs),
            Self::Array(items) if items.len().is_multiple_of(2) => {
                let mut pairs = Vec::with_capacity(items.len() / 2);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Ok(pairs)
            }
            other => Err(Error::unexpected("pairs", other.form())),
        }
    }

    /// Whether this is the simple string `OK`.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes.as_ref() == b"OK")
    }

    /// The form of this reply, for error messages: never its content.
    fn form(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Int(_) => "an integer",
            Self::Bytes(_) => "a string",
            Self::Double(_) => "a double",
            Self::Bool(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }

    /// Takes a frame apart; the payload bytes are shared, not copied.
    ///
    /// An error anywhere in the frame makes the whole reply an error.
    pub(crate) fn from_frame(frame: Resp3Frame) -> Result<Self, Error> {
        Ok(match frame {
            Resp3Frame::Null => Self::Nil,
            Resp3Frame::Number { data, .. } => Self::Int(data),
            Resp3Frame::BlobString { data, .. }
            | Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::VerbatimString { data, .. }
            | Resp3Frame::BigNumber { data, .. } => Self::Bytes(data),
            Resp3Frame::Double { data, .. } => Self::Double(data),
            Resp3Frame::Boolean { data, .. } => Self::Bool(data),
            Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => {
                Self::Array(data.into_iter().map(Self::from_frame).collect::<Result<_, _>>()?)
            }
            Resp3Frame::Set { data, .. } => {
                Self::Array(data.into_iter().map(Self::from_frame).collect::<Result<_, _>>()?)
            }
            Resp3Frame::Map { data, .. } => Self::Map(
                data.into_iter()
                    .map(|(key, value)| Ok((Self::from_frame(key)?, Self::from_frame(value)?)))
                    .collect::<Result<_, Error>>()?,
            ),
            Resp3Frame::SimpleError { data, .. } => return Err(Error::from_reply(&data)),
            Resp3Frame::BlobError { data, .. } => {
                return Err(Error::from_reply(&String::from_utf8_lossy(&data)));
            }
            Resp3Frame::Hello { .. } | Resp3Frame::ChunkedString(_) => {
                return Err(Error::unexpected("a reply", "a protocol frame"));
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn bytes_are_shared_with_the_frame() {
        let data = Bytes::from(vec![0_u8, 159, 146, 150]);
        let frame = Resp3Frame::BlobString { data: data.clone(), attributes: None };
        let bytes = Reply::from_frame(frame).unwrap().into_bytes().unwrap();
        assert_eq!(bytes.as_ptr(), data.as_ptr());
    }

    #[test]
    fn an_error_inside_an_array_is_an_error() {
        let frame = Resp3Frame::Array {
            data: vec![
                Resp3Frame::Number { data: 1, attributes: None },
                Resp3Frame::SimpleError { data: "WRONGTYPE x".into(), attributes: None },
            ],
            attributes: None,
        };
        assert_eq!(Reply::from_frame(frame).unwrap_err().kind(), ErrorKind::WrongType);
    }

    #[test]
    fn pairs_come_from_maps_and_even_arrays() {
        let flat = Reply::Array(vec![Reply::Int(1), Reply::Int(2)]);
        assert_eq!(flat.into_pairs().unwrap(), vec![(Reply::Int(1), Reply::Int(2))]);
        assert!(Reply::Array(vec![Reply::Int(1)]).into_pairs().is_err());
    }

    #[test]
    fn mismatches_say_what_came_and_not_its_content() {
        let error = Reply::Bytes("hunter2".into()).into_array().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(!error.to_string().contains("hunter2"));
        assert!(error.to_string().contains("a string"));
    }
}

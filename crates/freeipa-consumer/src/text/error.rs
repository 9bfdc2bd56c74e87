//! What is wrong with texts.

/// A text that cannot be used: which file, which key, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}{fault}", .key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
#[non_exhaustive]
pub struct TextError {
    /// The file, or the language where no file is meant.
    pub file: String,
    /// The key in it, `reasons.missing`; none if it is about the file as a whole.
    pub key: Option<String>,
    /// Why.
    pub fault: TextFault,
}

/// Why a text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// A `{` without its `}`, or a `}` without its `{`.
    #[error("a brace stands alone; write {{{{ or }}}} for one that is meant as such")]
    Brace,
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// Telegram would refuse the text.
    #[error("Telegram does not take it as HTML: {0}")]
    Markup(String),
    /// A language of its own has to have all texts.
    #[error("the text is missing; a language that is not built in needs all of them")]
    Missing,
    /// The text does not say what it has to say.
    #[error("the placeholder {{{0}}} is missing")]
    MissingPlaceholder(&'static str),
    /// The default language has no texts.
    #[error("there are no texts of the default language")]
    NoDefault,
    /// The file's name is no language.
    #[error("the name of the file is no language: expected one like `ru.toml` or `pt-br.toml`")]
    NotALanguage,
    /// The text is longer than a message may be.
    #[error("it is longer than {limit} characters, and names and links are still to come")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// The file is no such TOML.
    #[error("{0}")]
    Toml(String),
    /// There is no such key.
    #[error("there is no such text")]
    UnknownKey,
    /// There is no such placeholder, or not in this text.
    #[error("the placeholder {{{0}}} is not known here; known are {1}")]
    UnknownPlaceholder(String, String),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl TextError {
    pub(super) fn new(file: &str, key: Option<&str>, fault: TextFault) -> Self {
        Self { file: file.to_owned(), key: key.map(str::to_owned), fault }
    }
}

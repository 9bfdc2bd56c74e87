//! The texts for applicants, in their language.
//!
//! English, German and Russian are built in. A directory of TOML files, one a language, changes single texts or adds a language;
//! everything in it is checked when it is read, so that no applicant is the first to find a slip.

mod builtin;
mod error;
mod language;
mod markup;
mod template;
mod texts;

pub use self::error::{TextError, TextFault};
pub use self::language::{InvalidLanguage, Language};
pub use self::texts::{Pages, Rendered, Texts};

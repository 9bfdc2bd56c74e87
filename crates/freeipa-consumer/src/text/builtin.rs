//! The languages that are built in.

/// Each language with its file.
pub(super) const BUILT_IN: &[(&str, &str)] = &[
    ("de", include_str!("../../templates/de.toml")),
    ("en", include_str!("../../templates/en.toml")),
    ("ru", include_str!("../../templates/ru.toml")),
];

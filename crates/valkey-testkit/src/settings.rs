//! What the environment says about the server to test against.

use crate::TestkitError;

/// A running server to test against, as a URL. Then nothing is started.
pub(crate) const URL: &str = "VALKIT_TEST_URL";
/// `docker` or `binary`: that engine or none.
pub(crate) const ENGINE: &str = "VALKIT_TEST_ENGINE";
/// The image to start with Docker.
pub(crate) const IMAGE: &str = "VALKIT_TEST_IMAGE";
/// The image for tests of what that one may be too old for.
pub(crate) const NEWEST: &str = "VALKIT_TEST_IMAGE_NEWEST";

const DEFAULT_IMAGE: &str = "valkey/valkey:8.0";
const DEFAULT_NEWEST: &str = "valkey/valkey:9.1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Binary,
    Docker,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) url: Option<String>,
    pub(crate) wanted: Wanted,
    pub(crate) image: String,
    pub(crate) newest: String,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, TestkitError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// An empty variable counts as unset: that is how a CI file clears one.
    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TestkitError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let wanted = match lookup(ENGINE).as_deref() {
            None => Wanted::Any,
            Some("binary") => Wanted::Binary,
            Some("docker") => Wanted::Docker,
            Some(other) => {
                return Err(TestkitError::Invalid(format!("{ENGINE}={other}: expected docker or binary")));
            }
        };
        let image = lookup(IMAGE).unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        let newest = lookup(NEWEST).unwrap_or_else(|| DEFAULT_NEWEST.to_owned());
        Ok(Self { url: lookup(URL), wanted, image, newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, TestkitError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_means_any_engine_and_the_default_image() {
        let found = settings(&[(URL, ""), (ENGINE, "")]).expect("empty is unset");
        let [image, newest] = [DEFAULT_IMAGE, DEFAULT_NEWEST].map(str::to_owned);
        assert_eq!(found, Settings { url: None, wanted: Wanted::Any, image, newest });
    }

    #[test]
    fn an_unknown_engine_names_the_variable_and_the_choices() {
        let error = settings(&[(ENGINE, "podman")]).expect_err("refused").to_string();
        assert_eq!(error, "VALKIT_TEST_ENGINE=podman: expected docker or binary");
    }

    #[test]
    fn what_is_set_is_taken() {
        let variables = [(URL, "valkey://h:1"), (ENGINE, "binary"), (IMAGE, "x/y:9"), (NEWEST, "x/y:10")];
        let found = settings(&variables).expect("valid");
        assert_eq!(
            found,
            Settings {
                url: Some("valkey://h:1".to_owned()),
                wanted: Wanted::Binary,
                image: "x/y:9".to_owned(),
                newest: "x/y:10".to_owned(),
            }
        );
    }
}

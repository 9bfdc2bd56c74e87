//! [`settings!`](crate::settings!) and its parts.

/// Declares a settings struct: one text for the struct, its defaults, its setters, the layer that files and variables
/// are read into, and the field table that errors and the documentation are made from.
///
/// ```
/// use std::time::Duration;
/// use valkey_config::{Contradiction, Secret, Settings, Sources, Validate, settings};
///
/// settings! {
///     /// How a sender behaves.
///     #[derive(PartialEq)]
///     pub struct SenderSettings in [sender] {
///         /// Connections that are kept open.
///         pub pool_size: u32 = 10,
///         /// How long one write may take.
///         pub write_timeout: Duration = Duration::from_secs(3),
///         /// Database to select.
///         #[alias("DB")]
///         pub database: u32 = 0,
///         /// Password; also `PASSWORD_FILE`.
///         pub password: Option<Secret>,
///         /// Consumer group of the Go consumer.
///         #[notice("a queue is shared by all its consumers, there are no groups")]
///         pub consumer_group: Option<String>,
///     }
/// }
///
/// impl Validate for SenderSettings {
///     fn validate(&self) -> Vec<Contradiction> {
///         let mut found = Vec::new();
///         if self.pool_size == 0 {
///             found.push(Contradiction::new(["pool_size"], "at least one connection is needed"));
///         }
///         found
///     }
/// }
///
/// // In code: defaults, fields, setters.
/// let settings = SenderSettings::default().pool_size(4).password(Some(Secret::from("x")));
/// assert_eq!(settings.pool_size, 4);
///
/// // From outside: defaults < file < environment < explicit.
/// let settings: SenderSettings = Sources::new("VALKEY_SENDER_")
///     .toml_text("app.toml", "[sender]\nwrite_timeout = \"500ms\"")
///     .vars([("VALKEY_SENDER_DB", "3")])
///     .load()?;
/// assert_eq!(settings.write_timeout, Duration::from_millis(500));
/// assert_eq!(settings.database, 3);
/// assert_eq!(SenderSettings::fields()[0].env, "POOL_SIZE");
/// # Ok::<(), valkey_config::ConfigError>(())
/// ```
///
/// # Form
///
/// ```text
/// /// Doc of the struct, and any derives beyond Clone and Debug.
/// pub struct NAME in [SECTION] {           SECTION: the TOML table, dotted if nested
///     /// Doc of the field: required, it becomes the documentation of the setting.
///     #[attributes]
///     pub FIELD: TYPE = DEFAULT,           without `= DEFAULT`: the type's own default
/// }
/// ```
///
/// TYPE is a [`Setting`](crate::Setting), unless an attribute says otherwise:
///
/// | attribute | meaning |
/// |---|---|
/// | `#[env("NAME")]` | the variable's name after the prefix, if not the field's name in capitals |
/// | `#[alias("DB", ..)]` | other names, as variables write them; in TOML in lower case |
/// | `#[mapped("to what")]` | status in the documentation: stands for something else |
/// | `#[notice("why")]` | status: accepted without effect; setting it gives a [`Notice`](crate::Notice) |
/// | `#[text("queue name")]` | TYPE has `FromStr`, whose error is shown, and `Display`; the text names the type in the documentation |
/// | `#[optional_text("queue name")]` | TYPE is an `Option` of such a type |
/// | `#[structured("list of routes")]` | TYPE has serde's `Deserialize` and `Debug`; only TOML can hold it |
///
/// Secrets need no attribute: [`Secret`](crate::Secret), [`ServerUrl`](crate::ServerUrl) and lists of URLs are redacted
/// everywhere and understood as `*_FILE`, too (unless another setting has that very name). Do not keep a secret in a `String`.
///
/// The struct is `non_exhaustive`, has [`Default`], a setter of the same name for each field, and implements
/// [`Settings`](crate::Settings). Implement [`Validate`](crate::Validate) for it, if only with an empty body.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in [$($section:ident).+] {
            $(
                $(#[$($attribute:tt)*])*
                pub $field:ident: $type:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        #[allow(clippy::struct_excessive_bools)] // Each is a setting of its own, not a state.
        $vis struct $name {
            $(
                #[doc = $crate::__settings_doc!($([$($attribute)*])*)]
                $(#[doc = concat!("\n\nDefault: `", stringify!($default), "`")])?
                pub $field: $type,
            )*
        }

        $(
            const _: () = assert!(
                !$crate::__settings_doc!($([$($attribute)*])*).is_empty(),
                concat!("the setting `", stringify!($field), "` needs a doc comment")
            );
        )*

        #[allow(clippy::missing_const_for_fn)]
        impl $name {
            $(
                #[doc = concat!("The same settings with another `", stringify!($field), "`.")]
                #[must_use]
                pub fn $field(mut self, value: $type) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::__settings_default!($($default)?),)* }
            }
        }

        const _: () = {
            use $crate::__private::serde;

            // The same fields, all optional: what one source says. Flat, for `envy` loses types under `flatten`.
            #[derive(Debug, serde::Deserialize)]
            #[serde(crate = "serde", deny_unknown_fields)]
            #[allow(unreachable_pub)]
            pub struct SettingsLayer {
                $($field: Option<$crate::__private::Parsed<$type, $crate::__settings_codec!($([$($attribute)*])*)>>,)*
            }

            impl $crate::Settings for $name {
                type Layer = SettingsLayer;

                const SECTION: &'static str = $crate::__settings_section!($($section).+);

                fn fields() -> &'static [$crate::Field] {
                    static FIELDS: ::std::sync::OnceLock<Vec<$crate::Field>> = ::std::sync::OnceLock::new();
                    FIELDS.get_or_init(|| {
                        let defaults = Self::default();
                        vec![$(
                            $crate::Field::new::<$type, $crate::__settings_codec!($([$($attribute)*])*)>(
                                stringify!($field),
                                $crate::__settings_doc!($([$($attribute)*])*),
                                &defaults.$field,
                            )
                            $(.with($crate::__settings_attribute!($($attribute)*)))*,
                        )*]
                    })
                }

                fn absorb(&mut self, layer: SettingsLayer) {
                    $(
                        if let Some(value) = layer.$field {
                            self.$field = value.into_inner();
                        }
                    )*
                }

                fn shown(&self) -> Vec<String> {
                    vec![$(
                        <$crate::__settings_codec!($([$($attribute)*])*) as $crate::__private::Codec<$type>>::show(&self.$field),
                    )*]
                }
            }
        };
    };
}

/// The doc comment among a field's attributes, as one text.
#[doc(hidden)]
#[macro_export]
macro_rules! __settings_doc {
    ($([$($attribute:tt)*])*) => { concat!($($crate::__settings_doc_line!($($attribute)*)),*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __settings_doc_line {
    (doc = $line:literal) => {
        concat!($line, "\n")
    };
    ($($other:tt)*) => {
        ""
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __settings_default {
    () => {
        ::core::default::Default::default()
    };
    ($default:expr) => {
        $default
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __settings_section {
    ($first:ident $(. $next:ident)*) => { concat!(stringify!($first) $(, ".", stringify!($next))*) };
}

/// The way a field is read: the first attribute that names one, else its type's own.
#[doc(hidden)]
#[macro_export]
macro_rules! __settings_codec {
    () => { $crate::__private::Native };
    ([text $($rest:tt)*] $($more:tt)*) => { $crate::__private::Text };
    ([optional_text $($rest:tt)*] $($more:tt)*) => { $crate::__private::OptionalText };
    ([structured $($rest:tt)*] $($more:tt)*) => { $crate::__private::Structured };
    ([$($other:tt)*] $($more:tt)*) => { $crate::__settings_codec!($($more)*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __settings_attribute {
    (doc = $line:literal) => { $crate::__private::Attribute::Doc };
    (alias($($name:literal),+ $(,)?)) => { $crate::__private::Attribute::Alias(&[$($name),+]) };
    (env($name:literal)) => { $crate::__private::Attribute::Env($name) };
    (mapped($to:literal)) => { $crate::__private::Attribute::Mapped($to) };
    (notice($why:literal)) => { $crate::__private::Attribute::Notice($why) };
    (text($type_name:literal)) => { $crate::__private::Attribute::TypeName($type_name) };
    (optional_text($type_name:literal)) => { $crate::__private::Attribute::TypeName($type_name) };
    (structured($type_name:literal)) => { $crate::__private::Attribute::TypeName($type_name) };
    ($($other:tt)*) => { compile_error!(concat!("not an attribute of a setting: ", stringify!($($other)*))) };
}

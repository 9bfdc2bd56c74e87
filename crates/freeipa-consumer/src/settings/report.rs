//! `[report]`: how applicants are told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use valkey_config::{Contradiction, Invalid, Raw, Secret, Setting, Validate, settings};
use valkey_envelope::QueueName;

use crate::status::TelegramSettings;
use crate::text::{Language, Pages, TextError, Texts};

settings! {
    /// How applicants are told.
    #[derive(PartialEq)]
    pub struct ReportSettings in [report] {
        /// How: by `telegram`, by a `queue` for a bot that talks itself, or `none`.
        #[env("REPORT_VIA")]
        pub via: ReportWay = ReportWay::Telegram,
        /// How applicants get into their accounts: `temporary` makes a password that has to be changed at once, and tells it in
        /// the person's own chat; `reset_page` links to `reset_url`; `none` says nothing of it. Unless set: `temporary` by
        /// Telegram, else `none`.
        #[env("PASSWORD_DELIVERY")]
        pub password: Option<PasswordDelivery>,
        /// Where to sign in, for the texts.
        #[env("SIGN_IN_URL")]
        pub sign_in_url: Option<String>,
        /// Where to set a password, for the texts.
        #[env("RESET_URL")]
        pub reset_url: Option<String>,
        /// The language for those whose own has no texts; `en`, `de` and `ru` are built in.
        #[text("language")]
        pub default_language: Language = "en".parse().expect("a language"),
        /// A directory with texts of one's own, one `LANGUAGE.toml` each.
        pub templates_dir: Option<PathBuf>,
        /// The bot's token, as the `BotFather` gives it, or with `telegram_token_file` the path of a file that holds it.
        pub telegram_token: Option<Secret>,
        /// Where the Bot API is: Telegram's own, or one's own server of it.
        pub telegram_url: String = TelegramSettings::OFFICIAL.to_owned(),
        /// CA certificates (PEM) that its certificate must come from. Unset: those of the system.
        pub telegram_ca_file: Option<PathBuf>,
        /// Whether the Bot API of another host may be reached without TLS, which shows the token and all passwords on the way.
        pub telegram_allow_plain_http: bool = false,
        /// Messages a second, at most 30. Telegram counts those of everybody who uses the bot.
        pub telegram_rate: NonZeroU32 = NonZeroU32::new(20).expect("not 0"),
        /// How long one call to it may take.
        pub telegram_timeout: Duration = Duration::from_secs(15),
        /// How long a report waits for its turn before the registration is put back.
        pub telegram_patience: Duration = Duration::from_secs(10),
        /// The queue for reports, for `via = "queue"`.
        #[optional_text("queue name")]
        pub status_queue: Option<QueueName>,
        /// Whether passwords may be written into that queue: DANGEROUS, for then the memory, the files and the copies of a server
        /// hold them, unless a codec encrypts them.
        pub status_queue_passwords: bool = false,
    }
}

/// How applicants are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportWay {
    /// Not at all.
    Nobody,
    /// By a queue, for a bot that talks itself.
    Queue,
    /// By Telegram.
    #[default]
    Telegram,
}

/// How applicants get into their accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PasswordDelivery {
    /// Nothing is said of it.
    Nothing,
    /// By a page where a password can be set.
    ResetPage,
    /// By a password that has to be changed at once.
    Temporary,
}

impl ReportSettings {
    /// How applicants get into their accounts: what is set, or what goes with the way they are told.
    pub fn password_delivery(&self) -> PasswordDelivery {
        let usual = if self.via == ReportWay::Telegram {
            PasswordDelivery::Temporary
        } else {
            PasswordDelivery::Nothing
        };
        self.password.unwrap_or(usual)
    }

    /// The texts, read and checked.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn texts(&self) -> Result<Texts, Vec<TextError>> {
        let pages = Pages::new(self.sign_in_url.clone(), self.reset_url.clone());
        Texts::load(&self.default_language, self.templates_dir.as_deref(), pages)
    }

    /// The settings of Telegram; `None` without a token.
    pub fn telegram(&self) -> Option<TelegramSettings> {
        let mut telegram = TelegramSettings::new(self.telegram_token.clone()?);
        telegram.base_url.clone_from(&self.telegram_url);
        telegram.ca_file.clone_from(&self.telegram_ca_file);
        telegram.allow_plain_http = self.telegram_allow_plain_http;
        telegram.rate = self.telegram_rate.get();
        telegram.timeout = self.telegram_timeout;
        telegram.patience = self.telegram_patience;
        Some(telegram)
    }
}

impl Validate for ReportSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, fields: &[&'static str], message: &str| {
            if wrong {
                found.push(Contradiction::new(fields.iter().copied(), message));
            }
        };
        let password = self.password_delivery();
        refuse(
            self.via == ReportWay::Telegram && self.telegram_token.as_ref().is_none_or(Secret::is_empty),
            &["via", "telegram_token"],
            "Telegram needs the bot's token: best as a file: report.telegram_token_file, or FREEIPA_CONSUMER_TELEGRAM_TOKEN_FILE",
        );
        refuse(
            self.via == ReportWay::Queue && self.status_queue.is_none(),
            &["via", "status_queue"],
            "name the queue that reports go to",
        );
        refuse(
            password == PasswordDelivery::ResetPage && self.reset_url.is_none(),
            &["password", "reset_url"],
            "say where passwords are set",
        );
        refuse(
            password == PasswordDelivery::Temporary
                && self.via == ReportWay::Queue
                && !self.status_queue_passwords,
            &["password", "status_queue_passwords"],
            "nobody would hear the passwords: allow them in the queue, or take `reset_page` or `none`",
        );
        refuse(
            password == PasswordDelivery::Temporary && self.via == ReportWay::Nobody,
            &["password", "via"],
            "nobody would hear the passwords: take `none`",
        );
        refuse(
            self.telegram_rate.get() > 30,
            &["telegram_rate"],
            "at most 30: Telegram takes no more of a bot",
        );
        refuse(
            self.telegram_timeout.is_zero() || self.telegram_timeout > Duration::from_mins(5),
            &["telegram_timeout"],
            "zero is no time to answer in, and nobody waits longer than 5m",
        );
        refuse(
            self.telegram_patience > Duration::from_mins(1),
            &["telegram_patience"],
            "at most 1m: a registration that waits is better put back",
        );
        for (field, url) in [("sign_in_url", &self.sign_in_url), ("reset_url", &self.reset_url)] {
            let is_link = |url: &str| {
                (url.starts_with("https://") || url.starts_with("http://"))
                    && url.len() <= 500
                    && url.bytes().all(|byte| byte.is_ascii_graphic())
            };
            refuse(
                url.as_deref().is_some_and(|url| !is_link(url)),
                &[field],
                "a link begins with https:// and has no blanks",
            );
        }
        found
    }
}

impl Setting for ReportWay {
    fn type_name() -> String {
        "`telegram`, `queue` or `none`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("telegram") => Ok(Self::Telegram),
            Some("queue") => Ok(Self::Queue),
            Some("none") => Ok(Self::Nobody),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Nobody => "none",
            Self::Queue => "queue",
            Self::Telegram => "telegram",
        }
        .to_owned()
    }
}

impl Setting for PasswordDelivery {
    fn type_name() -> String {
        "`temporary`, `reset_page` or `none`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("temporary") => Ok(Self::Temporary),
            Some("reset_page") => Ok(Self::ResetPage),
            Some("none") => Ok(Self::Nothing),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Nothing => "none",
            Self::ResetPage => "reset_page",
            Self::Temporary => "temporary",
        }
        .to_owned()
    }
}

//! All texts of all languages, and what is made of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::builtin::BUILT_IN;
use super::error::{TextError, TextFault};
use super::language::Language;
use super::markup::{escape, plain};
use super::template::{Template, Terms};
use crate::registration::Field;
use crate::status::{Access, News, Problem, Report};

/// The texts at the top of a file, and what each may say.
const TEXTS: &[(&str, Terms)] = &[
    (
        "created",
        Terms { known: &["login", "page", "access", "reference"], needed: &["login", "access", "reference"] },
    ),
    ("failed", Terms { known: &["problems", "reference"], needed: &["problems", "reference"] }),
    ("has_account", Terms { known: &["reference"], needed: &["reference"] }),
    ("queued", Terms { known: &["reference"], needed: &["reference"] }),
    ("unexpected", Terms { known: &["reference"], needed: &["reference"] }),
    // What the placeholders above stand for.
    ("page", Terms { known: &["url"], needed: &["url"] }),
    ("password", Terms { known: &["password"], needed: &["password"] }),
    ("problem", Terms { known: &["field", "reason"], needed: &["field", "reason"] }),
    ("reset", Terms { known: &["url"], needed: &["url"] }),
    ("untold", WORDS),
];

/// A text without placeholders.
const WORDS: Terms = Terms { known: &[], needed: &[] };

/// The tables of a file, whose texts have no placeholders.
const TABLES: &[(&str, &[&str])] = &[
    (
        "fields",
        &[
            "consent",
            "email",
            "first_name",
            "groups",
            "last_name",
            "message",
            "phone",
            "requested_login",
            "telegram",
        ],
    ),
    (
        "reasons",
        &[
            "ambiguous",
            "character",
            "consent",
            "domain",
            "email_taken",
            "forbidden",
            "group",
            "id_taken",
            "login_characters",
            "login_reserved",
            "login_taken",
            "malformed",
            "missing",
            "not_taken",
            "syntax",
            "too_long",
        ],
    ),
];

/// Keys that earlier versions had: a file that still has them is taken, and nobody reads them.
const RETIRED: &[&str] = &["reasons.has_account", "reasons.unsupported"];

/// All texts of all languages.
///
/// ```
/// use freeipa_consumer::text::{Pages, Texts};
///
/// let texts = Texts::load(&"en".parse()?, None, Pages::default()).map_err(|errors| errors[0].clone())?;
/// assert!(texts.languages().any(|language| language == "ru"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Texts {
    languages: BTreeMap<String, Templates>,
    default: String,
    pages: Pages,
}

type Templates = BTreeMap<String, Template>;

/// Pages that texts link to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pages {
    /// Where to sign in.
    pub sign_in: Option<String>,
    /// Where to set a password.
    pub reset: Option<String>,
}

/// A text as it is sent. `Debug` shows nothing of it: it may tell a password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// In the HTML of Telegram.
    pub html: String,
    /// As people see it.
    pub plain: String,
}

// === impl Texts ===

impl Texts {
    /// Reads the texts: those built in, and over them those of a directory with one `LANGUAGE.toml` each. Other files there are
    /// left alone.
    ///
    /// # Errors
    /// Everything that is wrong with them, at least one thing.
    pub fn load(default: &Language, directory: Option<&Path>, pages: Pages) -> Result<Self, Vec<TextError>> {
        let mut errors = Vec::new();
        let mut languages: BTreeMap<String, Templates> = BTreeMap::new();
        for (language, text) in BUILT_IN {
            let templates = read(language, text, &mut errors);
            languages.insert((*language).to_owned(), templates);
        }
        let own = directory.map(|directory| files(directory, &mut errors)).unwrap_or_default();
        for (file, language, text) in own {
            let templates = read(&file, &text, &mut errors);
            let known = languages.entry(language.as_str().to_owned()).or_default();
            known.extend(templates);
            let missing =
                keys().filter(|key| !known.contains_key(key) && errors.iter().all(|e| e.file != file));
            let missing: Vec<String> = missing.collect();
            errors.extend(missing.iter().map(|key| TextError::new(&file, Some(key), TextFault::Missing)));
        }
        let found = default.widened().find(|language| languages.contains_key(*language)).map(str::to_owned);
        if found.is_none() {
            errors.push(TextError::new(default.as_str(), None, TextFault::NoDefault));
        }
        match found {
            Some(default) if errors.is_empty() => Ok(Self { languages, default, pages }),
            _ => Err(errors),
        }
    }

    /// The languages that there are texts of.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.keys().map(String::as_str)
    }

    /// The language for somebody whose client says this one: itself, a wider one, or the default.
    pub fn language_for(&self, language_code: Option<&str>) -> &str {
        let wished = language_code.and_then(|code| code.parse::<Language>().ok());
        let found = wished
            .as_ref()
            .and_then(|wished| wished.widened().find_map(|language| self.languages.get_key_value(language)));
        found.map_or(&self.default, |(language, _)| language)
    }

    /// The text of a report, in the language of whom it is for.
    ///
    /// A password is told in private only, whatever the report says.
    pub fn render(&self, report: &Report) -> Rendered {
        let templates = &self.languages[self.language_for(report.to.language.as_deref())];
        let say = |key: &str, value: &dyn Fn(&'static str) -> String| templates[key].fill(value);
        let reference = || report.id.reference().to_string();
        let html = match &report.news {
            News::Created { login, access } => say("created", &|name| match name {
                "login" => escape(login.as_str()),
                "page" => {
                    self.pages.sign_in.as_ref().map_or_else(String::new, |url| say("page", &|_| escape(url)))
                }
                "access" => match (access, &self.pages.reset) {
                    (Access::TemporaryPassword(password), _) if report.to.is_private() => {
                        say("password", &|_| escape(password.expose()))
                    }
                    (Access::ResetPage, Some(url)) => say("reset", &|_| escape(url)),
                    _ => say("untold", &|_| String::new()),
                },
                _ => reference(),
            }),
            News::Failed { problems } if problems.iter().any(Problem::is_account) => {
                say("has_account", &|_| reference())
            }
            News::Failed { problems } => say("failed", &|name| match name {
                "problems" => {
                    problems.iter().map(|problem| line(templates, *problem)).collect::<Vec<_>>().join("\n")
                }
                _ => reference(),
            }),
            News::Queued => say("queued", &|_| reference()),
            News::Unexpected => say("unexpected", &|_| reference()),
        };
        let html = without_gaps(&html);
        Rendered { plain: plain(&html), html }
    }
}

/// One reason why not.
fn line(templates: &Templates, problem: Problem) -> String {
    let field = match problem.field {
        Field::FirstName
        | Field::LastName
        | Field::Email
        | Field::Phone
        | Field::RequestedLogin
        | Field::Groups
        | Field::Consent => problem.field.name(),
        field if field.is_of_telegram() => "telegram",
        _ => "message",
    };
    let words = |table: &str, key: &str| {
        templates
            .get(&format!("{table}.{key}"))
            .map(|words| words.fill(|_| String::new()))
            .unwrap_or_default()
    };
    templates["problem"].fill(|name| match name {
        "field" => words("fields", field),
        _ => words("reasons", problem.reason),
    })
}

/// Without the empty lines that placeholders leave which stand for nothing.
fn without_gaps(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n").trim_end().to_owned()
}

/// All keys that a language has to have.
fn keys() -> impl Iterator<Item = String> {
    let of_tables =
        TABLES.iter().flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}")));
    TEXTS.iter().map(|(key, _)| (*key).to_owned()).chain(of_tables)
}

/// The files of a directory that are texts.
fn files(directory: &Path, errors: &mut Vec<TextError>) -> Vec<(String, Language, String)> {
    let unreadable = |path: &Path, error: &dyn fmt::Display| {
        TextError::new(&path.display().to_string(), None, TextFault::Unreadable(error.to_string()))
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(unreadable(directory, &error));
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let Some(language) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<Language>().ok()) else {
            errors.push(TextError::new(&name, None, TextFault::NotALanguage));
            continue;
        };
        match crate::files::read_text(&path) {
            Ok(text) => files.push((name, language, text)),
            Err(error) => errors.push(unreadable(&path, &error)),
        }
    }
    files
}

/// The texts of a file.
fn read(file: &str, text: &str, errors: &mut Vec<TextError>) -> Templates {
    let mut templates = Templates::new();
    let table: toml::Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let error = error.to_string().trim_end().to_owned();
            errors.push(TextError::new(file, None, TextFault::Toml(error)));
            return templates;
        }
    };
    let mut add = |key: String, terms: Option<Terms>, value: &toml::Value| {
        if RETIRED.contains(&&*key) {
            return;
        }
        let template = match (terms, value.as_str()) {
            (None, _) => Err(TextFault::UnknownKey),
            (_, None) => Err(TextFault::Toml("expected a text in quotes".to_owned())),
            (Some(terms), Some(text)) => Template::parse(text, terms),
        };
        match template {
            Ok(template) => drop(templates.insert(key, template)),
            Err(fault) => errors.push(TextError::new(file, Some(&key), fault)),
        }
    };
    for (key, value) in &table {
        let words = TABLES.iter().find(|(table, _)| table == key).map(|(_, words)| words);
        if let (Some(words), Some(inner)) = (words, value.as_table()) {
            for (word, value) in inner {
                let terms = words.contains(&word.as_str()).then_some(WORDS);
                add(format!("{key}.{word}"), terms, value);
            }
        } else {
            let terms = TEXTS.iter().find(|(text, _)| text == key).map(|(_, terms)| *terms);
            add(key.clone(), terms, value);
        }
    }
    templates
}

impl Pages {
    /// Pages to link to.
    pub fn new(sign_in: Option<String>, reset: Option<String>) -> Self {
        Self { sign_in, reset }
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").finish_non_exhaustive()
    }
}

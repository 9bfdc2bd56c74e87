//! The field table and the text made from it.

use super::*;
use valkey_config::{Section, Settings as _, Status, markdown_table};

#[test]
fn the_table_knows_every_field() {
    let fields = ConnectionSettings::fields();
    let database = fields.iter().find(|field| field.key == "database").unwrap();
    assert_eq!((&*database.env, &database.aliases[..], &*database.default), ("DATABASE", &["DB"][..], "0"));
    assert_eq!(database.doc.trim(), "Database to select.");
    let secrets: Vec<_> = fields.iter().filter(|field| field.secret).map(|field| field.key).collect();
    assert_eq!(secrets, ["url", "password", "seeds"]);
    let find = |key| SenderSettings::fields().iter().find(|field| field.key == key).unwrap();
    assert_eq!(find("rate_limit_requests").status, Status::Mapped("a limit of the whole process"));
    assert!(matches!(find("min_idle_conns").status, Status::Notice(_)));
    assert_eq!((find("log_level").env.as_str(), find("routes").toml_only), ("LOG", true));
    assert_eq!(find("default_queue").type_name, "queue name");
}

#[test]
fn the_defaults_in_the_table_can_be_read_back() {
    let mut sources = Sources::new("");
    for field in
        ConnectionSettings::fields().iter().filter(|field| !field.default.is_empty() && !field.secret)
    {
        sources = sources.explicit(field.key, field.key, &*field.default);
    }
    let settings: ConnectionSettings = sources.load().unwrap();
    assert_eq!(format!("{settings:?}"), format!("{:?}", ConnectionSettings::default()));
}

#[test]
fn the_markdown_is_this() {
    let sections = [Section::of::<ConnectionSettings>(), Section::of::<SenderSettings>()];
    assert_eq!(markdown_table(PREFIX, &sections), include_str!("configuration.md"));
}

//! What the documentation shows works as it stands there.

use smtp_guard::GuardSettings;
use valkey_config::Sources;

#[test]
fn the_settings_of_the_documentation_are_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy-service.md");
    let text = std::fs::read_to_string(path).unwrap();
    let block = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let sources = Sources::new("SMTP_GUARD_").toml_text("policy-service.md", block);
    let (settings, notices) = GuardSettings::from_sources(&sources).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(settings.policy.limits.len(), 3);
    // Each key that the table names is one: nothing else is in the struct, which refuses unknown keys.
    let table = text.split("| key | meaning | default |").nth(1).unwrap().split("\n\n").next().unwrap();
    let keys = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    for key in keys {
        let error = Sources::new("SMTP_GUARD_")
            .toml_text("x", format!("[policy.limits.x]\n{key} = {{ nothing = 1 }}"))
            .load::<smtp_guard::settings::PolicySettings>()
            .unwrap_err();
        assert!(!error.to_string().contains(&format!("unknown field `{key}`")), "{key}: {error}");
    }
}

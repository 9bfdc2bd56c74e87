//! What is read from files of rules, and what is said of those that are wrong.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::{Rules, RulesError};
use crate::algorithm::Algorithm;
use crate::allow::AllowList;
use crate::quota::Quota;
use crate::rule::{Network, Rule};
use crate::unavailable::OnUnavailable;

/// All that is wrong with a text, one line each.
fn problems(text: &str) -> Vec<String> {
    match Rules::parse(text) {
        Err(super::RulesError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?} for {text}"),
    }
}

/// What is said of a rule with a quota and one more line.
fn problem(line: &str) -> String {
    let found = problems(&format!("[rules.a]\nquota = \"100/1m\"\n{line}\n"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap_or_default()
}

#[test]
fn every_field_is_read() {
    let rules = Rules::parse(
        r#"
        [resources]                      # another program's
        valkey_url = "valkey://elsewhere"

        [rules.full]
        quota = "1_000/1m"
        algorithm = "gcra"
        burst = 0x14
        prefix = "elemta:ratelimit:"
        on_unavailable = "local"
        nodes = 3
        lease = "1%"
        shadow = true
        address_bits = { v6 = 64 }
        networks = [{ v4 = 24, v6 = 48, quota = "10000/1m" }]
        allow = ["10.0.0.0/8", "ada@example.org"]
        most_subjects = 100_000

        [rules.plain]
        quota = "5/s"
        "#,
    )
    .expect("rules");
    let quota = |text: &str| text.parse::<Quota>().expect("a quota");
    let full = Rule::new("full".parse().expect("a name"), quota("1000/1m"))
        .with_algorithm(Algorithm::Gcra { burst: 20 })
        .with_prefix("elemta:ratelimit:")
        .with_on_unavailable(OnUnavailable::Local { nodes: NonZeroU32::new(3).expect("not zero") })
        .with_lease("1%".parse().expect("a share"))
        .with_address_bits(32, 64)
        .with_network(Network { v4: 24, v6: 48, quota: quota("10000/1m") })
        .with_allowed(AllowList::parse(["10.0.0.0/8", "ada@example.org"]).expect("a list"))
        .with_most_subjects(100_000)
        .shadow();
    assert_eq!(rules.get("full"), Some(&full));
    let plain = Rule::new("plain".parse().expect("a name"), quota("5/1s"));
    assert_eq!(rules.get("plain"), Some(&plain));
    assert_eq!(rules.iter().map(|rule| rule.name().as_str()).collect::<Vec<_>>(), ["full", "plain"]);
    assert!(rules.get("other").is_none());
    let warnings: Vec<String> = rules.warnings().iter().map(ToString::to_string).collect();
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("line 12: rules.full.lease: the lease has no effect"),
        "{warnings:?}"
    );
    assert_eq!(rules.nearest("plane").map(|rule| rule.name().as_str()), Some("plain"));
}

#[test]
fn a_text_without_rules_has_none() {
    for text in ["", "# nothing", "[resources]\nmax_connections = 1000", "[rules]"] {
        assert!(Rules::parse(text).expect("no rules").is_empty(), "{text}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_line() {
    let text = "[rules.a]\nquota = \"100/apple\"\nshadow = 1\n\n[rules.\"B\"]\nquota = \"1/1s\"\n\n[rules.c]\nburst = 3\n";
    assert_eq!(
        problems(text),
        [
            "line 2: rules.a.quota: `100/apple` is no quota: expected an amount and a time, as in 100/1m or 5/s",
            "line 3: rules.a.shadow: expected true or false, found the number 1",
            "line 5: rules.B: `B` is no name of a rule: 1 to 64 of a-z, 0-9, `_`, `.` and `-`",
            "line 8: rules.c.quota: it is missing: how much in how long, such as \"100/1m\"",
        ]
    );
    let whole = Rules::parse(text).expect_err("wrong").to_string();
    assert!(whole.starts_with("4 problems in the rules:\n  - line 2: "), "{whole}");
    assert!(problems("[rules.a]\nquota = \"1/1s\"\n[rules.a]\n")[0].starts_with("line 3: "));
    assert!(problems("[rules.a]\nquota = \n")[0].starts_with("line 2: "));
}

#[test]
fn each_field_says_what_it_takes() {
    for (line, expected) in [
        ("qouta = 1", "line 3: rules.a.qouta: this is no field of a rule; did you mean `quota`?"),
        ("zzz = 1", "there are quota, algorithm, burst,"),
        ("per-ip = { quota = \"1/1s\" }", "[rules.\"a.per-ip\"]"),
        ("algorithm = \"sliding\"", "`sliding` is no algorithm: one of sliding-window, sliding-log"),
        ("algorithm = 1", "expected a text in quotes, found the number 1"),
        ("algorithm = \"gcra\"", "rules.a.algorithm: gcra needs a burst"),
        ("burst = 3", "rules.a.burst: a burst says nothing to sliding-window"),
        (
            "algorithm = \"gcra\"\nburst = 0",
            "line 4: rules.a.burst: expected a whole number from 1, found the number 0",
        ),
        ("prefix = \"a{b\"", "found '{'"),
        ("prefix = \"\"", "a prefix of keys has 1 to 200 bytes"),
        ("on_unavailable = \"alow\"", "`alow` is none of allow, deny, local; did you mean `allow`?"),
        ("nodes = 3", "rules.a.nodes: "),
        ("on_unavailable = \"local\"", "rules.a.on_unavailable: "),
        ("shadow = \"yes\"", "expected true or false, found the text \"yes\""),
        ("address_bits = 64", "expected a table in braces, found the number 64"),
        ("address_bits = { v4 = 33 }", "v4: expected a whole number from 0 to 32, found the number 33"),
        ("address_bits = { v5 = 3 }", "`v5` has no place here; there are v4, v6"),
        ("networks = { v4 = 24 }", "expected a list in brackets, found a table"),
        ("networks = [{ v4 = 24, v6 = 48 }]", "network 1: quota is missing"),
        ("networks = [{ v4 = 24, v6 = 48, quota = \"x\" }]", "network 1: quota: `x` is no quota"),
        ("networks = [{ v4 = 24, quota = \"1/1s\" }]", "network 1: v6 is missing"),
        ("allow = \"10.0.0.0/8\"", "expected a list in brackets, found the text"),
        ("allow = [\"10.0.0.1/8\"]", "write 10.0.0.0/8 for the network"),
        ("allow = [\"::1\", 3]", "expected a text in quotes, found the number 3"),
        ("most_subjects = 0", "expected a whole number from 1 to"),
        ("lease = \"1\"", "rules.a.lease: "),
        ("lease = 1", "expected a text in quotes, found the number 1"),
        ("lease = \"1%\"\nalgorithm = \"sliding-log\"", "rules.a.lease: "),
        (
            "address_bits = { v4 = 24 }\nnetworks = [{ v4 = 24, v6 = 48, quota = \"9/1s\" }]",
            "rules.a.networks: ",
        ),
    ] {
        let found = problem(line);
        assert!(found.contains(expected), "{line}: {found}");
    }
}

#[test]
fn a_rule_that_stands_where_nobody_reads_it_is_no_rule_less() {
    for (text, expected) in [
        ("[per-ip]\nquota = \"1/1s\"", "line 1: per-ip: a rule stands under `rules`: [rules.per-ip]"),
        (
            "[rule.per-ip]\nquota = \"1/1s\"",
            "line 1: rule: this is read by nobody; did you mean [rules.NAME]?",
        ),
        ("quota = \"1/1s\"", "line 1: quota: this stands in no rule: write [rules.NAME] above it"),
        ("[rules]\nquota = \"1/1s\"", "line 2: rules.quota: expected a table with the fields of a rule"),
        ("rules = 3", "line 1: rules: expected tables of rules"),
        ("[[rules]]\nquota = \"1/1s\"", "line 1: rules: expected tables of rules"),
    ] {
        assert!(problems(text)[0].starts_with(expected), "{text}: {:?}", problems(text));
    }
}

#[test]
fn a_lease_without_effect_is_warned_of() {
    let leased = |quota: &str| format!("[rules.a]\nquota = \"{quota}\"\nlease = \"1%\"\n");
    assert!(Rules::parse(&leased("60000/1m")).is_ok_and(|rules| rules.warnings().is_empty()));
    assert!(
        Rules::parse(&leased("100/1m")).is_ok_and(|rules| rules.warnings().len() == 1),
        "one is not worth holding"
    );
}

#[test]
fn long_logs_are_warned_of_and_longer_ones_refused() {
    let log = |limit: u32| format!("[rules.a]\nquota = \"{limit}/1m\"\nalgorithm = \"sliding-log\"\n");
    assert!(Rules::parse(&log(128)).is_ok_and(|rules| rules.warnings().is_empty()));
    let rules = Rules::parse(&log(129)).expect("rules");
    let warnings: Vec<String> = rules.warnings().iter().map(ToString::to_string).collect();
    assert!(warnings[0].starts_with("line 3: rules.a.algorithm: a sliding log of 129 "), "{warnings:?}");
    let refused = problems(&log(10_001));
    assert!(
        refused[0]
            .starts_with("line 3: rules.a.algorithm: a sliding log of 10001 is refused: it keeps each unit"),
        "{refused:?}"
    );
    let step = format!("{}networks = [{{ v4 = 24, v6 = 48, quota = \"10001/1m\" }}]", log(100));
    assert!(problems(&step)[0].contains("a sliding log of 10001 is refused"));
}

/// The reference is right, and whole.
#[test]
fn the_documented_file_is_read_and_every_field_is_documented() {
    let document = include_str!("../../../../docs/rate-limiting.md");
    let examples: Vec<&str> = document
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|text| !text.starts_with("[dependencies]"))
        .collect();
    let rules: Vec<Rules> = examples.iter().map(|text| Rules::parse(text).expect(text)).collect();
    assert!(rules.iter().all(|rules| !rules.is_empty() && rules.warnings().is_empty()) && !rules.is_empty());
    for field in super::draft::FIELDS {
        assert!(document.contains(&format!("\n| `{field}` | ")), "{field} is not in the table");
        assert!(
            examples.iter().any(|text| text.contains(&format!("\n{field} = "))),
            "{field} is in no example"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", fields in proptest::collection::vec(("[a-z_]{1,14}", "\\PC{0,24}"), 0..8)) {
        let _ = Rules::parse(&text);
        let fields: Vec<String> = fields.iter().map(|(field, value)| format!("{field} = {value}")).collect();
        let _ = Rules::parse(&format!("[rules.a]\n{}", fields.join("\n")));
    }
}

/// Whoever writes rules by a program may get all of them wrong.
#[test]
fn very_many_mistakes_are_all_found_and_not_all_told() {
    let tables: Vec<String> =
        (0..20_000).map(|number| format!("[rules.r{number}]\nquta = \"5/1m\"\n")).collect();
    let text = tables.concat();
    // Each has its line, though none is looked for from the beginning.
    let error = Rules::parse(&text).expect_err("all are wrong");
    let told = error.to_string();
    assert!(told.len() < 10_000 && told.ends_with("and 19950 more"), "{}", &told[told.len() - 100..]);
    let RulesError::Invalid(problems) = error else { panic!("{told}") };
    assert_eq!((problems.len(), problems[19_999].line()), (20_000, 40_000));
}

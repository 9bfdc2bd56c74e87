//! What holds for every input.

use proptest::prelude::*;
use valkey_config::{CsvList, HumanDuration, ServerUrl, format_duration, parse_duration};

use super::*;

/// What must never be seen.
const CANARY: &str = "cAnArY42";

/// A text around the canary, of the characters that URLs are sensitive to.
fn with_canary() -> impl Strategy<Value = String> {
    ("[a-z0-9:@/?#%\\[\\] ]{0,12}", "[a-z0-9:@/?#%\\[\\] ]{0,12}")
        .prop_map(|(a, b)| format!("{a}{CANARY}{b}"))
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02x}"))
}

proptest! {
    #[test]
    fn durations_survive_their_text(seconds: u64, nanos in 0_u32..1_000_000_000) {
        let duration = Duration::new(seconds, nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        prop_assert_eq!(HumanDuration(duration).to_string().parse(), Ok(HumanDuration(duration)));
    }

    #[test]
    fn durations_of_humantime_are_understood(seconds in 0_u64..1 << 40, nanos in 0_u32..1_000_000_000) {
        let duration = Duration::new(seconds, nanos);
        prop_assert_eq!(parse_duration(&humantime::format_duration(duration).to_string()), Ok(duration));
    }

    #[test]
    fn bare_numbers_are_never_durations(number in "[1-9][0-9]{0,30}(\\.[0-9]{1,30})?") {
        prop_assert!(parse_duration(&number).is_err());
    }

    #[test]
    fn no_text_makes_a_duration_panic(text in "\\PC{0,40}") {
        let _ = parse_duration(&text);
    }

    #[test]
    fn no_numbers_and_units_make_a_duration_panic(text in "([0-9.]{0,45} ?(ns|us|µs|ms|s|m|h|d|w|y|M|month)? ?){0,4}") {
        if let Ok(duration) = parse_duration(&text) {
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn lists_survive_their_text(items in prop::collection::vec("[a-z0-9-]{1,8}( [a-z]{1,3})?", 0..6)) {
        let list = CsvList::from(items);
        prop_assert_eq!(list.to_string().parse::<CsvList<String>>(), Ok(list.clone()));
        let spaced = list.join(" , ,");
        prop_assert_eq!(spaced.parse::<CsvList<String>>(), Ok(list));
    }

    #[test]
    fn urls_survive_their_text(
        tls: bool,
        host in prop_oneof!["[a-z][a-z0-9-]{0,10}(\\.[a-z]{2,3})?", Just("[2001:db8::1]".to_owned()), Just("::1".to_owned())],
        port in 1_u16..,
        username in prop::option::of("\\PC{1,8}"),
        database in prop::option::of(any::<u32>()),
    ) {
        let mut url = ServerUrl::new(&host, port).unwrap();
        if tls { url = url.with_tls(); }
        if let Some(username) = username { url = url.with_username(username); }
        if let Some(database) = database { url = url.with_database(database); }
        prop_assert_eq!(url.to_string().parse::<ServerUrl>(), Ok(url));
    }

    #[test]
    fn an_encoded_password_is_decoded(username in "\\PC{1,8}", password in "\\PC{1,16}") {
        let text = format!("valkey://{}:{}@host", percent_encode(&username), percent_encode(&password));
        let url: ServerUrl = text.parse().unwrap();
        prop_assert_eq!(url.username(), Some(&*username));
        prop_assert_eq!(url.password().map(Secret::expose), Some(&*password));
    }

    #[test]
    fn no_text_makes_a_url_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<ServerUrl>();
        let _ = format!("valkey://{text}").parse::<ServerUrl>();
        let _ = format!("unix://{text}").parse::<ServerUrl>();
    }

    #[test]
    fn the_password_of_a_url_is_never_seen(
        scheme in prop_oneof![Just("valkey"), Just("valkeys"), Just("redis"), Just("rediss"), Just("unix"), Just("http"), Just("x y")],
        username in "[a-z]{0,4}",
        password in with_canary(),
        rest in "[a-z0-9:@/?#%\\[\\] ]{0,12}",
    ) {
        // Written as it should be, the canary is the password whatever stands around it.
        let encoded = password.replace('%', "%25").replace('@', "%40").replace('/', "%2f").replace('?', "%3f").replace('#', "%23");
        let text = format!("{scheme}://{username}:{encoded}@{rest}");
        match text.parse::<ServerUrl>() {
            Ok(url) => {
                prop_assert!(url.password().unwrap().expose().contains(CANARY));
                prop_assert!(!format!("{url} {url:?} {url:#?}").contains(CANARY), "{}", text);
            }
            Err(error) => prop_assert!(!format!("{error} {error:?}").contains(CANARY), "{}", text),
        }
        // Written as people do, it may become anything, but an error repeats none of it.
        if let Err(error) = format!("{scheme}://{username}:{password}@{rest}").parse::<ServerUrl>() {
            prop_assert!(!format!("{error} {error:?}").contains(CANARY), "seen");
        }
    }

    #[test]
    fn a_canary_in_any_secret_variable_is_never_seen(name in prop_oneof![Just("URL"), Just("PASSWORD")], value in with_canary()) {
        let full = format!("{PREFIX}{name}");
        if let Err(error) = Sources::new(PREFIX).vars([(full, value)]).load::<ConnectionSettings>() {
            prop_assert!(!format!("{error} {error:?}").contains(CANARY), "seen");
        }
    }

    #[test]
    fn a_canary_in_a_broken_file_is_never_seen(cut in 0_usize..60, insert in "[\"'=\\[\\]{},\\\\# \n]{0,3}", value in "[a-z\"'\\\\]{0,3}") {
        let start = format!("[connection]\npassword = \"{CANARY}");
        let mut text = format!("{start}{value}\"\npool_size = 3\n");
        // Broken before or after the canary: in two it is none, and outside of quotes it is a key, which is no secret.
        let cut = if cut < "[connection]".len() { cut } else { cut.max(start.len()) };
        text.insert_str(cut.min(text.len()), &insert);
        if let Err(error) = Sources::new("").toml_text("a.toml", text.clone()).load::<ConnectionSettings>() {
            prop_assert!(!format!("{error} {error:?}").contains(CANARY), "{}\n{}", text, error);
        }
    }
}

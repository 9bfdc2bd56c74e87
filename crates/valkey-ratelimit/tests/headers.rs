//! The fields that tell a client of its limits, read back as structured fields.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, Response};
use sfv::{BareItem, List, ListEntry, Parser};
use tower::{Layer, ServiceExt};
use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{AllowList, Limiter, Network, RateLimitHeaders, RateLimitLayer, Rule, Subject, Toll};
use valkey_testkit::{TestServer, unique_name};

/// A member of a field: its name and its parameters.
type Member = (String, Vec<(String, BareItem)>);

async fn limiter() -> Limiter {
    let settings = ConnectionSettings::from_url(&TestServer::shared().await.url()).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap()).with_deadline(Duration::from_secs(10))
}

fn rule(quota: &str) -> Rule {
    Rule::new(unique_name("r").parse().unwrap(), quota.parse().unwrap())
}

/// The headers of the answers to so many requests, each of which is charged all of these.
async fn answers(tolls: Vec<Toll>, headers: RateLimitHeaders, times: usize) -> Vec<HeaderMap> {
    let limits = RateLimitLayer::http(limiter().await, move |(): &()| tolls.clone()).with_headers(headers);
    let service = limits.layer(tower::service_fn(|()| {
        let response = Response::builder().header("ratelimit", "\"inner\";r=1").body(String::new()).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    }));
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(service.clone().oneshot(()).await.unwrap().headers().clone());
    }
    answers
}

fn members(headers: &HeaderMap, name: &str) -> Vec<Member> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    let list: List = Parser::new(&lines.join(", ")).parse().unwrap();
    let member = |entry| {
        let ListEntry::Item(item) = entry else { panic!("an inner list: {lines:?}") };
        let BareItem::String(name) = item.bare_item else { panic!("no string: {lines:?}") };
        let parameters = item.params.into_iter().map(|(key, value)| (key.as_str().to_owned(), value));
        (name.as_str().to_owned(), parameters.collect())
    };
    list.into_iter().map(member).collect()
}

fn integers(member: &Member) -> Vec<(&str, i64)> {
    let integer = |(key, value): &'_ (String, BareItem)| match value {
        BareItem::Integer(value) => i64::from(*value),
        other => panic!("{key} is {other:?}"),
    };
    member.1.iter().map(|parameter| (parameter.0.as_str(), integer(parameter))).collect()
}

fn number(headers: &HeaderMap, name: &str) -> i64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn policies_stay_the_same_and_limits_say_what_is_left() {
    let rule = rule("2/1h");
    let tolls = vec![Toll::new(&rule, Subject::text("ada"))];
    let answers = answers(tolls, RateLimitHeaders::new(), 3).await;
    for (answer, left) in answers.iter().zip([1, 0, 0]) {
        let policies = members(answer, "ratelimit-policy");
        assert_eq!(policies.len(), 1);
        assert_eq!(policies[0].0, rule.name().as_str());
        assert_eq!(integers(&policies[0]), [("q", 2), ("w", 3_600)]);
        let limits = members(answer, "ratelimit");
        let ours = limits.iter().find(|(name, _)| name == rule.name().as_str()).unwrap();
        let [("r", remaining), ("t", time)] = integers(ours)[..] else { panic!("{ours:?}") };
        assert_eq!(remaining, left);
        // At most the window and a sub-window more.
        assert!((3_500..=3_661).contains(&time), "{time}");
        assert!(!answer.contains_key("x-ratelimit-limit"));
    }
    let (allowed, denied) = (&answers[1], &answers[2]);
    assert_eq!(members(allowed, "ratelimit").len(), 2, "what the service behind says stays");
    assert!(!allowed.contains_key("retry-after"));
    let [limit] = &members(denied, "ratelimit")[..] else { panic!("the service behind was not asked") };
    assert_eq!(integers(limit)[1], ("t", number(denied, "retry-after")), "one instant");
}

#[tokio::test]
async fn of_several_rules_a_denied_request_hears_of_those_in_its_way() {
    let (hourly, daily, free) = (rule("1/1h"), rule("1/1day"), rule("100/10day"));
    let tolls = [&hourly, &daily, &free].map(|rule| Toll::new(rule, Subject::text("ada"))).to_vec();
    let allowed = &answers(tolls.clone(), RateLimitHeaders::new(), 1).await[0];
    // Another process: the first remembers one that refuses, and does not ask for more.
    let denied = &answers(tolls, RateLimitHeaders::new(), 1).await[0];
    let names = |answer, field| members(answer, field).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let [hourly, daily, free] = [hourly, daily, free].map(|rule| rule.name().to_string());
    for answer in [allowed, denied] {
        assert_eq!(names(answer, "ratelimit-policy"), [hourly.clone(), daily.clone(), free.clone()]);
    }
    assert_eq!(names(allowed, "ratelimit"), ["inner".to_owned(), hourly.clone(), daily.clone(), free]);
    assert_eq!(names(denied, "ratelimit"), [hourly, daily]);
    let times: Vec<i64> = members(denied, "ratelimit").iter().map(|member| integers(member)[1].1).collect();
    assert!(times[0] < times[1], "{times:?}");
    assert_eq!(number(denied, "retry-after"), times[1], "before that it is in vain");
}

#[tokio::test]
async fn a_network_is_a_policy_of_its_own() {
    let wide = Network { v4: 24, v6: 48, quota: "3/1h".parse().unwrap() };
    let rule = rule("2/1h").with_network(wide);
    let toll = |address: &str| vec![Toll::new(&rule, Subject::ip(address.parse().unwrap()))];
    let one = answers(toll("192.0.2.1"), RateLimitHeaders::new(), 3).await;
    let other = answers(toll("192.0.2.2"), RateLimitHeaders::new().with_partition_key(), 2).await;
    let (own, network) = (rule.name().to_string(), format!("{}/24", rule.name()));
    let policies = members(&one[0], "ratelimit-policy");
    assert_eq!(policies.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&own, &network]);
    assert_eq!(policies.iter().map(|member| integers(member)[0].1).collect::<Vec<_>>(), [2, 3]);
    // The first is told of itself, and denied as itself; the second is told what its network left it.
    for (answer, name, left) in [(&one[0], &own, 1), (&one[1], &own, 0), (&one[2], &own, 0)] {
        let member = members(answer, "ratelimit").pop().unwrap();
        assert_eq!((&member.0, integers(&member)[0]), (name, ("r", left)));
    }
    let allowed = members(&other[0], "ratelimit").pop().unwrap();
    assert_eq!((&allowed.0, &allowed.1[0].1), (&own, &BareItem::Integer(0.into())));
    let denied = members(&other[1], "ratelimit").pop().unwrap();
    let subject = BareItem::ByteSequence(b"192.0.2.0/24".to_vec());
    assert_eq!((&denied.0, denied.1.last().unwrap()), (&network, &("pk".to_owned(), subject)));
}

#[tokio::test]
async fn what_does_not_limit_a_client_is_not_told() {
    let subject = Subject::text("ada");
    let list = AllowList::parse(["ada"]).unwrap();
    for rule in [rule("1/1h").shadow(), rule("1/1h").with_allowed(list)] {
        let tolls = vec![Toll::new(&rule, subject.clone())];
        for answer in answers(tolls, RateLimitHeaders::new().with_legacy(), 3).await {
            let ours = answer.iter().filter(|(name, _)| name.as_str().contains("ratelimit")).count();
            assert_eq!(ours, 1, "only what the service behind says: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_window_that_has_no_whole_seconds_is_not_made_up() {
    let rule = rule("1000/1500ms");
    let answers = answers(vec![Toll::new(&rule, Subject::text("ada"))], RateLimitHeaders::new(), 1).await;
    assert_eq!(integers(&members(&answers[0], "ratelimit-policy")[0]), [("q", 1_000)]);
    let limits = members(&answers[0], "ratelimit");
    assert_eq!(integers(&limits[1]), [("r", 999), ("t", 2)], "rounded up");
}

#[tokio::test]
async fn whom_it_is_about_is_said_only_if_it_is_wished() {
    let subject = Subject::text("ada@example.org");
    let rule = rule("100/1h");
    for wished in [false, true] {
        let headers = RateLimitHeaders::new();
        let headers = if wished { headers.with_partition_key() } else { headers };
        let answers = answers(vec![Toll::new(&rule, subject.clone())], headers, 1).await;
        for field in ["ratelimit-policy", "ratelimit"] {
            let (_, parameters) = members(&answers[0], field).pop().unwrap();
            let key = parameters.into_iter().find(|(key, _)| key == "pk").map(|(_, value)| value);
            let expected = wished.then(|| BareItem::ByteSequence(b"ada@example.org".to_vec()));
            assert_eq!(key, expected, "{field}");
        }
    }
}

#[tokio::test]
async fn the_older_fields_are_those_of_the_rule_nearest_to_its_end() {
    let (hourly, daily) = (rule("5/1h"), rule("2/1day"));
    let tolls = [&hourly, &daily].map(|rule| Toll::new(rule, Subject::text("ada"))).to_vec();
    let answers = answers(tolls, RateLimitHeaders::new().with_legacy(), 3).await;
    let expected = format!("2, 5;w=3600;name=\"{}\", 2;w=86400;name=\"{}\"", hourly.name(), daily.name());
    for (answer, left) in answers.iter().zip([1, 0, 0]) {
        assert_eq!(answer["x-ratelimit-limit"], expected);
        assert_eq!(number(answer, "x-ratelimit-remaining"), left);
        assert!((86_000..=88_000).contains(&number(answer, "x-ratelimit-reset")));
    }
    assert_eq!(number(&answers[2], "x-ratelimit-reset"), number(&answers[2], "retry-after"));
}

//! What a guard says of itself over HTTP.

/// The sum of all series of a metric whose labels contain each of `labels` (such as `source="fallback"`).
pub(crate) fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    page.lines()
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, given) = series.split_once('{').unwrap_or((series, ""));
            (metric == name && labels.iter().all(|label| given.contains(label)))
                .then(|| value.parse::<f64>().ok())?
        })
        // The sum of nothing would be -0.
        .fold(0.0, |sum, value| sum + value)
}

/// What each bucket of a histogram counted between two looks at it: upper bounds in seconds, with counts up to there.
pub(crate) fn buckets(before: &str, after: &str, name: &str) -> Vec<(f64, f64)> {
    let read = |page: &str| -> Vec<(f64, f64)> {
        let mut found: Vec<(f64, f64)> = Vec::new();
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(rest) = series.strip_prefix(name).and_then(|rest| rest.strip_prefix("_bucket{")) else {
                continue;
            };
            let Some(bound) = rest.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
                continue;
            };
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            let value: f64 = value.parse().unwrap_or(0.0);
            match found.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += value,
                None => found.push((bound, value)),
            }
        }
        found
    };
    let before = read(before);
    let mut grown: Vec<(f64, f64)> = read(after)
        .into_iter()
        .map(|(bound, count)| {
            let earlier = before.iter().find(|(known, _)| known.total_cmp(&bound).is_eq());
            (bound, count - earlier.map_or(0.0, |(_, count)| *count))
        })
        .collect();
    grown.sort_by(|a, b| a.0.total_cmp(&b.0));
    grown
}

/// The upper bound of the bucket that holds this share of all observations, in seconds.
pub(crate) fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last().filter(|(_, total)| *total > 0.0)?.1;
    buckets.iter().find(|(_, count)| *count >= total * share).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total what\na_total{source=\"store\",rule=\"x\"} 3\na_total{source=\"fallback\",rule=\"x\"} 4\n\
        a_total{source=\"fallback\",rule=\"y\"} 5\nb 7\nh_bucket{le=\"0.001\"} 90\nh_bucket{le=\"0.01\"} 99\nh_bucket{le=\"+Inf\"} 100\n";

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let sums = [
            sum(PAGE, "a_total", &[]),
            sum(PAGE, "a_total", &["source=\"fallback\""]),
            sum(PAGE, "a_total", &["source=\"fallback\"", "rule=\"y\""]),
            sum(PAGE, "b", &[]),
            sum(PAGE, "a", &[]),
        ];
        assert_eq!(sums.map(|sum| sum.to_string()), ["12", "9", "5", "7", "0"]);
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let buckets = buckets("", PAGE, "h");
        assert_eq!(buckets.len(), 3);
        assert!(quantile(&buckets, 0.5).is_some_and(|bound| bound < 0.002));
        assert!(quantile(&buckets, 0.95).is_some_and(|bound| bound > 0.002 && bound < 0.02));
        assert!(quantile(&buckets, 1.0).is_some_and(f64::is_infinite));
        assert_eq!(quantile(&super::buckets(PAGE, PAGE, "h"), 0.5), None);
    }
}

//! What a check finds.

use freeipa_client::{Needs, Probe, Right, Verdict};
use freeipa_double::Rights;

use crate::support::{GROUP, client, double};

#[tokio::test]
async fn a_set_up_that_is_right_has_nothing_bad_and_one_that_is_not_has() {
    for (group, verdict) in [(GROUP, Verdict::Good), ("others", Verdict::Bad), ("ghosts", Verdict::Bad)] {
        let ipa = double(Rights::registrar()).await;
        let before = ipa.directory().history.len();
        let findings = client(&ipa).check(&Needs::new().group(group).right(Right::AddUsers)).await;
        let (last, others) = findings.split_last().unwrap();
        assert_eq!((last.probe, last.verdict), (Probe::Group, verdict), "{findings:#?}");
        assert!(others.iter().all(|finding| finding.verdict != Verdict::Bad), "{findings:#?}");
        assert_eq!(ipa.directory().history.len(), before, "nothing is written");
        assert_eq!(ipa.stats().logins, 1);
    }
}

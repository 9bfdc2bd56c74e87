//! A node without descriptors. Alone in its process, for all tests of one share them.
#![allow(clippy::unwrap_used)]

#[path = "gate/support.rs"]
#[allow(dead_code, reason = "this needs a part of it")]
mod support;

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::support::{Client, Cluster, MailServer};

/// The one end of a connection takes the last descriptor, and there is none for the other: that is no fault of the mail server's.
#[tokio::test(flavor = "multi_thread")]
async fn want_of_descriptors_is_told_as_the_nodes_own() {
    const FEW: u64 = 512;
    let mail = MailServer::start().await;
    let cluster = Cluster::new(&mail).await;
    let node = cluster.node("", "trusted_proxies = []").await;
    let mut first = Client::connect(node.address).await;
    assert_eq!(first.line().await, "220 mail");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), ..limit }).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    assert!(!all.is_empty(), "the process has more than {FEW} descriptors open");
    // One for the client here, and one for its end at the gate.
    all.truncate(all.len() - 2);
    let mut client = Client::connect(node.address).await;
    let told = client.line().await;
    assert!(told.starts_with("421 4.3.2") && told.contains("this node is full"), "{told}");
    drop((client, all));
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut next = Client::connect(node.address).await;
    assert_eq!(next.line().await, "220 mail", "it goes on when there are some again");
    node.end().await;
}

//! The file of a node that runs.

use smtp_guard::Guard;
use smtp_guard::settings::SettingsFile;
use valkey_testkit::{TestServer, eventually};

use crate::support::{MAIL, Mail, Node, prefix};

/// More is allowed by the file, and then by the node, whose connections stay; a broken file changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_file_are_those_of_the_node_while_it_runs() {
    let (url, prefix) = (TestServer::shared().await.url(), prefix());
    let text = |quota: &str| {
        format!(
            "[gate]\nlisten = []\ncheck_timeout = \"5s\"\n\
             [resources]\nvalkey_url = \"{url}\"\nvalkey_key_prefix = \"{prefix}\"\n\
             [policy]\nlisten = \"127.0.0.1:0\"\n[policy.limits.sender]\nper = \"sender\"\nquota = \"{quota}\"\n"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text("1/1h")).unwrap();
    let source = SettingsFile::new(file.path(), []);
    let (settings, _) = source.load().unwrap();
    let guard = Guard::bind(settings).await.unwrap().watching(source);
    eventually("the store", async || guard.store().probe().await.ok()).await;
    let node = Node::run(guard, &prefix);
    let mut postfix = node.connect().await;
    let instances: Vec<String> = (0..2_000).map(|number| format!("1f.{number}")).collect();
    let mut instances = instances.iter();
    let mut send = async || {
        let instance = instances.next().unwrap();
        postfix.ask("RCPT", Mail { instance, ..MAIL }, "bob@books.test", 0).await
    };
    assert_eq!(send().await, "DUNNO");
    assert!(send().await.starts_with("450 4.7.1"));
    std::fs::write(file.path(), text("many")).unwrap();
    // Longer than between two looks.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(send().await.starts_with("450 4.7.1"), "a broken file leaves the limit in force");
    std::fs::write(file.path(), text("3/1h")).unwrap();
    eventually("the new limit", async || (send().await == "DUNNO").then_some(())).await;
    assert_eq!(send().await, "DUNNO", "what was charged still counts, and two more fit");
    assert!(send().await.starts_with("450 4.7.1"));
}

//! The Docker engine: is it there, has it the image, what did dead test processes leave in it.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt;
use testcontainers::TestcontainersError;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;

use super::owner;
use crate::TestkitError;

/// The label that says whose container it is.
pub(crate) const OWNER: &str = "valkey-testkit.owner";
const MANAGED_BY: &str = "org.testcontainers.managed-by=testcontainers";

/// An engine that does not answer in this time is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PULL_TIMEOUT: Duration = Duration::from_mins(2);

pub(crate) async fn client() -> Result<Docker, TestkitError> {
    docker_client_instance()
        .await
        .map_err(|error| TestkitError::docker("connecting")(TestcontainersError::from(error).into()))
}

/// Makes sure that `image` can be started, and sweeps what earlier processes left. Says why not in one line.
pub(crate) async fn provide(image: &str) -> Result<(), String> {
    let docker = docker_client_instance().await.map_err(|error| format!("Docker: {error}"))?;
    match tokio::time::timeout(ANSWER_TIMEOUT, docker.ping()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("Docker does not answer: {error}")),
        Err(_) => return Err(format!("Docker does not answer within {ANSWER_TIMEOUT:?}")),
    }
    if docker.inspect_image(image).await.is_err() {
        pull(&docker, image)
            .await
            .map_err(|error| format!("Docker has no image {image}, and pulling it failed: {error}"))?;
    }
    if let Err(error) = sweep(&docker).await {
        tracing::debug!(%error, "sweeping containers of dead test processes");
    }
    Ok(())
}

async fn pull(docker: &Docker, image: &str) -> Result<(), String> {
    let options = CreateImageOptionsBuilder::new().from_image(image).build();
    let pulled = docker.create_image(Some(options), None, None).try_for_each(|_| async { Ok(()) });
    match tokio::time::timeout(PULL_TIMEOUT, pulled).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not done after {PULL_TIMEOUT:?}")),
    }
}

/// Removes containers whose test process is dead. Normally there are none, since a container ends when its
/// supervisor's stdin does; but an engine may be restarted, or may not pass the end of stdin on.
async fn sweep(docker: &Docker) -> Result<(), Error> {
    let filters = HashMap::from([("label", vec![MANAGED_BY, OWNER])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(options)).await? {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
        let (Some(id), Some(owner)) = (&container.id, owner) else { continue };
        if owner::is_gone(owner) {
            tracing::debug!(id, owner, "removing the container of a dead test process");
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            // Another process may sweep at the same time.
            let _ = docker.remove_container(id, Some(options)).await;
        }
    }
    Ok(())
}

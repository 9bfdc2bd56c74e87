//! Settings -> where to connect, and what errors call that place.

use std::sync::Arc;

use fred::types::config::{ClusterDiscoveryPolicy, Server, ServerConfig};

use crate::error::{Error, Origin};
use crate::settings::{ConnectionSettings, Mode};

/// Where the server is.
#[derive(Debug)]
pub(crate) enum Place {
    /// There.
    Known(ServerConfig),
    /// Where these say.
    Asked { sentinels: Vec<Server>, service: String },
}

/// The place that the settings describe.
pub(crate) fn place(settings: &ConnectionSettings) -> Result<Place, Error> {
    let mut servers = settings.address.iter().map(|url| match (url.host(), url.port()) {
        (Some(host), Some(port)) => Ok(Server::new_with_tls(
            host,
            port,
            settings.tls_server_name.clone().filter(|_| settings.uses_tls()),
        )),
        _ => Err(Error::configuration("a Unix socket leads to one standalone server")),
    });
    match settings.mode {
        Mode::Standalone => {
            let url = settings.first().ok_or_else(|| Error::configuration("no address is set"))?;
            Ok(Place::Known(match url.path() {
                Some(path) => ServerConfig::new_unix_socket(path),
                None => {
                    ServerConfig::Centralized { server: servers.next().expect("there is a first address")? }
                }
            }))
        }
        // The cached routing table is asked besides the seeds, so that a cluster whose seeds are all replaced by and by
        // is still found.
        Mode::Cluster => Ok(Place::Known(ServerConfig::Clustered {
            hosts: servers.collect::<Result<_, _>>()?,
            policy: ClusterDiscoveryPolicy::UseCache,
        })),
        Mode::Sentinel => Ok(Place::Asked {
            sentinels: servers.collect::<Result<_, _>>()?,
            service: settings
                .sentinel_service
                .clone()
                .ok_or_else(|| Error::configuration("mode `sentinel` needs `sentinel_service`"))?,
        }),
    }
}

/// What errors and logs call the server: scheme and address, never credentials.
pub(crate) fn origin(settings: &ConnectionSettings) -> Arc<Origin> {
    let addresses: Vec<String> = settings.address.iter().map(valkey_config::ServerUrl::address).collect();
    let scheme = match settings.first() {
        Some(url) if url.path().is_some() => "unix",
        _ if settings.uses_tls() => "valkeys",
        _ => "valkey",
    };
    Arc::new(Origin {
        server: format!("{scheme}://{}", addresses.join(",")),
        user: settings.effective_username().unwrap_or("default").to_owned(),
        fixed: settings.mode == Mode::Standalone,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_its_form() {
        let known = |settings: &ConnectionSettings| match place(settings) {
            Ok(Place::Known(server)) => server,
            other => panic!("{other:?}"),
        };
        let one = ConnectionSettings::from_url("valkey://u:pw@h:1/0").unwrap();
        assert!(known(&one).is_centralized());
        assert_eq!(origin(&one).server, "valkey://h:1");

        let socket = ConnectionSettings::from_url("unix:///run/valkey.sock").unwrap();
        assert!(known(&socket).is_unix_socket());
        assert_eq!(origin(&socket).server, "unix:///run/valkey.sock");

        let seeds = ConnectionSettings::default().address("a:1,valkey://b:2".parse().unwrap());
        assert_eq!(known(&seeds.clone().mode(Mode::Cluster)).hosts().len(), 2);
        assert!(place(&seeds.clone().mode(Mode::Sentinel)).is_err(), "no service is named");
        let asked = seeds.mode(Mode::Sentinel).sentinel_service(Some("orders".into()));
        match place(&asked).unwrap() {
            Place::Asked { sentinels, service } => assert_eq!((sentinels.len(), &*service), (2, "orders")),
            Place::Known(server) => panic!("{server:?}"),
        }
    }
}

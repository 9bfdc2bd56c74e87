//! A realm: its database, its KDC, its keytabs.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use valkey_testkit::eventually;

use crate::programs::{Process, Programs, free_port};

pub(crate) const REALM: &str = "EXAMPLE.TEST";
pub(crate) const SERVER: &str = "ipa.example.test";
/// A server of which the KDC knows nothing.
pub(crate) const STRANGER: &str = "stranger.example.test";
/// The service account.
pub(crate) const SERVICE: &str = "registrar/app.example.test";

/// A realm with the service account and one web server.
pub(crate) struct Realm {
    pub(crate) programs: Programs,
    directory: tempfile::TempDir,
    port: u16,
    kdc: Option<Process>,
}

impl Realm {
    /// With a KDC that runs.
    pub(crate) async fn start(programs: Programs) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut realm = Self { programs, directory, port: free_port(), kdc: None };
        realm.write();
        let mut create = realm.command("kdb5_util");
        assert!(
            create.args(["-r", REALM, "create", "-s", "-P", "canary-Master.1"]).status().unwrap().success()
        );
        for principal in [SERVICE, "svc-registrar", "HTTP/ipa.example.test"] {
            realm.administer(&format!("addprinc -randkey +requires_preauth {principal}"));
        }
        realm.export("HTTP/ipa.example.test", "http.keytab");
        realm.export(SERVICE, "service.keytab");
        realm.start_kdc().await;
        realm
    }

    fn write(&self) {
        let (port, path) = (self.port, |name: &str| self.path(name).display().to_string());
        // Its KDC has no plug-ins where it was built to look for them, if it was only unpacked.
        let plugins = self.programs.kdc_plugins();
        let krb5 = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n\
             [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n\
             [domain_realm]\n .example.test = {REALM}\n\
             [dbmodules]\n db_module_dir = {}\n",
            plugins.display()
        );
        let kdc = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
             [realms]\n {REALM} = {{\n  database_name = {}\n  key_stash_file = {}\n  acl_file = {}\n }}\n\
             [logging]\n kdc = FILE:{}\n admin_server = FILE:{}\n",
            path("principal"),
            path("stash"),
            path("acl"),
            path("kdc.log"),
            path("kadmin.log"),
        );
        std::fs::write(self.config(), krb5).unwrap();
        std::fs::write(self.path("kdc.conf"), kdc).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What `KRB5_CONFIG` has to name.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("krb5.conf")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the KDC has to say.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("kdc.log")).unwrap_or_default()
    }

    /// One of the programs, in this realm.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = self.programs.command(name);
        command.env("KRB5_CONFIG", self.config()).env("KRB5_KDC_PROFILE", self.path("kdc.conf"));
        command
    }

    pub(crate) fn administer(&self, query: &str) {
        let done = self.command("kadmin.local").args(["-r", REALM, "-q", query]).status().unwrap();
        assert!(done.success(), "{query}");
    }

    /// Gives the account a new key, and writes it into a keytab, as `ipa-getkeytab` does.
    pub(crate) fn export(&self, principal: &str, file: &str) -> PathBuf {
        let path = self.path(file);
        self.administer(&format!("ktadd -k {} {principal}", path.display()));
        assert!(path.exists(), "no {file}");
        path
    }

    pub(crate) async fn start_kdc(&mut self) {
        let mut kdc = Process::start(self.command("krb5kdc").args(["-n", "-r", REALM]));
        eventually("the KDC", async || {
            assert!(!kdc.has_ended(), "the KDC ended: {}", self.log());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        })
        .await;
        self.kdc = Some(kdc);
    }

    pub(crate) fn stop_kdc(&mut self) {
        self.kdc = None;
    }
}

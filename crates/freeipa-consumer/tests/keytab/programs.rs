//! The KDC and the web server, as Debian has them: installed, or unpacked somewhere.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where their packages are unpacked, if they are not installed; `cargo xtask` sets it.
const UNPACKED: &str = "VALKIT_TEST_KERBEROS";

const NEEDED: [(&str, &str); 5] = [
    ("usr/sbin/krb5kdc", "krb5-kdc"),
    ("usr/sbin/kdb5_util", "krb5-kdc"),
    ("usr/sbin/kadmin.local", "krb5-admin-server"),
    ("usr/sbin/apache2", "apache2-bin"),
    ("usr/lib/apache2/modules/mod_auth_gssapi.so", "libapache2-mod-auth-gssapi"),
];

/// Where they are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    root: PathBuf,
    /// Of the libraries that came with them.
    libraries: PathBuf,
}

/// A process that ends with the test.
pub(crate) struct Process(Child);

impl Programs {
    /// `None` if one is missing, which is said then.
    pub(crate) fn find() -> Option<Self> {
        let root = std::env::var_os(UNPACKED).filter(|root| !root.is_empty());
        let root = root.map_or_else(|| PathBuf::from("/"), PathBuf::from);
        if let Some((_, package)) = NEEDED.iter().find(|(file, _)| !root.join(file).exists()) {
            valkey_testkit::skipped(format_args!("the package {package} is not here"));
            return None;
        }
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        Some(Self { libraries: root.join(libraries), root })
    }

    pub(crate) fn kdc_plugins(&self) -> PathBuf {
        self.libraries.join("krb5/plugins/kdb")
    }

    pub(crate) fn apache_modules(&self) -> PathBuf {
        self.root.join("usr/lib/apache2/modules")
    }

    /// One of them, which says nothing unless it fails.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.root.join("usr/sbin").join(name));
        if self.root != Path::new("/") {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // By its signal to end, if it takes it: a web server has children of its own.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        for _ in 0..200 {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

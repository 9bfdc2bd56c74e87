//! What each command does to the directory, and says of it.

mod access;
mod attributes;
mod change;
mod find;
mod groups;
mod life;
mod mail;
mod members;
mod password;
mod render;
mod stage;
mod syntax;
mod user_add;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

pub(crate) use self::password::{policy_violation, set as set_password};
use crate::freeipa::config::Config;
use crate::freeipa::directory::{Container, Directory};
use crate::freeipa::error::RpcError;
use crate::freeipa::parameters::Parameters;
use crate::freeipa::rights::{Right, Rights};
use crate::freeipa::version::ApiVersion;

/// The members of a reply's `result`.
pub(crate) type Output = Map<String, Json>;

/// One command under way.
pub(crate) struct Run<'a> {
    pub(crate) directory: &'a mut Directory,
    pub(crate) config: &'a Config,
    /// The login on whose behalf it runs.
    pub(crate) caller: &'a str,
    pub(crate) rights: Rights,
    pub(crate) now: Timestamp,
    pub(crate) parameters: Parameters,
    /// What the client understands.
    pub(crate) api: ApiVersion,
    /// How values are written: by what the request as a whole said, even within a batch.
    pub(crate) wire: ApiVersion,
}

// === impl Run ===

impl Run<'_> {
    /// Runs it. An error does not always mean that nothing happened: some commands do several things.
    pub(crate) fn run(&mut self, command: &str) -> Result<Output, RpcError> {
        match command {
            "ping" => Ok(self.ping()),
            "whoami" => Ok(self.whoami()),
            "session_logout" => Ok(object(json!({"result": null}))),
            "config_show" => Ok(self.config_show()),
            "user_add" => self.user_add(),
            "user_mod" => self.user_mod(),
            "user_show" => self.user_show(),
            "user_find" => self.find(Container::Active),
            "user_del" => self.user_del(),
            "user_undel" => self.user_undel(),
            "user_enable" => self.set_enabled(true),
            "user_disable" => self.set_enabled(false),
            "user_unlock" => self.user_unlock(),
            "stageuser_add" => self.stageuser_add(),
            "stageuser_mod" => self.stageuser_mod(),
            "stageuser_show" => self.stageuser_show(),
            "stageuser_find" => self.find(Container::Staged),
            "stageuser_del" => self.stageuser_del(),
            "stageuser_activate" => self.stageuser_activate(),
            "group_add" => self.group_add(),
            "group_show" => self.group_show(),
            "group_del" => self.group_del(),
            "group_add_member" => self.group_add_member(),
            "group_remove_member" => self.group_remove_member(),
            "group_add_member_manager" => self.group_add_member_manager(),
            other => Err(RpcError::unknown_command(other)),
        }
    }

    fn ping(&self) -> Output {
        let version = self.config.version;
        let text = format!("IPA server version {}. API version {}", version.server(), version.api());
        object(json!({"summary": text}))
    }

    fn whoami(&self) -> Output {
        object(json!({"object": "user", "command": "user_show/1", "arguments": [self.caller]}))
    }

    fn config_show(&self) -> Output {
        let domain = self.config.domain();
        let mut result = object(json!({
            "ipamaxusernamelength": [self.config.longest_login.to_string()],
            "ipamaxhostnamelength": ["64"],
            "ipahomesrootdir": [crate::freeipa::directory::HOMES],
            "ipadefaultloginshell": [crate::freeipa::directory::SHELL],
            "ipadefaultprimarygroup": [crate::freeipa::directory::DEFAULT_GROUP],
            "ipadefaultemaildomain": [self.mail_domain()],
            "ipasearchtimelimit": ["2"],
            "ipasearchrecordslimit": [self.config.records.to_string()],
            "ipausersearchfields": ["uid,givenname,sn,telephonenumber,ou,title"],
            "ipagroupsearchfields": ["cn,description"],
            "ipamigrationenabled": [false],
            "ipacertificatesubjectbase": [format!("O={}", self.config.realm())],
            "ipapwdexpadvnotify": ["4"],
            "ipaconfigstring": ["AllowNThash", "KDC:Disable Last Success"],
            "ipakrbauthzdata": ["nfs:NONE", "MS-PAC"],
            "ca_server_server": [self.config.fqdn],
            "ipa_master_server": [self.config.fqdn],
            "dn": format!("cn=ipaConfig,cn=etc,{}", self.directory.names.suffix),
        }));
        if domain.is_empty() {
            result.remove("ipadefaultemaildomain");
        }
        let value = if self.api.has_typed_keys() { Json::Null } else { json!("") };
        object(json!({"result": result, "value": value, "summary": null}))
    }

    /// The key of the entry in question. That it is there, the checks of parameters saw to.
    fn key(&self, name: &str) -> String {
        self.parameters.text(name).unwrap_or_default().to_owned()
    }

    fn allows(&self, right: Right) -> bool {
        self.rights.has(right)
    }

    /// Whether the entries of a container are there at all for the caller.
    fn sees(&self, container: Container) -> bool {
        match container {
            Container::Active => true,
            Container::Staged => self.allows(Right::ReadStageUsers),
            Container::Preserved => self.allows(Right::ReadPreservedUsers),
        }
    }

    /// Where a user is that is active, or else preserved.
    fn either(&self, login: &str) -> Option<Container> {
        [Container::Active, Container::Preserved]
            .into_iter()
            .find(|container| self.sees(*container) && self.directory.entry(*container, login).is_some())
    }

    /// Keys as they stand in `value`.
    fn keys(&self, keys: &[String]) -> Json {
        if self.api.has_typed_keys() { json!(keys) } else { json!(keys.join(",")) }
    }
}

/// The members of an object.
fn object(value: Json) -> Output {
    match value {
        Json::Object(members) => members,
        _ => Output::new(),
    }
}

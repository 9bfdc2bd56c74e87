//! Which commands there are, and which parameters each takes.
//!
//! The facts are those of API 2.254 for the commands the double knows; the words are ours.

mod groups;
mod users;

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text without spaces around it.
    Text,
    /// Text as it is.
    Verbatim,
    /// A password; twice, it has to be the same.
    Password,
    /// A login, or the name of a group, put into lower case: the server's rule, at most 255 characters.
    Name {
        /// `user` or `group`: the help page that the error names.
        of: &'static str,
    },
    /// A number, at least this.
    Number(i64),
    /// A time in UTC.
    Moment,
    /// Yes or no.
    Switch,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Languages with weights, as RFC 2068 has them.
    Languages,
    /// `name=value`.
    Pair,
    /// A Kerberos principal; without a realm it is of ours.
    Principal,
    /// A certificate in base64. The double takes none.
    Certificate,
    /// Calls of commands.
    Calls,
}

/// Whether a value has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Optional,
    Required,
    /// Given, it may not be empty; as required ones are when an entry is changed.
    NotEmptied,
}

/// One parameter.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// The name on the wire, and in 3007.
    pub(crate) name: &'static str,
    /// The name in 3008 and 3009, by and large.
    pub(crate) cli: &'static str,
    pub(crate) kind: Kind,
    /// Whether several values are taken.
    pub(crate) many: bool,
    pub(crate) need: Need,
    /// Whether the rules hold; they do not for what only looks entries up.
    pub(crate) ruled: bool,
    pub(crate) deprecated: bool,
    /// The value if none is given.
    pub(crate) default: Option<bool>,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Those with a place of their own, by place.
    pub(crate) arguments: Vec<Parameter>,
    pub(crate) options: Vec<Parameter>,
}

// === impl Parameter ===

impl Parameter {
    pub(crate) const fn new(name: &'static str, cli: &'static str, kind: Kind) -> Self {
        Self {
            name,
            cli,
            kind,
            many: false,
            need: Need::Optional,
            ruled: true,
            deprecated: false,
            default: None,
        }
    }

    const fn text(name: &'static str) -> Self {
        Self::new(name, name, Kind::Text)
    }

    /// Off if it is not given; given, it has to be something.
    const fn flag(name: &'static str) -> Self {
        let mut flag = Self::new(name, name, Kind::Switch);
        flag.default = Some(false);
        flag.need = Need::Required;
        flag
    }

    const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    const fn required(mut self) -> Self {
        self.need = Need::Required;
        self
    }

    /// As a search or a look-up takes it.
    const fn query(mut self) -> Self {
        self.ruled = false;
        self
    }
}

// === impl Command ===

impl Command {
    fn new(name: &'static str, arguments: Vec<Parameter>, mut options: Vec<Parameter>) -> Self {
        options.push(Parameter::text("version"));
        Self { name, arguments, options }
    }

    /// All parameters in the order in which they are checked: required ones first, and of those the ones last that
    /// others could have filled in.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Parameter> {
        let place = |parameter: &Parameter| match (parameter.need, parameter.name) {
            (Need::Required, "uid") => 1,
            (Need::Required, "cn") if self.name.ends_with("user_add") => 1,
            (Need::Required, _) => 0,
            _ => 2,
        };
        let all = move || self.arguments.iter().chain(&self.options);
        (0..3).flat_map(move |wanted| all().filter(move |parameter| place(parameter) == wanted))
    }

    /// How many arguments there may be, unless there may be any number.
    pub(crate) fn most_arguments(&self) -> Option<usize> {
        match self.arguments.last() {
            Some(last) if last.many => None,
            _ => Some(self.arguments.len()),
        }
    }
}

/// The command of this name, with or without the `/1` of its version.
pub(crate) fn command(name: &str) -> Option<&'static Command> {
    static COMMANDS: LazyLock<BTreeMap<&'static str, Command>> = LazyLock::new(|| {
        users::commands()
            .into_iter()
            .chain(groups::commands())
            .chain(others())
            .map(|command| (command.name, command))
            .collect()
    });
    COMMANDS.get(name.strip_suffix("/1").unwrap_or(name))
}

/// What every command has that returns entries.
fn output_options() -> Vec<Parameter> {
    vec![Parameter::flag("all"), Parameter::flag("raw")]
}

fn others() -> Vec<Command> {
    let mut show = vec![Parameter::flag("rights")];
    show.extend(output_options());
    vec![
        Command::new("ping", vec![], vec![]),
        Command::new("whoami", vec![], vec![]),
        Command::new("session_logout", vec![], vec![]),
        Command::new("config_show", vec![], show),
        Command::new(
            "batch",
            vec![Parameter::new("methods", "methods", Kind::Calls).many()],
            vec![Parameter::text("keeponly").many()],
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What is known of the size of each command's interface: arguments, options.
    #[test]
    fn each_command_takes_as_many_parameters_as_the_server_s() {
        let known = [
            ("ping", 0, 1),
            ("config_show", 0, 4),
            ("user_add", 1, 48),
            ("user_show", 1, 6),
            ("user_find", 1, 65),
            ("user_mod", 1, 54),
            ("user_del", 1, 3),
            ("user_undel", 1, 1),
            ("user_enable", 1, 1),
            ("user_disable", 1, 1),
            ("user_unlock", 1, 1),
            ("stageuser_add", 1, 47),
            ("stageuser_show", 1, 5),
            ("stageuser_find", 1, 62),
            ("stageuser_mod", 1, 53),
            ("stageuser_del", 1, 2),
            ("stageuser_activate", 1, 4),
            ("group_add", 1, 10),
            ("group_show", 1, 5),
            ("group_del", 1, 2),
            ("group_add_member", 1, 9),
            ("group_remove_member", 1, 9),
            ("group_add_member_manager", 1, 6),
            ("session_logout", 0, 1),
            ("batch", 1, 2),
            ("whoami", 0, 1),
        ];
        for (name, arguments, options) in known {
            let command = command(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!((command.arguments.len(), command.options.len()), (arguments, options), "{name}");
        }
    }

    #[test]
    fn the_version_of_a_command_may_be_named_and_is_one() {
        assert_eq!(command("user_show/1").map(|c| c.name), Some("user_show"));
        assert!(command("user_show/2").is_none() && command("nosuch_cmd").is_none());
    }

    #[test]
    fn names_come_before_the_login_they_could_make() {
        let order: Vec<&str> =
            command("user_add").into_iter().flat_map(Command::in_order).map(|p| p.name).collect();
        assert_eq!(order[..2], ["givenname", "sn"]);
        assert_eq!(order[2..6], ["noprivate", "all", "raw", "no_members"], "flags are never without a value");
        assert_eq!(order[6..8], ["uid", "cn"]);
        assert_eq!(order.len(), 49);
    }
}

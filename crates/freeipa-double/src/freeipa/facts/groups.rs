//! The commands on groups.

use super::{Command, Kind, Parameter, output_options};

fn name() -> Parameter {
    Parameter::new("cn", "group_name", Kind::Name { of: "group" }).required()
}

fn members(names: &[&'static str]) -> Vec<Parameter> {
    let mut options = output_options();
    options.push(Parameter::flag("no_members"));
    options.extend(names.iter().map(|name| Parameter::text(name).many()));
    options
}

pub(super) fn commands() -> Vec<Command> {
    let mut add = vec![
        Parameter::new("description", "desc", Kind::Text),
        Parameter::new("gidnumber", "gid", Kind::Number(1)),
        Parameter::new("setattr", "setattr", Kind::Pair).many(),
        Parameter::new("addattr", "addattr", Kind::Pair).many(),
        Parameter::flag("nonposix"),
        Parameter::flag("external"),
    ];
    add.extend(members(&[]));
    let mut show = vec![Parameter::flag("rights")];
    show.extend(members(&[]));
    let all = ["ipaexternalmember", "user", "group", "service", "idoverrideuser"];
    vec![
        Command::new("group_add", vec![name()], add),
        Command::new("group_show", vec![name().query()], show),
        Command::new("group_del", vec![name().many().query()], vec![Parameter::flag("continue")]),
        Command::new("group_add_member", vec![name().query()], members(&all)),
        Command::new("group_remove_member", vec![name().query()], members(&all)),
        Command::new("group_add_member_manager", vec![name().query()], members(&["user", "group"])),
    ]
}

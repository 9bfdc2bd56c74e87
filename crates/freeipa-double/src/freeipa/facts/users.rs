//! The commands on users and stage users.

use super::{Command, Kind, Need, Parameter, output_options};

const LOGIN: Kind = Kind::Name { of: "user" };
const AUTH_TYPES: &[&str] = &["password", "radius", "otp", "pkinit", "hardened", "idp", "passkey"];
const DRIVES: &[&str] = &[
    "A:", "B:", "C:", "D:", "E:", "F:", "G:", "H:", "I:", "J:", "K:", "L:", "M:", "N:", "O:", "P:", "Q:",
    "R:", "S:", "T:", "U:", "V:", "W:", "X:", "Y:", "Z:",
];

/// What a user is made of.
#[derive(Clone, Copy)]
struct Attribute {
    name: &'static str,
    cli: &'static str,
    kind: Kind,
    many: bool,
    required: bool,
    given: Given,
}

/// When an attribute may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Always,
    /// Not when a user is added.
    Later,
    /// Not when users are looked for.
    NotSought,
}

const fn one(name: &'static str, cli: &'static str) -> Attribute {
    Attribute { name, cli, kind: Kind::Text, many: false, required: false, given: Given::Always }
}

const fn many(name: &'static str, cli: &'static str) -> Attribute {
    Attribute { many: true, ..one(name, cli) }
}

const fn of(kind: Kind, attribute: Attribute) -> Attribute {
    Attribute { kind, ..attribute }
}

const fn required(attribute: Attribute) -> Attribute {
    Attribute { required: true, ..attribute }
}

const fn later(attribute: Attribute) -> Attribute {
    Attribute { given: Given::Later, ..attribute }
}

const fn unsought(attribute: Attribute) -> Attribute {
    Attribute { given: Given::NotSought, ..attribute }
}

/// In the server's order, which is the order in which they are checked.
const ATTRIBUTES: &[Attribute] = &[
    required(one("givenname", "first")),
    required(one("sn", "last")),
    required(one("cn", "cn")),
    one("displayname", "displayname"),
    one("initials", "initials"),
    one("homedirectory", "homedir"),
    one("gecos", "gecos"),
    one("loginshell", "shell"),
    of(Kind::Principal, many("krbprincipalname", "principal")),
    of(Kind::Moment, one("krbprincipalexpiration", "principal_expiration")),
    of(Kind::Moment, one("krbpasswordexpiration", "password_expiration")),
    many("mail", "email"),
    of(Kind::Password, one("userpassword", "password")),
    of(Kind::Switch, unsought(one("random", "random"))),
    of(Kind::Number(1), one("uidnumber", "uid")),
    of(Kind::Number(1), one("gidnumber", "gidnumber")),
    one("street", "street"),
    one("l", "city"),
    one("st", "state"),
    one("postalcode", "postalcode"),
    many("telephonenumber", "phone"),
    many("mobile", "mobile"),
    many("pager", "pager"),
    many("facsimiletelephonenumber", "fax"),
    one("ou", "orgunit"),
    one("title", "title"),
    one("manager", "manager"),
    many("carlicense", "carlicense"),
    unsought(many("ipasshpubkey", "sshpubkey")),
    of(Kind::OneOf(AUTH_TYPES), many("ipauserauthtype", "user_auth_type")),
    many("userclass", "class"),
    one("ipatokenradiusconfiglink", "radius"),
    one("ipatokenradiususername", "radius_username"),
    one("ipaidpconfiglink", "idp"),
    one("ipaidpsub", "idp_user_id"),
    many("departmentnumber", "departmentnumber"),
    one("employeenumber", "employeenumber"),
    one("employeetype", "employeetype"),
    of(Kind::Languages, one("preferredlanguage", "preferredlanguage")),
    of(Kind::Certificate, many("usercertificate", "certificate")),
    later(one("ipantlogonscript", "smb_logon_script")),
    later(one("ipantprofilepath", "smb_profile_path")),
    later(one("ipanthomedirectory", "smb_home_dir")),
    later(of(Kind::OneOf(DRIVES), one("ipanthomedirectorydrive", "smb_home_drive"))),
];

const LOCK: Attribute = of(Kind::Switch, one("nsaccountlock", "disabled"));

fn attributes(of_stage: bool) -> impl Iterator<Item = &'static Attribute> {
    ATTRIBUTES.iter().chain((!of_stage).then_some(&LOCK))
}

fn plain(attribute: &Attribute) -> Parameter {
    let mut parameter = Parameter::new(attribute.name, attribute.cli, attribute.kind);
    parameter.many = attribute.many;
    if attribute.name == "random" {
        parameter.default = Some(false);
    }
    parameter
}

/// What the need is of an attribute that users cannot be without.
fn need(attribute: &Attribute, of_required: Need) -> Need {
    if attribute.required { of_required } else { Need::Optional }
}

fn login() -> Parameter {
    Parameter::new("uid", "login", LOGIN).required()
}

fn pairs(names: &[&'static str]) -> Vec<Parameter> {
    names.iter().map(|name| Parameter::new(name, name, Kind::Pair).many()).collect()
}

fn add(name: &'static str, of_stage: bool) -> Command {
    let mut options: Vec<Parameter> = attributes(of_stage)
        .filter(|attribute| attribute.given != Given::Later)
        .map(|attribute| Parameter { need: need(attribute, Need::Required), ..plain(attribute) })
        .collect();
    options.extend(pairs(&["setattr", "addattr"]));
    options.push(if of_stage {
        Parameter { deprecated: true, ..Parameter::new("from_delete", "from_delete", Kind::Switch) }
    } else {
        Parameter::flag("noprivate")
    });
    options.extend(output_options());
    options.push(Parameter::flag("no_members"));
    Command::new(name, vec![login()], options)
}

fn modify(name: &'static str, of_stage: bool) -> Command {
    let mut options: Vec<Parameter> = attributes(of_stage)
        .map(|attribute| Parameter { need: need(attribute, Need::NotEmptied), ..plain(attribute) })
        .collect();
    options.extend(pairs(&["setattr", "addattr", "delattr"]));
    options.push(Parameter::flag("rights"));
    options.extend(output_options());
    options.push(Parameter::flag("no_members"));
    options.push(Parameter::new("rename", "rename", LOGIN));
    Command::new(name, vec![login().query()], options)
}

fn find(name: &'static str, of_stage: bool) -> Command {
    let mut options = vec![Parameter::new("uid", "login", LOGIN).query()];
    options.extend(
        attributes(of_stage)
            .filter(|attribute| attribute.given != Given::NotSought)
            .map(|attribute| plain(attribute).query()),
    );
    if !of_stage {
        options.push(Parameter::new("preserved", "preserved", Kind::Switch).query());
    }
    options.push(Parameter::new("timelimit", "timelimit", Kind::Number(0)));
    options.push(Parameter::new("sizelimit", "sizelimit", Kind::Number(0)));
    if !of_stage {
        options.push(Parameter::flag("whoami"));
    }
    options.extend(output_options());
    options.push(Parameter { default: Some(true), ..Parameter::flag("no_members") });
    options.push(Parameter { need: Need::Optional, ..Parameter::flag("pkey_only") });
    for name in [
        "in_group",
        "not_in_group",
        "in_netgroup",
        "not_in_netgroup",
        "in_role",
        "not_in_role",
        "in_hbacrule",
        "not_in_hbacrule",
        "in_sudorule",
        "not_in_sudorule",
        "in_subid",
        "not_in_subid",
    ] {
        options.push(Parameter::text(name).many().query());
    }
    Command::new(name, vec![Parameter::new("criteria", "criteria", Kind::Verbatim)], options)
}

fn show(name: &'static str, of_stage: bool) -> Command {
    let mut options = vec![Parameter::flag("rights")];
    if !of_stage {
        options.push(Parameter::text("out"));
    }
    options.extend(output_options());
    options.push(Parameter::flag("no_members"));
    Command::new(name, vec![login().query()], options)
}

fn delete(name: &'static str, of_stage: bool) -> Command {
    let mut options = vec![Parameter::flag("continue")];
    if !of_stage {
        options.push(Parameter::new("preserve", "preserve", Kind::Switch));
    }
    Command::new(name, vec![login().many().query()], options)
}

pub(super) fn commands() -> Vec<Command> {
    let mut activate = output_options();
    activate.push(Parameter::flag("no_members"));
    let on_one = |name| Command::new(name, vec![login().query()], vec![]);
    vec![
        add("user_add", false),
        add("stageuser_add", true),
        modify("user_mod", false),
        modify("stageuser_mod", true),
        find("user_find", false),
        find("stageuser_find", true),
        show("user_show", false),
        show("stageuser_show", true),
        delete("user_del", false),
        delete("stageuser_del", true),
        Command::new("stageuser_activate", vec![login().query()], activate),
        on_one("user_undel"),
        on_one("user_enable"),
        on_one("user_disable"),
        on_one("user_unlock"),
    ]
}

//! The machine against a small world: whatever is lost, late or killed, each applicant has one account and knows it.

use proptest::prelude::*;

use super::*;

/// An entry of the world: whose it is, and what it has.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    place: Place,
    is_ours: bool,
    in_groups: bool,
    password: u32,
    /// Whether the owner has chosen the password.
    is_chosen: bool,
}

/// A directory, a store and an applicant, with a list of faults that strike one after the other.
#[derive(Clone, Debug, Default)]
struct World {
    entries: Vec<Entry>,
    /// What the store has.
    stored: Option<RegistrationRecord>,
    passwords: u32,
    in_memory: Option<u32>,
    told: Vec<(String, Option<u32>)>,
    /// Actions carried out so far, and what others do after so many of them.
    actions: usize,
    others: Vec<(usize, Other)>,
    /// Whether this run has looked for our marker, as it does before it begins anything.
    has_looked: bool,
}

/// What others do in the directory meanwhile.
#[derive(Clone, Debug)]
enum Other {
    /// Somebody takes a name, if it is free; a stage user is in nobody's way.
    Comes(&'static str),
    /// Somebody gives it up.
    Leaves(&'static str),
    /// Our account is called otherwise from now on.
    Renames(&'static str),
    /// The same, and somebody else gets the login.
    Replaces(&'static str),
    /// The applicant logs in with the password that he was told, and chooses one.
    Chooses,
}

/// What happens to one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// It is done, and nobody hears of it.
    DoneUnknown,
    /// It is not done, and nobody hears of it.
    LostUnknown,
    /// Refused for now.
    Busy,
    Trouble,
    /// The process dies before the record is saved.
    DiesBefore,
    /// It dies after the action.
    DiesAfter,
}

impl World {
    fn of(&self, name: &Login) -> Option<&Entry> {
        let of = |is: fn(&Entry) -> bool| {
            self.entries.iter().find(|entry| entry.name == name.as_str() && is(entry))
        };
        of(|entry| entry.place != Place::Staged).or_else(|| of(|entry| entry.place == Place::Staged))
    }

    fn position(&self, name: &Login, place: Place) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name.as_str() && entry.place == place)
    }

    fn create(&mut self, name: &Login, place: Place) -> Event {
        // The directory takes a stage user of an active user's name.
        let is_in_the_way = |entry: &Entry| {
            entry.name == name.as_str() && (entry.place == Place::Staged) == (place == Place::Staged)
        };
        if self.entries.iter().any(is_in_the_way) {
            return Event::Exists;
        }
        self.entries.push(Entry {
            name: name.as_str().to_owned(),
            place,
            is_ours: true,
            in_groups: false,
            password: 0,
            is_chosen: false,
        });
        Event::Created
    }

    fn stranger(name: &str) -> Entry {
        let (name, place) = (name.to_owned(), Place::Active);
        Entry { name, place, is_ours: false, in_groups: false, password: 0, is_chosen: false }
    }

    fn others(&mut self) {
        for (after, other) in self.others.clone() {
            match other {
                _ if after != self.actions => {}
                Other::Comes(name) if self.position(&login(name), Place::Active).is_none() => {
                    self.entries.push(Self::stranger(name));
                }
                Other::Comes(_) => {}
                Other::Leaves(name) => self.entries.retain(|entry| entry.is_ours || entry.name != name),
                Other::Renames(name) | Other::Replaces(name) => {
                    let is_it = |entry: &&mut Entry| {
                        entry.is_ours && entry.place == Place::Active && entry.name == name
                    };
                    if let Some(ours) = self.entries.iter_mut().find(is_it) {
                        ours.name = format!("{name}x");
                        if matches!(other, Other::Replaces(_)) {
                            self.entries.push(Self::stranger(name));
                        }
                    }
                }
                Other::Chooses => {
                    let told = self.told.last().and_then(|(_, password)| *password);
                    for ours in self.entries.iter_mut().filter(|entry| entry.is_ours) {
                        ours.is_chosen |= told == Some(ours.password);
                    }
                }
            }
        }
    }

    fn find(&self) -> Event {
        match self.entries.iter().find(|entry| entry.is_ours) {
            Some(entry) => Event::Found { login: login(&entry.name), place: entry.place },
            None => Event::NotFound,
        }
    }

    /// What may be written to.
    fn ours(&mut self, name: &Login) -> Option<&mut Entry> {
        let is_it = |entry: &&mut Entry| entry.place == Place::Active && entry.name == name.as_str();
        self.entries.iter_mut().find(is_it).filter(|entry| entry.is_ours)
    }

    fn carry_out(&mut self, action: &Action) -> Event {
        self.others();
        self.actions += 1;
        match action {
            Action::Find => self.find(),
            Action::Create { .. } | Action::Probe { .. }
                if !std::mem::replace(&mut self.has_looked, true) =>
            {
                match self.find() {
                    Event::NotFound => self.carry_out(action),
                    found => found,
                }
            }
            Action::Probe { login } => {
                let is_taken = self.of(login).is_some_and(|entry| entry.place != Place::Staged);
                if is_taken { Event::Taken } else { Event::Free }
            }
            Action::Create { login, place } => self.create(login, *place),
            Action::LookUp { login } => Event::Owned(match self.of(login) {
                Some(entry) if entry.is_ours => Owner::Ours(entry.place),
                Some(_) => Owner::Stranger,
                None => Owner::Nobody,
            }),
            Action::Activate { login } => match self.position(login, Place::Staged) {
                None => Event::Gone,
                Some(_) if self.position(login, Place::Active).is_some() => Event::Exists,
                Some(at) => {
                    self.entries[at].place = Place::Active;
                    Event::Activated
                }
            },
            Action::Unstage { login } => {
                let is_it = |entry: &Entry| entry.place == Place::Staged && entry.name == login.as_str();
                self.entries.retain(|entry| !(entry.is_ours && is_it(entry)));
                Event::Unstaged
            }
            Action::Join { login } => {
                let Some(ours) = self.ours(login) else { return Event::NotOurs };
                ours.in_groups = true;
                Event::Joined
            }
            Action::SetPassword { login } => {
                let password = self.passwords + 1;
                self.in_memory = None;
                let Some(ours) = self.ours(login) else { return Event::NotOurs };
                if ours.is_chosen {
                    return Event::PasswordKept;
                }
                ours.password = password;
                self.passwords = password;
                self.in_memory = Some(password);
                Event::PasswordSet
            }
            Action::Tell(tell) => {
                let code = match tell {
                    Tell::Created { .. } => "created".to_owned(),
                    Tell::Failed(failure) => format!("failed:{}", failure.as_str()),
                    Tell::Queued => "queued".to_owned(),
                };
                self.told.push((code, self.in_memory));
                Event::Told { message_id: None }
            }
            Action::Disable { .. } => Event::Disabled,
            Action::Finish(_) => panic!("nothing is carried out of the end"),
        }
    }

    /// One delivery; whether the message is done with, and how.
    fn deliver(&mut self, plan: Plan, fates: &mut impl Iterator<Item = Fate>) -> Option<Finish> {
        (self.in_memory, self.has_looked) = (None, false);
        let (mut machine, mut next) = Machine::accepted(plan, self.stored.clone());
        loop {
            let fate = fates.next().unwrap_or(Fate::Fine);
            if fate == Fate::DiesBefore {
                return None;
            }
            if next.save {
                self.stored = Some(machine.record().clone());
            }
            if let Action::Finish(finish) = next.action {
                return Some(finish).filter(|finish| matches!(finish, Finish::Ack | Finish::DeadLetter(_)));
            }
            let has_unknown = matches!(
                next.action,
                Action::Create { .. }
                    | Action::Activate { .. }
                    | Action::Join { .. }
                    | Action::SetPassword { .. }
                    | Action::Tell(_)
            );
            let event = match fate {
                Fate::DoneUnknown if has_unknown => {
                    self.carry_out(&next.action);
                    if matches!(next.action, Action::SetPassword { .. }) {
                        self.in_memory = None;
                    }
                    Event::Unknown
                }
                Fate::LostUnknown if has_unknown => Event::Unknown,
                Fate::Busy => Event::Busy,
                Fate::Trouble => Event::Trouble,
                Fate::DiesAfter => {
                    self.carry_out(&next.action);
                    return None;
                }
                _ => self.carry_out(&next.action),
            };
            next = machine.on(event).expect("an answer");
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Fine),
        1 => Just(Fate::DoneUnknown),
        1 => Just(Fate::LostUnknown),
        1 => Just(Fate::Busy),
        1 => Just(Fate::Trouble),
        1 => Just(Fate::DiesBefore),
        1 => Just(Fate::DiesAfter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn each_registration_has_one_account_and_the_applicant_knows_its_password(
        fates in proptest::collection::vec(fate(), 0..60),
        flow in prop_oneof![Just(Flow::Direct), Just(Flow::StageThenActivate), Just(Flow::Stage)],
        others in proptest::collection::vec((0_usize..16, 0_usize..5, 0_usize..3), 0..6),
        loses_record in proptest::option::of(0_usize..6),
        is_counted in any::<bool>(),
    ) {
        let names = ["ada", "ada2", "ada3"];
        let others = others.into_iter().map(|(after, what, name)| {
            let name = names[name];
            (after, match what {
                0 => Other::Comes(name),
                1 => Other::Leaves(name),
                2 => Other::Renames(name),
                3 => Other::Replaces(name),
                _ => Other::Chooses,
            })
        });
        let mut world = World { others: others.collect(), ..World::default() };
        let mut fates = fates.into_iter();
        let mut finish = None;
        for delivery in 0..200 {
            if loses_record == Some(delivery) {
                world.stored = None;
            }
            let plan = Plan { flow, is_redelivered: is_counted && delivery > 0, ..plan(&names) };
            finish = world.deliver(plan, &mut fates);
            let ours = world.entries.iter().filter(|entry| entry.is_ours).count();
            prop_assert!(ours <= 1, "{:?}", world);
            if finish.is_some() {
                break;
            }
        }
        let ours = world.entries.iter().find(|entry| entry.is_ours);
        let (code, password) = world.told.last().expect("somebody was told");
        if finish == Some(Finish::DeadLetter(Failure::LoginTaken)) {
            prop_assert!(ours.is_none(), "nothing of ours is left in anybody's way");
            prop_assert_eq!(code.as_str(), "failed:login_taken");
        } else {
            prop_assert_eq!(finish, Some(Finish::Ack));
            let ours = ours.expect("an account");
            if flow == Flow::Stage {
                prop_assert_eq!((ours.place, code.as_str()), (Place::Staged, "queued"));
            } else {
                prop_assert_eq!((ours.place, code.as_str()), (Place::Active, "created"));
                prop_assert!(ours.in_groups);
                let holds = if ours.is_chosen { world.told.iter().any(|(_, told)| *told == Some(ours.password)) } else { *password == Some(ours.password) };
                prop_assert!(holds, "the last message has the password that holds, if the owner has none: {:?}", world);
            }
        }
        // The same message once more: nothing is done, and nobody is told.
        let (told, passwords) = (world.told.len(), world.passwords);
        if finish == Some(Finish::Ack) && world.stored.is_some() {
            let plan = Plan { flow, is_redelivered: true, ..plan(&names) };
            prop_assert_eq!(world.deliver(plan, &mut std::iter::empty()), Some(Finish::Ack));
            prop_assert_eq!((world.told.len(), world.passwords), (told, passwords));
        }
    }
}

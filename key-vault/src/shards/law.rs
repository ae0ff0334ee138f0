//! The laws of holding shards, over random histories of several vaults on one table: processes start, round, learn late, freeze, go on,
//! leave and die, two of them may have one name, and time passes as it likes.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{
    pulse::{BEAT, TTL},
    *,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Event {
    /// A process of that name starts; one that has the name may still run.
    Start(usize),
    /// A round is committed; what it saw is learned later.
    Round(usize),
    /// A committed round's answer arrives.
    Learn(usize),
    Leave(usize),
    Die(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..NAMES.len()).prop_map(Event::Start),
        12 => (0..8_usize).prop_map(Event::Round),
        12 => (0..8_usize).prop_map(Event::Learn),
        1 => (0..8_usize).prop_map(Event::Leave),
        1 => (0..8_usize).prop_map(Event::Die),
        6 => (0..9_000_u64).prop_map(Event::Pass),
    ]
}

/// A vault's process: its memory.
struct Process {
    name: String,
    incarnation: u64,
    pulse: Pulse,
    heard: Duration,
    view: View,
    /// Committed, not yet learned.
    coming: Option<View>,
}

/// The tables, and all processes that run or hang.
#[derive(Default)]
struct World {
    holdings: Holdings,
    members: BTreeMap<String, Member>,
    processes: Vec<Process>,
    now: Duration,
    born: u64,
}

impl World {
    fn happen(&mut self, event: &Event) {
        let at = |number: usize, world: &Self| match world.processes.len() {
            0 => None,
            len => Some(number % len),
        };
        match event {
            Event::Start(name) => self.start(NAMES[*name]),
            Event::Pass(millis) => self.now += Duration::from_millis(*millis),
            Event::Round(number) => {
                if let Some(number) = at(*number, self) {
                    self.stay(number);
                }
            }
            Event::Learn(number) => {
                if let Some(number) = at(*number, self) {
                    self.learn(number);
                }
            }
            Event::Leave(number) => {
                if let Some(number) = at(*number, self) {
                    self.leave(number);
                }
            }
            Event::Die(number) => {
                if let Some(number) = at(*number, self) {
                    self.processes.remove(number);
                }
            }
        }
    }

    fn start(&mut self, name: &str) {
        self.born += 1;
        let member = Member {
            name: name.to_owned(),
            incarnation: self.born,
            beat: 0,
        };
        self.members.insert(name.to_owned(), member);
        for shard in Shard::all() {
            let Lease { holder, token } = self.holdings.of(shard).clone();
            let token = token + u64::from(holder == name);
            self.holdings.put(shard, Lease { holder, token });
        }
        self.processes.push(Process {
            name: name.to_owned(),
            incarnation: self.born,
            pulse: Pulse::default(),
            heard: self.now,
            view: View::default(),
            coming: None,
        });
        self.turn(self.processes.len() - 1, settle);
        self.learn(self.processes.len() - 1);
    }

    fn stay(&mut self, number: usize) {
        let process = &self.processes[number];
        let member = self.members.entry(process.name.clone()).or_insert(Member {
            name: process.name.clone(),
            incarnation: process.incarnation,
            beat: 0,
        });
        if member.incarnation == process.incarnation {
            member.beat += 1;
            self.turn(number, settle);
        } else {
            self.processes[number].coming = Some(View::default());
        }
    }

    fn leave(&mut self, number: usize) {
        let process = &self.processes[number];
        let member = self.members.get(&process.name);
        if member.is_some_and(|member| member.incarnation == process.incarnation) {
            self.members.remove(&process.name.clone());
            self.turn(number, leave);
        }
        self.processes.remove(number);
    }

    /// What the shell's transaction does once the name is known to be the process's own.
    fn turn(
        &mut self,
        number: usize,
        plan: impl Fn(&str, &std::collections::BTreeSet<String>, &Holdings) -> Vec<Move>,
    ) {
        let process = &mut self.processes[number];
        let members: Vec<Member> = self.members.values().cloned().collect();
        process
            .pulse
            .hear(&process.name, &members, self.now - process.heard);
        process.heard = self.now;
        for change in plan(&process.name, &process.pulse.living(), &self.holdings) {
            self.holdings.apply(&change);
        }
        process.coming = Some(View {
            holdings: self.holdings.clone(),
            name: process.name.clone(),
        });
    }

    fn learn(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if let Some(view) = process.coming.take() {
            process.view = view;
        }
    }

    /// How many processes pass the fence of each shard.
    fn passing(&self) -> Vec<usize> {
        let mut passing = vec![0; SHARDS.into()];
        for process in &self.processes {
            let rows: Vec<(Shard, u64)> = self
                .holdings
                .all()
                .filter(|(_, lease)| lease.holder == process.name)
                .map(|(shard, lease)| (shard, lease.token))
                .collect();
            let fence = Fence::new(&rows, &process.view);
            for shard in Shard::all().filter(|shard| fence.admit(*shard).is_ok()) {
                passing[shard.index()] += 1;
            }
        }
        passing
    }

    /// All that run go round each beat, for a while, and nothing else happens.
    fn quiet(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            for number in 0..self.processes.len() {
                self.stay(number);
                self.learn(number);
            }
            self.now += BEAT;
        }
    }

    /// Where two have one name, the one that the table knows is the vault.
    fn bury_superseded(&mut self) {
        let members = &self.members;
        self.processes.retain(|process| {
            members
                .get(&process.name)
                .is_none_or(|member| member.incarnation == process.incarnation)
        });
        let mut names = std::collections::BTreeSet::new();
        self.processes
            .retain(|process| names.insert(process.name.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_vaults_never_both_pass_the_fence_of_a_shard(history in prop::collection::vec(event(), 1..120)) {
        let mut world = World::default();
        for event in &history {
            world.happen(event);
            prop_assert!(world.passing().iter().all(|count| *count <= 1), "after {event:?}");
        }
    }

    #[test]
    fn two_ttls_after_a_death_every_shard_is_held_and_the_shares_become_fair(
        history in prop::collection::vec(event(), 1..60),
    ) {
        let mut world = World::default();
        for event in &history {
            world.happen(event);
        }
        world.bury_superseded();
        if world.processes.is_empty() {
            world.start(NAMES[0]);
        }
        world.quiet(2 * TTL);
        prop_assert_eq!(world.passing(), vec![1; SHARDS.into()]);
        world.quiet(2 * BEAT);
        let vaults = world.processes.len();
        for process in &world.processes {
            let held = Shard::all().filter(|shard| process.view.holds(*shard)).count();
            prop_assert!(held >= 64 / vaults && held <= 64_usize.div_ceil(vaults), "{} of {vaults}: {held}", process.name);
        }
    }
}

/// The control: with a fence that looks at the name alone, the history that the token is there for lets two in.
#[test]
fn without_the_token_a_process_that_was_replaced_would_still_pass() {
    let mut world = World::default();
    world.start("a");
    world.start("a");
    let by_name = |process: &&Process| {
        process.view.holds(Shard(0)) && world.holdings.of(Shard(0)).holder == process.name
    };
    assert_eq!(world.processes.iter().filter(by_name).count(), 2);
    assert_eq!(world.passing(), [1; SHARDS as usize]);
}

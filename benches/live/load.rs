//! What a flood consists of.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use conntracker::testing::formats::classic;
use conntracker::testing::intake::Intake;
use conntracker::testing::intake::Table;
use conntracker::testing::sources::file;
use conntracker_flood::flow::{Family, Profile, Protocol};
use conntracker_flood::model::Model;
use conntracker_flood::pcap;
use conntracker_flood::settings::{Repeat, Settings};

use crate::Failure;
use crate::clock::Interrupt;
use crate::cpus::{self, Side};
use crate::namespace::Namespace;
use crate::process::{Cpu, Process};

/// Cargo names programs of the bench's own package alone; `make` builds the flood beside them.
const BESIDE: &str = env!("CARGO_BIN_EXE_conntracker");
/// Slower than any flood here, on a machine with other things to do.
const LIMIT: Duration = Duration::from_secs(180);

/// A stream of events.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// NEW events.
    pub events: u64,
    /// Distinct flows among them.
    pub flows: u64,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Events a second; 0 is full speed.
    pub rate: u64,
}

impl Load {
    /// As many flows as events, at full speed.
    pub const fn distinct(events: u64) -> Self {
        Self {
            events,
            flows: events,
            v6: false,
            rate: 0,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            entries: self.events,
            distinct: self.flows,
            replied_percent: 0,
            repeat: Repeat::New,
            profile: Profile {
                family: if self.v6 { Family::V6 } else { Family::V4 },
                protocols: vec![
                    (Protocol::Tcp, 70),
                    (Protocol::Udp, 25),
                    (Protocol::Icmp, 5),
                ],
                privileged_percent: 0,
                seed: 1,
            },
        }
    }

    /// The list that belongs to it.
    pub fn expected(&self) -> Result<Vec<u8>, Failure> {
        let settings = self.settings();
        let mut capture = Vec::new();
        pcap::write(&mut capture, &settings, 600, 0.0, || true)?;
        let intake = Intake::new(Table::new(usize::MAX));
        file::read(&capture[..], &intake).map_err(|error| format!("replay: {error:?}"))?;
        let mut list = Vec::new();
        classic::write(&intake.table().snapshot(), &mut list)?;
        let lines = list.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(lines, Model::replay(&settings, &[self.events]).listed());
        Ok(list)
    }

    /// Floods a namespace; gives the flooder's own processor time. Making an entry, its event and handing
    /// that to each listener all happen within its system calls. `bound` is whether it stays on its processor.
    pub fn flood(
        &self,
        namespace: &Namespace,
        bound: bool,
        interrupt: &Interrupt,
    ) -> Result<Cpu, Failure> {
        let flood = Path::new(BESIDE).with_file_name("conntracker-flood");
        if !flood.exists() {
            return Err(
                format!("{} is missing: make bench-live builds it", flood.display()).into(),
            );
        }
        let mut command = Command::new(flood);
        command
            .args(["--netns", namespace.name()])
            .args(["--entries", &self.events.to_string()])
            .args(["--distinct", &self.flows.to_string()])
            .args(["--family", if self.v6 { "6" } else { "4" }])
            .args(["--rate", &self.rate.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Binding concerns a thread and what it starts.
        let spawn = || {
            if bound {
                cpus::bind(Side::Flooder)?;
            }
            Ok::<_, Failure>(command.spawn()?)
        };
        let child = match thread::scope(|scope| scope.spawn(spawn).join()) {
            Ok(child) => child?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let mut process = Process::new(&child)?;
        let paced = Duration::from_secs(self.events.checked_div(self.rate).unwrap_or(0));
        let ended = process.end(interrupt, LIMIT + paced)?;
        if !ended.status.success() {
            return Err(format!("conntracker-flood: {}", ended.status).into());
        }
        Ok(ended.cpu)
    }
}

//! What is done to replicas and vendors, for how long, and what undoes it.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::Mode;
use crate::clock::{Clock as _, Dice, SystemClock};
use crate::sandbox::stage::{Fault, FaultKind, Stage};
use crate::sandbox::town::Town;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// SIGKILL, and started again at once
    Kill,
    /// SIGSTOP, and SIGCONT a while later: often after its leases have ended
    Freeze,
    /// Its connections to PostgreSQL carry nothing for a while, and are not cut
    Partition,
    /// Its connections to PostgreSQL carry everything much later for a while
    Slow,
    /// One vendor answers no call for a while
    Hang,
}

impl Kind {
    /// As it is typed and counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Partition => "partition",
            Self::Slow => "slow",
            Self::Hang => "hang",
        }
    }

    /// Whether it needs a connection to a database server that it can get at.
    pub(super) fn needs_server(self) -> bool {
        matches!(self, Self::Partition | Self::Slow)
    }
}

/// How long a fault lasts. Every third lasts longer than a lease, so that others take over meanwhile.
pub(super) fn lasting(dice: &mut Dice) -> Duration {
    let millis = if dice.one_in(3) {
        dice.between(11_000, 16_000)
    } else {
        dice.between(300, 4_000)
    };
    Duration::from_millis(millis)
}

/// How a slow wire is slow: a statement takes several pieces.
pub(super) fn slowness(dice: &mut Dice) -> Mode {
    Mode::Slow(Duration::from_millis(dice.between(20, 400)))
}

/// A fault that is on somebody now.
pub(super) struct Strike {
    /// Who is hit; no replica where it is a vendor.
    pub(super) replica: Option<usize>,
    pub(super) kind: Kind,
    /// When it ends.
    pub(super) until: Timestamp,
}

impl Strike {
    pub(super) fn is_over(&self) -> bool {
        self.until <= SystemClock.now()
    }
}

/// One vendor answers no call from now on; which.
pub(super) fn hang(town: &Town, dice: &mut Dice) {
    let vendor = usize::try_from(dice.between(0, 4)).unwrap_or_default();
    if let Some(stage) = stages(town).get(vendor) {
        // Longer than the fault lasts: a call that hangs does not come back when the vendor does.
        let hang = FaultKind::Delay(Duration::from_secs(30));
        stage.misbehave(Fault::new("", "", u32::MAX, hang));
    }
}

/// Vendors answer again.
pub(super) fn unhang(town: &Town) {
    for stage in stages(town) {
        stage.behave();
    }
}

fn stages(town: &Town) -> [&Stage; 5] {
    [
        town.github.stage(),
        &town.jira.stage,
        &town.discord.stage,
        &town.argocd.stage,
        &town.dcr.stage,
    ]
}

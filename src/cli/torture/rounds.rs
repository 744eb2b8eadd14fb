//! The rounds: each waits a while, picks a fault and somebody to hit, and goes on. Faults that last are on while later
//! rounds come, but one replica is always left in peace where there are several.

use std::time::Duration;

use jiff::Timestamp;

use super::faults::{self, Kind, Strike};
use super::siege::{SAID, Siege};
use super::wire::Mode;
use crate::cli::town::terminal::Terminal;
use crate::clock::{Clock as _, SystemClock};

impl Siege {
    /// Hits replicas and vendors, round by round.
    pub(super) async fn hit(&mut self, terminal: &mut Terminal) -> Result<(), String> {
        // The replica that is killed again before it is up.
        let mut again = None;
        for round in 1..=self.rounds {
            self.gather();
            let wait = match again {
                Some(_) => self.dice.between(0, 150),
                // Time to get something done, and to be hit in the middle of that.
                None if self.dice.one_in(6) => self.dice.between(600, 2500),
                None => self.dice.between(20, 600),
            };
            if again.is_none() {
                self.all_up().await?;
            }
            self.pass_time(Duration::from_millis(wait)).await?;
            let kind = match again {
                Some(_) => Kind::Kill,
                None => self.dice.pick(&self.kinds).copied().unwrap_or(Kind::Kill),
            };
            let hit = self.cards().into_iter().filter(|card| !card.is_over());
            for doing in hit.map(|card| card.doing()).collect::<Vec<_>>() {
                *self.hits.entry(doing).or_default() += 1;
            }
            let victim = self.strike(kind, again).await?;
            *self.struck.entry(kind.name()).or_default() += 1;
            again = victim.filter(|_| kind == Kind::Kill && self.dice.one_in(5));
            if terminal.is_live() || round % SAID == 0 {
                self.tell(terminal, &format!("{round} of {} faults", self.rounds));
            }
        }
        self.all_relieved().await?;
        self.all_up().await?;
        self.longest = self.pulse.end();
        Ok(())
    }

    /// Waits until every replica that no fault is on answers.
    async fn all_up(&mut self) -> Result<(), String> {
        for number in 0..self.replicas.len() {
            if self.is_struck(number) {
                continue;
            }
            if let Some(replica) = self.replicas.get_mut(number) {
                replica.is_up().await?;
            }
            self.pulse.relieved(number);
        }
        Ok(())
    }

    fn is_struck(&self, replica: usize) -> bool {
        self.strikes.iter().any(|strike| strike.replica == Some(replica))
    }

    /// Waits; what is over meanwhile is undone when it is.
    async fn pass_time(&mut self, wait: Duration) -> Result<(), String> {
        let until = SystemClock.now().checked_add(wait).unwrap_or(Timestamp::MAX);
        loop {
            self.relieve()?;
            if SystemClock.now() >= until {
                return Ok(());
            }
            let next = self.strikes.iter().map(|strike| strike.until).min();
            SystemClock
                .sleep_until(next.map_or(until, |next| next.min(until)))
                .await;
        }
    }

    async fn all_relieved(&mut self) -> Result<(), String> {
        while let Some(next) = self.strikes.iter().map(|strike| strike.until).min() {
            SystemClock.sleep_until(next).await;
            self.relieve()?;
        }
        Ok(())
    }

    fn relieve(&mut self) -> Result<(), String> {
        let over: Vec<Strike> = self.strikes.extract_if(.., |strike| strike.is_over()).collect();
        for strike in over {
            if strike.kind == Kind::Hang {
                faults::unhang(&self.field.town);
            }
            let Some(number) = strike.replica else { continue };
            if let Some(replica) = self.replicas.get_mut(number) {
                replica.wire(Mode::Open);
                replica.thaw()?;
            }
            self.pulse.relieved(number);
        }
        Ok(())
    }

    /// A replica to hit. Where there are several, one is always left in peace, so this may have to wait.
    async fn victim(&mut self) -> Result<usize, String> {
        loop {
            let free: Vec<usize> = (0..self.replicas.len())
                .filter(|number| !self.is_struck(*number))
                .collect();
            let in_peace = usize::from(self.replicas.len() > 1);
            if free.len() > in_peace
                && let Some(victim) = self.dice.pick(&free)
            {
                return Ok(*victim);
            }
            let next = self.strikes.iter().map(|strike| strike.until).min();
            SystemClock.sleep_until(next.unwrap_or(Timestamp::MIN)).await;
            self.relieve()?;
        }
    }

    /// Puts the fault on somebody; the replica, if it is one.
    async fn strike(&mut self, kind: Kind, again: Option<usize>) -> Result<Option<usize>, String> {
        if kind == Kind::Hang {
            let hanging = self.strikes.iter().any(|strike| strike.kind == Kind::Hang);
            if !hanging {
                faults::hang(&self.field.town, &mut self.dice);
                self.lasts(kind, None);
            }
            return Ok(None);
        }
        let victim = match again {
            Some(victim) => victim,
            None => self.victim().await?,
        };
        let slow = faults::slowness(&mut self.dice);
        let Some(replica) = self.replicas.get_mut(victim) else {
            return Ok(None);
        };
        self.pulse.struck(victim);
        match kind {
            Kind::Kill => {
                replica.kill().await?;
                replica.start()?;
                return Ok(Some(victim));
            }
            Kind::Freeze => replica.freeze().await?,
            Kind::Partition => replica.wire(Mode::Dark),
            Kind::Slow => replica.wire(slow),
            Kind::Hang => {}
        }
        self.lasts(kind, Some(victim));
        Ok(Some(victim))
    }

    fn lasts(&mut self, kind: Kind, replica: Option<usize>) {
        let lasting = faults::lasting(&mut self.dice);
        let until = SystemClock.now().checked_add(lasting).unwrap_or(Timestamp::MAX);
        self.strikes.push(Strike { replica, kind, until });
    }
}

//! The siege: town, load balancer and replicas are set up, hit by faults at random moments, and left to come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;

use super::balancer::{Backs, Balancer};
use super::count::{Given, Memory, Seen};
use super::errands;
use super::faults::{Kind, Strike};
use super::people::{Card, Field, Life, Tenant};
use super::pulse::{Longest, Pulse};
use super::replica::Replica;
use super::wire::Wire;
use super::world::{self, FARMERS};
use super::{TortureArgs, look};
use crate::catalog::{self, Catalog};
use crate::cli::town::{self, folder::Folder, terminal::Terminal};
use crate::clock::{Clock as _, Dice, SystemClock};
use crate::sandbox::github::NewPr;
use crate::sandbox::town::{REPO, Town};
use crate::store::Store;

/// How many lives go on at once, at most and at least.
const CROWD: (u32, u32) = (8, 3);
/// How many tenants they share, so that some rebuilds wait for others.
const TENANTS: u64 = 7;
/// How many pull requests commands are given on.
const PULLS: u64 = 3;
/// How long everything may take to come to rest.
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// Everything must have been quiet for so many looks to count as at rest.
const QUIET_LOOKS: u32 = 6;
const LOOK: Duration = Duration::from_millis(200);
/// A command counts for the head that was known a whole second before it.
const SECOND: Duration = Duration::from_millis(1500);
/// Of so many faults one is said where lines cannot be rewritten.
pub(super) const SAID: u32 = 25;
/// The longest that a healthy replica may take no webhook, or that nothing may be dealt with, while others are hit.
const STILL_MAX: SignedDuration = SignedDuration::from_secs(10);

/// How it ended.
pub(super) struct Ended {
    /// Runs that ended well.
    pub(super) completed: u64,
    /// Runs that people stopped.
    pub(super) stopped: u64,
    /// How often a run was under way with what its card said when a fault came.
    pub(super) hits: BTreeMap<String, u32>,
    /// How many faults of each kind there were.
    pub(super) faults: BTreeMap<&'static str, u32>,
    /// How long those stood still that nothing was done to.
    pub(super) longest: Longest,
    /// What went wrong besides what is counted.
    pub(super) troubles: Vec<String>,
}

/// What there is to count.
pub(super) struct Findings {
    /// What people said.
    pub(super) given: Vec<Given>,
    /// What stands in the town.
    pub(super) seen: Seen,
    /// What the database holds.
    pub(super) memory: Memory,
}

/// The siege.
pub(super) struct Siege {
    pub(super) rounds: u32,
    pub(super) kinds: Vec<Kind>,
    /// Decides when which fault comes, and to whom.
    pub(super) dice: Dice,
    /// Decides what people do, whatever is killed.
    people: Dice,
    began: Timestamp,
    pub(super) field: Arc<Field>,
    database: String,
    pub(super) replicas: Vec<Replica>,
    /// Faults that are on somebody now.
    pub(super) strikes: Vec<Strike>,
    pub(super) struck: BTreeMap<&'static str, u32>,
    pub(super) pulse: Pulse,
    /// As measured while faults came.
    pub(super) longest: Longest,
    _balancer: Balancer,
    /// What goes on in the town; it ends with the siege.
    world: JoinSet<()>,
    lives: JoinSet<()>,
    /// Runs of nobody's life that somebody has taken care of.
    cared_for: BTreeSet<String>,
    store: Option<Store>,
    pub(super) hits: BTreeMap<String, u32>,
    troubles: Vec<String>,
}

/// What goes on by itself: mail, errands, git and the back-ends.
fn set_going(field: &Arc<Field>, dice: &mut Dice) -> JoinSet<()> {
    let mut world = JoinSet::new();
    world.spawn(world::deliver(Arc::clone(field), dice.another()));
    world.spawn(errands::give(Arc::clone(field)));
    world.spawn(world::watch_git(Arc::clone(field), dice.another()));
    for tenant in &field.tenants {
        world.spawn(world::rebuild(Arc::clone(field), tenant.clone(), dice.another()));
    }
    world
}

impl Siege {
    /// Sets everything up; the replicas are up and know the pull requests.
    pub(super) async fn lay(args: &TortureArgs, folder: &Folder) -> Result<Self, String> {
        let mut dice = Dice::seeded(args.seed);
        let town = town::lively().await?;
        let tenants = settle_tenants(&town)?;
        folder.configure(&town, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        errands::declare(folder).map_err(|e| format!("cannot write its configuration: {e}"))?;
        errands::settle(&town);
        let catalog = catalog::load(&folder.config(), &std::collections::BTreeMap::new());
        let catalog = catalog.map_err(|problems| problems.to_string())?;
        town::register(&catalog).await?;
        let given = args.database.as_ref().map(|url| url.expose_secret().to_owned());
        let database = given.unwrap_or_else(|| folder.database());
        if args.database.is_some() {
            must_be_empty(&database).await?;
        }
        let count = args.replicas as usize;
        let backs = Backs::down(count);
        let mut replicas = Vec::new();
        for number in 0..count {
            let wire = match database.starts_with("postgres") {
                true => Some(Wire::lay(&database).await?),
                false => None,
            };
            let url = wire.as_ref().map_or(&database, |wire| &wire.url);
            let env = vec![
                ("STEPHERD__DATABASE__URL".to_owned(), url.clone()),
                // Logs are read in files.
                ("NO_COLOR".to_owned(), "1".to_owned()),
            ];
            let log = folder.log(&log_name(number));
            replicas.push(Replica::new(number, &folder.config(), log, env, backs.clone(), wire));
        }
        let balancer = Balancer::start(backs.clone()).await.map_err(|e| e.to_string())?;
        for replica in &mut replicas {
            replica.start()?;
        }
        for replica in &mut replicas {
            replica.is_up().await?;
        }
        let pulse = begin_pulse(&catalog, &backs, count, &database).await?;
        (0..count).for_each(|replica| pulse.relieved(replica));
        town.tell(&balancer.url)?;
        let pulls = open_pulls(&town).await?;
        let field = Arc::new(Field::new(town, tenants, pulls));
        let world = set_going(&field, &mut dice);
        Ok(Self {
            rounds: args.rounds,
            kinds: args.faults.clone(),
            people: dice.another(),
            dice,
            began: SystemClock.now(),
            field,
            database,
            replicas,
            strikes: Vec::new(),
            struck: BTreeMap::new(),
            pulse,
            longest: Longest::default(),
            _balancer: balancer,
            world,
            lives: JoinSet::new(),
            cared_for: BTreeSet::new(),
            store: None,
            hits: BTreeMap::new(),
            troubles: Vec::new(),
        })
    }

    /// As many lives as there should be.
    pub(super) fn gather(&mut self) {
        while self.lives.try_join_next().is_some() {}
        let crowd = (self.rounds / 4).clamp(CROWD.1, CROWD.0) as usize;
        while self.lives.len() < crowd {
            let Some(life) = Life::new(Arc::clone(&self.field), self.people.another()) else {
                return;
            };
            self.lives.spawn(life.live());
        }
    }

    pub(super) fn cards(&self) -> Vec<Card> {
        let tenants = self.field.tenants.iter();
        tenants.flat_map(|tenant| self.field.cards(tenant)).collect()
    }

    pub(super) fn tell(&self, terminal: &mut Terminal, what: &str) {
        let cards = self.cards();
        let over = cards.iter().filter(|card| card.is_over()).count();
        let seconds = SystemClock.now().duration_since(self.began).as_secs();
        terminal.rewrite(&format!(
            "{what} · {} commands · {} runs, {over} over · {}:{:02}",
            self.field.book().given.len(),
            cards.len(),
            seconds / 60,
            seconds % 60
        ));
    }

    /// Nothing is hit any more: everything must come to rest by itself.
    pub(super) async fn settle(&mut self, terminal: &mut Terminal) -> Result<(), String> {
        self.field.winding_down.cancel();
        let until = SystemClock.now().saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
        for replica in &mut self.replicas {
            replica.is_up().await?;
        }
        let store = Store::open(&self.database).await.map_err(|e| e.to_string())?;
        self.store = Some(store.clone());
        let mut quiet = 0;
        loop {
            while self.lives.try_join_next().is_some() {}
            self.care();
            let busy = self.busy(&store).await?;
            quiet = if busy.is_empty() { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                break;
            }
            if terminal.is_live() {
                self.tell(terminal, "settling");
            }
            if SystemClock.now() > until {
                let seconds = PATIENCE.as_secs();
                self.troubles.push(format!(
                    "it does not come to rest within {seconds} s: {}",
                    busy.join(", ")
                ));
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.world.abort_all();
        self.lives.abort_all();
        Ok(())
    }

    /// What is still to be done.
    async fn busy(&self, store: &Store) -> Result<Vec<String>, String> {
        let counts = store.counts().await.map_err(|e| e.to_string())?;
        let pending = store.effects(Some("pending"), 1000).await.map_err(|e| e.to_string())?;
        let owed: Vec<String> = pending
            .into_iter()
            .map(|effect| effect.key)
            .filter(|key| !self.is_void(key))
            .collect();
        let post = self
            .field
            .town
            .github
            .slips()
            .iter()
            .filter(|slip| slip.waits || !slip.accepted)
            .count();
        let jira = self.field.town.jira.deliveries();
        let accepted = |delivery: &&crate::sandbox::jira::Delivery| {
            delivery
                .attempts
                .iter()
                .any(|attempt| (200..300).contains(&attempt.status))
        };
        let letters = jira.len() - jira.iter().filter(accepted).count();
        let live = counts.runs_queued + counts.runs_active + counts.runs_stopped;
        let mut busy = Vec::new();
        for (number, what) in [
            (counts.deliveries_pending, "deliveries to deal with"),
            (live, "runs that are not over"),
            (post as u64 + letters as u64, "webhooks to deliver"),
            (self.lives.len() as u64, "people who wait"),
        ] {
            if number > 0 {
                busy.push(format!("{number} {what}"));
            }
        }
        if let Some(first) = owed.first() {
            busy.push(format!("{} effects ({first} and so on)", owed.len()));
        }
        Ok(busy)
    }

    /// An interaction that was stored but not answered in time is dead at Discord: nobody was promised anything, and
    /// its answer can never be given.
    fn is_void(&self, key: &str) -> bool {
        let Some(id) = key.strip_prefix("reply:discord:interaction:") else {
            return false;
        };
        let book = self.field.book();
        book.given.iter().any(|given| given.id == id && !given.accepted)
    }

    /// A run that an unanswered slash command started may be nobody's: somebody stops it when it fails.
    fn care(&mut self) {
        if !self.lives.is_empty() {
            return;
        }
        for card in self.cards() {
            if card.has_failed() && self.cared_for.insert(card.run.clone()) {
                self.field.stop(&card.run);
            }
        }
    }

    /// Everybody is asked to end, and must, in good order.
    pub(super) async fn end(&mut self) -> Ended {
        let mut troubles = std::mem::take(&mut self.troubles);
        let longest = self.longest;
        if self.replicas.len() > 1 {
            troubles.extend(too_long("a healthy replica took no signed webhook", longest.refused));
            troubles.extend(too_long("no healthy replica dealt with a delivery", longest.stalled));
            troubles.extend(too_long("no healthy replica changed a run", longest.unchanged));
        }
        for replica in &mut self.replicas {
            troubles.extend(replica.end().await.err());
        }
        let (mut completed, mut stopped) = (0, 0);
        for card in self.cards().into_iter().filter(Card::is_over) {
            if card.head().ends_with("completed") {
                completed += 1;
            } else {
                stopped += 1;
            }
        }
        if completed == 0 {
            troubles.push("no run completed, so nothing is proven".to_owned());
        }
        Ended {
            completed,
            stopped,
            hits: std::mem::take(&mut self.hits),
            faults: std::mem::take(&mut self.struck),
            longest,
            troubles,
        }
    }

    /// What is to be counted.
    pub(super) async fn findings(&self) -> Result<Findings, String> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => Store::open(&self.database).await.map_err(|e| e.to_string())?,
        };
        let memory = look::memory(&store).await.map_err(|e| e.to_string())?;
        store.close().await;
        let book = self.field.book();
        let town = &self.field.town;
        Ok(Findings {
            given: look::given(town, &book),
            seen: look::seen(town, &book),
            memory,
        })
    }
}

/// What is to be said of a time that others stood still for.
fn too_long(what: &str, time: SignedDuration) -> Option<String> {
    (time > STILL_MAX).then(|| {
        format!(
            "{what} for {:.1} s (at most {})",
            time.as_secs_f64(),
            STILL_MAX.as_secs()
        )
    })
}

/// Begins to measure. A SQLite file is its one process's alone while that serves.
async fn begin_pulse(catalog: &Catalog, backs: &Backs, replicas: usize, database: &str) -> Result<Pulse, String> {
    let secret = catalog.settings.github.webhook_secret.clone();
    let secret = secret.ok_or("the town has no secret for GitHub's webhooks")?;
    let store = match replicas {
        1 => None,
        _ => Some(Store::open(database).await.map_err(|e| e.to_string())?),
    };
    Ok(Pulse::begin(backs, replicas, secret, store))
}

/// What a replica's log is called.
pub(super) fn log_name(replica: usize) -> String {
    format!("replica-{}", replica + 1)
}

/// Tenants of the siege's own, each followed in a channel of its own.
fn settle_tenants(town: &Town) -> Result<Vec<Tenant>, String> {
    let mut tenants = Vec::new();
    for number in 1..=TENANTS {
        let tenant = Tenant {
            name: format!("tenant{number}"),
            channel: (500 + number).to_string(),
        };
        town.add_tenant(&tenant.name, FARMERS, &tenant.channel)
            .map_err(|e| e.to_string())?;
        tenants.push(tenant);
    }
    Ok(tenants)
}

/// Somebody's pull requests, which stepherd has heard of.
async fn open_pulls(town: &Town) -> Result<Vec<u64>, String> {
    let mut pulls = Vec::new();
    for number in 1..=PULLS {
        let (branch, path) = (format!("notes-{number}"), format!("notes/{number}.md"));
        let pull = NewPr {
            branch: &branch,
            base: "main",
            title: "Notes on rebuilds",
            body: "What we learned.",
            files: &[(&path, Some("# Notes\n"))],
            fork: None,
        };
        pulls.push(
            town.github
                .open_pr_by_person(REPO, "ada", pull)
                .map_err(|e| e.to_string())?,
        );
    }
    let until = SystemClock.now().saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
    while town.github.slips().iter().any(|slip| !slip.accepted) {
        if SystemClock.now() > until {
            return Err("stepherd does not take the first webhooks".to_owned());
        }
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(SECOND).await;
    Ok(pulls)
}

/// What others left in a database would be counted, too.
async fn must_be_empty(database: &str) -> Result<(), String> {
    let store = Store::open(database).await.map_err(|e| e.to_string())?;
    let deliveries = store.deliveries(None, 1).await.map_err(|e| e.to_string())?;
    store.close().await;
    if deliveries.is_empty() {
        Ok(())
    } else {
        Err("the database is in use: give the torture an empty one of its own".to_owned())
    }
}

//! People who do what people do: approve, start, ask, resume, stop; on pull requests, tickets and in Discord.
//!
//! Each *life* is one ticket: somebody starts its rebuild, follows its card, resumes or stops it, until it is over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::count::{Given, Way};
use super::errands;
use crate::cli::town::words::unmarked;
use crate::clock::Dice;
use crate::sandbox::discord::{Button, Interacted};
use crate::sandbox::town::{GUILD, REPO, Town};

/// Ada in Jira.
const ADA_IN_JIRA: &str = "557058:ada";
/// How long somebody waits before saying in Discord again what it did not take.
const AGAIN: Duration = Duration::from_millis(400);
/// How often somebody says it again.
const AGAIN_MAX: u32 = 100;
/// After so many looks at a failure that stays, somebody tries again.
const LOOKS_MAX: u32 = 60;

/// Everything that was said, for counting.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What was said.
    pub(super) given: Vec<Given>,
    /// The tokens of interactions, by interaction.
    pub(super) tokens: BTreeMap<String, String>,
    /// All tickets.
    pub(super) tickets: Vec<String>,
    /// All channels.
    pub(super) channels: Vec<String>,
}

/// A tenant and where its rebuilds are followed.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) channel: String,
}

/// The town with its people, shared by all lives.
pub(super) struct Field {
    pub(super) town: Town,
    pub(super) tenants: Vec<Tenant>,
    /// Pull requests by people, on which commands are given.
    pub(super) pulls: Vec<u64>,
    /// From now on nothing new is begun, and what runs is let go through.
    pub(super) winding_down: CancellationToken,
    book: Mutex<Book>,
    tickets: AtomicU64,
}

/// A run's card in its tenant's channel.
#[derive(Debug, Clone)]
pub(super) struct Card {
    pub(super) run: String,
    message: String,
    text: String,
    buttons: Vec<Button>,
}

impl Card {
    pub(super) fn head(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    fn state(&self) -> &str {
        self.head().rsplit_once(" — ").map_or("", |(_, state)| state)
    }

    /// Where the run stands, without figures.
    pub(super) fn doing(&self) -> String {
        let state = self.state();
        let end = state.find([':', ',']).unwrap_or(state.len());
        let doing = state.get(..end).unwrap_or_default();
        doing.split(" at ").next().unwrap_or_default().to_owned()
    }

    pub(super) fn is_over(&self) -> bool {
        self.state() == "completed" || self.state().starts_with("stopped by ")
    }

    pub(super) fn has_failed(&self) -> bool {
        self.head().starts_with('❌')
    }
}

impl Field {
    pub(super) fn new(town: Town, tenants: Vec<Tenant>, pulls: Vec<u64>) -> Self {
        let book = Book {
            channels: tenants
                .iter()
                .map(|tenant| tenant.channel.as_str())
                .chain(errands::CHANNELS)
                .map(str::to_owned)
                .collect(),
            ..Book::default()
        };
        Self {
            town,
            tenants,
            pulls,
            winding_down: CancellationToken::new(),
            book: Mutex::new(book),
            tickets: AtomicU64::new(1000),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cards in a tenant's channel.
    pub(super) fn cards(&self, tenant: &Tenant) -> Vec<Card> {
        let shown = self.town.discord.messages(&tenant.channel).into_iter();
        let card = |shown: crate::sandbox::discord::Shown| {
            let run = shown
                .text
                .lines()
                .find_map(|line| line.strip_prefix("stepherd · ")?.strip_suffix("/card"))?;
            Some(Card {
                run: run.to_owned(),
                message: shown.id,
                text: unmarked(&shown.text),
                buttons: shown.buttons,
            })
        };
        shown.filter_map(card).collect()
    }

    /// Says that a run is to be stopped, on a pull request.
    pub(super) fn stop(&self, run: &str) {
        let order = Order::on_run("stop", run);
        if let Some(pull) = self.pulls.first() {
            self.comment(*pull, "ada", &order);
        }
    }

    /// Somebody gives an errand in this channel.
    pub(super) async fn give_errand(&self, channel: &str, number: u64) {
        let name = format!("errand-{number}");
        let order = Order {
            command: "errand",
            verb: "start",
            about: name.clone(),
            args: vec![(errands::NAME, name)],
        };
        self.slash(channel, &order).await;
    }

    fn comment(&self, pull: u64, who: &str, order: &Order) {
        let text = order.text();
        // Whoever may not write there says nothing.
        if let Ok(id) = self.town.github.comment(REPO, pull, who, &text) {
            let said = format!("“{text}” on {REPO}#{pull} by {who} (comment {id})");
            self.note(order, id.to_string(), Way::Comment, said, false);
        }
    }

    async fn on_ticket(&self, ticket: &str, order: &Order) {
        let text = order.text();
        if let Ok(id) = self.town.jira.comment(ticket, ADA_IN_JIRA, text.as_str()).await {
            let said = format!("“{text}” on {ticket} (comment {id})");
            self.note(order, id, Way::Ticket, said, false);
        }
    }

    /// In Discord what was not taken is shown as failed, and people say it again.
    async fn slash(&self, channel: &str, order: &Order) {
        for _ in 0..AGAIN_MAX {
            let options: Vec<(&str, Value)> = order.args.iter().map(|(name, value)| (*name, json!(value))).collect();
            let (discord, ada) = (&self.town.discord, Town::ada());
            let asked = discord.slash(&ada, GUILD, channel, order.command, order.verb, &options);
            let Ok(interacted) = asked.await else { return };
            if self.interacted(order, Way::Slash, interacted) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn press(&self, card: &Card, order: &Order) {
        let button = card
            .buttons
            .iter()
            .find(|button| button.label.to_lowercase() == order.verb);
        if let Some(button) = button
            && let Ok(interacted) = self
                .town
                .discord
                .press(&Town::ada(), &card.message, &button.custom_id)
                .await
        {
            self.interacted(order, Way::Button, interacted);
        }
    }

    /// Whether it was taken.
    fn interacted(&self, order: &Order, way: Way, interacted: Interacted) -> bool {
        let accepted = interacted.status == 200;
        let said = format!("“{}” in Discord (interaction {})", order.text(), interacted.id);
        self.note(order, interacted.id.clone(), way, said, accepted);
        if way == Way::Slash {
            self.book().tokens.insert(interacted.id, interacted.token);
        }
        accepted && interacted.problem.is_none()
    }

    fn note(&self, order: &Order, id: String, way: Way, said: String, accepted: bool) {
        self.book().given.push(Given {
            id,
            way,
            verb: order.verb.to_owned(),
            about: order.about.clone(),
            said,
            accepted,
        });
    }
}

/// Something to say.
struct Order {
    command: &'static str,
    verb: &'static str,
    about: String,
    args: Vec<(&'static str, String)>,
}

impl Order {
    fn start(tenant: &str, ticket: &str) -> Self {
        Self {
            command: "dcr",
            verb: "start",
            about: ticket.to_owned(),
            args: vec![("tenant", tenant.to_owned()), ("ticket", ticket.to_owned())],
        }
    }

    fn on_run(verb: &'static str, run: &str) -> Self {
        Self {
            command: "dcr",
            verb,
            about: run.to_owned(),
            args: vec![("run", run.to_owned())],
        }
    }

    /// `run` is left out for what is not about one.
    fn question(verb: &'static str, run: Option<&str>) -> Self {
        Self {
            command: "dcr",
            verb,
            about: String::new(),
            args: run.into_iter().map(|run| ("run", run.to_owned())).collect(),
        }
    }

    fn text(&self) -> String {
        let args: Vec<String> = self
            .args
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        format!("/{} {}{}", self.command, self.verb, args.concat())
    }
}

/// One ticket's life.
pub(super) struct Life {
    field: Arc<Field>,
    tenant: Tenant,
    ticket: String,
    dice: Dice,
    /// After so many looks somebody says stop.
    stop_after: Option<u32>,
    looks: u32,
    /// What each run's card said when somebody last did something about its failure, and for how many looks it has
    /// stayed so.
    handled: BTreeMap<String, (String, u32)>,
}

impl Life {
    /// A life that is yet to begin.
    pub(super) fn new(field: Arc<Field>, mut dice: Dice) -> Option<Self> {
        let tenant = dice.pick(&field.tenants)?.clone();
        let stop_after = dice.one_in(5).then(|| u32::try_from(dice.between(1, 60)).unwrap_or(1));
        Some(Self {
            field,
            tenant,
            ticket: String::new(),
            dice,
            stop_after,
            looks: 0,
            handled: BTreeMap::new(),
        })
    }

    /// Lives it to its end: every run of its ticket is over.
    pub(super) async fn live(mut self) {
        if self.begin().await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(self.dice.between(100, 300))).await;
            let mut cards = self.field.cards(&self.tenant);
            cards.retain(|card| card.head().contains(&self.ticket));
            if !cards.is_empty() && cards.iter().all(Card::is_over) {
                return;
            }
            for card in cards.iter().filter(|card| !card.is_over()) {
                self.follow(card).await;
            }
        }
    }

    /// Starts the rebuild, in one of the ways that there are.
    async fn begin(&mut self) -> Result<(), String> {
        let number = self.field.tickets.fetch_add(1, Ordering::Relaxed);
        let field = Arc::clone(&self.field);
        let town = &field.town;
        let approved = self.dice.one_in(3);
        self.ticket = format!("{}-{number}", if approved { "SREPROV" } else { "PROV" });
        let tenant = self.tenant.name.clone();
        town.add_ticket(&self.ticket, &tenant).map_err(|e| e.to_string())?;
        field.book().tickets.push(self.ticket.clone());
        // In this project approval itself means nothing, but only an approved ticket can be done.
        let moved = town.jira.transition(&self.ticket, ADA_IN_JIRA, "Approved").await;
        let hook = moved.map_err(|e| e.to_string())?;
        let order = Order::start(&tenant, &self.ticket);
        if approved {
            let said = format!("the approval of {} (webhook {hook})", self.ticket);
            field.note(&order, hook, Way::Approval, said, false);
            return Ok(());
        }
        match self.dice.between(0, 3) {
            0 => field.on_ticket(&self.ticket, &order).await,
            1 => field.slash(&self.tenant.channel, &order).await,
            _ => self.on_pull(&order),
        }
        Ok(())
    }

    fn on_pull(&mut self, order: &Order) {
        let who = if self.dice.one_in(3) { "grace" } else { "ada" };
        if let Some(pull) = self.dice.pick(&self.field.pulls) {
            self.field.comment(*pull, who, order);
        }
    }

    /// Looks at a card of a run that is not over, and does what there is to do.
    async fn follow(&mut self, card: &Card) {
        self.looks += 1;
        let hurry = self.field.winding_down.is_cancelled();
        if card.has_failed() {
            let known = self.handled.get_mut(&card.run).filter(|(text, _)| *text == card.text);
            let stays = known.map(|(_, looks)| {
                *looks += 1;
                *looks
            });
            if stays.is_none_or(|looks| looks > LOOKS_MAX) {
                self.handled.insert(card.run.clone(), (card.text.clone(), 0));
                let verb = if !hurry && self.dice.one_in(6) { "stop" } else { "retry" };
                self.order(card, verb).await;
            }
            return;
        }
        if self.stop_after.is_some_and(|looks| self.looks > looks) && !hurry {
            self.stop_after = None;
            self.order(card, "stop").await;
        } else if !hurry && self.dice.one_in(20) {
            self.ask(card).await;
        }
    }

    async fn order(&mut self, card: &Card, verb: &'static str) {
        let field = Arc::clone(&self.field);
        let order = Order::on_run(verb, &card.run);
        match self.dice.between(0, 5) {
            0 => field.on_ticket(&self.ticket, &order).await,
            1 => field.slash(&self.tenant.channel, &order).await,
            2 if !card.buttons.is_empty() => field.press(card, &order).await,
            3 => match self.own_pull(&card.run) {
                Some(pull) => field.comment(pull, "ada", &order),
                None => self.on_pull(&order),
            },
            _ => self.on_pull(&order),
        }
    }

    /// Somebody wants to know something.
    async fn ask(&mut self, card: &Card) {
        let field = Arc::clone(&self.field);
        let run = (!self.dice.one_in(4)).then_some(card.run.as_str());
        let question = match self.dice.between(0, 5) {
            0 => Order::question("list", None),
            1 => Order::question("help", None),
            2 => Order::question("why", run),
            _ => Order::question("status", run),
        };
        match self.dice.between(0, 3) {
            0 => field.on_ticket(&self.ticket, &question).await,
            1 => field.slash(&self.tenant.channel, &question).await,
            _ => self.on_pull(&question),
        }
    }

    /// A pull request that the run has made.
    fn own_pull(&mut self, run: &str) -> Option<u64> {
        let pulls = self.field.town.github.pulls(REPO).unwrap_or_default();
        let own: Vec<u64> = pulls
            .into_iter()
            .filter(|pull| pull.branch.contains(run))
            .map(|pull| pull.number)
            .collect();
        self.dice.pick(&own).copied()
    }
}

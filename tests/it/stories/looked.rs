//! Whatever was proved, what is about to be obeyed is first read again on its platform: for every kind of signal.

use std::time::Duration;

use stepherd::adapters::RawRequest;
use stepherd::domain::signal::Signal;
use stepherd::sandbox::stage::{Fault, Stage};
use stepherd::sandbox::town::{CHANNEL, GUILD, REPO, TICKET, Town};

use super::dcr::minutes;
use crate::world::World;

/// What is read again before something of this kind is obeyed; nothing where there is nothing to read. A new kind does not
/// compile here until it is said what is read, and one that is read and obeyed all the same fails below.
fn read_again(signal: &Signal) -> Option<String> {
    match signal {
        Signal::Said(said) if said.thread.platform.as_str() == "jira" => Some(format!("/issue/{TICKET}/comment/")),
        Signal::Said(said) if said.message.id.starts_with("review_comment/") => Some("/pulls/comments/".to_owned()),
        Signal::Said(_) => Some("/issues/comments/".to_owned()),
        Signal::TicketMoved(_) => Some(format!("/issue/{TICKET}")),
        Signal::PrChanged(changed) => Some(format!("/repos/{REPO}/pulls/{}", changed.pr.number)),
        // It is what it is when it comes in, and stands nowhere.
        Signal::Invoked(_) => None,
        // Nothing is obeyed.
        Signal::Hint(_) | Signal::Nothing(_) => None,
    }
}

const START: &str = "/dcr start comcast ticket=SREPROV-3072";

#[derive(Debug, Clone, Copy)]
enum Deed {
    Comment,
    ReviewComment,
    TicketComment,
    TicketMove,
    Label,
    Slash,
}

impl Deed {
    const ALL: [Self; 6] = [
        Self::Comment,
        Self::ReviewComment,
        Self::TicketComment,
        Self::TicketMove,
        Self::Label,
        Self::Slash,
    ];

    async fn is_done(self, world: &World, number: u64) {
        let Town {
            github, jira, discord, ..
        } = &world.town;
        match self {
            Self::Comment => {
                world.write(number, "ada", START);
            }
            Self::ReviewComment => {
                github
                    .review_comment(REPO, number, "ada", ("WISH.md", 1), START)
                    .unwrap();
            }
            Self::TicketComment => {
                jira.comment(TICKET, "557058:ada", "/dcr start comcast").await.unwrap();
            }
            Self::TicketMove => {
                jira.transition(TICKET, "557058:ada", "Approved").await.unwrap();
            }
            Self::Label => github.label(REPO, number, "ada", "go", true).unwrap(),
            Self::Slash => {
                let options = [("tenant", "comcast".into()), ("ticket", TICKET.into())];
                let ada = Town::ada();
                let slash = discord.slash(&ada, GUILD, CHANNEL, "dcr", "start", &options);
                slash.await.unwrap();
            }
        }
    }

    fn stage(self, world: &World) -> &Stage {
        match self {
            Self::Comment | Self::ReviewComment | Self::Label => world.town.github.stage(),
            Self::TicketComment | Self::TicketMove => &world.town.jira.stage,
            Self::Slash => &world.town.discord.stage,
        }
    }
}

async fn world() -> (World, u64) {
    let world = World::with(|dir| {
        let path = dir.join("commands/dcr.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(
            "\n[[on]]\npull_request = { change = \"labeled\", label = \"go\" }\nverb = \"start\"\n\
             args = { tenant = \"comcast\", ticket = \"SREPROV-3072\" }\n",
        );
        std::fs::write(path, text).unwrap();
    })
    .await;
    let (number, _) = world.pull_request().await;
    world.clock.advance(Duration::from_secs(2));
    (world, number)
}

/// What the newest delivery says.
async fn newest(world: &World) -> Signal {
    let seq = world.store.deliveries(None, 1).await.unwrap()[0].seq;
    let (_, delivery) = world.store.delivery_by_seq(seq).await.unwrap().expect("it is stored");
    let request = RawRequest {
        method: "POST".to_owned(),
        target: delivery.target,
        headers: delivery.headers,
        body: delivery.body,
    };
    let door = &world.hands().doors[&delivery.platform];
    let read = door.read(&request, delivery.proof, delivery.received_at);
    read.expect("it can be read").remove(0)
}

#[tokio::test]
async fn what_its_platform_does_not_show_is_not_obeyed_whatever_kind_it_is() {
    for deed in Deed::ALL {
        let (honest, number) = world().await;
        deed.is_done(&honest, number).await;
        honest.deliver().await;
        let signal = newest(&honest).await;
        honest.settle().await;
        assert_eq!(honest.runs().await.len(), 1, "{deed:?}: where all is well it is obeyed");
        let Some(path) = read_again(&signal) else {
            assert!(matches!(deed, Deed::Slash), "{deed:?} can be read again");
            continue;
        };
        let looks = deed.stage(&honest).calls_to("GET", &path).len();
        assert!(looks > 0, "{deed:?}: {path} is read");

        let (world, number) = world().await;
        let stage = deed.stage(&world);
        stage.misbehave(Fault::answer("GET", &path, 10_000, 404, Vec::new(), "{}"));
        deed.is_done(&world, number).await;
        minutes(&world, 3).await;
        let notes = world.store.deliveries(None, 1).await.unwrap().remove(0).note;
        assert!(world.runs().await.is_empty(), "{deed:?}: {notes}");
        assert_eq!(stage.calls_to("POST", "comment").len(), 0, "{deed:?}: nothing is said");
        // Nor once it is shown again: that was the answer.
        stage.behave();
        minutes(&world, 3).await;
        assert!(world.runs().await.is_empty(), "{deed:?}: {notes}");
    }
}

//! Tales that a user would recognise, over real HTTP, from the first webhook to the last word in the thread.

use std::time::Duration;

use stepherd::sandbox::town::{APP, CHANNEL, REPO, TENANT, TICKET};

use crate::world::World;

#[tokio::test]
async fn an_approved_ticket_becomes_a_rebuilt_cache() {
    let world = World::new().await;
    world
        .town
        .jira
        .transition(TICKET, "557058:ada", "Approved")
        .await
        .unwrap();
    world.settle().await;
    for pull in world.town.github.pulls(REPO).unwrap() {
        println!("{pull:?}");
    }
    world.pass(Duration::from_secs(60)).await;
    println!("{:?}", world.town.argocd.shows(APP));
    world.town.argocd.finish(APP);
    world.pass(Duration::from_secs(60)).await;
    for ready in 0..=3 {
        world.town.dcr.set_farmers(TENANT, ready);
        world.pass(Duration::from_secs(60)).await;
    }
    world.pass(Duration::from_secs(60)).await;
    world.town.dcr.advance(TENANT, 42.0);
    world.pass(Duration::from_secs(60)).await;
    world.town.dcr.fail(TENANT, "farmer-3 lost");
    world.pass(Duration::from_secs(60)).await;
    let run = world.run().await;
    println!("{:?}", run.state);
    world.town.github.comment(REPO, 1, "ada", "/dcr retry").unwrap();
    world.pass(Duration::from_secs(60)).await;
    world.town.dcr.complete(TENANT);
    world.pass(Duration::from_secs(60)).await;
    for message in world.town.jira.messages(TICKET) {
        println!("--- {} ({} edits)\n{}", message.author, message.edits, message.body);
    }
    for message in world.town.github.thread(REPO, 1).unwrap() {
        println!("--- {} {:?}\n{}", message.author, message.reactions, message.body);
    }
    for message in world.town.discord.messages(CHANNEL) {
        println!("--- {:?}", message);
    }
    for effect in world.store.effects(None, 100).await.unwrap() {
        if effect.state != "done" {
            println!("{effect:?}");
        }
    }
    for delivery in world.store.deliveries(None, 100).await.unwrap() {
        println!(
            "{} {} {} {}",
            delivery.seq, delivery.kind, delivery.state, delivery.note
        );
    }
    assert_eq!(world.town.jira.status(TICKET).as_deref(), Some("Done"));
}

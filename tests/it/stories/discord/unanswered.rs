//! An interaction that was stored although Discord never heard so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepherd::sandbox::town::{CHANNEL, GUILD, Town};
use stepherd::store::{Gate, Point, StoreError};

use super::newest;
use crate::stories::dcr::in_channel;
use crate::world::World;

/// Hides from the door that a delivery was stored.
#[derive(Default)]
struct Unheard(AtomicBool);

#[async_trait]
impl Gate for Unheard {
    async fn pass(&self, verb: &'static str, point: Point) -> Result<(), StoreError> {
        if (verb, point) == ("record_delivery", Point::AfterCommit) && self.0.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_was_stored_but_could_not_be_answered_is_obeyed_and_told_in_the_channel() {
    let gate = Arc::new(Unheard::default());
    let world = World::gated(|_| {}, None, gate.clone()).await;
    let (ada, discord) = (Town::ada(), &world.town.discord);
    gate.0.store(true, Ordering::SeqCst);
    let failed = discord.slash(&ada, GUILD, CHANNEL, "dcr", "list", &[]).await.unwrap();
    assert!(failed.problem.is_some(), "Discord tells Ada of a failure");
    world.settle().await;
    // Discord never learns of the right to answer, which would last for 14 minutes.
    world.pass(Duration::from_secs(10)).await;
    let told = newest(&world, CHANNEL).await;
    assert!(told.starts_with("No run is under way."), "{told}");
    world.pass(Duration::from_secs(20 * 60)).await;
    assert_eq!(in_channel(&world, CHANNEL).len(), 1, "and told once");
}

//! Proofs at the door: forged, old and outdated ones, and both forms of the body.

use secrecy::SecretString;
use stepherd::sandbox::github::signature;
use stepherd::sandbox::town::Town;

use super::START;
use crate::world::World;

const PROOF: &str = "x-hub-signature-256";

#[tokio::test]
async fn a_forged_delivery_is_refused_counted_and_not_kept() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.hold_deliveries();
    world.write(number, "ada", START);
    let (_, payload) = world.last_delivery("issue_comment");
    let body = payload.to_string();
    let kept = world.store.deliveries(None, 100).await.unwrap().len();
    let forged = signature(&SecretString::from("a guess"), body.as_bytes());
    assert_eq!(
        world
            .post_github("issue_comment", "forged", &body, (PROOF, &forged))
            .await,
        401
    );
    // The true secret, but other bytes.
    let of_other = signature(&Town::github_secret_before(), b"{}");
    assert_eq!(
        world
            .post_github("issue_comment", "altered", &body, (PROOF, &of_other))
            .await,
        401
    );
    assert_eq!(
        world
            .post_github("issue_comment", "unsigned", &body, ("x-nothing", ""))
            .await,
        401
    );
    let sha1 = "sha1=757107ea0eb2509fc211221cce984b8a37570b6d";
    assert_eq!(
        world
            .post_github("issue_comment", "sha1", &body, ("x-hub-signature", sha1))
            .await,
        401
    );
    assert_eq!(
        world.post_github("issue_comment", "sha1", &body, (PROOF, sha1)).await,
        401
    );
    world.settle().await;
    assert_eq!(world.store.deliveries(None, 100).await.unwrap().len(), kept);
    assert!(world.runs().await.is_empty());
    let counted = "stepherd_deliveries_total{platform=\"github\",outcome=\"forged\"} 5";
    let metrics = metrics(&world).await;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn while_the_secret_is_changed_the_one_before_is_accepted() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.set_webhook(
        &format!("{}/webhooks/github", world.url),
        Town::github_secret_before(),
        false,
    );
    world.say(number, "ada", START).await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn a_form_encoded_body_says_the_same() {
    let world = World::new().await;
    world.town.github.set_webhook(
        &format!("{}/webhooks/github", world.url),
        Town::github_secret_before(),
        true,
    );
    let (number, head) = world.pull_request().await;
    world.say(number, "ada", START).await;
    assert_eq!(world.run().await.subject.pinned.expect("pinned").head.as_str(), head);
}

async fn metrics(world: &World) -> String {
    let request = world
        .http
        .get(format!("{}/metrics", world.url))
        .bearer_auth(Town::api_token());
    request.send().await.unwrap().text().await.unwrap()
}

//! Who may: roles by team and permission, refusals that name what is missing, and doubt that counts as no.

use std::time::Duration;

use stepherd::domain::run::RunState;
use stepherd::sandbox::github::Level;
use stepherd::sandbox::stage::Fault;
use stepherd::sandbox::town::REPO;

use super::START;
use crate::world::World;

#[tokio::test]
async fn who_has_a_role_but_not_the_one_is_told_which_one_is_missing() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.set_permission(REPO, "eve", Level::Write).unwrap();
    world.say(number, "eve", START).await;
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(world.thread(number).await, @r#"
        [eve]
        /dcr start comcast ticket=SREPROV-3072

        [stepherd[bot]]
        You may not say `/dcr start tenant=comcast ticket=SREPROV-3072`\: it takes the role `operator`\. Roles are given in people\.toml by an administrator\.
    "#);
}

#[tokio::test]
async fn who_has_no_role_at_all_is_refused_without_a_word() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "eve", START).await;
    assert!(world.runs().await.is_empty());
    assert_eq!(world.messages(number).len(), 1);
}

#[tokio::test]
async fn a_team_makes_an_operator_and_a_permission_a_viewer() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "grace", START).await;
    assert_eq!(world.run().await.asked_by.name, "grace");
    let told = world.told(&world.run().await).await;
    assert_eq!(
        told[0],
        "accepted from grace in github:acme/deployment#1, allowed by the role operator"
    );

    // Of the team no longer, but she may still write to the repository, so she may look.
    world.town.github.remove_team_member("acme", "sre", "grace").unwrap();
    world.say(number, "grace", "/dcr status").await;
    assert!(world.last_reply(number).await.contains("Sync the farm"));
    world.say(number, "grace", "/dcr stop").await;
    assert!(
        world
            .last_reply(number)
            .await
            .starts_with("You may not say `/dcr stop`")
    );
    assert!(matches!(world.run().await.state, RunState::Active(_)));
}

#[tokio::test]
async fn a_right_that_was_revoked_since_the_start_is_not_enough_for_a_retry() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.say(number, "grace", START).await;
    world.sync_and_rebuild("comcast").await;
    world.town.dcr.fail("comcast", "farmer-3 lost");
    world.pass(Duration::from_secs(30)).await;
    world.town.github.remove_team_member("acme", "sre", "grace").unwrap();
    world.say(number, "grace", "/dcr retry").await;
    insta::assert_snapshot!(world.last_reply(number).await, @r#"You may not say `/dcr retry`\: it takes the role `operator`\. Roles are given in people\.toml by an administrator\."#);
    assert!(matches!(world.run().await.state, RunState::Stopped { .. }));
}

#[tokio::test]
async fn what_cannot_be_found_out_counts_as_no_and_the_refusal_says_so() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    world.town.github.stage().misbehave(Fault::answer(
        "GET",
        "/orgs/acme/teams/sre/memberships",
        9,
        403,
        vec![],
        "<html>",
    ));
    world.say(number, "grace", START).await;
    assert!(world.runs().await.is_empty());
    insta::assert_snapshot!(world.last_reply(number).await, @r#"
        You may not say `/dcr start tenant=comcast ticket=SREPROV-3072`\: it takes the role `operator`\. Roles are given in people\.toml by an administrator\.

        What could not be found out counts as no\:

        - GitHub GET /orgs/acme/teams/sre/memberships/grace\: 403 &lt;html&gt;
    "#);
}

#[tokio::test]
async fn a_limit_that_a_question_about_rights_runs_into_delays_the_command_and_refuses_nobody() {
    for fault in [
        Fault::too_many("GET", "/orgs/acme/teams/sre/memberships", 1, 40),
        Fault::secondary_limit("GET", "/orgs/acme/teams/sre/memberships", 1, Some(40)),
    ] {
        let world = World::new().await;
        let (number, _) = world.pull_request().await;
        world.town.github.stage().misbehave(fault);
        world.say(number, "grace", START).await;
        assert!(world.runs().await.is_empty());
        assert_eq!(world.messages(number).len(), 1, "nobody is refused");
        // Nobody asks GitHub anything before the time is over.
        world.town.github.stage().forget_calls();
        world.pass(Duration::from_secs(30)).await;
        assert_eq!(world.town.github.stage().calls().len(), 0);
        world.pass(Duration::from_secs(30)).await;
        assert_eq!(world.run().await.asked_by.name, "grace");
    }
}

#[tokio::test]
async fn a_fault_while_rights_are_looked_up_delays_the_command_and_refuses_nobody() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let broken = Fault::answer("GET", "/orgs/acme/teams/sre/memberships", 1_000, 502, vec![], "<html>");
    world.town.github.stage().misbehave(broken);
    world.say(number, "grace", START).await;
    assert_eq!(world.messages(number).len(), 1, "nobody is refused");
    world.town.github.stage().behave();
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(world.run().await.asked_by.name, "grace");
}

#[tokio::test]
async fn a_role_that_configuration_gives_waits_for_no_platform() {
    let world = World::new().await;
    let (number, _) = world.pull_request().await;
    let limit = Fault::too_many("GET", "/orgs/acme/teams", 100, 40);
    world.town.github.stage().misbehave(limit);
    world.say(number, "ada", START).await;
    assert_eq!(world.run().await.asked_by.name, "ada");
}

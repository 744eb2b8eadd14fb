//! What a delivery says is a hint: before stepherd obeys, Jira itself must say the same.

use serde_json::{Value, json};
use stepherd::sandbox::jira::{JiraUser, Signing};
use stepherd::sandbox::stage::{Fault, FaultKind};
use stepherd::sandbox::town::TICKET;
use url::Url;

use super::proofs::{admin, automation, automation_may, connect, of_a_rule, of_four_proofs};
use super::{ADA, EVE, notes};
use crate::stories::dcr::{approved, minutes};
use crate::world::{TestClock, World};

const SECRET: &str = "automation-secret";

fn door(world: &World) -> Url {
    Url::parse(&format!("{}/webhooks/jira", world.url)).unwrap()
}

/// Somebody who has this proof sends this body.
async fn send(world: &World, proof: &Signing, body: &Value) {
    use stepherd::clock::Clock as _;
    let (url, body) = (door(world), body.to_string());
    let (name, value) = proof
        .header("POST", &url, body.as_bytes(), world.clock.now())
        .expect("a proof");
    let request = world.http.post(url).header(name, value);
    let request = request.header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 202, "it proves itself");
    world.settle().await;
}

/// What Jira's webhook about the newest transition said, which did not get through.
fn lost_webhook(world: &World) -> Value {
    world.town.jira.lose_pending();
    let told = world.town.jira.deliveries().pop().expect("Jira told of it");
    serde_json::from_str(&told.body).unwrap()
}

async fn nothing_happened(world: &World, why: &str) {
    assert!(world.runs().await.is_empty(), "{why}: {:?}", notes(world, 3).await);
    let said = world.town.jira.messages(TICKET).into_iter();
    let ours: Vec<_> = said.filter(|message| message.author == "stepherd").collect();
    assert!(ours.is_empty(), "{why}: nothing is said, but {ours:?}");
}

fn looks(world: &World) -> usize {
    world.town.jira.stage.calls_to("GET", &format!("/issue/{TICKET}")).len()
}

#[tokio::test]
async fn an_approval_that_was_taken_back_before_it_was_read_starts_nothing() {
    let world = World::new().await;
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
    world.settle().await;
    nothing_happened(&world, "it is open again").await;
    assert_eq!(
        notes(&world, 2).await[1],
        format!("does not stand: {TICKET}: its newest change of status is another one")
    );
    // Approved once more, it starts, once.
    approved(&world).await;
    assert_eq!(world.runs().await.len(), 1);
}

#[tokio::test]
async fn of_two_approvals_with_a_withdrawal_between_them_only_the_second_counts() {
    let world = World::new().await;
    for to in ["Approved", "Open", "Approved"] {
        world.town.jira.transition(TICKET, ADA, to).await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world, 3).await);
}

#[tokio::test]
async fn an_approval_waits_while_jira_cannot_be_asked_and_is_not_lost() {
    for fault in [
        Fault::new("GET", &format!("/issue/{TICKET}"), 3, FaultKind::Cut),
        Fault::answer("GET", &format!("/issue/{TICKET}"), 3, 503, Vec::new(), ""),
        Fault::answer("GET", &format!("/issue/{TICKET}"), 1, 401, Vec::new(), "{}"),
        Fault::too_many("GET", &format!("/issue/{TICKET}"), 1, 20),
    ] {
        let world = World::new().await;
        let what = format!("{fault:?}");
        world.town.jira.stage.misbehave(fault);
        approved(&world).await;
        nothing_happened(&world, &what).await;
        let pending = world.store.deliveries(Some("pending"), 9).await.unwrap();
        assert_eq!(pending.len(), 1, "{what}");
        minutes(&world, 2).await;
        assert_eq!(world.runs().await.len(), 1, "{what}: {:?}", notes(&world, 3).await);
    }
}

#[tokio::test]
async fn a_move_that_triggers_nothing_is_not_looked_up() {
    let world = World::new().await;
    approved(&world).await;
    let before = looks(&world);
    assert!(before > 0, "an approval is");
    world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
    world.settle().await;
    assert_eq!(looks(&world), before);
}

#[tokio::test]
async fn one_token_does_not_carry_a_second_body_of_ones_own() {
    let world = of_four_proofs().await;
    let proof = connect("connect-secret");
    // Eve, who has no role, approves; the body is rewritten on its way.
    world.town.jira.transition(TICKET, EVE, "Approved").await.unwrap();
    let mut by_ada = lost_webhook(&world);
    by_ada["user"]["accountId"] = ADA.into();
    send(&world, &proof, &by_ada).await;
    nothing_happened(&world, "somebody else moved it").await;
    // A change that never was.
    by_ada["changelog"]["id"] = "99999".into();
    send(&world, &proof, &by_ada).await;
    // Jira may not show it yet.
    for _ in 0..3 {
        minutes(&world, 1).await;
    }
    nothing_happened(&world, "there is no such change").await;
    // Ada's own approval, of a tenant that somebody else chose: Jira's word counts, not the body's.
    world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    let mut hers = lost_webhook(&world);
    hers["issue"]["fields"]["summary"] = "DCR another-tenant".into();
    for (_, field) in hers["issue"]["fields"].as_object_mut().unwrap().iter_mut() {
        if field == "comcast" {
            *field = "another-tenant".into();
        }
    }
    send(&world, &proof, &hers).await;
    let runs = world.runs().await;
    assert_eq!(runs.len(), 1, "{:?}", notes(&world, 1).await);
    assert_eq!(
        runs[0].params.get(&"tenant".parse().unwrap()).map(String::as_str),
        Some("comcast")
    );
}

#[tokio::test]
async fn a_made_up_author_does_not_use_up_what_somebody_with_a_role_said() {
    let world = of_four_proofs().await;
    world
        .town
        .jira
        .comment(TICKET, ADA, "/dcr start comcast")
        .await
        .unwrap();
    let hers = lost_webhook(&world);
    let mut by_eve = hers.clone();
    for who in ["author", "updateAuthor"] {
        by_eve["comment"][who]["accountId"] = EVE.into();
    }
    send(&world, &connect("connect-secret"), &by_eve).await;
    nothing_happened(&world, "Eve did not say it").await;
    send(&world, &connect("connect-secret"), &hers).await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world, 2).await);
}

#[tokio::test]
async fn under_a_token_a_comment_is_what_jira_says_it_is() {
    let world = of_four_proofs().await;
    let proof = connect("connect-secret");
    let jira = &world.town.jira;
    jira.comment(TICKET, EVE, "/dcr start comcast").await.unwrap();
    let told = lost_webhook(&world);
    let forge = |edit: &dyn Fn(&mut Value)| {
        let mut body = told.clone();
        edit(&mut body);
        body
    };
    let as_ada = |body: &mut Value| {
        for who in ["author", "updateAuthor"] {
            body["comment"][who]["accountId"] = ADA.into();
        }
    };
    for body in [
        forge(&as_ada),
        forge(&|body| {
            as_ada(body);
            body["comment"]["id"] = "99999".into();
        }),
    ] {
        send(&world, &proof, &body).await;
        nothing_happened(&world, "Ada said nothing").await;
    }
    // What Ada really wrote, long ago or on another ticket.
    jira.comment(TICKET, ADA, "/dcr start comcast").await.unwrap();
    let hers = lost_webhook(&world);
    minutes(&world, 180).await;
    let mut young = hers.clone();
    use stepherd::clock::Clock as _;
    let now = world.clock.now().to_string();
    young["comment"]["created"] = now.as_str().into();
    young["comment"]["updated"] = now.as_str().into();
    send(&world, &proof, &young).await;
    nothing_happened(&world, "it was said three hours ago").await;
    jira.add_issue("SREPROV-9", "another", serde_json::Map::new()).unwrap();
    let mut elsewhere = hers.clone();
    elsewhere["issue"]["key"] = "SREPROV-9".into();
    send(&world, &proof, &elsewhere).await;
    nothing_happened(&world, "it was said elsewhere").await;
}

#[tokio::test]
async fn a_body_that_makes_a_comment_older_than_it_is_does_not_use_it_up() {
    use stepherd::clock::Clock as _;
    let world = of_four_proofs().await;
    let proof = connect("connect-secret");
    world
        .town
        .jira
        .comment(TICKET, ADA, "/dcr start comcast")
        .await
        .unwrap();
    let told = lost_webhook(&world);
    let mut older = told.clone();
    let then = world.clock.now() - jiff::SignedDuration::from_hours(3);
    for name in ["created", "updated"] {
        older["comment"][name] = then.to_string().into();
    }
    send(&world, &proof, &older).await;
    nothing_happened(&world, "it was not said then").await;
    send(&world, &proof, &told).await;
    assert_eq!(world.runs().await.len(), 1, "{:?}", notes(&world, 2).await);
}

#[tokio::test]
async fn an_automation_rules_secret_is_nobodys_word_but_the_rules() {
    let world = of_four_proofs().await;
    let proof = automation(SECRET);
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    let webhook = lost_webhook(&world);
    send(&world, &proof, &webhook).await;
    nothing_happened(&world, "a webhook's form").await;
    let parked = world.store.deliveries(Some("parked"), 9).await.unwrap();
    insta::assert_snapshot!(parked[0].note, @r#"$.webhookEvent: what proves itself by an Automation rule's secret is no webhook; let the rule send "Issue data (Jira format)""#);
    let comment = json!({ "webhookEvent": "comment_created", "comment": {
        "id": "1", "author": { "accountId": ADA }, "body": "/dcr start comcast" }, "issue": webhook["issue"] });
    send(&world, &proof, &comment).await;
    nothing_happened(&world, "a comment").await;
    // Its own form names whom it likes: the rule acts, and the record says who moved the ticket.
    let form = json!({ "issue": webhook["issue"], "user": { "accountId": EVE } });
    send(&world, &proof, &form).await;
    let runs = world.runs().await;
    assert_eq!(runs.len(), 1, "{:?}", notes(&world, 1).await);
    let account = runs[0].asked_by.account.as_ref().expect("somebody asked");
    assert_eq!((account.platform.as_str(), account.id.as_str()), ("jira", "automation"));
    assert_eq!(runs[0].asked_by.name, "automation (moved by Ada)");
    // The same change, told again in other words.
    for id in ["1", "2"] {
        let mut again = form.clone();
        again["issue"]["id"] = id.into();
        send(&world, &proof, &again).await;
        assert_eq!(notes(&world, 1).await, ["had already taken effect"]);
    }
}

#[tokio::test]
async fn a_rule_that_says_what_is_not_so_starts_nothing() {
    let world = of_four_proofs().await;
    let proof = automation(SECRET);
    world.town.jira.transition(TICKET, ADA, "Approved").await.unwrap();
    let issue = lost_webhook(&world)["issue"].clone();
    world.town.jira.transition(TICKET, ADA, "Open").await.unwrap();
    send(&world, &proof, &json!({ "issue": issue })).await;
    nothing_happened(&world, "it is open").await;
    // stepherd moves tickets itself, and rules see that as well.
    world
        .town
        .jira
        .transition(TICKET, "stepherd", "Approved")
        .await
        .unwrap();
    world.town.jira.lose_pending();
    send(&world, &proof, &issue).await;
    nothing_happened(&world, "stepherd moved it").await;
    assert_eq!(
        notes(&world, 1).await,
        [format!("does not stand: {TICKET}: stepherd itself moved it")]
    );
}

/// stepherd starts while Jira does not answer who it is, and its own account has a role by mistake.
async fn stranger_to_itself(status: u16) -> World {
    let clock = std::sync::Arc::new(TestClock::new());
    let town = World::town(&clock).await;
    // An app would be known by its kind.
    town.jira.add_user(JiraUser::person("stepherd", "stepherd"));
    town.jira
        .stage
        .misbehave(Fault::answer("GET", "/myself", 1_000, status, Vec::new(), "{}"));
    World::in_town(
        town,
        clock,
        |dir| {
            automation_may(dir);
            let path = dir.join("config/people.toml");
            let people = std::fs::read_to_string(&path).unwrap();
            std::fs::write(
                path,
                people.replace("jira = \"automation\"", "jira = \"557058:stepherd\""),
            )
            .unwrap();
        },
        |_| {},
    )
    .await
}

#[tokio::test]
async fn who_does_not_know_itself_obeys_nobody_until_it_does() {
    for status in [503, 401] {
        let world = stranger_to_itself(status).await;
        let jira = &world.town.jira;
        jira.transition(TICKET, "stepherd", "Approved").await.unwrap();
        jira.comment(TICKET, "stepherd", "/dcr start comcast").await.unwrap();
        jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
        minutes(&world, 1).await;
        assert!(world.runs().await.is_empty(), "{status}");
        assert!(
            jira.comments(TICKET)
                .iter()
                .all(|comment| comment.text.starts_with('/')),
            "{status}: nobody is answered"
        );
        jira.stage.behave();
        minutes(&world, 10).await;
        assert!(world.runs().await.is_empty(), "{status}: it knows its own account now");
        let ours = jira.comments(TICKET).len() - 2;
        let said = jira.comments(TICKET);
        assert_eq!(ours, 1, "{status}: Ada is answered: {said:?}");
    }
}

#[tokio::test]
async fn while_its_token_is_refused_a_command_in_a_comment_waits() {
    for refused in [format!("/issue/{TICKET}"), format!("/issue/{TICKET}/comment/")] {
        let world = World::new().await;
        let stage = &world.town.jira.stage;
        stage.misbehave(Fault::answer("GET", &refused, 10_000, 401, Vec::new(), "{}"));
        let before = world.town.jira.messages(TICKET).len();
        world.town.jira.comment(TICKET, ADA, "/dcr list").await.unwrap();
        minutes(&world, 1).await;
        let pending = world.store.deliveries(Some("pending"), 9).await.unwrap();
        assert_eq!(pending.len(), 1, "{refused}: it is kept");
        stage.behave();
        minutes(&world, 3).await;
        assert_eq!(
            world.town.jira.messages(TICKET).len(),
            before + 2,
            "{refused}: Ada is answered"
        );
    }
}

#[tokio::test]
async fn a_signed_webhook_needs_no_token_and_is_looked_up_all_the_same() {
    let world = of_four_proofs().await;
    world
        .town
        .jira
        .set_webhook(Some(door(&world)), admin("jira-webhook-secret"));
    world.town.jira.set_shape(of_a_rule());
    approved(&world).await;
    nothing_happened(&world, "a rule's form under a webhook's proof").await;
    let parked = world.store.deliveries(Some("parked"), 9).await.unwrap();
    assert_eq!(parked[0].note, "$.webhookEvent: expected an event, found nothing");
}

#[tokio::test]
async fn what_only_some_may_see_is_neither_obeyed_nor_answered_where_all_can_see_it() {
    for members in [&[][..], &["stepherd", "ada"]] {
        let world = World::new().await;
        world.repair_at_start().await;
        world.town.jira.add_group("insiders", members);
        let jira = &world.town.jira;
        jira.comment_to("insiders", TICKET, ADA, "/dcr start comcast")
            .await
            .unwrap();
        jira.comment_to("insiders", TICKET, ADA, "/dcr secret-plan")
            .await
            .unwrap();
        world.settle().await;
        assert!(world.runs().await.is_empty(), "{members:?}");
        assert_eq!(jira.comments(TICKET).len(), 2, "{members:?}: nothing is said");
        // Nor once repair finds them.
        minutes(&world, 30).await;
        assert_eq!(world.repair().await, 0);
        world.settle().await;
        assert_eq!(jira.comments(TICKET).len(), 2, "{members:?}");
    }
}

/// One approval, told by Jira's webhook and by a rule, each as it sends it.
async fn told_twice(world: &World, who: &str) -> [(Signing, Value); 2] {
    world.town.jira.transition(TICKET, who, "Approved").await.unwrap();
    let webhook = lost_webhook(world);
    let form = json!({ "issue": webhook["issue"] });
    [(admin("jira-webhook-secret"), webhook), (automation(SECRET), form)]
}

#[tokio::test]
async fn a_move_that_the_webhook_and_a_rule_tell_takes_effect_once() {
    for rule_first in [false, true] {
        let world = of_four_proofs().await;
        let mut told = told_twice(&world, ADA).await;
        if rule_first {
            told.reverse();
        }
        for (proof, body) in &told {
            send(&world, proof, body).await;
        }
        assert_eq!(world.runs().await.len(), 1, "rule first: {rule_first}");
        assert_eq!(notes(&world, 1).await, ["had already taken effect"]);
    }
}

#[tokio::test]
async fn a_telling_that_was_refused_does_not_use_up_the_move() {
    // Eve may not, the rule's account may.
    for rule_first in [false, true] {
        let world = of_four_proofs().await;
        let mut told = told_twice(&world, EVE).await;
        if rule_first {
            told.reverse();
        }
        for (proof, body) in told.iter().chain(&told) {
            send(&world, proof, body).await;
        }
        let runs = world.runs().await;
        assert_eq!(runs.len(), 1, "rule first: {rule_first}: {:?}", notes(&world, 4).await);
        assert_eq!(runs[0].asked_by.name, "automation (moved by Eve)");
        let refused = world.town.jira.messages(TICKET).into_iter();
        let refused = refused.filter(|message| message.body.contains("may not say")).count();
        assert_eq!(refused, 0, "who has no role is not answered");
    }
}

#[tokio::test]
async fn a_comment_is_as_old_as_jira_says_it_is() {
    use stepherd::clock::Clock as _;
    let world = of_four_proofs().await;
    world
        .town
        .jira
        .comment(TICKET, ADA, "/dcr start comcast")
        .await
        .unwrap();
    let said_at = world.clock.now();
    let mut told = lost_webhook(&world);
    // A webhook that does not say when the comment was written but when it was sent, most of a minute later.
    for name in ["created", "updated"] {
        told["comment"].as_object_mut().unwrap().remove(name);
    }
    told["timestamp"] = (said_at.as_millisecond() + 59_000).into();
    world.clock.advance(std::time::Duration::from_secs(3_630));
    send(&world, &admin("jira-webhook-secret"), &told).await;
    assert!(world.runs().await.is_empty(), "{:?}", notes(&world, 1).await);
    let said = world.town.jira.messages(TICKET).pop().unwrap().body;
    assert!(said.contains("Nothing was done"), "{said}");
}

//! Discord's stand-in: what people do, and what may be answered.

use serde_json::{Value, json};
use stepherd::sandbox::discord::Discord;

use super::discord::{MESSAGES, button, eve, row, with_listener};
use super::{Caller, Listener};

async fn register(caller: &Caller) {
    let run = json!({"type": 3, "name": "run", "description": "d", "required": true, "autocomplete": true});
    let force = json!({"type": 5, "name": "force", "description": "d"});
    let retry = json!({"type": 1, "name": "retry", "description": "d", "options": [run, force]});
    let all = json!([{"name": "dcr", "description": "d", "options": [retry]}]);
    assert_eq!(
        caller
            .call("PUT", "/applications/1/guilds/10/commands", Some(all))
            .await
            .0,
        200
    );
}

async fn retry(discord: &Discord, listener: &Listener, answer: Value) -> stepherd::sandbox::discord::Interacted {
    listener.will_answer(200, &answer.to_string());
    let options = [("run", json!("R1"))];
    discord
        .slash(&eve(), "10", "20", "dcr", "retry", &options)
        .await
        .expect("it is registered")
}

#[tokio::test]
async fn a_slash_command_arrives_as_discord_sends_it() {
    let (discord, caller, listener, _clock) = with_listener().await;
    register(&caller).await;
    let answered = retry(&discord, &listener, json!({"type": 4, "data": {"content": "on it"}})).await;
    assert_eq!(
        (answered.problem.as_deref(), answered.kind(), answered.content()),
        (None, 4, "on it")
    );
    let told = listener.last().json();
    assert_eq!(
        (&told["type"], &told["id"], &told["guild_id"]),
        (&json!(2), &json!(answered.id), &json!("10"))
    );
    assert_eq!(
        (&told["member"]["user"]["id"], &told["member"]["roles"]),
        (&json!("5"), &json!(["6"]))
    );
    let options = json!([{"type": 1, "name": "retry", "options": [{"name": "run", "type": 3, "value": "R1"}]}]);
    assert_eq!(
        (&told["data"]["name"], &told["data"]["options"]),
        (&json!("dcr"), &options)
    );
    assert_eq!(discord.messages("20")[0].text, "on it");
    assert_eq!(discord.redeliver(&answered.id).await, Ok(200));
    let arrived = listener.arrived();
    assert_eq!(
        (&arrived[0].body, &arrived[0].headers),
        (&arrived[1].body, &arrived[1].headers)
    );
    assert_eq!(discord.messages("20").len(), 1);
}

#[tokio::test]
async fn people_cannot_use_what_is_not_registered() {
    let (discord, caller, _listener, _clock) = with_listener().await;
    let run = [("run", json!("R1"))];
    assert!(discord.slash(&eve(), "10", "20", "dcr", "retry", &run).await.is_err());
    register(&caller).await;
    assert!(discord.slash(&eve(), "10", "20", "dcr", "stop", &run).await.is_err());
    assert!(
        discord.slash(&eve(), "10", "20", "dcr", "retry", &[]).await.is_err(),
        "run is required"
    );
    assert!(
        discord
            .slash(&eve(), "10", "20", "dcr", "retry", &[("run", json!(7))])
            .await
            .is_err()
    );
    assert!(
        discord
            .slash(&eve(), "10", "20", "dcr", "retry", &[("who", json!("x"))])
            .await
            .is_err()
    );
    assert!(
        discord.slash(&eve(), "10", "21", "dcr", "retry", &run).await.is_err(),
        "no such channel"
    );
    assert!(
        discord
            .autocomplete(&eve(), "10", "20", "dcr", "retry", &[], ("force", "t"))
            .await
            .is_err()
    );
    assert!(discord.press(&eve(), "1", "ans:1").await.is_err());
}

#[tokio::test]
async fn illegal_answers_fail_the_interaction() {
    let (discord, caller, listener, _clock) = with_listener().await;
    register(&caller).await;
    let illegal = [
        json!({"type": 6}),
        json!({"type": 7, "data": {"content": "x"}}),
        json!({"type": 8, "data": {"choices": []}}),
        json!({"type": 1}),
        json!({"type": 4}),
        json!({"type": 4, "data": {}}),
        json!({"type": 4, "data": {"content": "x".repeat(2001)}}),
        json!({}),
    ];
    for answer in illegal {
        let answered = retry(&discord, &listener, answer.clone()).await;
        assert!(answered.problem.is_some(), "{answer}");
    }
    listener.will_answer(202, "");
    let options = [("run", json!("R1"))];
    let answered = discord
        .slash(&eve(), "10", "20", "dcr", "retry", &options)
        .await
        .expect("it is registered");
    assert_eq!(answered.problem.as_deref(), Some("answered 202"));
    let dead = caller
        .get(&format!("/webhooks/1/{}/messages/@original", answered.token))
        .await;
    assert_eq!((dead.0, &dead.1["code"]), (404, &json!(10015)));
    assert_eq!(discord.messages("20"), []);
}

#[tokio::test]
async fn a_deferred_answer_is_pending_until_it_is_patched() {
    let (discord, caller, listener, clock) = with_listener().await;
    register(&caller).await;
    let answered = retry(&discord, &listener, json!({"type": 5, "data": {"flags": 64}})).await;
    let shown = &discord.messages("20")[0];
    assert_eq!(
        (shown.pending, shown.ephemeral, shown.text.as_str()),
        (true, true, "… is thinking")
    );
    assert_eq!(
        caller.get(MESSAGES).await.1,
        json!([]),
        "what only one person sees is not in the channel"
    );
    let anonymous = Caller::new(&discord.url, "");
    let original = format!("/api/v10/webhooks/1/{}/messages/@original", answered.token);
    assert_eq!(
        anonymous.call("PATCH", &original, Some(json!({}))).await.1["code"],
        50006
    );
    let done = anonymous
        .call("PATCH", &original, Some(json!({"content": "done"})))
        .await;
    assert_eq!((done.0, &done.1["content"]), (200, &json!("done")));
    let shown = &discord.messages("20")[0];
    assert_eq!((shown.pending, shown.ephemeral, shown.edits), (false, true, 0));
    assert_eq!(anonymous.get(&original).await.1["content"], "done");
    let more = anonymous
        .post(&format!("/webhooks/1/{}", answered.token), json!({"content": "more"}))
        .await;
    assert_eq!((more.0, discord.messages("20").len()), (200, 2));

    assert_eq!(
        anonymous.get("/webhooks/1/other/messages/@original").await.1["code"],
        10015
    );
    assert_eq!(
        anonymous.get(&original.replace("webhooks/1", "webhooks/2")).await.1["code"],
        10015
    );
    clock.forward(15 * 60 - 1);
    assert_eq!(anonymous.get(&original).await.0, 200);
    clock.forward(1);
    let late = anonymous
        .call("PATCH", &original, Some(json!({"content": "late"})))
        .await;
    assert_eq!((late.0, &late.1["code"]), (401, &json!(50027)));
}

#[tokio::test]
async fn the_first_further_answer_takes_the_place_of_a_pending_one() {
    let (discord, caller, listener, _clock) = with_listener().await;
    register(&caller).await;
    let answered = retry(&discord, &listener, json!({"type": 5})).await;
    let path = format!("/webhooks/1/{}", answered.token);
    caller.post(&path, json!({"content": "one"})).await;
    caller.post(&path, json!({"content": "two", "flags": 64})).await;
    let shown: Vec<(String, bool)> = discord
        .messages("20")
        .into_iter()
        .map(|m| (m.text, m.ephemeral))
        .collect();
    assert_eq!(shown, [("one".to_owned(), false), ("two".to_owned(), true)]);
}

#[tokio::test]
async fn a_button_is_pressed_answered_and_then_gone() {
    let (discord, caller, listener, _clock) = with_listener().await;
    let ask = json!({"content": "Continue?", "components": [row(&[button("ans:1", "Yes", false)])]});
    let id = caller.post(MESSAGES, ask).await.1["id"].clone();
    let id = id.as_str().expect("an id");
    listener.will_answer(200, r#"{"type":6}"#);
    let answered = discord.press(&eve(), id, "ans:1").await.expect("it is there");
    assert_eq!(answered.problem, None);
    let told = listener.last().json();
    assert_eq!(
        (&told["type"], &told["message"]["id"], &told["data"]["custom_id"]),
        (&json!(3), &json!(id), &json!("ans:1"))
    );
    let original = format!("/webhooks/1/{}/messages/@original", answered.token);
    assert_eq!(
        caller.get(&original).await.1["id"],
        id,
        "@original is the message with the button"
    );

    let update = json!({"type": 7, "data": {"components": [row(&[button("ans:1", "Yes", true)])]}});
    listener.will_answer(200, &update.to_string());
    discord.press(&eve(), id, "ans:1").await.expect("it is there");
    assert_eq!(discord.messages("20")[0].text, "Continue?\n(Yes)");
    assert!(discord.press(&eve(), id, "ans:1").await.is_err(), "it is disabled");
    listener.will_answer(
        200,
        &json!({"type": 4, "data": {"content": "already answered", "flags": 64}}).to_string(),
    );
    let stale = discord
        .press_stale(&eve(), id, "ans:1")
        .await
        .expect("the message is there");
    assert_eq!(stale.problem, None);
    assert!(discord.messages("20")[1].ephemeral);
}

#[tokio::test]
async fn suggestions_are_asked_for_and_held_to_twenty_five() {
    let (discord, caller, listener, _clock) = with_listener().await;
    register(&caller).await;
    let choices = |n: usize| {
        let all: Vec<Value> = (0..n)
            .map(|c| json!({"name": format!("run {c}"), "value": c.to_string()}))
            .collect();
        json!({"type": 8, "data": {"choices": all}}).to_string()
    };
    listener.will_answer(200, &choices(2));
    let typed = ("run", "UR");
    let asked = discord
        .autocomplete(&eve(), "10", "20", "dcr", "retry", &[], typed)
        .await
        .expect("it completes");
    assert_eq!(asked.problem, None);
    assert_eq!(asked.choices()[1], ("run 1".to_owned(), "1".to_owned()));
    let told = listener.last().json();
    let option = &told["data"]["options"][0]["options"][0];
    assert_eq!(
        (&told["type"], &option["value"], &option["focused"]),
        (&json!(4), &json!("UR"), &json!(true))
    );
    listener.will_answer(200, &choices(26));
    let asked = discord
        .autocomplete(&eve(), "10", "20", "dcr", "retry", &[], typed)
        .await
        .expect("it completes");
    assert!(asked.problem.is_some());
}

#[tokio::test]
async fn an_endpoint_that_is_down_fails_the_interaction() {
    let (discord, caller, listener, _clock) = with_listener().await;
    register(&caller).await;
    drop(listener);
    let options = [("run", json!("R1"))];
    let answered = discord.slash(&eve(), "10", "20", "dcr", "retry", &options).await;
    let answered = answered.expect("it is registered");
    assert_eq!((answered.status, answered.problem.is_some()), (0, true));
    discord.set_endpoint(None);
    assert!(
        discord
            .slash(&eve(), "10", "20", "dcr", "retry", &options)
            .await
            .is_err()
    );
}

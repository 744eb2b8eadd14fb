//! Jira's stand-in: workflow, comments, people, rights.

use serde_json::{Map, Value, json};
use stepherd::sandbox::jira::{Flavour, Jira, JiraOptions, JiraUser, Rights, Signing, Workflow};

use super::{Caller, Turned};

pub(super) const KEY: &str = "SREPROV-3072";
/// `bot@example.com:t0ken`
const BASIC: &str = "Basic Ym90QGV4YW1wbGUuY29tOnQwa2Vu";

pub(super) async fn site(flavour: Flavour) -> (Jira, Caller) {
    let mut bot = JiraUser::person("bot", "Bot");
    bot.app = true;
    let options = JiraOptions {
        now: Turned::at_noon().now(),
        flavour,
        bot,
        token: "t0ken".into(),
        webhook: None,
        signing: Signing::Unsigned,
        auto: false,
    };
    let jira = Jira::start(options, 0).await.expect("a port");
    jira.add_project("SREPROV", "Provisioning", Workflow::approval());
    jira.add_user(JiraUser::person("eve", "Eve"));
    let fields = Map::from_iter([("customfield_10050".to_owned(), json!("comcast"))]);
    jira.add_issue(KEY, "DCR comcast", fields).expect("a project");
    let authorization = if flavour == Flavour::Cloud {
        BASIC
    } else {
        "Bearer t0ken"
    };
    let caller = Caller::new(&jira.url, authorization);
    (jira, caller)
}

pub(super) fn path(rest: &str) -> String {
    format!("/rest/api/3/issue/{KEY}{rest}")
}

pub(super) fn doc(text: &str) -> Value {
    json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]})
}

fn names(transitions: &Value) -> Vec<&str> {
    let all = transitions["transitions"].as_array().expect("an array");
    all.iter().filter_map(|t| t["to"]["name"].as_str()).collect()
}

#[tokio::test]
async fn only_the_transitions_of_the_current_status_are_shown_and_taken() {
    let (jira, caller) = site(Flavour::Cloud).await;
    assert_eq!(names(&caller.get(&path("/transitions")).await.1), ["Approved"]);
    let early = caller
        .post(&path("/transitions"), json!({"transition": {"id": "31"}}))
        .await;
    let refused = json!({"errorMessages": ["Transition id '31' is not valid for this issue."], "errors": {}});
    assert_eq!(early, (400, refused));
    assert_eq!(caller.post(&path("/transitions"), json!({})).await.0, 400);
    let extra = json!({"transition": {"id": "11"}, "fields": {"resolution": {"name": "Done"}}});
    let (status, body) = caller.post(&path("/transitions"), extra).await;
    assert_eq!((status, body["errors"]["resolution"].is_string()), (400, true));
    assert_eq!(jira.status(KEY).as_deref(), Some("Open"));
    assert_eq!(
        caller
            .post(&path("/transitions"), json!({"transition": {"id": "11"}}))
            .await,
        (204, Value::Null)
    );
    assert_eq!(jira.status(KEY).as_deref(), Some("Approved"));
    assert_eq!(
        names(&caller.get(&path("/transitions")).await.1),
        ["In Progress", "Failed", "Open"]
    );
    let again = caller
        .post(&path("/transitions"), json!({"transition": {"id": "11"}}))
        .await;
    assert_eq!(again.0, 400, "a transition taken is gone");
}

#[tokio::test]
async fn people_are_held_to_the_workflow_too() {
    let (jira, _caller) = site(Flavour::Cloud).await;
    assert!(jira.transition(KEY, "eve", "Done").await.is_err());
    assert!(jira.transition(KEY, "nobody", "Approved").await.is_err());
    assert!(jira.transition(KEY, "eve", "10011").await.is_ok());
}

#[tokio::test]
async fn strangers_unknown_issues_and_hidden_issues_are_refused() {
    let (jira, caller) = site(Flavour::Cloud).await;
    for wrong in ["", "Bearer t0ken", "Basic Ym90QGV4YW1wbGUuY29tOndyb25n"] {
        assert_eq!(Caller::new(&jira.url, wrong).get(&path("")).await.0, 401, "{wrong}");
    }
    let missing =
        json!({"errorMessages": ["Issue does not exist or you do not have permission to see it."], "errors": {}});
    assert_eq!(caller.get("/rest/api/3/issue/SREPROV-1").await, (404, missing.clone()));
    jira.hide(KEY, true);
    assert_eq!(caller.get(&path("")).await, (404, missing.clone()));
    assert_eq!(
        caller.post(&path("/comment"), json!({"body": doc("x")})).await,
        (404, missing)
    );
    assert_eq!(caller.get("/rest/api/4/myself").await.0, 404);
}

#[tokio::test]
async fn an_issue_is_read_by_the_fields_asked_for() {
    let (_jira, caller) = site(Flavour::Cloud).await;
    let all = caller.get(&path("")).await.1;
    assert_eq!(
        (&all["key"], &all["fields"]["status"]["id"]),
        (&json!(KEY), &json!("10010"))
    );
    assert_eq!(all["fields"]["project"]["key"], "SREPROV");
    assert_eq!(all["fields"]["created"], "2026-11-20T12:00:00.000+0000");
    let some = caller.get(&path("?fields=summary,customfield_10050")).await.1;
    assert_eq!(
        some["fields"],
        json!({"customfield_10050": "comcast", "summary": "DCR comcast"})
    );
}

#[tokio::test]
async fn version_3_takes_documents_and_nothing_else() {
    let (jira, caller) = site(Flavour::Cloud).await;
    let text = |t: Value| json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [t]}]});
    let block = |b: Value| json!({"type": "doc", "version": 1, "content": [b]});
    let refused = [
        json!("plain text"),
        json!({"type": "doc", "content": []}),
        json!({"type": "doc", "version": 2, "content": []}),
        json!({"type": "paragraph", "version": 1, "content": []}),
        json!({"type": "doc", "version": 1, "content": {}}),
        json!({"type": "doc", "version": 1, "content": []}),
        block(json!({"type": "text", "text": "not in a block"})),
        block(json!({"type": "sparkles", "content": []})),
        block(json!({"type": "bulletList", "content": []})),
        block(json!({"type": "heading", "content": [{"type": "text", "text": "no level"}]})),
        block(json!({"type": "panel", "attrs": {"panelType": "loud"}, "content": [{"type": "paragraph"}]})),
        block(json!({"type": "codeBlock", "content": [{"type": "text", "text": "x", "marks": [{"type": "strong"}]}]})),
        block(json!({"type": "paragraph", "class": "x", "content": []})),
        text(json!({"type": "text", "text": ""})),
        text(json!({"type": "text", "text": "x", "marks": [{"type": "blink"}]})),
        text(json!({"type": "text", "text": "x", "marks": [{"type": "link"}]})),
        text(json!({"type": "text", "text": "x", "marks": [{"type": "code"}, {"type": "strong"}]})),
    ];
    for body in refused {
        let (status, answer) = caller.post(&path("/comment"), json!({"body": body})).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            answer["errorMessages"].is_array() && answer["errors"].is_object(),
            "{answer}"
        );
    }
    assert_eq!(caller.post(&path("/comment"), json!({})).await.0, 400);
    assert_eq!(
        caller
            .post(&path("/comment"), json!({"body": doc(&"x".repeat(32_768))}))
            .await
            .0,
        400
    );
    assert_eq!(jira.comments(KEY), []);
    assert_eq!(
        caller
            .post(&path("/comment"), json!({"body": doc(&"x".repeat(32_767))}))
            .await
            .0,
        201
    );
}

#[tokio::test]
async fn a_document_reads_as_people_read_it() {
    let (jira, caller) = site(Flavour::Cloud).await;
    let strong = |t: &str| json!({"type": "text", "text": t, "marks": [{"type": "strong"}]});
    let link = json!({"type": "text", "text": "log", "marks": [{"type": "link", "attrs": {"href": "https://x/1"}}]});
    let cell = |kind: &str, t: &str| json!({"type": kind, "content": [{"type": "paragraph", "content": [strong(t)]}]});
    let item = |t: &str| json!({"type": "listItem", "content": [{"type": "paragraph", "content": [strong(t)]}]});
    let body = json!({"type": "doc", "version": 1, "content": [
        {"type": "heading", "attrs": {"level": 3}, "content": [strong("DCR failed at 42%")]},
        {"type": "panel", "attrs": {"panelType": "error"}, "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": "farmer-3 lost", "marks": [{"type": "code"}]}]}]},
        {"type": "bulletList", "content": [item("one"), item("two")]},
        {"type": "table", "content": [
            {"type": "tableRow", "content": [cell("tableHeader", "step"), cell("tableCell", "state")]}]},
        {"type": "rule"},
        {"type": "codeBlock", "attrs": {"language": "text"}, "content": [{"type": "text", "text": "a\nb"}]},
        {"type": "paragraph", "content": [{"type": "text", "text": "see "}, link]},
    ]});
    let (status, answer) = caller.post(&path("/comment"), json!({"body": body})).await;
    assert_eq!((status, &answer["body"]), (201, &body));
    let comments = jira.comments(KEY);
    let read = "DCR failed at 42%\nfarmer-3 lost\n- one\n- two\n| step | state |\n----\na\nb\nsee log (https://x/1)";
    assert_eq!((comments[0].text.as_str(), &comments[0].raw), (read, &body));
    assert_eq!(comments[0].author, "Bot");
    let old = caller
        .get(&format!("/rest/api/2/issue/{KEY}/comment/{}", comments[0].id))
        .await
        .1;
    let wiki = old["body"].as_str().expect("version 2 has strings");
    assert!(
        wiki.starts_with("h3. *DCR failed at 42%*\n{panel}\n{{farmer-3 lost}}\n"),
        "{wiki}"
    );
}

#[tokio::test]
async fn version_2_takes_strings_and_nothing_else() {
    let (jira, caller) = site(Flavour::DataCenter).await;
    let comment = format!("/rest/api/2/issue/{KEY}/comment");
    for body in [doc("x"), json!(7), json!(""), json!("x".repeat(32_768))] {
        assert_eq!(caller.post(&comment, json!({"body": body})).await.0, 400);
    }
    let text = "*DCR failed at 42%:* {{farmer-3 lost}} \\{x\\} [log|https://x/1]";
    assert_eq!(caller.post(&comment, json!({"body": text})).await.0, 201);
    assert_eq!(
        jira.comments(KEY)[0].text,
        "DCR failed at 42%: farmer-3 lost {x} log (https://x/1)"
    );
    assert_eq!(
        caller.get(&path("/comment")).await.0,
        404,
        "Data Center has no version 3"
    );
    assert_eq!(Caller::new(&jira.url, BASIC).get(&comment).await.0, 401);
}

#[tokio::test]
async fn comments_carry_properties_are_paged_and_never_deduplicated() {
    let (jira, caller) = site(Flavour::Cloud).await;
    let marked = json!({"body": doc("one"), "properties": [{"key": "stepherd", "value": {"marker": "run:card"}}]});
    for _ in 0..2 {
        assert_eq!(caller.post(&path("/comment"), marked.clone()).await.0, 201);
    }
    for n in 0..101 {
        jira.comment(KEY, "eve", format!("comment {n}").as_str())
            .await
            .expect("she may");
    }
    let first = caller.get(&path("/comment?expand=properties&maxResults=5000")).await.1;
    assert_eq!((&first["total"], &first["maxResults"]), (&json!(103), &json!(100)));
    assert_eq!(first["comments"].as_array().map(Vec::len), Some(100));
    assert_eq!(first["comments"][0]["properties"][0]["value"]["marker"], "run:card");
    let id = first["comments"][0]["id"].as_str().expect("an id").to_owned();
    let one = caller
        .get(&format!("/rest/api/3/comment/{id}/properties/stepherd"))
        .await;
    assert_eq!(one, (200, json!({"key": "stepherd", "value": {"marker": "run:card"}})));
    assert_eq!(
        caller
            .get(&format!("/rest/api/3/comment/{id}/properties/other"))
            .await
            .0,
        404
    );
    jira.set_lists_properties(false);
    let silent = caller.get(&path("/comment?expand=properties")).await.1;
    assert!(silent["comments"][0].get("properties").is_none());
    let rest = caller.get(&path("/comment?startAt=100")).await.1;
    assert_eq!(rest["comments"].as_array().map(Vec::len), Some(3));
    assert!(rest["comments"][0].get("properties").is_none());
    let newest = caller.get(&path("/comment?orderBy=-created&maxResults=1")).await.1;
    assert_eq!(newest["comments"][0]["body"], doc("comment 100"));
    assert_eq!(caller.get(&path("/comment?orderBy=author")).await.0, 400);
    assert_eq!(caller.get(&path("/comment?startAt=x")).await.0, 400);
    let bad = json!({"body": doc("one"), "properties": [{"value": 1}]});
    assert_eq!(caller.post(&path("/comment"), bad).await.0, 400);
}

#[tokio::test]
async fn a_comment_is_edited_and_deleted_by_its_author_only() {
    let (jira, caller) = site(Flavour::Cloud).await;
    let hers = jira.comment(KEY, "eve", "hello").await.expect("she may");
    let own = caller.post(&path("/comment"), json!({"body": doc("one")})).await.1["id"].clone();
    let own = own.as_str().expect("an id");
    let new = json!({"body": doc("two")});
    assert_eq!(
        caller
            .call("PUT", &path(&format!("/comment/{hers}")), Some(new.clone()))
            .await
            .0,
        400
    );
    assert_eq!(
        caller.call("DELETE", &path(&format!("/comment/{hers}")), None).await.0,
        400
    );
    assert_eq!(caller.call("PUT", &path("/comment/1"), Some(new.clone())).await.0, 404);
    assert_eq!(
        caller.call("PUT", &path(&format!("/comment/{own}")), Some(new)).await.0,
        200
    );
    let shown = &jira.comments(KEY)[1];
    assert_eq!((shown.text.as_str(), shown.edits), ("two", 1));
    let read = caller.get(&path(&format!("/comment/{own}"))).await.1;
    assert_ne!(
        read["created"], read["updated"],
        "an edit leaves a trace, however the clock stands"
    );
    assert_eq!(
        caller.call("DELETE", &path(&format!("/comment/{own}")), None).await.0,
        204
    );
    assert_eq!(caller.get(&path(&format!("/comment/{own}"))).await.0, 404);
}

#[tokio::test]
async fn rights_that_the_bot_lacks_are_denied_as_jira_denies_them() {
    let (jira, caller) = site(Flavour::Cloud).await;
    jira.set_rights(Rights {
        browse_users: false,
        comment: false,
        transition: false,
    });
    assert_eq!(caller.get("/rest/api/3/user?accountId=557058:eve").await.0, 403);
    assert_eq!(caller.get("/rest/api/3/group/member?groupname=ops").await.0, 403);
    assert_eq!(caller.post(&path("/comment"), json!({"body": doc("x")})).await.0, 400);
    assert_eq!(names(&caller.get(&path("/transitions")).await.1), Vec::<&str>::new());
    assert_eq!(
        caller
            .post(&path("/transitions"), json!({"transition": {"id": "11"}}))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn cloud_knows_people_by_account_id() {
    let (jira, caller) = site(Flavour::Cloud).await;
    jira.add_group("ops", &["eve"]);
    let (status, eve) = caller.get("/rest/api/3/user?accountId=557058:eve").await;
    assert_eq!(
        (status, &eve["displayName"], eve.get("name")),
        (200, &json!("Eve"), None)
    );
    assert_eq!(caller.get("/rest/api/3/user?accountId=557058:mallory").await.0, 404);
    assert_eq!(caller.get("/rest/api/3/user?username=eve").await.0, 400);
    let groups = caller.get("/rest/api/3/user/groups?accountId=557058:eve").await.1;
    assert_eq!(groups[0]["name"], "ops");
    let id = groups[0]["groupId"].as_str().expect("an id").to_owned();
    for by in ["groupname=ops".to_owned(), format!("groupId={id}")] {
        let members = caller.get(&format!("/rest/api/3/group/member?{by}")).await.1;
        assert_eq!(members["values"][0]["accountId"], "557058:eve");
    }
    assert_eq!(caller.get("/rest/api/3/group/member?groupname=nobody").await.0, 404);
    assert_eq!(caller.get("/rest/api/3/group/member").await.0, 400);
    assert_eq!(caller.get("/rest/api/3/myself").await.1["accountId"], "557058:bot");
}

#[tokio::test]
async fn groups_are_paged_and_leave_out_closed_accounts() {
    let (jira, caller) = site(Flavour::DataCenter).await;
    let many: Vec<String> = (0..60).map(|n| format!("u{n}")).collect();
    for name in &many {
        let mut user = JiraUser::person(name, name);
        user.active = name != "u0";
        jira.add_user(user);
    }
    jira.add_group("ops", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let first = caller
        .get("/rest/api/2/group/member?groupname=ops&maxResults=200")
        .await
        .1;
    assert_eq!(
        (&first["total"], &first["maxResults"], &first["isLast"]),
        (&json!(59), &json!(50), &json!(false))
    );
    assert!(first["nextPage"].is_string());
    assert_eq!(
        (&first["values"][0]["name"], first["values"][0].get("accountId")),
        (&json!("u1"), None)
    );
    let rest = caller.get("/rest/api/2/group/member?groupname=ops&startAt=50").await.1;
    assert_eq!(
        (rest["values"].as_array().map(Vec::len), &rest["isLast"]),
        (Some(9), &json!(true))
    );
    let user = caller.get("/rest/api/2/user?username=u1&expand=groups").await.1;
    assert_eq!(user["groups"]["items"][0]["name"], "ops");
    assert_eq!(caller.get("/rest/api/2/user/groups?username=u1").await.0, 404);
}

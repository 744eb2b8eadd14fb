//! Argo CD's stand-in: states, refusals, selectors.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepherd::sandbox::argocd::{AppSeed, ArgoCd, ArgoOptions, Beat};

use super::{Caller, Turned};

const APP: &str = "/api/v1/applications/dcr-comcast?project=dcr";
const SYNC: &str = "/api/v1/applications/dcr-comcast/sync";
const OPERATION: &str = "/api/v1/applications/dcr-comcast/operation?project=dcr";

fn seed(name: &str, group: &str) -> AppSeed {
    AppSeed {
        name: name.into(),
        project: "dcr".into(),
        labels: BTreeMap::from([("group".into(), group.into())]),
        repo_url: "https://git.example.com/dcr.git".into(),
        path: "clusters/a".into(),
        target_revision: "main".into(),
        head: "aaa".into(),
    }
}

async fn argo(reads_advance: bool) -> (ArgoCd, Caller) {
    let options = ArgoOptions {
        token: "t0ken".into(),
        now: Turned::at_noon().now(),
        reads_advance,
    };
    let argo = ArgoCd::start(options, 0).await.expect("a port");
    argo.add_app(seed("dcr-comcast", "a"));
    argo.add_app(seed("dcr-other", "b"));
    let caller = Caller::new(&argo.url, "Bearer t0ken");
    (argo, caller)
}

fn sync_body() -> Value {
    let infos = [json!({"name": "dcr-run", "value": "URMO7YZ2/StepStartFarm/1"})];
    json!({"project": "dcr", "revision": "bbb", "prune": false, "infos": infos})
}

fn standing(app: &Value) -> (&str, &str) {
    let text = |v: &'_ Value| v.as_str().map(str::to_owned);
    assert!(text(&app["status"]["reconciledAt"]).is_some());
    (
        app["status"]["sync"]["status"].as_str().unwrap_or(""),
        app["status"]["health"]["status"].as_str().unwrap_or(""),
    )
}

#[tokio::test]
async fn a_sync_sets_the_operation_clears_its_state_and_advances_beat_by_beat() {
    let (argo, caller) = argo(false).await;
    argo.git_moved("dcr-comcast", "bbb");
    assert_eq!(standing(&caller.get(APP).await.1), ("OutOfSync", "Healthy"));
    let (status, answer) = caller.post(SYNC, sync_body()).await;
    assert_eq!((status, &answer["operation"]["sync"]["revision"]), (200, &json!("bbb")));
    assert!(answer["status"].get("operationState").is_none());

    assert!(argo.advance("dcr-comcast"));
    let app = caller.get(APP).await.1;
    let state = &app["status"]["operationState"];
    assert_eq!(
        (&state["phase"], app.get("operation").is_some()),
        (&json!("Running"), true)
    );
    assert_eq!(state["operation"]["info"][0]["value"], "URMO7YZ2/StepStartFarm/1");

    argo.advance("dcr-comcast");
    let app = caller.get(APP).await.1;
    assert_eq!(app["status"]["operationState"]["phase"], "Succeeded");
    assert_eq!(app["status"]["operationState"]["finishedAt"], "2026-11-20T12:00:00Z");
    assert!(app.get("operation").is_none());
    assert_eq!(standing(&app).0, "OutOfSync", "the comparison is not done again yet");

    argo.advance("dcr-comcast");
    assert_eq!(standing(&caller.get(APP).await.1), ("Synced", "Progressing"));
    argo.advance("dcr-comcast");
    assert_eq!(standing(&caller.get(APP).await.1), ("Synced", "Healthy"));
    assert!(!argo.advance("dcr-comcast"));
    assert_eq!(argo.syncs("dcr-comcast"), 1);
}

#[tokio::test]
async fn a_second_sync_while_one_runs_is_a_failed_precondition() {
    let (argo, caller) = argo(false).await;
    caller.post(SYNC, sync_body()).await;
    let text = "another operation is already in progress";
    let refused = json!({"error": text, "code": 9, "message": text});
    assert_eq!(caller.post(SYNC, sync_body()).await, (400, refused));
    argo.finish("dcr-comcast");
    assert_eq!(
        caller.post(SYNC, sync_body()).await.0,
        200,
        "and nothing is idempotent afterwards"
    );
}

#[tokio::test]
async fn a_sync_window_denies_and_a_wrong_body_is_refused() {
    let (argo, caller) = argo(false).await;
    for wrong in [
        json!([]),
        json!({"project": "dcr", "prune": "no"}),
        json!({"project": "dcr", "infos": ["x"]}),
    ] {
        let (status, body) = caller.post(SYNC, wrong).await;
        assert_eq!((status, &body["code"]), (400, &json!(3)));
    }
    argo.close_window("dcr-comcast", true);
    let (status, body) = caller.post(SYNC, sync_body()).await;
    assert_eq!((status, &body["code"], argo.syncs("dcr-comcast")), (403, &json!(7), 0));
}

#[tokio::test]
async fn without_the_right_project_nobody_learns_what_exists() {
    let (argo, caller) = argo(false).await;
    let cases = [
        ("/api/v1/applications/dcr-comcast?project=dcr", 200),
        ("/api/v1/applications/dcr-comcast", 200),
        ("/api/v1/applications/dcr-comcast?project=other", 403),
        ("/api/v1/applications/nothing", 403),
        ("/api/v1/applications/nothing?project=dcr", 404),
    ];
    for (path, status) in cases {
        assert_eq!(caller.get(path).await.0, status, "{path}");
    }
    let (status, body) = Caller::new(&argo.url, "").get(APP).await;
    assert_eq!((status, &body["code"]), (401, &json!(16)));
    assert_eq!(Caller::new(&argo.url, "Bearer x").post(SYNC, sync_body()).await.0, 401);
}

#[tokio::test]
async fn selectors_choose_by_label() {
    let (_argo, caller) = argo(false).await;
    let cases = [
        ("", 2),
        ("group=a", 1),
        ("group==a", 1),
        ("group!=a", 1),
        ("group in (a,b)", 2),
        ("group notin (a)", 1),
        ("group", 2),
        ("!group", 0),
        ("group=a,group=b", 0),
    ];
    for (selector, found) in cases {
        let encoded: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let (status, body) = caller.get(&format!("/api/v1/applications?selector={encoded}")).await;
        assert_eq!(
            (status, body["items"].as_array().map(Vec::len)),
            (200, Some(found)),
            "{selector}"
        );
    }
    assert_eq!(caller.get("/api/v1/applications?selector=a%20b").await.0, 500);
}

#[tokio::test]
async fn failures_degradation_and_termination_end_as_argo_cd_ends_them() {
    let (argo, caller) = argo(false).await;
    let nothing = caller.call("DELETE", OPERATION, None).await;
    assert_eq!((nothing.0, &nothing.1["code"]), (400, &json!(3)));

    argo.fail_next_sync("dcr-comcast", "one or more objects failed to apply");
    caller.post(SYNC, sync_body()).await;
    argo.finish("dcr-comcast");
    let state = caller.get(APP).await.1["status"]["operationState"].clone();
    assert_eq!(
        (&state["phase"], &state["message"]),
        (&json!("Failed"), &json!("one or more objects failed to apply"))
    );

    argo.degrade_next_sync("dcr-comcast");
    caller.post(SYNC, json!({"project": "dcr"})).await;
    argo.finish("dcr-comcast");
    assert_eq!(standing(&caller.get(APP).await.1), ("Synced", "Degraded"));

    argo.script_next_sync("dcr-comcast", vec![Beat::Running, Beat::Hold, Beat::Succeeded]);
    caller.post(SYNC, sync_body()).await;
    argo.advance("dcr-comcast");
    assert_eq!(caller.call("DELETE", OPERATION, None).await, (200, json!({})));
    assert_eq!(
        caller.get(APP).await.1["status"]["operationState"]["phase"],
        "Terminating"
    );
    argo.finish("dcr-comcast");
    let app = caller.get(APP).await.1;
    assert_eq!(
        (&app["status"]["operationState"]["phase"], app.get("operation")),
        (&json!("Failed"), None)
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_an_unseen_commit_shows_on_refresh() {
    let (argo, caller) = argo(false).await;
    argo.git_moved_unseen("dcr-comcast", "bbb");
    assert_eq!(standing(&caller.get(APP).await.1).0, "Synced");
    assert_eq!(
        standing(&caller.get(&format!("{APP}&refresh=normal")).await.1).0,
        "OutOfSync"
    );
    caller.post(SYNC, json!({"project": "dcr", "dryRun": true})).await;
    argo.finish("dcr-comcast");
    assert_eq!(
        argo.shows("dcr-comcast"),
        Some(("OutOfSync".into(), "Healthy".into(), "aaa".into()))
    );
}

#[tokio::test]
async fn a_demo_moves_by_being_watched() {
    let (argo, caller) = argo(true).await;
    argo.git_moved("dcr-comcast", "bbb");
    caller.post(SYNC, sync_body()).await;
    for phase in ["Running", "Succeeded"] {
        assert_eq!(caller.get(APP).await.1["status"]["operationState"]["phase"], phase);
    }
}

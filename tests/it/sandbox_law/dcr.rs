//! The cache-rebuild stand-in: seven fields, farmers, refusals.

use serde_json::{Value, json};
use stepherd::sandbox::dcr::{Dcr, DcrOptions, Flags, ProgressStyle};

use super::{Caller, Turned};

const STATUS: &str = "/api/v1/tenants/comcast/processStatus";
const REBUILD: &str = "/api/v1/tenants/comcast/rebuild";
const CANCEL: &str = "/api/v1/tenants/comcast/rebuild/cancel";

async fn service() -> (Dcr, Caller) {
    let dcr = Dcr::start(DcrOptions::new("t0ken", Turned::at_noon().now()), 0)
        .await
        .expect("a port");
    dcr.add_tenant("comcast", 3);
    let caller = Caller::new(&dcr.url, "Bearer t0ken");
    (dcr, caller)
}

fn letters(status: &Value) -> String {
    let names = ["hasStarted", "isRunning", "hasCompleted", "hasFailed"];
    names
        .iter()
        .map(|n| if status[*n] == true { 'T' } else { 'F' })
        .collect()
}

async fn flags(caller: &Caller) -> String {
    letters(&caller.get(STATUS).await.1)
}

#[tokio::test]
async fn a_rebuild_goes_from_waiting_to_done_in_seven_fields() {
    let (dcr, caller) = service().await;
    let (status, body) = caller.get(STATUS).await;
    let idle = json!({"hasStarted": false, "isRunning": false, "hasCompleted": false, "hasFailed": false,
        "progressPercentage": 0, "failureReason": null, "restartCount": 0});
    assert_eq!((status, body), (200, idle));
    assert_eq!(
        caller.get(REBUILD).await.1,
        json!({"requestId": null, "startedAt": null})
    );
    assert_eq!(
        caller.post(REBUILD, json!({"requestId": "r1"})).await,
        (202, json!({"requestId": "r1"}))
    );
    assert_eq!(flags(&caller).await, "TFFF");
    let said = caller.get(REBUILD).await.1;
    assert_eq!(said, json!({"requestId": "r1", "startedAt": "2026-11-20T12:00:00Z"}));
    dcr.advance("comcast", 42.0);
    assert_eq!(flags(&caller).await, "TTFF");
    dcr.complete("comcast");
    assert_eq!(flags(&caller).await, "TFTF");
}

#[tokio::test]
async fn a_second_post_while_one_runs_is_refused_even_with_the_same_id() {
    let (dcr, caller) = service().await;
    caller.post(REBUILD, json!({"requestId": "r1"})).await;
    let refused = json!({"error": "a rebuild is already running", "requestId": "r1"});
    assert_eq!(
        caller.post(REBUILD, json!({"requestId": "r1"})).await,
        (409, refused.clone())
    );
    assert_eq!(caller.post(REBUILD, json!({"requestId": "r2"})).await, (409, refused));
    assert_eq!(dcr.starts("comcast"), 1);
    dcr.complete("comcast");
    assert_eq!(
        caller.post(REBUILD, json!({"requestId": "r1"})).await.0,
        202,
        "and it is not idempotent afterwards"
    );
    assert_eq!(dcr.starts("comcast"), 2);
}

#[tokio::test]
async fn too_few_farmers_hold_a_rebuild_and_losing_them_aborts_it() {
    let (dcr, caller) = service().await;
    dcr.set_farmers("comcast", 2);
    assert_eq!(
        caller.get("/api/v1/tenants/comcast/farmers").await.1,
        json!({"ready": 2, "desired": 3})
    );
    assert_eq!(caller.post(REBUILD, json!({"requestId": "r1"})).await.0, 202);
    assert_eq!(flags(&caller).await, "FFFF");
    dcr.advance("comcast", 10.0);
    dcr.advance("comcast", 20.0);
    assert_eq!(
        flags(&caller).await,
        "TFFF",
        "started, and not running before the farmers are there"
    );
    dcr.set_farmers("comcast", 3);
    dcr.advance("comcast", 20.0);
    assert_eq!(flags(&caller).await, "TTFF");
    dcr.set_farmers("comcast", 1);
    assert_eq!(flags(&caller).await, "TFFF");
    dcr.advance("comcast", 30.0);
    assert_eq!(caller.get(STATUS).await.1["progressPercentage"], 20);
    dcr.set_farmers("comcast", 3);
    assert_eq!(flags(&caller).await, "TTFF");
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason_and_resumed_from_its_progress() {
    let (dcr, caller) = service().await;
    caller.post(REBUILD, json!({"requestId": "r1"})).await;
    dcr.advance("comcast", 42.0);
    dcr.fail("comcast", "farmer-3 lost");
    let failed = caller.get(STATUS).await.1;
    assert_eq!(
        (letters(&failed).as_str(), &failed["failureReason"]),
        ("TFFT", &json!("farmer-3 lost"))
    );
    assert_eq!(caller.post(REBUILD, json!({"requestId": "r2"})).await.0, 202);
    let resumed = caller.get(STATUS).await.1;
    assert_eq!(
        (&resumed["progressPercentage"], &resumed["failureReason"]),
        (&json!(42), &Value::Null)
    );
}

#[tokio::test]
async fn an_automatic_restart_hides_the_failure_and_counts() {
    let (dcr, caller) = service().await;
    caller.post(REBUILD, json!({"requestId": "r1"})).await;
    dcr.advance("comcast", 42.0);
    dcr.fail("comcast", "farmer-3 lost");
    dcr.auto_restart("comcast");
    let status = caller.get(STATUS).await.1;
    assert_eq!(
        (letters(&status).as_str(), &status["restartCount"]),
        ("TTFF", &json!(1))
    );
    assert_eq!(dcr.starts("comcast"), 1);
}

#[tokio::test]
async fn cancel_ends_what_runs_and_refuses_when_nothing_does() {
    let (dcr, caller) = service().await;
    assert_eq!(caller.post(CANCEL, json!({})).await.0, 409);
    caller.post(REBUILD, json!({"requestId": "r1"})).await;
    dcr.advance("comcast", 5.0);
    assert_eq!(caller.post(CANCEL, json!({})).await, (202, json!({"requestId": "r1"})));
    assert_eq!(flags(&caller).await, "TFFT");
    assert_eq!(caller.post(CANCEL, json!({})).await.0, 409);
}

#[tokio::test]
async fn progress_is_written_in_each_of_its_styles() {
    let (dcr, caller) = service().await;
    caller.post(REBUILD, json!({"requestId": "r1"})).await;
    dcr.advance("comcast", 20.0);
    let styles = [
        (ProgressStyle::Integer, "20"),
        (ProgressStyle::Float, "20.0"),
        (ProgressStyle::Text, "\"20\""),
        (ProgressStyle::PercentText, "\"20.00%\""),
        (ProgressStyle::Null, "null"),
    ];
    for (style, written) in styles {
        dcr.set_style(style, true);
        let status = caller.get(STATUS).await.1;
        assert_eq!(status["rebuildPercentage"].to_string(), written);
        assert!(status.get("progressPercentage").is_none());
    }
}

#[tokio::test]
async fn any_combination_of_flags_can_be_forced_and_ended() {
    let (dcr, caller) = service().await;
    dcr.force_flags("comcast", Some(Flags::of("FTTT")));
    assert_eq!(flags(&caller).await, "FTTT");
    dcr.force_flags("comcast", None);
    assert_eq!(flags(&caller).await, "FFFF");
}

#[tokio::test]
async fn strangers_unknown_tenants_and_bad_bodies_are_refused() {
    let (dcr, caller) = service().await;
    assert_eq!(Caller::new(&dcr.url, "").get(STATUS).await.0, 401);
    assert_eq!(Caller::new(&dcr.url, "Bearer other").get(STATUS).await.0, 401);
    assert_eq!(
        caller.get("/api/v1/tenants/nobody/processStatus").await,
        (404, json!({"error": "unknown tenant"}))
    );
    for body in [
        json!({}),
        json!({"requestId": ""}),
        json!({"requestId": 7}),
        json!([]),
        json!({"requestId": "x".repeat(201)}),
    ] {
        assert_eq!(caller.post(REBUILD, body).await.0, 400);
    }
    assert_eq!(caller.call("POST", REBUILD, None).await.0, 415);
    assert_eq!(dcr.starts("comcast"), 0);
}

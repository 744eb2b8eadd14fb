//! The cache-rebuild stand-in: seven fields, farmers, refusals.

use serde_json::{Value, json};
use stepherd::sandbox::dcr::{Dcr, DcrOptions, Flags, ProgressStyle};

use super::{Caller, Turned};

const STATUS: &str = "/api/v1/tenants/comcast/processStatus";
const FARMERS: &str = "/api/v1/tenants/comcast/farmers";

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
    dcr.set_farmers("comcast", 0);
    dcr.set_farmers("comcast", 3);
    assert_eq!(flags(&caller).await, "TFFF");
    dcr.advance("comcast", 42.0);
    assert_eq!(flags(&caller).await, "TTFF");
    dcr.complete("comcast");
    assert_eq!(flags(&caller).await, "TFTF");
}

#[tokio::test]
async fn a_rebuild_begins_by_itself_once_the_minimum_of_farmers_has_come() {
    let (dcr, caller) = service().await;
    dcr.set_farmers("comcast", 2);
    dcr.set_desired_farmers("comcast", 30);
    assert_eq!(caller.get(FARMERS).await.1, json!({"ready": 2, "desired": 30}));
    dcr.advance("comcast", 10.0);
    assert_eq!(flags(&caller).await, "FFFF");
    dcr.set_farmers("comcast", 3);
    assert_eq!(flags(&caller).await, "TFFF");
    dcr.set_farmers("comcast", 12);
    assert_eq!(dcr.begun("comcast"), 1, "more of them change nothing");
    dcr.complete("comcast");
    dcr.set_farmers("comcast", 0);
    assert_eq!(flags(&caller).await, "TFTF", "it stays done when the farm goes");
    dcr.set_farmers("comcast", 3);
    assert_eq!((flags(&caller).await.as_str(), dcr.begun("comcast")), ("TFFF", 2));
}

#[tokio::test]
async fn losing_farmers_fails_it_and_it_is_restarted_if_they_are_back_within_half_an_hour() {
    let turned = Turned::at_noon();
    let dcr = Dcr::start(DcrOptions::new("t0ken", turned.now()), 0)
        .await
        .expect("a port");
    dcr.add_tenant("comcast", 3);
    let caller = Caller::new(&dcr.url, "Bearer t0ken");
    for (minutes, flags_then, restarts) in [(30, "TTFF", 1), (31, "TFFT", 1)] {
        dcr.advance("comcast", 20.0);
        dcr.set_farmers("comcast", 1);
        let failed = caller.get(STATUS).await.1;
        assert_eq!(
            (letters(&failed).as_str(), &failed["failureReason"]),
            ("TFFT", &json!("1 of 3 farmers left"))
        );
        turned.forward(minutes * 60);
        dcr.set_farmers("comcast", 3);
        let status = caller.get(STATUS).await.1;
        assert_eq!(
            (letters(&status).as_str(), &status["restartCount"]),
            (flags_then, &json!(restarts))
        );
        assert_eq!(status["progressPercentage"], 20);
    }
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason_and_resumed_from_its_progress() {
    let (dcr, caller) = service().await;
    dcr.advance("comcast", 42.0);
    dcr.fail("comcast", "farmer-3 lost");
    let failed = caller.get(STATUS).await.1;
    assert_eq!(
        (letters(&failed).as_str(), &failed["failureReason"]),
        ("TFFT", &json!("farmer-3 lost"))
    );
    dcr.auto_restart("comcast");
    let resumed = caller.get(STATUS).await.1;
    assert_eq!(
        (&resumed["progressPercentage"], &resumed["failureReason"]),
        (&json!(42), &Value::Null)
    );
}

#[tokio::test]
async fn an_automatic_restart_hides_the_failure_and_counts() {
    let (dcr, caller) = service().await;
    dcr.advance("comcast", 42.0);
    dcr.fail("comcast", "farmer-3 lost");
    dcr.auto_restart("comcast");
    let status = caller.get(STATUS).await.1;
    assert_eq!(
        (letters(&status).as_str(), &status["restartCount"]),
        ("TTFF", &json!(1))
    );
    assert_eq!(dcr.begun("comcast"), 1);
}

#[tokio::test]
async fn a_restart_may_begin_from_nothing() {
    let (dcr, caller) = service().await;
    dcr.advance("comcast", 42.0);
    dcr.fail("comcast", "farmer-3 lost");
    dcr.restart_anew("comcast");
    let status = caller.get(STATUS).await.1;
    assert_eq!(
        (&status["progressPercentage"], &status["restartCount"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn progress_is_written_in_each_of_its_styles() {
    let (dcr, caller) = service().await;
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
async fn strangers_unknown_tenants_and_all_but_looks_are_refused() {
    let (dcr, caller) = service().await;
    assert_eq!(Caller::new(&dcr.url, "").get(STATUS).await.0, 401);
    assert_eq!(Caller::new(&dcr.url, "Bearer other").get(STATUS).await.0, 401);
    assert_eq!(
        caller.get("/api/v1/tenants/nobody/processStatus").await,
        (404, json!({"error": "unknown tenant"}))
    );
    // There is nothing to start and nothing to end.
    for path in [STATUS, FARMERS] {
        assert_eq!(caller.post(path, json!({})).await.0, 405);
    }
    assert_eq!(caller.post("/api/v1/tenants/comcast/rebuild", json!({})).await.0, 404);
    assert_eq!(dcr.begun("comcast"), 0);
}

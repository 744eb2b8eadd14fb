//! Which account stepherd acts with, so that it never obeys itself.

use stepherd::adapters::{CallError, Threads};
use stepherd::domain::signal::Account;
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::scene::Scene;

#[tokio::test]
async fn own_words_are_told_apart_only_once_github_has_said_who_stepherd_is() {
    let scene = Scene::token().await;
    let account = |login: &str| Account {
        platform: "github".parse().expect("a platform"),
        id: scene.github.account_id(login).expect("the account").to_string(),
    };
    for _ in 0..2 {
        let cut = Fault::new("GET", "/user", 9, FaultKind::Cut);
        scene.github.stage().misbehave(cut);
        let error = scene.ours.is_own(&account("machine")).await;
        scene.github.stage().behave();
        assert!(matches!(error, Err(CallError::Retry { .. })), "{error:?}");
    }
    assert_eq!(scene.ours.is_own(&account("machine")).await, Ok(true));
    assert_eq!(scene.ours.is_own(&account("octocat")).await, Ok(false));
    assert_eq!(
        scene.calls("GET", "/user"),
        3 + 1 + 1,
        "asked until it is known, and then never again"
    );
    // An app's account is a bot, which is never obeyed anyway.
    let scene = Scene::app().await;
    assert_eq!(scene.ours.is_own(&account("octocat")).await, Ok(false));
    assert!(scene.github.stage().calls().is_empty());
}

#[tokio::test]
async fn the_token_knows_its_account() {
    let scene = Scene::token().await;
    assert_eq!(
        scene.ours.own_account_id().await,
        Ok(scene.github.account_id("machine"))
    );
    assert_eq!(Scene::app().await.ours.own_account_id().await, Ok(None));
}

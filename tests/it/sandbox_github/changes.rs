//! From branch to merge, and every way in which GitHub says no on the way.

use serde_json::{Value, json};
use stepherd::sandbox::stage::{Fault, FaultKind};

use super::{REPO, Town};

#[tokio::test]
async fn a_change_travels_from_branch_to_merge() {
    let town = Town::new().await;
    let head = town.branch_with("step/one", "clusters/dc1.yaml", "a: 9\n").await;
    let branch = town.get("/branches/step/one").await;
    assert_eq!(branch["commit"]["sha"], json!(head));

    let pull = json!({"title": "Set dc1", "head": "step/one", "base": "main", "body": "why"});
    let pull = town.at("POST", "/pulls", pull).await.expect(201);
    assert_eq!(
        (&pull["number"], &pull["state"], &pull["merged"]),
        (&json!(1), &json!("open"), &json!(false))
    );
    assert_eq!(
        (&pull["head"]["sha"], &pull["head"]["repo"]["full_name"]),
        (&json!(head), &json!(REPO))
    );
    assert_eq!(
        (&pull["mergeable"], &pull["mergeable_state"]),
        (&json!(true), &json!("clean"))
    );
    assert!(
        pull["merge_commit_sha"].is_string(),
        "the test merge has an id although nothing is merged"
    );

    let merge = json!({"sha": head, "merge_method": "squash", "commit_title": "Set dc1 (#1)"});
    let merged = town.at("PUT", "/pulls/1/merge", merge).await.expect(200);
    assert_eq!(merged["merged"], json!(true));
    let pull = town.get("/pulls/1").await;
    assert_eq!((&pull["state"], &pull["merged"]), (&json!("closed"), &json!(true)));
    assert_eq!(pull["merge_commit_sha"], merged["sha"]);
    assert_eq!(pull["merged_by"]["login"], json!("robot"));
    let main = town.get("/git/ref/heads/main").await;
    assert_eq!(main["object"]["sha"], merged["sha"]);
    assert_eq!(
        town.github.file(REPO, "main", "clusters/dc1.yaml").unwrap().unwrap(),
        "a: 9\n"
    );
    assert_eq!(town.github.file(REPO, "main", "README.md").unwrap().unwrap(), "hello\n");
    let commit = town
        .get(&format!("/git/commits/{}", merged["sha"].as_str().unwrap()))
        .await;
    assert_eq!(
        (&commit["message"], commit["parents"].as_array().unwrap().len()),
        (&json!("Set dc1 (#1)"), 1)
    );
}

#[tokio::test]
async fn references_are_refused_as_the_vendor_refuses_them() {
    let town = Town::new().await;
    let head = town.branch_with("one", "a", "1").await;
    let main = town.get("/git/ref/heads/main").await["object"]["sha"].clone();
    let side = town.branch_with("two", "b", "2").await;
    let nowhere = "0".repeat(40);
    let cases = [
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/one", "sha": head}),
            422,
            "Reference already exists",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "heads/x", "sha": head}),
            422,
            "not valid",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/a..b", "sha": head}),
            422,
            "not valid",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/-/.x", "sha": head}),
            422,
            "not valid",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/one/two", "sha": head}),
            422,
            "Reference update failed",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/x", "sha": nowhere}),
            422,
            "Object does not exist",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/x", "sha": "abc"}),
            422,
            "not a valid SHA",
        ),
        (
            "POST",
            "/git/refs",
            json!({"ref": "refs/heads/x"}),
            422,
            "\\\"sha\\\" wasn't supplied",
        ),
        ("POST", "/git/refs", json!({"ref": 7, "sha": head}), 422, "not a string"),
        (
            "PATCH",
            "/git/refs/heads/one",
            json!({"sha": side}),
            422,
            "Update is not a fast forward",
        ),
        (
            "PATCH",
            "/git/refs/heads/none",
            json!({"sha": side}),
            422,
            "Reference does not exist",
        ),
        (
            "PATCH",
            "/git/refs/heads/one",
            json!({"sha": nowhere}),
            422,
            "Object does not exist",
        ),
        (
            "DELETE",
            "/git/refs/heads/none",
            Value::Null,
            422,
            "Reference does not exist",
        ),
        ("DELETE", "/git/refs/heads/main", Value::Null, 422, "default branch"),
        ("GET", "/git/ref/heads/none", Value::Null, 404, "Not Found"),
        ("GET", "/git/ref/heads/on", Value::Null, 404, "Not Found"),
        ("GET", "/branches/none", Value::Null, 404, "Branch not found"),
    ];
    for (method, path, body, status, words) in cases {
        town.at(method, path, body).await.expect_refusal(status, words);
    }
    let moved = town
        .at("PATCH", "/git/refs/heads/one", json!({"sha": side, "force": true}))
        .await
        .expect(200);
    assert_eq!(moved["object"]["sha"], json!(side));
    town.at("PATCH", "/git/refs/heads/main", json!({"sha": side}))
        .await
        .expect(200);
    assert_ne!(main, json!(side));
    town.at("DELETE", "/git/refs/heads/two", Value::Null).await.expect(204);
    let left: Vec<String> = town
        .github
        .branches(REPO)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(left, ["main", "one"]);
    let matching = town.get("/git/matching-refs/heads/on").await;
    assert_eq!(matching[0]["ref"], json!("refs/heads/one"));
}

#[tokio::test]
async fn pull_requests_are_refused_as_the_vendor_refuses_them() {
    let town = Town::new().await;
    town.branch_with("one", "a", "1").await;
    let main = town.get("/git/ref/heads/main").await["object"]["sha"].clone();
    town.at("POST", "/git/refs", json!({"ref": "refs/heads/same", "sha": main}))
        .await
        .expect(201);
    town.open("one").await;
    let new = |head: &str, base: &str| json!({"title": "t", "head": head, "base": base});
    let cases = [
        (new("one", "main"), "A pull request already exists for acme:one."),
        (new("acme:one", "main"), "A pull request already exists for acme:one."),
        (new("same", "main"), "No commits between main and same"),
        (new("none", "main"), "\"field\":\"head\""),
        (new("nobody:one", "main"), "\"field\":\"head\""),
        (new("one", "none"), "\"field\":\"base\""),
        (json!({"head": "one", "base": "main"}), "missing_field"),
        (json!({"title": "t", "base": "main"}), "\\\"head\\\" wasn't supplied"),
        (
            json!({"title": "x".repeat(257), "head": "same", "base": "main"}),
            "title is too long",
        ),
        (
            json!({"title": "t", "head": "same", "base": "main", "body": "x".repeat(65_537)}),
            "body is too long",
        ),
    ];
    for (body, words) in cases {
        town.at("POST", "/pulls", body).await.expect_refusal(422, words);
    }
    town.at("GET", "/pulls/2", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.at("PATCH", "/pulls/1", json!({"state": "gone"}))
        .await
        .expect_refusal(422, "state");
    town.at("PATCH", "/pulls/1", json!({"state": "closed"}))
        .await
        .expect(200);
    let again = town.open("one").await;
    assert_eq!(
        again, 2,
        "a closed pull request does not stand in the way of another from the same branch"
    );
}

#[tokio::test]
async fn merging_is_refused_as_the_vendor_refuses_it() {
    let town = Town::new().await;
    let head = town.branch_with("one", "a", "1").await;
    let one = town.open("one").await;
    let path = format!("/pulls/{one}/merge");
    let nowhere = "0".repeat(40);
    town.at("PUT", &path, json!({"sha": nowhere}))
        .await
        .expect_refusal(409, "Head branch was modified. Review and try the merge again.");
    town.at("PUT", &path, json!({"merge_method": "octopus"}))
        .await
        .expect_refusal(422, "merge_method");
    town.at("PUT", "/pulls/99/merge", json!({}))
        .await
        .expect_refusal(404, "Not Found");

    town.github.require_reviews(REPO, 1).unwrap();
    assert_eq!(
        town.get(&format!("/pulls/{one}")).await["mergeable_state"],
        json!("blocked")
    );
    town.at("PUT", &path, json!({"sha": head}))
        .await
        .expect_refusal(405, "At least 1 approving review is required");
    town.github.approve(REPO, one, "bob").unwrap();
    town.github
        .block_merging(REPO, Some("Repository rule violations found"))
        .unwrap();
    town.at("PUT", &path, json!({"sha": head}))
        .await
        .expect_refusal(405, "Repository rule violations found");
    town.github.block_merging(REPO, None).unwrap();
    town.github.allow_merge_methods(REPO, &["squash"]).unwrap();
    town.at("PUT", &path, json!({"sha": head}))
        .await
        .expect_refusal(405, "Merge commits are not allowed on this repository.");
    town.at("PUT", &path, json!({"sha": head, "merge_method": "squash"}))
        .await
        .expect(200);
    town.at("PUT", &path, json!({"sha": head}))
        .await
        .expect_refusal(405, "Pull Request is not mergeable");

    let closed = town.by_alice("two", &[("b", Some("2"))]);
    town.github.close_pr(REPO, closed, "alice").unwrap();
    town.at("PUT", &format!("/pulls/{closed}/merge"), json!({}))
        .await
        .expect_refusal(405, "Pull Request is not mergeable");
}

#[tokio::test]
async fn edits_apart_from_each_other_merge_and_edits_of_one_line_conflict() {
    let town = Town::new().await;
    let file = "clusters/dc1.yaml";
    let first = town.by_alice("first", &[(file, Some("a: 9\nb: 2\nc: 3\nd: 4\n"))]);
    let apart = town.by_alice(
        "apart",
        &[(file, Some("a: 1\nb: 2\nc: 3\nd: 9\ne: 5\n")), ("README.md", None)],
    );
    let against = town.by_alice("against", &[(file, Some("a: 7\nb: 2\nc: 3\nd: 4\n"))]);
    town.github.merge_by_person(REPO, first, "alice").unwrap();
    town.github.merge_by_person(REPO, apart, "alice").unwrap();
    assert_eq!(
        town.github.file(REPO, "main", file).unwrap().unwrap(),
        "a: 9\nb: 2\nc: 3\nd: 9\ne: 5\n"
    );
    assert_eq!(town.github.file(REPO, "main", "README.md").unwrap(), None);
    let pull = town.get(&format!("/pulls/{against}")).await;
    assert_eq!(
        (&pull["mergeable"], &pull["mergeable_state"]),
        (&json!(false), &json!("dirty"))
    );
    town.at("PUT", &format!("/pulls/{against}/merge"), json!({}))
        .await
        .expect_refusal(405, "Pull Request is not mergeable");
}

#[tokio::test]
async fn each_merge_method_leaves_its_own_history() {
    let town = Town::new().await;
    for (method, ahead, parents) in [("merge", 3, 2), ("squash", 1, 1), ("rebase", 2, 1)] {
        let before = town.get("/git/ref/heads/main").await["object"]["sha"]
            .as_str()
            .unwrap()
            .to_owned();
        let number = town.by_alice(method, &[(method, Some("1"))]);
        town.github
            .push_to_pr(REPO, number, "alice", &[(method, Some("2"))])
            .unwrap();
        let body = json!({"merge_method": method});
        let merged = town
            .at("PUT", &format!("/pulls/{number}/merge"), body)
            .await
            .expect(200);
        let commit = town
            .get(&format!("/git/commits/{}", merged["sha"].as_str().unwrap()))
            .await;
        assert_eq!(commit["parents"].as_array().unwrap().len(), parents, "{method}");
        assert_eq!(
            town.github.commits_ahead(REPO, &before, "main").unwrap(),
            ahead,
            "{method}"
        );
        assert_eq!(town.github.file(REPO, "main", method).unwrap().unwrap(), "2");
    }
}

#[tokio::test]
async fn a_list_of_pull_requests_is_filtered_and_paged() {
    let town = Town::new().await;
    for n in 1..=5 {
        let number = town.by_alice(&format!("b{n}"), &[("f", Some(&n.to_string()))]);
        assert_eq!(number, n);
    }
    town.github.close_pr(REPO, 2, "alice").unwrap();
    let page = town.at("GET", "/pulls?state=all&per_page=2&page=2", Value::Null).await;
    let numbers: Vec<u64> = page
        .expect(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 2], "newest first");
    let link = page.headers["link"].to_str().unwrap().to_owned();
    for (rel, n) in [("prev", 1), ("next", 3), ("last", 3), ("first", 1)] {
        let wanted = format!(
            "<{}/repos/{REPO}/pulls?state=all&per_page=2&page={n}>; rel=\"{rel}\"",
            town.github.url()
        );
        assert!(link.contains(&wanted), "{wanted} is not in {link}");
    }
    let next = link
        .split('<')
        .find(|l| l.contains("rel=\"next\""))
        .unwrap()
        .split('>')
        .next()
        .unwrap();
    let last = town.call("GET", next, Value::Null).await;
    assert_eq!(last.expect(200).as_array().unwrap().len(), 1);
    assert!(!last.headers["link"].to_str().unwrap().contains("rel=\"next\""));

    let count = async |query: &str| town.get(&format!("/pulls?{query}")).await.as_array().unwrap().len();
    assert_eq!(count("").await, 4);
    assert_eq!(count("state=closed").await, 1);
    assert_eq!(count("state=all&head=acme:b2").await, 1);
    assert_eq!(count("head=acme:b2").await, 0);
    assert_eq!(
        count("state=all&head=b2").await,
        5,
        "a head without an owner is ignored"
    );
    assert_eq!(count("base=other").await, 0);
    town.at("GET", "/pulls?state=odd", Value::Null)
        .await
        .expect_refusal(422, "state");
}

#[tokio::test]
async fn deleting_the_branch_closes_its_pull_request_and_pushing_moves_its_head() {
    let town = Town::new().await;
    let number = town.by_alice("one", &[("a", Some("1"))]);
    let head = town
        .github
        .push_to_pr(REPO, number, "bob", &[("a", Some("2"))])
        .unwrap();
    assert_eq!(town.get("/pulls/1").await["head"]["sha"], json!(head));
    town.github.delete_branch(REPO, "one", "alice").unwrap();
    assert_eq!(town.get("/pulls/1").await["state"], json!("closed"));
    assert!(town.github.reopen_pr(REPO, 1, "alice").is_err());
}

#[tokio::test]
async fn mergeability_can_be_slow_to_find_out() {
    let town = Town::new().await;
    town.github.slow_mergeability(2);
    let number = town.by_alice("one", &[("a", Some("1"))]);
    let path = format!("/pulls/{number}");
    for _ in 0..2 {
        let pull = town.get(&path).await;
        assert_eq!(
            (&pull["mergeable"], &pull["mergeable_state"]),
            (&Value::Null, &json!("unknown"))
        );
    }
    assert_eq!(town.get(&path).await["mergeable"], json!(true));
}

#[tokio::test]
async fn a_pull_request_from_a_fork_names_the_fork() {
    let town = Town::new().await;
    let fork = town.github.add_fork(REPO, "bob").unwrap();
    let pr = super::NewPr {
        branch: "f",
        base: "main",
        title: "t",
        body: "",
        files: &[("x", Some("1"))],
        fork: Some(&fork),
    };
    let number = town.github.open_pr_by_person(REPO, "bob", pr).unwrap();
    let pull = town.get(&format!("/pulls/{number}")).await;
    assert_eq!(
        (&pull["head"]["repo"]["full_name"], &pull["head"]["label"]),
        (&json!("bob/deploy"), &json!("bob:f"))
    );
    assert_eq!(pull["base"]["repo"]["full_name"], json!(REPO));
    town.github.merge_by_person(REPO, number, "alice").unwrap();
    assert_eq!(town.github.file(REPO, "main", "x").unwrap().unwrap(), "1");
}

#[tokio::test]
async fn faults_hit_before_or_after_the_effect() {
    let town = Town::new().await;
    town.by_alice("one", &[("a", Some("1"))]);
    let stage = town.github.stage();
    let said = json!({"body": "hello"});
    let count = || town.github.thread(REPO, 1).unwrap().len();

    stage.misbehave(Fault::too_many("POST", "/comments", 1, 7));
    let answer = town.at("POST", "/issues/1/comments", said.clone()).await;
    assert_eq!(
        (answer.status, answer.headers["retry-after"].to_str().unwrap()),
        (429, "7")
    );
    stage.misbehave(Fault::secondary_limit("POST", "/comments", 1, None));
    let answer = town.at("POST", "/issues/1/comments", said.clone()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("secondary rate limit") && !answer.headers.contains_key("retry-after"));
    assert_eq!(count(), 0);

    stage.misbehave(Fault::new("POST", "/comments", 1, FaultKind::EffectThenCut));
    let url = format!("{}/repos/{REPO}/issues/1/comments", town.github.url());
    let cut = town.client.post(url).bearer_auth(&town.token).json(&said).send().await;
    let cut = match cut {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(cut && count() == 1, "the comment stands although the answer was lost");
    stage.misbehave(Fault::new("POST", "/comments", 1, FaultKind::EffectThenEmpty));
    assert_eq!(town.at("POST", "/issues/1/comments", said.clone()).await.text, "");
    assert_eq!((count(), stage.calls_to("POST", "/issues/1/comments").len()), (2, 4));
}

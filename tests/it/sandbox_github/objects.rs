//! Blobs, trees, commits and files.

use serde_json::{Value, json};

use super::{Got, REPO, Town, got};

#[tokio::test]
async fn files_come_as_base64_or_raw() {
    let town = Town::new().await;
    town.branch_with("one", "long.txt", &"0123456789".repeat(10)).await;
    let file = town.get("/contents/clusters/dc1.yaml").await;
    assert_eq!(
        (&file["type"], &file["encoding"], &file["content"]),
        (
            &json!("file"),
            &json!("base64"),
            &json!("YTogMQpiOiAyCmM6IDMKZDogNAo=\n")
        )
    );
    let long = town.get("/contents/long.txt?ref=one").await;
    let lines: Vec<usize> = long["content"].as_str().unwrap().lines().map(str::len).collect();
    assert_eq!(lines, [60, 60, 16], "lines of sixty");
    let url = format!("{}/repos/{REPO}/contents/long.txt?ref=one", town.github.url());
    for kind in [
        "application/vnd.github.raw",
        "application/vnd.github.raw+json",
        "application/vnd.github.v3.raw",
    ] {
        let raw = got(town.client.get(&url).bearer_auth(&town.token).header("accept", kind)).await;
        assert_eq!((raw.status, raw.text), (200, "0123456789".repeat(10)));
    }
    let dir = town.get("/contents").await;
    let names: Vec<(&str, &str)> = dir
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["path"].as_str().unwrap(), e["type"].as_str().unwrap()))
        .collect();
    assert_eq!(names, [("README.md", "file"), ("clusters", "dir")]);
    assert_eq!(
        town.get("/contents/clusters").await[0]["path"],
        json!("clusters/dc1.yaml")
    );
    town.at("GET", "/contents/long.txt", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.at("GET", "/contents/README.md/x", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
    town.at("GET", "/contents/README.md?ref=none", Value::Null)
        .await
        .expect_refusal(404, "No commit found for the ref none");
}

#[tokio::test]
async fn blobs_are_stored_by_content() {
    let town = Town::new().await;
    let made = town
        .at("POST", "/git/blobs", json!({"content": "hello\n"}))
        .await
        .expect(201);
    let same = town
        .at(
            "POST",
            "/git/blobs",
            json!({"content": "aGVsbG8K\n", "encoding": "base64"}),
        )
        .await
        .expect(201);
    assert_eq!(made["sha"], same["sha"]);
    let blob = town.get(&format!("/git/blobs/{}", made["sha"].as_str().unwrap())).await;
    assert_eq!((&blob["content"], &blob["size"]), (&json!("aGVsbG8K\n"), &json!(6)));
    town.at("POST", "/git/blobs", json!({"content": "?", "encoding": "base64"}))
        .await
        .expect_refusal(422, "Base64");
    town.at("POST", "/git/blobs", json!({"content": "?", "encoding": "utf-7"}))
        .await
        .expect_refusal(422, "encoding");
    town.at("POST", "/git/blobs", json!({}))
        .await
        .expect_refusal(422, "content");
    town.at("GET", "/git/blobs/0", Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

impl Town {
    async fn tree(&self, base: &Value, tree: Value) -> Got {
        self.at("POST", "/git/trees", json!({"base_tree": base, "tree": tree}))
            .await
    }
}

fn entry(path: &str, more: Value) -> Value {
    let mut entry = json!({"path": path, "mode": "100644", "type": "blob"});
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

fn text(path: &str) -> Value {
    entry(path, json!({"content": "x"}))
}

#[tokio::test]
async fn trees_add_replace_and_remove_on_top_of_their_base() {
    let town = Town::new().await;
    let main = town.get("/git/trees/main?recursive=1").await;
    let paths = |tree: &Value| -> Vec<String> {
        tree["tree"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["path"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(paths(&main), ["README.md", "clusters", "clusters/dc1.yaml"]);
    assert_eq!(paths(&town.get("/git/trees/main").await), ["README.md", "clusters"]);
    let base = &main["sha"];
    let made = town
        .tree(
            base,
            json!([text("clusters/a/b"), entry("README.md", json!({"sha": null}))]),
        )
        .await
        .expect(201);
    let sha = made["sha"].as_str().unwrap();
    let made = town.get(&format!("/git/trees/{sha}?recursive=1")).await;
    assert_eq!(
        paths(&made),
        ["clusters", "clusters/a", "clusters/a/b", "clusters/dc1.yaml"]
    );
    let over = town.tree(&json!(sha), json!([text("clusters")])).await.expect(201);
    assert_eq!(paths(&over), ["clusters"], "a file takes the directory's place");
    let same = town
        .tree(base, json!([entry("README.md", json!({"content": "hello\n"}))]))
        .await
        .expect(201);
    assert_eq!(same["sha"], *base, "nothing changed, so it is the same tree");
}

#[tokio::test]
async fn trees_are_refused_as_the_vendor_refuses_them() {
    let town = Town::new().await;
    let base = &town.get("/git/trees/main").await["sha"];
    let nowhere = "0".repeat(40);
    let cases = [
        (base.clone(), json!([]), "Invalid tree info"),
        (json!(nowhere), json!([text("a")]), "base_tree"),
        (
            base.clone(),
            json!([entry("none", json!({"sha": null}))]),
            "GitRPC::BadObjectState",
        ),
        (
            base.clone(),
            json!([entry("a", json!({"sha": nowhere}))]),
            "is not a valid object",
        ),
        (
            base.clone(),
            json!([entry("a", json!({}))]),
            "Must supply either tree.sha or tree.content",
        ),
        (
            base.clone(),
            json!([entry("a", json!({"content": "x", "mode": "777"}))]),
            "tree.mode",
        ),
        (base.clone(), json!([text("../a")]), "malformed path component"),
        (base.clone(), json!([text("/a")]), "malformed path component"),
        (base.clone(), json!([text("a/.git/config")]), "malformed path component"),
    ];
    for (base, tree, words) in cases {
        town.tree(&base, tree).await.expect_refusal(422, words);
    }
    town.at("GET", &format!("/git/trees/{nowhere}"), Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn commits_need_a_tree_and_parents_that_exist() {
    let town = Town::new().await;
    let tree = town.get("/git/trees/main").await["sha"].clone();
    let nowhere = "0".repeat(40);
    let cases = [
        (json!({"tree": tree}), "\\\"message\\\" wasn't supplied"),
        (json!({"message": "m"}), "\\\"tree\\\" wasn't supplied"),
        (json!({"message": "m", "tree": nowhere}), "Tree SHA does not exist"),
        (
            json!({"message": "m", "tree": tree, "parents": [nowhere]}),
            "Parent SHA does not exist",
        ),
        (
            json!({"message": "m", "tree": tree, "author": {"name": "n"}}),
            "\\\"email\\\" wasn't supplied",
        ),
    ];
    for (body, words) in cases {
        town.at("POST", "/git/commits", body).await.expect_refusal(422, words);
    }
    let author = json!({"name": "n", "email": "e@x", "date": "2026-01-02T03:04:05Z"});
    let body = json!({"message": "m", "tree": tree, "parents": [], "author": author});
    let made = town.at("POST", "/git/commits", body.clone()).await.expect(201);
    assert_eq!(
        (&made["author"]["date"], &made["committer"]["name"]),
        (&json!("2026-01-02T03:04:05Z"), &json!("n"))
    );
    assert_eq!(
        town.at("POST", "/git/commits", body).await.expect(201)["sha"],
        made["sha"],
        "same content, same commit"
    );
    town.at("GET", &format!("/git/commits/{nowhere}"), Value::Null)
        .await
        .expect_refusal(404, "Not Found");
}

#[tokio::test]
async fn two_commits_are_compared() {
    let town = Town::new().await;
    let main = town.get("/git/ref/heads/main").await["object"]["sha"].clone();
    let main = main.as_str().unwrap();
    let one = town.branch_with("one", "a", "1").await;
    let two = town.branch_with("two", "b", "2").await;
    for (base, head, status, ahead, behind) in [
        (main, "main", "identical", 0, 0),
        (main, "one", "ahead", 1, 0),
        (one.as_str(), "main", "behind", 0, 1),
        (one.as_str(), two.as_str(), "diverged", 1, 1),
    ] {
        let seen = town.get(&format!("/compare/{base}...{head}?per_page=1")).await;
        assert_eq!(
            (&seen["status"], &seen["ahead_by"], &seen["behind_by"]),
            (&json!(status), &json!(ahead), &json!(behind)),
            "{base}...{head}"
        );
        assert_eq!(seen["merge_base_commit"]["sha"], json!(main));
    }
    for absent in ["/compare/main...none", "/compare/none...main", "/compare/main"] {
        town.at("GET", absent, Value::Null)
            .await
            .expect_refusal(404, "Not Found");
    }
}

//! What was sent to the app's webhook, as the app may list it and ask for it again; and which repositories there are.

use serde_json::{Value, json};

use super::{REPO, Town};

impl Town {
    async fn as_jwt(&self, method: &str, path: &str) -> super::Got {
        self.call_as(&self.jwt(), method, path, Value::Null).await
    }

    /// So many comments, each sent to where nobody listens.
    async fn unheard(&self, comments: usize) {
        self.github
            .set_webhook("http://127.0.0.1:1/", "s".to_owned().into(), false);
        let pr = self.by_alice("b", &[("a.txt", Some("a\n"))]);
        self.github.lose_deliveries();
        for n in 0..comments {
            self.github.comment(REPO, pr, "alice", &format!("{n}")).unwrap();
        }
        self.github.deliver_pending().await;
    }
}

#[tokio::test]
async fn deliveries_are_the_apps_alone() {
    let town = Town::as_app().await;
    town.unheard(1).await;
    for (method, path) in [
        ("GET", "/app/hook/deliveries"),
        ("GET", "/app/hook/deliveries/12000000000"),
        ("POST", "/app/hook/deliveries/12000000000/attempts"),
    ] {
        town.call(method, path, Value::Null)
            .await
            .expect_refusal(401, "JSON web token");
        town.call_as("ghp_plain", method, path, Value::Null)
            .await
            .expect_refusal(401, "JSON web token");
        town.as_jwt(method, path)
            .await
            .expect(if method == "POST" { 202 } else { 200 });
    }
    for path in ["/app/hook/deliveries/1", "/app/hook/deliveries/1/attempts"] {
        let method = if path.ends_with("attempts") { "POST" } else { "GET" };
        town.as_jwt(method, path).await.expect_refusal(404, "Not Found");
    }
}

#[tokio::test]
async fn each_try_is_listed_the_newest_first_under_the_id_of_its_delivery() {
    let town = Town::new().await;
    town.unheard(1).await;
    town.pass(60);
    let first = town.as_jwt("GET", "/app/hook/deliveries").await.expect(200);
    let path = format!("/app/hook/deliveries/{}/attempts", first[0]["id"]);
    assert_eq!(town.as_jwt("POST", &path).await.expect(202), json!({}));
    town.github.deliver_pending().await;
    let listed = town.as_jwt("GET", "/app/hook/deliveries").await.expect(200);
    let shown = |at: usize, names: &[&str]| -> Vec<Value> { names.iter().map(|n| listed[at][*n].clone()).collect() };
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[1], &listed[0]["guid"]), (&first[0], &first[0]["guid"]));
    assert_eq!(listed[0]["guid"], town.github.deliveries().last().unwrap().id.as_str());
    let names = ["redelivery", "status", "status_code", "event", "action"];
    let failed = |again: bool| json!([again, "failed to connect", 502, "issue_comment", "created"]);
    assert_eq!(
        json!([shown(0, &names), shown(1, &names)]),
        json!([failed(true), failed(false)])
    );
    let path = format!("/app/hook/deliveries/{}", listed[0]["id"]);
    let whole = town.as_jwt("GET", &path).await.expect(200);
    assert_eq!(whole["request"]["payload"]["comment"]["body"], "0");
    assert_eq!(whole["request"]["headers"]["x-github-event"], "issue_comment");
    let again = town
        .as_jwt("GET", "/app/hook/deliveries?redelivery=true")
        .await
        .expect(200);
    assert_eq!(again.as_array().unwrap().len(), 1);
    town.pass(73 * 3600);
    let later = town.as_jwt("GET", "/app/hook/deliveries").await.expect(200);
    assert_eq!(later, json!([]), "three days are kept");
}

#[tokio::test]
async fn the_list_is_paged_by_cursor_only() {
    let town = Town::new().await;
    town.unheard(5).await;
    let page = town.as_jwt("GET", "/app/hook/deliveries?per_page=2&page=2").await;
    let link = page.headers["link"].to_str().unwrap().to_owned();
    let newest = page.expect(200);
    let (next, rel) = link.split_once("; ").unwrap();
    assert_eq!(rel, "rel=\"next\"");
    let mut ids: Vec<u64> = newest
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["id"].as_u64().unwrap())
        .collect();
    let mut next = Some(next.trim_matches(['<', '>']).to_owned());
    while let Some(url) = next {
        assert!(url.contains("cursor=") && url.contains("per_page=2"), "{url}");
        let page = town.as_jwt("GET", &url).await;
        next = page.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            link[1..link.find('>').unwrap()].to_owned()
        });
        ids.extend(
            page.expect(200)
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["id"].as_u64().unwrap()),
        );
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    town.as_jwt("GET", "/app/hook/deliveries?cursor=2")
        .await
        .expect_refusal(400, "cursor");
}

#[tokio::test]
async fn an_installation_lists_what_it_covers_and_an_account_what_it_was_given() {
    let mut town = Town::as_app().await;
    town.github.add_repo("other/thing", &[]).unwrap();
    let covered = town
        .call("GET", "/installation/repositories", Value::Null)
        .await
        .expect(200);
    assert_eq!(
        (&covered["total_count"], &covered["repositories"][0]["full_name"]),
        (&json!(1), &json!(REPO))
    );
    town.call("GET", "/user/repos", Value::Null)
        .await
        .expect_refusal(403, "not accessible by integration");
    town.token = "ghp_plain".to_owned();
    town.call("GET", "/installation/repositories", Value::Null)
        .await
        .expect_refusal(403, "installation access token");
    town.github.set_public("other/thing", true).unwrap();
    let given = town
        .call("GET", "/user/repos?sort=pushed", Value::Null)
        .await
        .expect(200);
    let names: Vec<&str> = given
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["full_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [REPO], "what anybody may see is not given to somebody");
    town.call("GET", "/user/repos?sort=stars", Value::Null)
        .await
        .expect_refusal(422, "sort");
}

#[tokio::test]
async fn review_comments_of_a_repository_are_listed_since_and_sorted() {
    let town = Town::new().await;
    let pr = town.by_alice("b", &[("a.txt", Some("a\n"))]);
    let say = |text: &str| {
        town.github
            .review_comment(REPO, pr, "alice", ("a.txt", 1), text)
            .unwrap()
    };
    let first = say("first");
    town.pass(60);
    let since = jiff::Timestamp::from_second(town.now()).unwrap();
    say("second");
    let bodies = async |query: &str| -> Vec<String> {
        let listed = town.get(&format!("/pulls/comments?{query}")).await;
        let all = listed.as_array().unwrap();
        all.iter().map(|c| c["body"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(bodies(&format!("since={since}")).await, ["second"]);
    town.pass(60);
    town.at("PATCH", &format!("/pulls/comments/{first}"), json!({"body": "edited"}))
        .await
        .expect(200);
    assert_eq!(bodies("sort=created&direction=desc").await, ["second", "edited"]);
    assert_eq!(bodies("sort=updated&direction=asc").await, ["second", "edited"]);
    assert_eq!(
        bodies("direction=desc").await,
        ["edited", "second"],
        "a direction alone means nothing"
    );
}

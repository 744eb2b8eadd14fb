//! Jira's stand-in: searching by JQL and changelogs, as Cloud and as Data Center have them.

use serde_json::{Map, Value, json};
use stepherd::sandbox::jira::Flavour;

use super::jira::{KEY, site};

/// `updated >= "-10m" ORDER BY created ASC`, encoded.
const RECENT: &str = "jql=updated%20%3E%3D%20%22-10m%22%20ORDER%20BY%20created%20ASC";

fn keys(page: &Value) -> Vec<&str> {
    let issues = page["issues"].as_array().expect("issues");
    issues.iter().filter_map(|issue| issue["key"].as_str()).collect()
}

#[tokio::test]
async fn cloud_searches_by_page_token_and_has_no_other_search() {
    let (jira, caller) = site(Flavour::Cloud).await;
    for n in 0..3 {
        jira.add_issue(&format!("SREPROV-{n}"), "More", Map::new())
            .expect("a project");
    }
    let gone = caller.get(&format!("/rest/api/2/search?{RECENT}")).await;
    assert_eq!(gone.0, 410);
    for version in [2, 3] {
        let search = format!("/rest/api/{version}/search/jql?{RECENT}&fields=updated&maxResults=3");
        let (status, first) = caller.get(&search).await;
        assert_eq!((status, keys(&first)), (200, vec![KEY, "SREPROV-0", "SREPROV-1"]));
        assert_eq!(first["isLast"], false);
        assert!(first.get("total").is_none(), "nobody counts");
        assert_eq!(first["issues"][0]["fields"].as_object().expect("fields").len(), 1);
        let token = first["nextPageToken"].as_str().expect("a token");
        let (_, last) = caller.get(&format!("{search}&nextPageToken={token}")).await;
        assert_eq!((keys(&last), &last["isLast"]), (vec!["SREPROV-2"], &json!(true)));
        assert!(last.get("nextPageToken").is_none());
        assert_eq!(caller.get(&format!("{search}&nextPageToken=x")).await.0, 400);
        assert_eq!(caller.get(&format!("{search}&startAt=1")).await.0, 400);
    }
    let (_, bare) = caller.get(&format!("/rest/api/3/search/jql?{RECENT}")).await;
    assert_eq!(
        bare["issues"][0].as_object().expect("an issue").len(),
        1,
        "only ids unless fields are asked for"
    );
}

#[tokio::test]
async fn data_center_searches_by_index_and_has_no_other_search() {
    let (jira, caller) = site(Flavour::DataCenter).await;
    jira.add_issue("SREPROV-1", "More", Map::new()).expect("a project");
    let (status, page) = caller
        .get(&format!("/rest/api/2/search?{RECENT}&startAt=1&maxResults=1"))
        .await;
    assert_eq!((status, keys(&page)), (200, vec!["SREPROV-1"]));
    assert_eq!((&page["total"], &page["startAt"]), (&json!(2), &json!(1)));
    assert!(
        page["issues"][0]["fields"]["summary"].is_string(),
        "all that can be navigated to"
    );
    assert_eq!(caller.get(&format!("/rest/api/2/search/jql?{RECENT}")).await.0, 404);
    assert_eq!(caller.get(&format!("/rest/api/2/issue/{KEY}/changelog")).await.0, 404);
}

#[tokio::test]
async fn jql_is_read_or_refused() {
    let (jira, caller) = site(Flavour::Cloud).await;
    jira.comment(KEY, "557058:eve", "hello").await.expect("a comment");
    let search = async |jql: &str| {
        let encoded: String = form_urlencoded::byte_serialize(jql.as_bytes()).collect();
        caller
            .get(&format!("/rest/api/3/search/jql?fields=updated&jql={encoded}"))
            .await
    };
    let found = search("project in (\"SREPROV\") AND updated >= \"-1m\" ORDER BY created ASC").await;
    assert_eq!((found.0, keys(&found.1)), (200, vec![KEY]));
    for jql in [
        "",
        "updated >= yesterday",
        "updated >= \"-1m\" ORDER BY whim",
        "project in (SREPROV) AND updated >= \"-1m\"",
        "project in (\"NONE\") AND updated >= \"-1m\"",
    ] {
        let (status, answer) = search(jql).await;
        assert_eq!((status, answer["errorMessages"].is_array()), (400, true), "{jql}");
    }
    jira.hide(KEY, true);
    assert!(keys(&search("updated >= \"-1m\"").await.1).is_empty());
}

#[tokio::test]
async fn changes_are_kept_with_who_made_them() {
    for flavour in [Flavour::Cloud, Flavour::DataCenter] {
        let (jira, caller) = site(flavour).await;
        jira.transition(KEY, "eve", "Approved").await.expect("a way");
        for n in 0..60 {
            jira.set_field(KEY, "eve", "summary", json!(n.to_string()))
                .await
                .expect("a field");
        }
        let issue = format!("/rest/api/2/issue/{KEY}");
        let (_, plain) = caller.get(&issue).await;
        assert!(plain.get("changelog").is_none(), "only when it is asked for");
        let (_, shown) = caller.get(&format!("{issue}?expand=changelog")).await;
        let log = &shown["changelog"];
        let histories = log["histories"].as_array().expect("changes");
        assert_eq!(log["total"], 61);
        let moved = if flavour == Flavour::Cloud {
            assert_eq!(
                (histories.len(), &histories[0]["items"][0]["toString"]),
                (40, &json!("59"))
            );
            let (_, page) = caller.get(&format!("{issue}/changelog?startAt=0&maxResults=50")).await;
            assert_eq!((&page["isLast"], &page["total"]), (&json!(false), &json!(61)));
            let (_, rest) = caller.get(&format!("{issue}/changelog?startAt=50&maxResults=50")).await;
            assert_eq!(
                (&rest["isLast"], rest["values"].as_array().map(Vec::len)),
                (&json!(true), Some(11))
            );
            page["values"][0].clone()
        } else {
            assert_eq!(histories.len(), 61);
            histories[0].clone()
        };
        let told = jira.deliveries().remove(0).body;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(
            (&moved["id"], &moved["items"]),
            (&told["changelog"]["id"], &told["changelog"]["items"])
        );
        assert_eq!(moved["author"]["displayName"], "Eve");
    }
}

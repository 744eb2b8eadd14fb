//! What must stay pinned, and why.

use std::collections::BTreeMap;

use super::source::root;

fn table(file: &str) -> toml::Table {
    std::fs::read_to_string(root().join(file)).unwrap().parse().unwrap()
}

/// Versions by crate, as they are locked.
fn locked() -> BTreeMap<String, Vec<String>> {
    versions(&table("Cargo.lock"))
}

fn versions(lock: &toml::Table) -> BTreeMap<String, Vec<String>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().push(text("version"));
    }
    versions
}

/// Dependencies that switch on a rustls provider other than ring.
fn other_providers(manifest: &toml::Table) -> Vec<String> {
    let wrong = |feature: &str| {
        let feature = feature.replace('-', "_");
        feature.contains("aws_lc_rs") || feature.contains("native_tls") || feature == "default_tls"
    };
    let mut found = Vec::new();
    for (name, spec) in manifest["dependencies"].as_table().unwrap() {
        let features = spec
            .get("features")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        for feature in features
            .filter_map(toml::Value::as_str)
            .filter(|feature| wrong(feature))
        {
            // Tokens are signed with aws-lc-rs, which has nothing to do with TLS.
            if name != "jsonwebtoken" && feature != "jwt-aws-lc-rs" {
                found.push(format!("{name}/{feature}"));
            }
        }
    }
    found
}

/// SQLite before 3.51.3 can lose committed data when two connections write at once; 0.37.0 is the only version that
/// sqlx takes and that brings a newer one.
#[test]
fn sqlite_is_the_version_that_loses_nothing() {
    assert_eq!(locked()["libsqlite3-sys"], ["0.37.0"]);
    let manifest = table("Cargo.toml");
    assert_eq!(
        manifest["dependencies"]["libsqlite3-sys"].as_str(),
        Some("=0.37.0"),
        "a refresh must not move it"
    );
}

#[test]
fn there_is_one_tls_and_it_is_rustls_with_ring() {
    let locked = locked();
    for gone in ["native-tls", "openssl", "openssl-sys", "serde_yaml", "serde_yml"] {
        assert!(!locked.contains_key(gone), "{gone} is in Cargo.lock");
    }
    assert_eq!(locked["rustls"].len(), 1, "{:?}", locked["rustls"]);
    assert_eq!(other_providers(&table("Cargo.toml")), Vec::<String>::new());
    // Works only if exactly one provider was compiled in, or if one was installed; no test installs any.
    let _ = rustls::ClientConfig::builder();
}

#[test]
fn clients_that_change_under_the_hand_are_fixed() {
    let manifest = table("Cargo.toml");
    for (name, version) in [("octocrab", "=0.54.9"), ("serenity", "=0.12.5")] {
        assert_eq!(manifest["dependencies"][name]["version"].as_str(), Some(version));
    }
}

#[test]
fn the_lock_law_can_be_broken() {
    let manifest: toml::Table =
        "[dependencies]\nrustls = { version = \"0.23\", features = [\"ring\", \"aws_lc_rs\"] }\n\
         reqwest = { version = \"1\", features = [\"native-tls\"] }\nserde = \"1\"\n\
         jsonwebtoken = { version = \"10\", features = [\"aws_lc_rs\"] }"
            .parse()
            .unwrap();
    assert_eq!(other_providers(&manifest), ["reqwest/native-tls", "rustls/aws_lc_rs"]);
    let lock: toml::Table = "[[package]]\nname = \"a\"\nversion = \"1\"\n[[package]]\nname = \"a\"\nversion = \"2\""
        .parse()
        .unwrap();
    assert_eq!(versions(&lock)["a"], ["1", "2"]);
}

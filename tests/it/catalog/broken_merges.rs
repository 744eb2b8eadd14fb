//! What may be wrong with what a merge feeds, what a step leaves behind, and a parameter's list of files.

use super::told;

#[test]
fn broken_merges_and_sources_are_told_what_and_where() {
    let told = told(
        "config/pipelines/dcr.toml",
        &[
            ("backend = \"argocd\"", "backend = \"dcr\""),
            ("project = \"dcr\" }", "project = \"dcr\", revision = \"x\" }"),
            ("leaves = { says", "leaves = { until = \"Rebuilt\", says"),
            ("leaves = { says", "leaves = { until = \"HistoryUpdate\", says"),
            (
                "the farm of {{ tenant }} stays on",
                "the farm of {{ tennant }} stays on",
            ),
            ("file = [\n  { repo", "file = [\n  { rpo"),
        ],
    );
    insta::assert_snapshot!(told, @r#"
    > backend = "dcr"
    config/pipelines/dcr.toml:136:11: there is no back-end `dcr` that has such applications
      hint: there is: argocd

    > project = "dcr", revision = "x" }
    config/pipelines/dcr.toml:137:53: the back-end `argocd` knows no key `revision`
      hint: there is: app, project, app_namespace

    > leaves = { until = "Rebuilt", says
    config/pipelines/dcr.toml:133:20: there is no later step `Rebuilt`
      hint: did you mean `Rebuild`?

    > leaves = { until = "HistoryUpdate", says
    config/pipelines/dcr.toml:133:20: there is no later step `HistoryUpdate`
      hint: there is: CloseTicket, Rebuild, Sync, WaitForFarmers

    > the farm of {{ tennant }} stays on
    config/pipelines/dcr.toml:133:35: in this template: nothing called `tennant` is known here
      hint: did you mean `tenant`?

    > { rpo
    config/pipelines/dcr.toml:62:5: unknown key `rpo`
      hint: did you mean `repo`?
    "#);
}

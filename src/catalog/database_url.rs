//! What may stand in the address of a database, and what must not.

/// Whether the address holds a password, where it stands or among the options behind it.
pub(super) fn has_password(url: &str) -> bool {
    url::Url::parse(url)
        .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(name, _)| name.contains("password")))
}

/// What may stand behind the `?` of PostgreSQL's address.
pub(super) const OPTIONS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The first option of the address that is none.
pub(super) fn unknown_option(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let mut names = url.query_pairs().map(|(name, _)| name.into_owned());
    names.find(|name| !OPTIONS.contains(&name.as_str()) && !name.starts_with("options["))
}

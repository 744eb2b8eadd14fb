//! One Jira site: who we are there, and how its paths are written.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Flavor, JiraConfig, JiraDoor, JiraProofs, PLATFORM};
use crate::adapters::CallError;
use crate::adapters::http::{Answered, Api, Auth, permanent, retry};
use crate::domain::ids::{ThreadRef, TicketKey};
use crate::domain::run::FailureClass;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A Jira site as tracker and as threads.
pub struct Jira {
    api: Api,
    pub(super) flavor: Flavor,
    own: Arc<OnceCell<String>>,
}

impl Jira {
    /// # Errors
    /// When the address is not an http(s) URL or the credentials cannot be sent. The text is for people and holds no
    /// secret.
    pub fn new(config: JiraConfig) -> Result<Self, String> {
        let auth = match config.email {
            Some(user) => Auth::Basic {
                user,
                password: config.token,
            },
            None => Auth::Bearer(config.token),
        };
        Ok(Self {
            api: Api::new("Jira", &config.base_url, &auth)?,
            flavor: config.flavor,
            own: Arc::new(OnceCell::new_with(config.own_account_id)),
        })
    }

    /// stepherd's own account: as configured, or as Jira says whose the token is. Jira is asked once.
    ///
    /// # Errors
    /// When Jira cannot be asked or does not know the token.
    pub async fn own_account(&self) -> Result<&str, CallError> {
        self.own.get_or_try_init(|| self.ask_self()).await.map(String::as_str)
    }

    /// Asks Jira whose the token is.
    pub(super) async fn ask_self(&self) -> Result<String, CallError> {
        let me = self.get(&self.path("/myself")).await?;
        account_id(&success(me)?).ok_or_else(|| odd("it did not say whose the token is"))
    }

    /// Asks, whether that is known or not.
    pub(super) async fn ask_self_anew(&self) -> Result<(), CallError> {
        let own = self.ask_self().await?;
        // What is known or configured stays.
        let _ = self.own.set(own);
        Ok(())
    }

    /// The door that goes with it. It knows stepherd's own account as soon as this does.
    pub fn door(&self, proofs: JiraProofs) -> JiraDoor {
        JiraDoor::knowing(proofs, self.own.clone())
    }

    /// The same for whoever is about to obey: without it, anybody might be stepherd itself, so that it is asked again
    /// later rather than never.
    pub(super) async fn known_self(&self) -> Result<&str, CallError> {
        self.own_account().await.map_err(|error| match error {
            CallError::Permanent { why, class } => {
                retry(format!("cannot tell who stepherd is in Jira: {why}"), None, class)
            }
            retry => retry,
        })
    }

    /// A path of this flavour's REST API.
    pub(super) fn path(&self, rest: &str) -> String {
        let version = match self.flavor {
            Flavor::Cloud => 3,
            Flavor::DataCenter => 2,
        };
        format!("/rest/api/{version}{rest}")
    }

    pub(super) async fn get(&self, target: &str) -> Result<Answered, CallError> {
        self.api.call(Method::GET, target, None).await
    }

    pub(super) async fn delete(&self, target: &str) -> Result<Answered, CallError> {
        self.api.call(Method::DELETE, target, None).await
    }

    pub(super) async fn send(&self, method: Method, target: &str, body: &Value) -> Result<Answered, CallError> {
        self.api.call(method, target, Some(body)).await
    }
}

/// The body of a 2xx, which must be there.
pub(super) fn success(answered: Answered) -> Result<Value, CallError> {
    let body: Value = answered.json()?;
    if body.is_null() {
        Err(odd("the answer was empty"))
    } else {
        Ok(body)
    }
}

/// An answer that is whole JSON but not as documented: it may have been cut, so another try may do.
pub(super) fn odd(what: &str) -> CallError {
    retry(format!("Jira: {what}"), None, FailureClass::Infrastructure)
}

/// The ticket whose thread it is.
pub(super) fn ticket_in(thread: &ThreadRef) -> Result<TicketKey, CallError> {
    let not_ours = |why: String| permanent(why, FailureClass::User);
    if thread.platform.as_str() != PLATFORM {
        return Err(not_ours(format!("{thread} is no thread of Jira's")));
    }
    thread.place.parse().map_err(|e| not_ours(format!("{thread}: {e}")))
}

/// A part of a path or query, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A user's stable id: `accountId` (Cloud), user key, failing that name (Data Center).
pub(super) fn account_id(user: &Value) -> Option<String> {
    ["accountId", "key", "name"]
        .iter()
        .find_map(|name| user.get(*name)?.as_str())
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
}

/// An id that Jira sends as text or as a number.
pub(super) fn id_of(value: &Value) -> Option<String> {
    match value.get("id")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

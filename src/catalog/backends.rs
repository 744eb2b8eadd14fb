//! What a job tells its back-end under `with`: keys that every job needs, keys that it may have, and no others. What
//! the values lead to is the back-end adapter's business.

use std::collections::BTreeMap;

use crate::domain::nearest::nearest;

use super::diagnose::did_you_mean;
use super::page::{At, Page};
use super::settings::BackendForm;
use super::values::Scalar;

/// Whether a job tells its back-end what it needs to know, and nothing it would not look at.
pub(super) fn check_with(
    page: &mut Page,
    backend: &At<String>,
    with: &BTreeMap<At<String>, At<Scalar>>,
    form: &BackendForm,
) {
    let keys = || form.required.iter().chain(form.optional).copied();
    let mut meant = Vec::new();
    for (key, value) in with {
        if !keys().any(|known| known == key.get()) {
            meant.extend(nearest(key.get(), keys()));
            page.push(
                key.span(),
                format!("the back-end `{}` knows no key `{}`", form.name, key.get()),
                did_you_mean(key.get(), keys()),
            );
        }
        let words = form.words.iter().find(|(name, _)| name == key.get());
        let written = &value.get().0;
        if let Some((name, words)) = words.filter(|_| !written.contains('{'))
            && !words.contains(&written.as_str())
        {
            page.push(
                value.span(),
                format!("`{name}` must be one of {}, not `{written}`", words.join(", ")),
                nearest(written, words.iter().copied()).map(|best| format!("did you mean `{best}`?")),
            );
        }
    }
    // A key that was mistyped has been told already.
    let given = |key: &str| with.keys().any(|given| given.get() == key) || meant.contains(&key);
    for key in form.required.iter().filter(|key| !given(key)) {
        if !page.partial {
            let message = format!("the back-end `{}` needs `{key}` under `with`", form.name);
            page.say(backend.span(), message);
        }
    }
}

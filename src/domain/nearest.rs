//! Did you mean: the name that a mistyped one was probably meant to be.

/// The candidate most like a word, if one is like enough to have been meant; the first of several as like.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Likeness takes time in the product of the lengths; nobody mistypes a name longer than names can be.
    let word: String = word.chars().take(80).collect();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&word, candidate);
        let close = likeness >= 0.8 || strsim::damerau_levenshtein(&word, candidate) <= 1;
        if close && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

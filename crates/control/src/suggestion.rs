//! The word that was meant.

/// Edits that may lie between an unknown word and the known one that is suggested for it.
const EDITS_MAX: usize = 3;

/// Letters from which on a word may be the beginning of what was meant.
const BEGINNING_MIN: usize = 3;

/// The one of `known` that begins with `unknown`, or else is nearest to it, if one is near enough to be
/// what was meant.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    let known = known.into_iter();
    let is_beginning = unknown.len() >= BEGINNING_MIN;
    if let Some(longer) = known.clone().find(|word| is_beginning && word.starts_with(unknown)) {
        return Some(longer);
    }
    known
        .map(|word| (strsim::damerau_levenshtein(unknown, word), word))
        .min()
        .filter(|&(edits, word)| edits <= EDITS_MAX && edits < word.len())
        .map(|(_, word)| word)
}

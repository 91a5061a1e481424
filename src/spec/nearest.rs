//! The nearest name to a mistyped one, and the sentence that offers it.

/// The name most like `typed`, unless none is near enough to be meant: about one slip for each three letters.
pub fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Names are at most 128 bytes, so a longer one is none, and comparing megabytes is no use.
    if typed.len() > crate::id::NAME_BYTES_MAX {
        return None;
    }
    let letters = typed.chars().count();
    let typed_lower = typed.to_lowercase();
    let slips = |name: &str| strsim::osa_distance(&typed_lower, &name.to_lowercase());
    names
        .into_iter()
        .filter(|name| name.chars().count().abs_diff(letters) <= letters / 3 + 1)
        .map(|name| (slips(name), name))
        .filter(|(slips, name)| *slips <= letters.max(name.chars().count()) / 3 + usize::from(letters <= 2))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// `did you mean `build`?`
pub fn did_you_mean<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(typed, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_only_what_can_be_meant() {
        let names = ["needs", "inputs", "outputs", "timeout", "run", "sh"];
        for (typed, meant) in [
            ("need", Some("needs")),
            ("Inputs", Some("inputs")),
            ("input", Some("inputs")),
            ("tiemout", Some("timeout")),
            ("rnu", Some("run")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }
}

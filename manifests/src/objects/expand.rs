//! References between variables, `$(NAME)`, as Kubernetes resolves them in plain values.
//!
//! Values of tenants travel in a Secret, whose values the kubelet takes as they are. So that documents mean here what they mean
//! elsewhere, references are resolved before: `$(NAME)` is the value that NAME has so far, `$$` is one `$`, and a reference to
//! nothing stays as it is written.

/// The value with its references resolved by `known`.
pub(super) fn expand<'a>(value: &str, known: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(left) = after.strip_prefix('$') {
            expanded.push('$');
            left
        } else if let Some((name, left)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            left
        } else {
            expanded.push('$');
            after
        };
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_kubernetes_does() {
        let known = |name: &str| match name {
            "A" => Some("one"),
            "EMPTY" => Some(""),
            "B_1.x" => Some("$(A)"),
            _ => None,
        };
        for (value, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "one"),
            ("-$(A)$(A)-", "-oneone-"),
            ("$(EMPTY)x", "x"),
            ("$(B_1.x)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$one"),
            ("pa$$word", "pa$word"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("ü$(A)ß", "üoneß"),
        ] {
            assert_eq!(expand(value, known), expected, "{value}");
        }
    }
}

//! What a product's name says, by rule.

use super::{Interface, MAX_SLUG, MIG, UNKNOWN};

/// What a product name says when the words that every card has are taken away.
#[derive(Debug, Default)]
pub(super) struct Name {
    pub(super) slug: String,
    pub(super) ram_gib: Option<u32>,
    pub(super) interface: Option<Interface>,
    /// Of a series that is only sold as a card for a slot.
    pub(super) is_add_in_card: bool,
}

impl Name {
    pub(super) fn read(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let laptop = words.contains(&"laptop");
        let max_q = words.windows(2).any(|pair| pair == ["max", "q"]);
        let mut name = Self::default();
        for (index, word) in words.iter().copied().enumerate() {
            let after_max = index > 0 && words[index - 1] == "max";
            match word {
                "rtx" | "gtx" | "titan" => {
                    name.is_add_in_card = true;
                    name.slug.push_str(word);
                }
                "geforce" | "quadro" => name.is_add_in_card = true,
                "nvidia" | "tesla" | "gpu" | "ac" | "active" | "blackwell" | "generation" | "edition"
                | "with" | "design" => {}
                "super" | "sff" => name.slug.push('s'),
                "embedded" => name.slug.push('e'),
                "laptop" => name.slug.push('m'),
                "max" if max_q => {
                    if !laptop {
                        name.slug.push_str("mq");
                    }
                }
                "q" if after_max => {}
                "server" => name.slug.push_str("se"),
                "workstation" => {
                    if !max_q {
                        name.slug.push_str("we");
                    }
                }
                _ if word.starts_with("hbm") => {}
                _ => match (Interface::from_word(word), memory_word(word)) {
                    (Some(interface), _) => name.interface = Some(interface),
                    (None, Some(gib)) => name.ram_gib = Some(gib),
                    (None, None) => name.slug.push_str(word),
                },
            }
        }
        name
    }

    /// A model as a tenant wrote it. Slices and unknown cards are asked for by their exact slug.
    pub(super) fn of_request(model: &str) -> Self {
        let lower = model.to_ascii_lowercase();
        if lower.contains(MIG) || lower.starts_with(UNKNOWN) {
            return Self { slug: lower, ..Self::default() };
        }
        Self::read(&lower)
    }

    /// Whether it tells one product from another: engineering samples and new cards on old drivers carry only words.
    pub(super) fn is_telling(&self) -> bool {
        let has_number = self.slug.bytes().any(|byte| byte.is_ascii_digit());
        (has_number || self.slug.starts_with("titan")) && self.slug.len() <= MAX_SLUG
    }
}

/// The GiB in a word such as `80gb` or the `144g` of a GH200.
fn memory_word(word: &str) -> Option<u32> {
    word.strip_suffix("gb").or_else(|| word.strip_suffix('g'))?.parse().ok()
}

//! Command lines that are one text: split as a shell splits them, without anything else that a shell does.

/// The words; `None` if a quote is not closed.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            '\'' => loop {
                match characters.next()? {
                    '\'' => break,
                    quoted => word.push(quoted),
                }
            },
            '"' => loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => match characters.next()? {
                        escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                        '\n' => {}
                        other => word.extend(['\\', other]),
                    },
                    quoted => word.push(quoted),
                }
            },
            '\\' => match characters.next()? {
                '\n' => continue,
                escaped => word.push(escaped),
            },
            plain => word.push(plain),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_bind_words() {
        let words = split(r#"run  --name 'a b' "c \"d\"" e\ f '' x"y"z"#).expect("closed");
        assert_eq!(words, ["run", "--name", "a b", "c \"d\"", "e f", "", "xyz"]);
        assert_eq!(split("'open"), None);
        assert_eq!(split("  "), Some(Vec::new()));
    }
}

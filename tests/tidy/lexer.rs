//! Just enough of Rust's grammar for the house rules: which characters are code, which lines are
//! tests, where a function begins and ends.
//!
//! In → a file's text; out → the same text with comments and the insides of literals blanked, line
//! for line, so that a rule never stumbles over a word in a string. Cost: one pass over the bytes.

/// A Rust file as the rules see it.
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    /// The lines as they stand.
    pub lines: Vec<String>,
    /// The same lines, comments and literals blanked.
    pub code: Vec<String>,
    /// Whether a line stands in an item under `#[cfg(test)]`.
    pub is_test: Vec<bool>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), code.len(), "{path}: blanking keeps the lines");
        let mut is_test = vec![false; lines.len()];
        for (start, end) in test_items(&code) {
            is_test[start..=end].fill(true);
        }
        Source { path: path.to_owned(), lines, code, is_test }
    }

    /// Names of the files that this one declares: `mod name;`.
    pub fn children(&self) -> Vec<&str> {
        let lines = self.code.iter().map(|line| line.trim());
        let names = lines.filter_map(|line| {
            let at = word_positions(line, "mod").next()?;
            line[at + 3..].strip_suffix(';').map(str::trim)
        });
        names.collect()
    }

    /// Paths of the files that this one declares as tests: `#[cfg(test)] mod name;`.
    pub fn test_files(&self) -> Vec<String> {
        let folder = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let names = test_items(&self.code).into_iter().filter_map(|(_, end)| {
            let line = self.code[end].trim().trim_start_matches("pub ");
            line.strip_prefix("mod ")?.strip_suffix(';')
        });
        names.map(|name| format!("{folder}/{name}.rs")).collect()
    }

    /// Written by a script, as its `//!` head says with these words.
    pub fn is_generated(&self) -> bool {
        let head = self.lines.iter().take_while(|line| line.starts_with("//!"));
        head.into_iter().any(|line| line.contains("never by hand"))
    }

    /// (first line, last line) of every function with a body.
    pub fn functions(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (index, line) in self.code.iter().enumerate() {
            for at in word_positions(line, "fn") {
                // `fn(u8) -> u8` is a type, `fn name` an item.
                let named = line[at + 2..].trim_start().starts_with(is_ident);
                if let Some(end) = named.then(|| body_end(&self.code, index, at)).flatten() {
                    found.push((index, end));
                }
            }
        }
        found
    }
}

/// Where `word` stands by itself in `line`: byte offsets.
pub fn word_positions<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let apart = move |at: &usize| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_ident) && !after.is_some_and(is_ident)
    };
    line.match_indices(word).map(|(at, _)| at).filter(apart)
}

pub fn has_word(line: &str, word: &str) -> bool {
    word_positions(line, word).next().is_some()
}

pub fn is_ident(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The last line of the item that begins at (`line`, `column`): where its braces close, or the
/// `;` that ends it without any (then `None`).
fn body_end(code: &[String], line: usize, column: usize) -> Option<usize> {
    let (mut depth, mut brackets) = (0_usize, 0_isize);
    for (index, text) in code.iter().enumerate().skip(line) {
        let start = if index == line { column } else { 0 };
        for c in text[start..].chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(index);
                    }
                }
                ';' if depth == 0 && brackets == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// (first line, last line) of every item under an attribute `#[cfg(…test…)]`.
fn test_items(code: &[String]) -> Vec<(usize, usize)> {
    let is_test = |line: &String| {
        line.trim_start().starts_with("#[cfg(")
            && has_word(line, "test")
            && !line.contains("not(test)")
    };
    let starts = code.iter().enumerate().filter(|(_, line)| is_test(line));
    let spans = starts.map(|(start, line)| {
        let after = line.find(']').map_or(line.len(), |at| at + 1);
        (start, body_end(code, start, after).unwrap_or((start + 1).min(code.len() - 1)))
    });
    spans.collect()
}

/// `text` with comments and the insides of string and character literals turned into blanks.
pub fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal_end(&characters, at).unwrap_or(at);
        if end == at {
            out.push(characters[at]);
            at += 1;
            continue;
        }
        let blanks = characters[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' });
        out.extend(blanks);
        at = end;
    }
    out
}

/// Where the comment or literal that begins at `at` ends, if one does.
fn literal_end(text: &[char], at: usize) -> Option<usize> {
    let next = text.get(at + 1).copied();
    let follows_ident = at > 0 && is_ident(text[at - 1]);
    match text[at] {
        '/' if next == Some('/') => Some(find(text, at, |rest| rest[0] == '\n')),
        '/' if next == Some('*') => Some(comment_end(text, at)),
        '"' => Some(string_end(text, at + 1)),
        'r' | 'b' | 'c' if !follows_ident => prefixed_end(text, at),
        // 'x' and '\x' are characters, 'x without a closing quote is a lifetime.
        '\'' if next == Some('\\') => Some(find(text, at + 3, |rest| rest[0] == '\'') + 1),
        '\'' if text.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

fn find(text: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len()).find(|&at| is_end(&text[at..])).unwrap_or(text.len())
}

/// Block comments nest.
fn comment_end(text: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The end of a string with escapes whose inside begins at `at`.
fn string_end(text: &[char], at: usize) -> usize {
    let mut at = at;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `b'…'`, `c"…"`; `None` for a plain name.
fn prefixed_end(text: &[char], at: usize) -> Option<usize> {
    let prefix = text[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = text[at..at + prefix].contains(&'r');
    let hashes = text[at + prefix..].iter().take_while(|&&c| c == '#').count();
    let quote = at + prefix + hashes;
    match text.get(quote) {
        Some('"') if raw => Some(
            find(text, quote + 1, |rest| {
                rest[0] == '"'
                    && rest[1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
            }) + 1
                + hashes,
        ),
        Some('"') if hashes == 0 => Some(string_end(text, quote + 1)),
        Some('\'') if hashes == 0 && text[at] == 'b' => literal_end(text, quote),
        _ => None,
    }
    .map(|end| end.min(text.len()))
}

#[test]
fn strings_comments_and_characters_are_blanked_and_lifetimes_stay() {
    let check = |text: &str, expect: &str| assert_eq!(blank(text), expect, "{text}");
    check("a \"x // y\" b // c\nd", "a          b     \nd");
    check("f('\"', '\\'', b'x') + 'a", "f(   ,     ,     ) + 'a");
    check("r#\"a\"b\"# c /* d /* e */ f */ g", "         c                   g");
    check("br\"\\\" x \"multi\nline\\\"\" y", "      x       \n        y");
    check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    check("var\"x\"", "var   ");
}

#[test]
fn functions_and_test_items_are_found_with_their_ends() {
    let text = "fn a(x: [u8; 2]) -> u8 {\n    {\n    }\n}\ntrait T {\n    fn b(&self);\n}\n\
                type F = fn(u8);\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\nfn d() {}\n\
                #[cfg(test)]\nuse x;\nfn e() {}\n";
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.functions(), [(0, 3), (10, 10), (12, 12), (15, 15)]);
    let tests: Vec<usize> = (0..source.lines.len()).filter(|&line| source.is_test[line]).collect();
    assert_eq!(tests, [8, 9, 10, 11, 13, 14]);
}

#[test]
fn a_module_declared_as_a_test_is_one() {
    let source = Source::new("src/a/mod.rs", "mod b;\n#[cfg(test)]\nmod golden;\n");
    assert_eq!(source.test_files(), ["src/a/golden.rs"]);
}

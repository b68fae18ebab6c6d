//! What the repository cites of itself: documents, their sections, the targets of links.
//!
//! In → Rust files and Markdown; out → every citation that leads nowhere. A comment cites
//! `docs/design.md, section 3.4`, also across a line's end: the heading `### 3.4 …` must be there.
//! A link in Markdown leads to a file of the repository, its `#fragment` to a heading there (as
//! GitHub makes them). Links to other sites are not followed.

use std::path::Path;

/// Citations of `text` (a file under `root`) that lead nowhere.
pub fn unfounded(root: &Path, text: &str) -> Vec<String> {
    let words: Vec<&str> = text.lines().flat_map(|line| uncommented(line).split(' ')).collect();
    let text = words.join(" ");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("docs/") {
        let cited = &text[at..];
        let Some(end) = cited.find(".md") else { continue };
        let (path, rest) = cited.split_at(end + ".md".len());
        if !path["docs/".len()..end].chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            continue;
        }
        let Ok(document) = std::fs::read_to_string(root.join(path)) else {
            found.push(format!("{path}: no such document"));
            continue;
        };
        let Some(rest) = rest.strip_prefix(", section ") else { continue };
        let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next();
        let number = number.unwrap_or_default().trim_end_matches('.');
        if !sections(&document).any(|section| section == number) {
            found.push(format!("{path}, section {number}: no such section"));
        }
    }
    found
}

/// The line without the marks of a comment.
fn uncommented(line: &str) -> &str {
    line.trim().trim_start_matches("//").trim_start_matches(['/', '!']).trim()
}

/// Numbers of numbered headings: `3.4` of `### 3.4 Bad data`.
fn sections(document: &str) -> impl Iterator<Item = &str> {
    headings(document).map(|heading| {
        let number = heading.split(' ').next().unwrap_or_default();
        number.trim_end_matches('.')
    })
}

fn headings(document: &str) -> impl Iterator<Item = &str> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim())
}

/// Links of the Markdown file at `path`, under `root`, that lead to nothing there.
pub fn dead_links(root: &Path, path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let local = targets.filter(|target| !target.contains("://"));
    local.filter(|target| !leads_somewhere(root, path, target)).map(str::to_owned).collect()
}

fn leads_somewhere(root: &Path, path: &Path, target: &str) -> bool {
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = if file.is_empty() { root.join(path) } else { root.join(folder).join(file) };
    if fragment.is_empty() {
        return file.exists();
    }
    let document = std::fs::read_to_string(&file).unwrap_or_default();
    headings(&document).any(|heading| slug(heading) == fragment)
}

/// GitHub's anchor of a heading: lower case, spaces as `-`, of the rest letters, digits, `-`, `_`.
fn slug(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn citations_and_links_that_lead_nowhere_are_found() {
    let directory = std::env::temp_dir().join(format!("citations-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("docs")).unwrap();
    let document = "# A\n## 3. Units\n### 3.1 One `a.b`\n[x](#31-one-ab) [y](b.md) [z](#no)\n";
    std::fs::write(directory.join("docs/a.md"), document).unwrap();
    let cited =
        "//! (docs/a.md, section 3.1; docs/a.md,\n//! section 4.) docs/gone.md, docs/a.md\n";
    let found = unfounded(&directory, cited);
    let dead = dead_links(&directory, Path::new("docs/a.md"));
    std::fs::remove_dir_all(&directory).unwrap();
    let expected = ["docs/a.md, section 4: no such section", "docs/gone.md: no such document"];
    assert_eq!(found, expected);
    assert_eq!(dead, ["b.md", "#no"]);
}

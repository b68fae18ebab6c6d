//! HTML written by hand: what every page of ours escapes and appends by.
//!
//! In → text; out → the same text as a browser shows it, without markup of its own.

use std::fmt::{Arguments, Write};

/// A text in which nothing is markup.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 16);
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            _ => html.push(char),
        }
    }
    html
}

/// Appends to a page.
pub fn put(html: &mut String, text: Arguments<'_>) {
    html.write_fmt(text).expect("writing to a string cannot fail");
}

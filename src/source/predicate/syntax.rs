//! SQL text → sqlparser's tree, and errors that show where in the text they are.
//!
//! In → the condition as a person wrote it; out → an expression, or a config error of three lines:
//! what is wrong, the text, a caret below the place. Texts that would make deep trees are refused
//! from their tokens alone, for trees are walked (and freed) by recursion.

use sqlparser::ast::{Expr, Spanned};
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::base::error::{Error, Result};

/// Bytes of a condition, at most.
const BYTES_MAX: usize = 64 << 10;
/// AND and OR around any place, at most.
const JUNCTIONS_MAX: usize = 1000;
/// Other operators around any place, at most.
const OPERATORS_MAX: usize = 100;
/// Characters shown on either side of an error, at most.
const SHOWN: usize = 60;

/// For hints: what a condition may hold.
pub(super) const SUPPORTED: &str = "a condition has columns, 'text', numbers, true and false; \
    = <> < <= > >=, AND OR NOT, BETWEEN, IN (…), LIKE and ILIKE, IS [NOT] NULL, TRUE, FALSE or \
    DISTINCT FROM; + - * / %; CAST(… AS double, bigint or varchar); coalesce, length, \
    octet_length, lower, abs, starts_with, ends_with, contains, regexp_like";

/// Parses one expression, and nothing after it.
pub(super) fn parse(sql: &str) -> Result<Expr> {
    if sql.len() > BYTES_MAX {
        return Err(Error::config(format!("the condition has {} bytes", sql.len()))
            .with_hint(format!("it may have {BYTES_MAX}: keep long lists in a column")));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| at(sql, error.location, &plain(&error.message)))?;
    refuse_deep(sql, &tokens)?;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let expression = parser.parse_expr().map_err(|error| explain(sql, &error))?;
    // One `;` may end it, as it ends SQL.
    let _ = parser.consume_token(&Token::SemiColon);
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(expression),
        found => {
            let message = format!("the condition should end before `{found}`");
            Err(at(sql, next.span.start, &message).with_hint(SUPPORTED))
        }
    }
}

/// Refuses what would become a deep tree. A path from the root passes, for each parenthesis that is
/// open, the ANDs and ORs of that level and the operators between two of them.
fn refuse_deep(sql: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![(0, 0)];
    // An AND that belongs to a BETWEEN does not count as a junction.
    let mut betweens = 0;
    for TokenWithSpan { token, span } in tokens {
        let Some((junctions, operators)) = levels.last_mut() else { return Ok(()) };
        match token {
            Token::LParen => levels.push((0, 0)),
            Token::RParen => drop(levels.pop()),
            Token::Comma => *operators = 0,
            Token::Word(word) => match word.keyword {
                Keyword::NoKeyword => {}
                Keyword::AND | Keyword::OR if betweens == 0 => {
                    (*junctions, *operators) = (*junctions + 1, 0);
                }
                keyword => {
                    betweens += usize::from(keyword == Keyword::BETWEEN);
                    betweens -= usize::from(keyword == Keyword::AND);
                    *operators += 1;
                }
            },
            Token::Whitespace(_) | Token::Number(..) | Token::SingleQuotedString(_) => {}
            _ => *operators += 1,
        }
        let (junctions, operators): (Vec<usize>, Vec<usize>) = levels.iter().copied().unzip();
        if junctions.iter().sum::<usize>() > JUNCTIONS_MAX {
            let error = at(sql, span.start, "the condition has too many ANDs and ORs");
            return Err(error.with_hint("a list of values is written `column IN ('a', 'b')`"));
        }
        if operators.iter().sum::<usize>() > OPERATORS_MAX {
            return Err(at(sql, span.start, "the condition is nested too deeply"));
        }
    }
    Ok(())
}

/// The error `message` about a part of the condition.
pub(super) fn about(sql: &str, part: &Expr, message: &str) -> Error {
    at(sql, part.span().start, message)
}

/// Shows the line and a caret; a location of 0 is not known.
fn at(sql: &str, location: Location, message: &str) -> Error {
    let line = usize::try_from(location.line).ok().and_then(|line| line.checked_sub(1));
    let Some(line) = line.and_then(|line| sql.split('\n').nth(line)) else {
        return Error::config(format!("{message}\n  {sql}"));
    };
    let column = (location.column as usize).saturating_sub(1);
    let from = column.saturating_sub(SHOWN);
    let shown: String = line.chars().skip(from).take(2 * SHOWN).collect();
    let caret = " ".repeat(column - from) + "^";
    Error::config(format!("{message}\n  {shown}\n  {caret}"))
}

/// sqlparser's error → ours. Its form "Expected: x, found: y at Line: 1, Column: 5" is fixed by a
/// test; at the end of the text it names no place.
fn explain(sql: &str, error: &ParserError) -> Error {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = error else {
        return Error::config("the condition is nested too deeply")
            .with_hint("write it with fewer parentheses");
    };
    let (message, location) = match message.rsplit_once(" at Line: ") {
        None => (message.as_str(), None),
        Some((message, place)) => {
            let place = place.split_once(", Column: ");
            let number = |text: &str| text.trim().parse().ok();
            let place = place.and_then(|(line, column)| Some((number(line)?, number(column)?)));
            (message, place.filter(|(line, _)| *line > 0))
        }
    };
    let end = || {
        let last = sql.split('\n').next_back().unwrap_or_default();
        Location::new(sql.split('\n').count() as u64, last.chars().count() as u64 + 1)
    };
    let location = location.map_or_else(end, |(line, column)| Location::new(line, column));
    at(sql, location, &plain(message)).with_hint(SUPPORTED)
}

/// sqlparser's wording → a sentence of ours.
fn plain(message: &str) -> String {
    match message.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, "EOF")) => format!("the condition ends where {} is due", article(expected)),
        Some((expected, found)) => format!("found `{found}` where {} is due", article(expected)),
        None => format!("the condition is no SQL: {message}"),
    }
}

fn article(expected: &str) -> String {
    match expected.strip_prefix("an ").or(expected.strip_prefix("a ")) {
        Some(noun) => format!("{} {noun}", if expected.starts_with("an ") { "an" } else { "a" }),
        None => format!("`{expected}`"),
    }
}

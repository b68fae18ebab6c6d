//! The parts of a condition that take a list or a literal: IN, LIKE, CAST and the functions.
//!
//! In → sqlparser's nodes; out → expressions, by the same rules as `plan`. A list of literals
//! becomes a set, so its length costs nothing a row; patterns are compiled here, once.

use std::collections::HashSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use sqlparser::ast::{
    DataType, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::evaluate::is_printable;
use super::expression::{Comparison, Expression, Function, MemberValues, Members, Place};
use super::json::Ask;
use super::kind::ValueKind;
use super::plan::{Part, Planner, cast_kind, condition};
use super::text::Pattern;
use crate::base::error::Result;

impl Planner<'_> {
    pub(super) fn in_list(
        &mut self,
        value: &Expr,
        list: &[Expr],
        tree: &Expr,
    ) -> Result<Expression> {
        let is_literal =
            |part: &Part| matches!(part, Part::Null | Part::Plain(Expression::Literal(_), _));
        let parts = list.iter().map(|item| self.part(item)).collect::<Result<Vec<_>>>()?;
        let part = self.part(value)?;
        let mut all: Vec<(&Part, &Expr)> = vec![(&part, value)];
        all.extend(parts.iter().zip(list));
        let kind = self.common(&all)?;
        let has_no_set = matches!(kind, ValueKind::Boolean | ValueKind::Wide);
        if !parts.iter().all(is_literal) || has_no_set || parts.is_empty() {
            if parts.is_empty() {
                return Err(self.error(tree, "the list after IN is empty"));
            }
            let equal = |item| self.comparison(Comparison::Equal, value, item);
            return Ok(Expression::Any(list.iter().map(equal).collect::<Result<_>>()?));
        }
        let has_null = parts.iter().any(|part| matches!(part, Part::Null));
        let mut values = match kind {
            ValueKind::Integer => MemberValues::Integer(HashSet::new()),
            ValueKind::Number => MemberValues::Number(HashSet::new()),
            ValueKind::Text | ValueKind::Boolean | ValueKind::Wide => {
                MemberValues::Text(HashSet::new())
            }
        };
        for (part, item) in parts.into_iter().zip(list) {
            let Expression::Literal(array) = self.settle(part, kind, item)? else { continue };
            if array.is_null(0) {
                continue;
            }
            match &mut values {
                MemberValues::Integer(set) => {
                    set.insert(array.as_primitive::<Int64Type>().value(0));
                }
                MemberValues::Number(set) => {
                    set.insert(array.as_primitive::<Float64Type>().value(0).to_bits());
                }
                MemberValues::Text(set) => {
                    set.insert(array.as_string::<i32>().value(0).into());
                }
            }
        }
        let value = self.settle(part, kind, value)?;
        Ok(Expression::Member(Box::new(value), Members { values, has_null }))
    }

    pub(super) fn like(
        &mut self,
        value: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        ignore_case: bool,
    ) -> Result<Expression> {
        let text = self.text_literal(pattern)?;
        let escape = match escape.map(|escape| self.text_literal(escape)).transpose()? {
            None => None,
            Some(None) => return self.unknown(value),
            Some(Some(escape)) => {
                let mut chars = escape.chars();
                match (chars.next(), chars.next()) {
                    (found, None) => found,
                    _ => return Err(self.error(pattern, "ESCAPE takes one character")),
                }
            }
        };
        let Some(text) = text else { return self.unknown(value) };
        let compiled = Pattern::like(&text, escape, ignore_case);
        self.matches(value, compiled, pattern)
    }

    /// A pattern that is NULL: never known, but the value must be text all the same.
    fn unknown(&mut self, value: &Expr) -> Result<Expression> {
        let part = self.part(value)?;
        self.settle(part, ValueKind::Text, value)?;
        self.settle(Part::Null, ValueKind::Boolean, value)
    }

    fn matches(
        &mut self,
        value: &Expr,
        compiled: std::result::Result<Pattern, String>,
        pattern: &Expr,
    ) -> Result<Expression> {
        let compiled = compiled.map_err(|error| self.error(pattern, &error))?;
        Ok(Expression::Matches(Box::new(self.text(value)?), compiled))
    }

    /// A literal text, or `None` for NULL.
    fn text_literal(&mut self, tree: &Expr) -> Result<Option<String>> {
        match self.part(tree)? {
            Part::Null => Ok(None),
            Part::Plain(Expression::Literal(array), ValueKind::Text) => {
                Ok(Some(array.as_string::<i32>().value(0).to_owned()))
            }
            _ => Err(self
                .error(tree, &format!("`{tree}` must be a literal text"))
                .with_hint("write the pattern in single quotes, as in LIKE '%wiki%'")),
        }
    }

    fn text(&mut self, tree: &Expr) -> Result<Expression> {
        let part = self.part(tree)?;
        self.settle(part, ValueKind::Text, tree)
    }

    /// TRY_CAST and CAST are one: what cannot be cast is null.
    pub(super) fn cast(&mut self, value: &Expr, to: &DataType, tree: &Expr) -> Result<Part> {
        let Some(kind) = cast_kind(&to.to_string()) else {
            let message = format!("CAST to {to} is not supported");
            return Err(self.error(tree, &message).with_hint("cast to double, bigint or varchar"));
        };
        let expression = match self.part(value)? {
            Part::Plain(expression, found) if found == kind => expression,
            Part::Plain(expression, _) => Expression::Cast(Box::new(expression), kind),
            Part::Json(reference) => {
                let printed = self.field(&reference, Ask::Printed);
                match kind {
                    ValueKind::Text => printed,
                    _ => Expression::Cast(Box::new(printed), kind),
                }
            }
            Part::Other(reference)
                if kind == ValueKind::Text && is_printable(reference.data_type()) =>
            {
                Expression::Printed(reference)
            }
            part => self.settle(part, kind, value)?,
        };
        Ok(Part::Plain(expression, kind))
    }

    pub(super) fn function(&mut self, call: &Call, tree: &Expr) -> Result<Part> {
        let name = call.name.to_string().to_ascii_lowercase();
        let Some(arguments) = arguments(call) else { return Err(self.unsupported(tree)) };
        let number = |expression, function| Expression::Call(function, Box::new(expression));
        match (name.as_str(), arguments.as_slice()) {
            ("length" | "char_length" | "character_length", [text]) => {
                let length = number(self.text(text)?, Function::Length);
                Ok(Part::Plain(length, ValueKind::Integer))
            }
            ("octet_length", [text]) => {
                let length = number(self.text(text)?, Function::OctetLength);
                Ok(Part::Plain(length, ValueKind::Integer))
            }
            ("lower", [text]) => {
                Ok(Part::Plain(number(self.text(text)?, Function::Lower), ValueKind::Text))
            }
            ("abs", [value]) => {
                let (value, kind) = self.numeric(value)?;
                Ok(Part::Plain(number(value, Function::Absolute), kind))
            }
            ("starts_with", [text, part]) => self.find(Place::Start, text, part),
            ("ends_with", [text, part]) => self.find(Place::End, text, part),
            ("contains", [text, part]) => self.find(Place::Anywhere, text, part),
            ("regexp_like" | "regexp_matches", [text, pattern]) => {
                match self.text_literal(pattern)? {
                    None => condition(self.unknown(text)?),
                    Some(regex) => {
                        condition(self.matches(text, Pattern::regex(&regex), pattern)?)
                    }
                }
            }
            ("coalesce", [_, ..]) => self.coalesce(&arguments),
            ("upper", _) => {
                let hint = "compare lower(…) with text in small letters, or use ILIKE";
                Err(self.error(tree, "there is no function upper").with_hint(hint))
            }
            _ => Err(self.unsupported(tree)),
        }
    }

    fn find(&mut self, place: Place, text: &Expr, part: &Expr) -> Result<Part> {
        let (text, part) = (self.text(text)?, self.text(part)?);
        condition(Expression::Find(place, Box::new(text), Box::new(part)))
    }

    fn coalesce(&mut self, arguments: &[&Expr]) -> Result<Part> {
        let parts = arguments.iter().map(|argument| self.part(argument));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let pairs: Vec<(&Part, &Expr)> = parts.iter().zip(arguments.iter().copied()).collect();
        let kind = self.common(&pairs)?;
        let settled = parts.into_iter().zip(arguments);
        let settled = settled.map(|(part, argument)| self.settle(part, kind, argument));
        Ok(Part::Plain(Expression::Coalesce(settled.collect::<Result<_>>()?), kind))
    }
}

/// A call's arguments, where they are plain expressions.
fn arguments(call: &Call) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let plain = call.filter.is_none()
        && call.over.is_none()
        && call.within_group.is_empty()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    let expression = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expression)) => Some(expression),
        _ => None,
    };
    if plain { list.args.iter().map(expression).collect() } else { None }
}

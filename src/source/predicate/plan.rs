//! A syntax tree and a schema → an [`Expression`] whose kinds are settled.
//!
//! In → sqlparser's tree; out → the expression, the columns it reads and the JSON fields it asks
//! for. Every mistake a person can make is found here, before any work: an unknown column, kinds
//! that cannot be compared, a part of SQL that is not supported, a value where a condition is due.
//! Kinds: integer with number is number, with a wide one wide; a null literal is of any kind;
//! a JSON field is of the kind it is compared with, so two of them need a CAST; nothing else is
//! converted unasked.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, new_null_array,
};
use arrow::datatypes::Schema;
use sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator, Value};

use super::evaluate::{is_printable, to};
use super::expression::{Comparison, Expression, Operation};
use super::json::{Ask, Extractor};
use super::kind::ValueKind;
use super::reference::Reference;
use super::syntax::{self, SUPPORTED};
use crate::base::error::{Error, Result};

/// What is gathered while a tree is planned.
pub(super) struct Planner<'a> {
    sql: &'a str,
    schema: &'a Schema,
    /// Every column that is read.
    pub columns: Vec<String>,
    /// The column of JSON texts, and what is asked of them.
    pub json: Option<(Reference, Extractor)>,
}

/// A planned part: an expression, or what becomes one once its kind is known.
pub(super) enum Part {
    Plain(Expression, ValueKind),
    /// The literal NULL, or a column of nothing else.
    Null,
    /// A field of JSON.
    Json(Reference),
    /// A column of a type that has no kind.
    Other(Reference),
}

impl<'a> Planner<'a> {
    pub(super) fn new(sql: &'a str, schema: &'a Schema) -> Planner<'a> {
        Planner { sql, schema, columns: Vec::new(), json: None }
    }

    /// The conditions that must all be true, in the order written.
    pub(super) fn conjuncts(&mut self, tree: &Expr) -> Result<Vec<Expression>> {
        match tree {
            Expr::Nested(inner) => self.conjuncts(inner),
            Expr::BinaryOp { op: BinaryOperator::And, .. } => {
                let parts = chain(tree, &BinaryOperator::And).into_iter();
                parts.map(|part| self.condition(part)).collect()
            }
            _ => Ok(vec![self.condition(tree)?]),
        }
    }

    /// A part that is true, false or unknown.
    fn condition(&mut self, tree: &Expr) -> Result<Expression> {
        let part = self.part(tree)?;
        if let Part::Plain(_, kind) = &part
            && *kind != ValueKind::Boolean
        {
            let message = format!("`{tree}` is {}, not a condition", kind.describe());
            return Err(self.error(tree, &message).with_hint(SUPPORTED));
        }
        self.settle(part, ValueKind::Boolean, tree)
    }

    pub(super) fn part(&mut self, tree: &Expr) -> Result<Part> {
        let negated = |expression, negated| match negated {
            true => condition(Expression::Not(Box::new(expression))),
            false => condition(expression),
        };
        match tree {
            Expr::Nested(inner) => self.part(inner),
            Expr::Identifier(name) => self.column(std::slice::from_ref(name), tree),
            Expr::CompoundIdentifier(names) => self.column(names, tree),
            Expr::Value(value) => self.literal(&value.value, tree),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, tree),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, tree),
            Expr::IsNull(inner) => negated(self.is_null(inner)?, false),
            Expr::IsNotNull(inner) => negated(self.is_null(inner)?, true),
            Expr::IsTrue(inner) => negated(self.is(true, inner)?, false),
            Expr::IsNotTrue(inner) => negated(self.is(true, inner)?, true),
            Expr::IsFalse(inner) => negated(self.is(false, inner)?, false),
            Expr::IsNotFalse(inner) => negated(self.is(false, inner)?, true),
            Expr::IsUnknown(inner) | Expr::IsNotUnknown(inner) => {
                let unknown = Expression::IsNull(Box::new(self.condition(inner)?));
                negated(unknown, matches!(tree, Expr::IsNotUnknown(_)))
            }
            Expr::IsDistinctFrom(left, right) => self.compare(Comparison::Distinct, left, right),
            Expr::IsNotDistinctFrom(left, right) => {
                self.compare(Comparison::NotDistinct, left, right)
            }
            Expr::Between { expr, negated: not, low, high } => {
                negated(self.between(expr, low, high)?, *not)
            }
            Expr::InList { expr, list, negated: not } => {
                negated(self.in_list(expr, list, tree)?, *not)
            }
            Expr::Like { negated: not, any: false, expr, pattern, escape_char } => {
                negated(self.like(expr, pattern, escape_char.as_deref(), false)?, *not)
            }
            Expr::ILike { negated: not, any: false, expr, pattern, escape_char } => {
                negated(self.like(expr, pattern, escape_char.as_deref(), true)?, *not)
            }
            Expr::Cast { expr, data_type, format: None, .. } => self.cast(expr, data_type, tree),
            Expr::Function(function) => self.function(function, tree),
            _ => Err(self.unsupported(tree)),
        }
    }

    fn column(&mut self, names: &[Ident], tree: &Expr) -> Result<Part> {
        let parts: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
        let reference = Reference::resolve(self.schema, &parts).map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            let quoted = names.len() == 1 && names[0].quote_style == Some('"');
            let quoted = if quoted { "text goes in single quotes; " } else { "" };
            self.error(tree, &error.to_string()).with_hint(quoted.to_owned() + &hint)
        })?;
        if !self.columns.iter().any(|column| column == reference.column()) {
            self.columns.push(reference.column().to_owned());
        }
        if !reference.keys().is_empty() {
            return Ok(Part::Json(reference));
        }
        if reference.data_type().is_null() {
            return Ok(Part::Null);
        }
        Ok(match ValueKind::of(reference.data_type()) {
            Some(kind) => Part::Plain(Expression::Column(reference, kind), kind),
            None => Part::Other(reference),
        })
    }

    fn literal(&self, value: &Value, tree: &Expr) -> Result<Part> {
        match value {
            Value::Number(digits, _) => self.number(digits, tree),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Ok(literal(Arc::new(StringArray::from(vec![text.as_str()])), ValueKind::Text))
            }
            Value::Boolean(value) => {
                Ok(literal(Arc::new(BooleanArray::from(vec![*value])), ValueKind::Boolean))
            }
            Value::Null => Ok(Part::Null),
            _ => Err(self.unsupported(tree)),
        }
    }

    /// A literal with its sign: an integer where it fits in 64 bits, with or without sign, else a
    /// double.
    fn number(&self, digits: &str, tree: &Expr) -> Result<Part> {
        if let Ok(integer) = digits.parse::<i64>() {
            return Ok(literal(Arc::new(Int64Array::from(vec![integer])), ValueKind::Integer));
        }
        if let Ok(integer) = digits.parse::<u64>() {
            return Ok(literal(wide(integer.into()), ValueKind::Wide));
        }
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                // -0.0 is 0.0 everywhere here.
                Ok(literal(Arc::new(Float64Array::from(vec![number + 0.0])), ValueKind::Number))
            }
            _ => Err(self.error(tree, &format!("`{digits}` is no number"))),
        }
    }

    fn unary(&mut self, operator: UnaryOperator, inner: &Expr, tree: &Expr) -> Result<Part> {
        match operator {
            UnaryOperator::Not => condition(Expression::Not(Box::new(self.condition(inner)?))),
            UnaryOperator::Plus => {
                let (expression, kind) = self.numeric(inner)?;
                Ok(Part::Plain(expression, kind))
            }
            UnaryOperator::Minus => {
                if let Expr::Value(value) = inner
                    && let Value::Number(digits, _) = &value.value
                {
                    // Parsed with its sign, for the least integer has no positive counterpart.
                    return self.number(&format!("-{digits}"), tree);
                }
                let (expression, kind) = self.numeric(inner)?;
                let zero: ArrayRef = match kind {
                    ValueKind::Integer => Arc::new(Int64Array::from(vec![0])),
                    ValueKind::Wide => wide(0),
                    _ => Arc::new(Float64Array::from(vec![0.0])),
                };
                let zero = Box::new(Expression::Literal(zero));
                let negative =
                    Expression::Arithmetic(Operation::Subtract, zero, Box::new(expression));
                Ok(Part::Plain(negative, kind))
            }
            _ => Err(self.unsupported(tree)),
        }
    }

    fn binary(
        &mut self,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
        tree: &Expr,
    ) -> Result<Part> {
        let operation = match operator {
            BinaryOperator::And | BinaryOperator::Or => {
                let parts = chain(tree, operator).into_iter();
                let parts = parts.map(|part| self.condition(part)).collect::<Result<Vec<_>>>()?;
                return condition(match operator {
                    BinaryOperator::And => Expression::All(parts),
                    _ => Expression::Any(parts),
                });
            }
            BinaryOperator::Eq => return self.compare(Comparison::Equal, left, right),
            BinaryOperator::NotEq => return self.compare(Comparison::NotEqual, left, right),
            BinaryOperator::Lt => return self.compare(Comparison::Less, left, right),
            BinaryOperator::LtEq => return self.compare(Comparison::LessOrEqual, left, right),
            BinaryOperator::Gt => return self.compare(Comparison::Greater, left, right),
            BinaryOperator::GtEq => return self.compare(Comparison::GreaterOrEqual, left, right),
            BinaryOperator::Plus => Operation::Add,
            BinaryOperator::Minus => Operation::Subtract,
            BinaryOperator::Multiply => Operation::Multiply,
            BinaryOperator::Divide => Operation::Divide,
            BinaryOperator::Modulo => Operation::Remainder,
            _ => return Err(self.unsupported(tree)),
        };
        let ((a, a_kind), (b, b_kind)) = (self.numeric(left)?, self.numeric(right)?);
        let kind = match (a_kind, b_kind) {
            _ if operation == Operation::Divide => ValueKind::Number,
            (a, b) if a == b || b.widens_to(a) => a,
            (_, b) => b,
        };
        let (a, b) = (self.widen(a, a_kind, kind)?, self.widen(b, b_kind, kind)?);
        Ok(Part::Plain(Expression::Arithmetic(operation, Box::new(a), Box::new(b)), kind))
    }

    /// A part that is an integer, wide or not, or a number.
    pub(super) fn numeric(&mut self, tree: &Expr) -> Result<(Expression, ValueKind)> {
        match self.part(tree)? {
            Part::Plain(
                expression,
                kind @ (ValueKind::Integer | ValueKind::Wide | ValueKind::Number),
            ) => Ok((expression, kind)),
            part => Ok((self.settle(part, ValueKind::Number, tree)?, ValueKind::Number)),
        }
    }

    fn is_null(&mut self, inner: &Expr) -> Result<Expression> {
        Ok(match self.part(inner)? {
            Part::Plain(expression, _) => Expression::IsNull(Box::new(expression)),
            Part::Null => Expression::Literal(Arc::new(BooleanArray::from(vec![true]))),
            Part::Json(reference) => {
                Expression::Not(Box::new(self.field(&reference, Ask::Present)))
            }
            Part::Other(reference) => Expression::Missing(reference),
        })
    }

    fn is(&mut self, value: bool, inner: &Expr) -> Result<Expression> {
        Ok(Expression::Is(value, Box::new(self.condition(inner)?)))
    }

    fn between(&mut self, value: &Expr, low: &Expr, high: &Expr) -> Result<Expression> {
        let low = self.comparison(Comparison::GreaterOrEqual, value, low)?;
        let high = self.comparison(Comparison::LessOrEqual, value, high)?;
        Ok(Expression::All(vec![low, high]))
    }

    fn compare(&mut self, comparison: Comparison, left: &Expr, right: &Expr) -> Result<Part> {
        condition(self.comparison(comparison, left, right)?)
    }

    pub(super) fn comparison(
        &mut self,
        comparison: Comparison,
        left: &Expr,
        right: &Expr,
    ) -> Result<Expression> {
        let (a, b) = (self.part(left)?, self.part(right)?);
        let kind = self.common(&[(&a, left), (&b, right)])?;
        let (a, b) = (self.settle(a, kind, left)?, self.settle(b, kind, right)?);
        Ok(Expression::Compare(comparison, Box::new(a), Box::new(b)))
    }

    /// The kind in which all parts can be compared.
    pub(super) fn common(&self, parts: &[(&Part, &Expr)]) -> Result<ValueKind> {
        let mut common: Option<(ValueKind, &Expr)> = None;
        for (part, tree) in parts {
            let Part::Plain(_, kind) = part else { continue };
            common = match common {
                None => Some((*kind, tree)),
                Some((known, _)) if known.widens_to(*kind) => Some((*kind, tree)),
                Some((known, _)) if known == *kind || kind.widens_to(known) => common,
                Some((known, first)) => {
                    let message = format!(
                        "`{first}` is {} and `{tree}` is {}: they cannot be compared",
                        known.describe(),
                        kind.describe()
                    );
                    let error = self.error(tree, &message);
                    return Err(match (known, *kind) {
                        (ValueKind::Text, kind) | (kind, ValueKind::Text)
                            if kind != ValueKind::Boolean =>
                        {
                            error.with_hint(
                                "text goes in single quotes, numbers in none; CAST(… AS double) \
                                 and CAST(… AS varchar) make one the other",
                            )
                        }
                        _ => error,
                    });
                }
            };
        }
        let json = parts.iter().find(|(part, _)| matches!(part, Part::Json(_)));
        match (common, json) {
            // JSON has one kind of numbers.
            (Some((ValueKind::Integer | ValueKind::Wide, _)), Some(_)) => Ok(ValueKind::Number),
            (Some((kind, _)), _) => Ok(kind),
            (None, Some((_, tree))) => {
                let message = format!("nothing says whether `{tree}` is text or a number");
                let hint = format!("write CAST({tree} AS double) or CAST({tree} AS varchar)");
                Err(self.error(tree, &message).with_hint(hint))
            }
            // Two nulls, or a type without a kind, which `settle` refuses.
            (None, None) => Ok(ValueKind::Text),
        }
    }

    /// Makes a part an expression of `kind`.
    pub(super) fn settle(
        &mut self,
        part: Part,
        kind: ValueKind,
        tree: &Expr,
    ) -> Result<Expression> {
        match part {
            Part::Plain(expression, found) if found == kind => Ok(expression),
            Part::Plain(expression, found) if found.widens_to(kind) => {
                self.widen(expression, found, kind)
            }
            Part::Plain(_, found) => {
                let found = found.describe();
                let message = format!("`{tree}` is {found}, where {} is due", kind.describe());
                Err(self.error(tree, &message))
            }
            Part::Null => Ok(Expression::Literal(new_null_array(&kind.data_type(), 1))),
            Part::Json(reference) => Ok(self.field(&reference, Ask::of(kind))),
            Part::Other(reference) => {
                let data_type = reference.data_type();
                let message =
                    format!("`{tree}` is {data_type}, which cannot be compared with a value");
                Err(self.error(tree, &message).with_hint(match is_printable(data_type) {
                    true => format!("CAST({tree} AS varchar) is text such as '2024-05-01'"),
                    false => "only IS NULL and IS NOT NULL look at such a column".to_owned(),
                }))
            }
        }
    }

    /// A value as a wider kind; a literal is converted here, once.
    fn widen(
        &self,
        expression: Expression,
        from: ValueKind,
        kind: ValueKind,
    ) -> Result<Expression> {
        Ok(match expression {
            expression if from == kind => expression,
            Expression::Literal(array) => Expression::Literal(
                to(&array, kind).map_err(|error| Error::config(error.to_string()))?,
            ),
            expression => Expression::Cast(Box::new(expression), kind),
        })
    }

    /// A field of JSON; the texts of all such fields stand in one column.
    pub(super) fn field(&mut self, reference: &Reference, ask: Ask) -> Expression {
        let (_, extractor) =
            self.json.get_or_insert_with(|| (reference.clone(), Extractor::default()));
        Expression::Json(extractor.ask(reference.keys(), ask))
    }

    pub(super) fn error(&self, tree: &Expr, message: &str) -> Error {
        syntax::about(self.sql, tree, message)
    }

    pub(super) fn unsupported(&self, tree: &Expr) -> Error {
        self.error(tree, &format!("`{tree}` is not supported here")).with_hint(SUPPORTED)
    }
}

fn literal(array: ArrayRef, kind: ValueKind) -> Part {
    Part::Plain(Expression::Literal(array), kind)
}

/// One integer of any width.
fn wide(integer: i128) -> ArrayRef {
    let array = Decimal128Array::from(vec![integer]);
    Arc::new(array.with_data_type(ValueKind::Wide.data_type()))
}

/// A part that is a condition.
pub(super) fn condition(expression: Expression) -> Result<Part> {
    Ok(Part::Plain(expression, ValueKind::Boolean))
}

/// The operands of `a AND b AND c`, without recursion.
fn chain<'e>(tree: &'e Expr, operator: &BinaryOperator) -> Vec<&'e Expr> {
    let (mut operands, mut rest) = (Vec::new(), tree);
    while let Expr::BinaryOp { left, op, right } = rest
        && op == operator
    {
        operands.push(right.as_ref());
        rest = left;
    }
    operands.push(rest);
    operands.reverse();
    operands
}

/// The kind that a CAST names.
pub(super) fn cast_kind(data_type: &str) -> Option<ValueKind> {
    let name = data_type.split('(').next().unwrap_or_default().trim().to_ascii_uppercase();
    match name.as_str() {
        "DOUBLE" | "DOUBLE PRECISION" | "FLOAT8" | "FLOAT64" => Some(ValueKind::Number),
        "BIGINT" | "INT8" | "INT64" => Some(ValueKind::Integer),
        "VARCHAR" | "TEXT" | "STRING" => Some(ValueKind::Text),
        _ => None,
    }
}

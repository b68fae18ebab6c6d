//! A condition as a tree whose kinds are settled: what `plan` makes and `evaluate` runs.
//!
//! Invariants: both sides of a comparison are of one kind, arithmetic is on two integers or two
//! doubles, and a literal is an array of one element. Nothing here depends on a batch.

use std::collections::HashSet;

use arrow::array::ArrayRef;

use super::kind::ValueKind;
use super::reference::Reference;
use super::text::Pattern;

/// A value for each row.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// One element, the same for all rows.
    Literal(ArrayRef),
    /// A column, read as a kind.
    Column(Reference, ValueKind),
    /// A field of JSON: the index of what was asked.
    Json(usize),
    /// Whether a column of any type is null.
    Missing(Reference),
    /// A date or a time as text in ISO 8601.
    Printed(Reference),
    /// Two values of one kind → Boolean.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// AND of three-valued conditions.
    All(Vec<Expression>),
    /// OR of three-valued conditions.
    Any(Vec<Expression>),
    /// NOT: unknown stays unknown.
    Not(Box<Expression>),
    /// IS NULL: never null itself.
    IsNull(Box<Expression>),
    /// IS TRUE, IS FALSE: never null itself.
    Is(bool, Box<Expression>),
    /// IN a list of literals.
    Member(Box<Expression>, Members),
    /// LIKE, ILIKE, a regular expression.
    Matches(Box<Expression>, Pattern),
    /// Whether the first text begins with, ends with or holds the second.
    Find(Place, Box<Expression>, Box<Expression>),
    /// Two integers or two doubles.
    Arithmetic(Operation, Box<Expression>, Box<Expression>),
    /// A function of one value.
    Call(Function, Box<Expression>),
    /// To another kind; null where that cannot be.
    Cast(Box<Expression>, ValueKind),
    /// The first value that is not null.
    Coalesce(Vec<Expression>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// IS DISTINCT FROM: null equals null.
    Distinct,
    /// IS NOT DISTINCT FROM.
    NotDistinct,
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    /// Division, of doubles only.
    Divide,
    /// The remainder, which has the sign of the dividend.
    Remainder,
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Code points of a text.
    Length,
    /// Bytes of a text in UTF-8.
    OctetLength,
    /// Lower case, by the Unicode tables of `text`.
    Lower,
    /// Absolute value of a number.
    Absolute,
}

/// Where in a text another one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    Anywhere,
}

/// The literals of an IN list.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub values: MemberValues,
    /// With a null in the list, a value that is not in it is unknown.
    pub has_null: bool,
}

/// The values of an IN list, of one kind.
#[derive(Clone, Debug)]
pub(super) enum MemberValues {
    Integer(HashSet<i64>),
    /// Bits of doubles that are neither NaN nor -0.
    Number(HashSet<u64>),
    Text(HashSet<Box<str>>),
}

impl Expression {
    /// How much a row costs, roughly: 0 a comparison, 1 a look at texts, 2 a regular expression or
    /// new texts, 3 a parse of JSON. Costly conditions run last, on the rows that are left.
    pub(super) fn cost(&self) -> u8 {
        let most = |parts: &[Expression]| parts.iter().map(Expression::cost).max().unwrap_or(0);
        match self {
            Expression::Literal(_) | Expression::Column(..) | Expression::Missing(_) => 0,
            Expression::Json(_) => 3,
            Expression::Printed(_) => 2,
            Expression::Compare(_, left, right) | Expression::Arithmetic(_, left, right) => {
                left.cost().max(right.cost())
            }
            Expression::Find(_, left, right) => left.cost().max(right.cost()).max(1),
            Expression::All(parts) | Expression::Any(parts) | Expression::Coalesce(parts) => {
                most(parts)
            }
            Expression::Not(inner) | Expression::IsNull(inner) | Expression::Is(_, inner) => {
                inner.cost()
            }
            Expression::Member(inner, _) | Expression::Call(Function::Length, inner) => {
                inner.cost().max(1)
            }
            Expression::Matches(inner, pattern) => {
                inner.cost().max(if matches!(pattern, Pattern::Regex(_)) { 2 } else { 1 })
            }
            Expression::Call(Function::Lower, inner) | Expression::Cast(inner, ValueKind::Text) => {
                inner.cost().max(2)
            }
            Expression::Call(_, inner) | Expression::Cast(inner, _) => inner.cost(),
        }
    }
}

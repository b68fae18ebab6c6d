//! What a value is to a condition, whatever type of column it comes from.
//!
//! In → an Arrow type; out → a [`ValueKind`], and the one type of array that holds it from there
//! on.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

/// What a value is to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `BooleanArray`.
    Boolean,
    /// `Int64Array`.
    Integer,
    /// `Decimal128Array` without fraction: integers that may not fit in 64 bits with a sign.
    Wide,
    /// `Float64Array`, without NaN.
    Number,
    /// `StringArray`.
    Text,
}

impl ValueKind {
    /// The kind a column's type is read as, if it has one.
    pub fn of(data_type: &DataType) -> Option<ValueKind> {
        match data_type {
            DataType::Boolean => Some(ValueKind::Boolean),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(ValueKind::Text),
            DataType::Dictionary(_, values) => ValueKind::of(values),
            DataType::UInt64 | DataType::Decimal128(_, 0) => Some(ValueKind::Wide),
            integer if integer.is_integer() => Some(ValueKind::Integer),
            number if number.is_floating() || number.is_decimal() => Some(ValueKind::Number),
            _ => None,
        }
    }

    /// The type of the arrays that hold it.
    pub fn data_type(self) -> DataType {
        match self {
            ValueKind::Boolean => DataType::Boolean,
            ValueKind::Integer => DataType::Int64,
            ValueKind::Wide => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            ValueKind::Number => DataType::Float64,
            ValueKind::Text => DataType::Utf8,
        }
    }

    /// Whether values of this kind are values of `wider` too.
    pub fn widens_to(self, wider: ValueKind) -> bool {
        matches!(
            (self, wider),
            (ValueKind::Integer, ValueKind::Wide | ValueKind::Number)
                | (ValueKind::Wide, ValueKind::Number)
        )
    }

    /// For messages: "`language` is text".
    pub(super) fn describe(self) -> &'static str {
        match self {
            ValueKind::Boolean => "true or false",
            ValueKind::Integer | ValueKind::Wide => "an integer",
            ValueKind::Number => "a number",
            ValueKind::Text => "text",
        }
    }
}

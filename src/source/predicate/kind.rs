//! What a value is to a condition, whatever type of column it comes from.
//!
//! In → an Arrow type; out → a [`Kind`], and the one type of array that holds it from there on.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

/// What a value is to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

impl Kind {
    /// The kind a column's type is read as, if it has one.
    pub fn of(data_type: &DataType) -> Option<Kind> {
        match data_type {
            DataType::Boolean => Some(Kind::Boolean),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
            DataType::Dictionary(_, values) => Kind::of(values),
            DataType::UInt64 | DataType::Decimal128(_, 0) => Some(Kind::Wide),
            integer if integer.is_integer() => Some(Kind::Integer),
            number if number.is_floating() || number.is_decimal() => Some(Kind::Number),
            _ => None,
        }
    }

    /// The type of the arrays that hold it.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Boolean => DataType::Boolean,
            Kind::Integer => DataType::Int64,
            Kind::Wide => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            Kind::Number => DataType::Float64,
            Kind::Text => DataType::Utf8,
        }
    }

    /// Whether values of this kind are values of `wider` too.
    pub fn widens_to(self, wider: Kind) -> bool {
        matches!(
            (self, wider),
            (Kind::Integer, Kind::Wide | Kind::Number) | (Kind::Wide, Kind::Number)
        )
    }

    /// For messages: "`language` is text".
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::Boolean => "true or false",
            Kind::Integer | Kind::Wide => "an integer",
            Kind::Number => "a number",
            Kind::Text => "text",
        }
    }
}

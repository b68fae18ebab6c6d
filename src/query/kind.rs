//! The types of columns.
//!
//! In → a type of Arrow; out → one of five kinds, each with its own type in Arrow and its name in
//! SQL.

use arrow::datatypes::DataType;

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Whole,
    Unsigned,
    Number,
    Text,
}

impl Kind {
    /// The kind that values of an Arrow type are shown as.
    pub fn of(kind: &DataType) -> Kind {
        match kind {
            DataType::Boolean => Kind::Flag,
            DataType::UInt64 => Kind::Unsigned,
            kind if kind.is_integer() => Kind::Whole,
            kind if kind.is_floating() => Kind::Number,
            _ => Kind::Text,
        }
    }

    /// Its type in Arrow.
    pub fn arrow(self) -> DataType {
        match self {
            Kind::Flag => DataType::Boolean,
            Kind::Whole => DataType::Int64,
            Kind::Unsigned => DataType::UInt64,
            Kind::Number => DataType::Float64,
            Kind::Text => DataType::Utf8,
        }
    }

    /// What SQL calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Flag => "boolean",
            Kind::Whole => "bigint",
            Kind::Unsigned => "bigint unsigned",
            Kind::Number => "double",
            Kind::Text => "text",
        }
    }
}

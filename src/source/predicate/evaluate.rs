//! An [`Expression`] and a batch → an array, by arrow's kernels.
//!
//! In → a tree whose kinds are settled, and record batches (sliced or not); out → for each row a
//! value or null, where null is SQL's unknown.
//! Invariants: literals stay one element long up to the end, so that kernels take their fast paths;
//! doubles are never NaN or -0; what has no value (a division by zero, an integer beyond its
//! width, a cast of `'x'` to a number) is null, so it never passes. Rows that can no longer pass
//! may hold anything.
//! Cost: a kernel a node; a batch's JSON texts are parsed once, when a condition first needs them.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Datum, Decimal128Array,
    Float64Array, Int64Array, PrimitiveArray, StringArray,
};
use arrow::compute::kernels::{cmp, numeric, zip::zip};
use arrow::compute::{
    and_kleene, cast, contains, ends_with, is_not_null, is_null, not, or_kleene, starts_with,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::expression::{
    Comparison, Expression, Function, MemberValues, Members, Operation, Place,
};
use super::json::{self, Extractor};
use super::kind::ValueKind;
use super::reference::{Reference, canonical};
use super::text;
use crate::base::error::{Error, Result};

/// A batch on which conditions are evaluated.
pub(super) struct Rows<'a> {
    records: &'a RecordBatch,
    json: Option<(&'a Reference, &'a Extractor)>,
    fields: OnceCell<Vec<ArrayRef>>,
    wanted: Option<BooleanArray>,
}

/// A value for each row, or one for all.
enum Values {
    Rows(ArrayRef),
    One(ArrayRef),
}

impl Datum for Values {
    fn get(&self) -> (&dyn Array, bool) {
        match self {
            Values::Rows(array) => (array.as_ref(), false),
            Values::One(array) => (array.as_ref(), true),
        }
    }
}

impl Values {
    /// Applies a function of one value.
    fn map(self, map: impl FnOnce(&ArrayRef) -> Result<ArrayRef>) -> Result<Values> {
        Ok(match self {
            Values::Rows(array) => Values::Rows(map(&array)?),
            Values::One(array) => Values::One(map(&array)?),
        })
    }

    fn array(&self) -> &ArrayRef {
        let (Values::Rows(array) | Values::One(array)) = self;
        array
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        records: &'a RecordBatch,
        json: Option<(&'a Reference, &'a Extractor)>,
    ) -> Rows<'a> {
        Rows { records, json, fields: OnceCell::new(), wanted: None }
    }

    /// From here on only these rows count: costly work is left out for the others. They may only
    /// become fewer.
    pub(super) fn want(&mut self, wanted: BooleanArray) {
        self.wanted = Some(wanted);
    }

    /// A condition's value for each row; null is unknown.
    pub(super) fn condition(&self, expression: &Expression) -> Result<BooleanArray> {
        let values = self.evaluate(expression)?;
        let condition = values.array().as_boolean();
        Ok(match values {
            Values::Rows(_) => condition.clone(),
            Values::One(_) => {
                let value = condition.is_valid(0).then(|| condition.value(0));
                std::iter::repeat_n(value, self.records.num_rows()).collect()
            }
        })
    }

    fn evaluate(&self, expression: &Expression) -> Result<Values> {
        let rows = |array: ArrayRef| Ok(Values::Rows(array));
        match expression {
            Expression::Literal(array) => Ok(Values::One(array.clone())),
            Expression::Column(reference, kind) => rows(reference.read(self.records, *kind)?),
            Expression::Json(index) => rows(self.field(*index)?),
            Expression::Missing(reference) => {
                let array = reference.read_raw(self.records)?;
                rows(Arc::new(is_null(&array).map_err(failed)?))
            }
            Expression::Printed(reference) => rows(printed(&reference.read_raw(self.records)?)?),
            Expression::Compare(comparison, left, right) => {
                compare(*comparison, &self.evaluate(left)?, &self.evaluate(right)?)
            }
            Expression::All(parts) => self.fold(parts, and_kleene),
            Expression::Any(parts) => self.fold(parts, or_kleene),
            Expression::Not(inner) => {
                self.map(inner, |array| Ok(Arc::new(not(array.as_boolean())?)))
            }
            Expression::IsNull(inner) => self.map(inner, |array| Ok(Arc::new(is_null(array)?))),
            Expression::Is(value, inner) => self.map(inner, |array| {
                let condition = array.as_boolean();
                let condition = if *value { condition.clone() } else { not(condition)? };
                Ok(Arc::new(passing(&condition)))
            }),
            Expression::Member(inner, members) => {
                self.map(inner, |array| Ok(Arc::new(members.find(array))))
            }
            Expression::Matches(inner, pattern) => {
                let values = self.evaluate(inner)?;
                let wanted = matches!(values, Values::Rows(_)).then_some(self.wanted.as_ref());
                values.map(|array| {
                    let matches = pattern.matches(array.as_string(), wanted.flatten());
                    Ok(Arc::new(matches.map_err(failed)?))
                })
            }
            Expression::Find(place, text, part) => {
                find(*place, &self.evaluate(text)?, &self.evaluate(part)?)
            }
            Expression::Arithmetic(operation, left, right) => {
                arithmetic(*operation, &self.evaluate(left)?, &self.evaluate(right)?)
            }
            Expression::Call(function, inner) => self.call(*function, self.evaluate(inner)?),
            Expression::Cast(inner, kind) => self.map(inner, |array| to(array, *kind)),
            Expression::Coalesce(parts) => self.coalesce(parts),
        }
    }

    fn map(
        &self,
        inner: &Expression,
        map: impl FnOnce(&ArrayRef) -> Result<ArrayRef, ArrowError>,
    ) -> Result<Values> {
        self.evaluate(inner)?.map(|array| map(array).map_err(failed))
    }

    /// AND or OR of several conditions.
    fn fold(
        &self,
        parts: &[Expression],
        join: fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>,
    ) -> Result<Values> {
        let (first, rest) = parts.split_first().expect("AND and OR have operands");
        let mut sum = self.condition(first)?;
        for part in rest {
            sum = join(&sum, &self.condition(part)?).map_err(failed)?;
        }
        Ok(Values::Rows(Arc::new(sum)))
    }

    /// A field of the batch's JSON texts, which are parsed at the first call.
    fn field(&self, index: usize) -> Result<ArrayRef> {
        if let Some(fields) = self.fields.get() {
            return Ok(fields[index].clone());
        }
        let (reference, extractor) = self.json.expect("what asks for a field names the texts");
        let texts = reference.read(self.records, ValueKind::Text)?;
        let fields = json::extract(texts.as_string(), self.wanted.as_ref(), extractor);
        Ok(self.fields.get_or_init(|| fields)[index].clone())
    }

    fn call(&self, function: Function, values: Values) -> Result<Values> {
        let wanted = matches!(values, Values::Rows(_)).then_some(self.wanted.as_ref()).flatten();
        values.map(|array| {
            Ok(match function {
                Function::Length => text::length(array.as_string()),
                Function::OctetLength => text::octet_length(array.as_string()),
                Function::Lower => text::lower(array.as_string(), wanted),
                Function::Absolute => absolute(array),
            })
        })
    }

    fn coalesce(&self, parts: &[Expression]) -> Result<Values> {
        let (last, rest) = parts.split_last().expect("coalesce has arguments");
        let mut values = self.evaluate(last)?;
        for part in rest.iter().rev() {
            let first = self.evaluate(part)?;
            if let Values::One(array) = &first {
                if array.is_valid(0) {
                    values = first;
                }
                continue;
            }
            let known = is_not_null(first.array()).map_err(failed)?;
            values = Values::Rows(zip(&known, &first, &values).map_err(failed)?);
        }
        Ok(values)
    }
}

/// True where a condition is, false where it is false or unknown.
pub(super) fn passing(condition: &BooleanArray) -> BooleanArray {
    let passing = match condition.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => condition.values() & nulls.inner(),
        None => condition.values().clone(),
    };
    BooleanArray::new(passing, None)
}

fn failed(error: ArrowError) -> Error {
    Error::failed(error.to_string())
}

fn compare(comparison: Comparison, left: &Values, right: &Values) -> Result<Values> {
    let kernel = match comparison {
        Comparison::Equal => cmp::eq,
        Comparison::NotEqual => cmp::neq,
        Comparison::Less => cmp::lt,
        Comparison::LessOrEqual => cmp::lt_eq,
        Comparison::Greater => cmp::gt,
        Comparison::GreaterOrEqual => cmp::gt_eq,
        Comparison::Distinct => cmp::distinct,
        Comparison::NotDistinct => cmp::not_distinct,
    };
    join(left, right, Arc::new(kernel(left, right).map_err(failed)?))
}

fn absolute(array: &ArrayRef) -> ArrayRef {
    if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
        return Arc::new(integers.unary_opt::<_, Int64Type>(i64::checked_abs));
    }
    if let Some(wide) = array.as_primitive_opt::<Decimal128Type>() {
        return as_wide(wide.unary_opt::<_, Decimal128Type>(i128::checked_abs));
    }
    let doubles = array.as_primitive::<Float64Type>();
    Arc::new(doubles.unary::<_, Float64Type>(f64::abs))
}

/// Kernels do not keep the number of digits, so it is set again.
fn as_wide(array: Decimal128Array) -> ArrayRef {
    Arc::new(array.with_data_type(ValueKind::Wide.data_type()))
}

fn find(place: Place, text: &Values, part: &Values) -> Result<Values> {
    let kernel = match place {
        Place::Start => starts_with,
        Place::End => ends_with,
        Place::Anywhere => contains,
    };
    join(text, part, Arc::new(kernel(text, part).map_err(failed)?))
}

/// The result of a kernel on two values: one for all rows when both were.
fn join(left: &Values, right: &Values, array: ArrayRef) -> Result<Values> {
    Ok(match (left, right) {
        (Values::One(_), Values::One(_)) => Values::One(array),
        _ => Values::Rows(array),
    })
}

fn arithmetic(operation: Operation, left: &Values, right: &Values) -> Result<Values> {
    if left.array().data_type() == &DataType::Int64 {
        let checked: fn(i64, i64) -> Option<i64> = match operation {
            Operation::Add => i64::checked_add,
            Operation::Subtract => i64::checked_sub,
            Operation::Multiply => i64::checked_mul,
            // The least integer modulo -1 is 0, though the quotient of the two overflows.
            Operation::Remainder => |a, b| (b != 0).then(|| a.wrapping_rem(b)),
            Operation::Divide => unreachable!("division is planned on doubles"),
        };
        return join(left, right, Arc::new(binary::<Int64Type>(left, right, checked)));
    }
    if matches!(left.array().data_type(), DataType::Decimal128(..)) {
        let checked: fn(i128, i128) -> Option<i128> = match operation {
            Operation::Add => i128::checked_add,
            Operation::Subtract => i128::checked_sub,
            Operation::Multiply => i128::checked_mul,
            Operation::Remainder => |a, b| (b != 0).then(|| a.wrapping_rem(b)),
            Operation::Divide => unreachable!("division is planned on doubles"),
        };
        return join(left, right, as_wide(binary::<Decimal128Type>(left, right, checked)));
    }
    let kernel = match operation {
        Operation::Add => numeric::add,
        Operation::Subtract => numeric::sub,
        Operation::Multiply => numeric::mul,
        Operation::Divide => {
            let divide = |a: f64, b: f64| (b != 0.0).then_some(a / b);
            let quotient = Arc::new(binary::<Float64Type>(left, right, divide));
            return join(left, right, canonical(quotient));
        }
        // The remainder of two doubles is a double: exact, so the same from any libm.
        Operation::Remainder => {
            let remainder = |a: f64, b: f64| (b != 0.0).then_some(a % b);
            let remainder = Arc::new(binary::<Float64Type>(left, right, remainder));
            return join(left, right, canonical(remainder));
        }
    };
    join(left, right, canonical(kernel(left, right).map_err(failed)?))
}

/// Applies an operation that may have no result, row by row.
fn binary<T: ArrowPrimitiveType>(
    left: &Values,
    right: &Values,
    operation: impl Fn(T::Native, T::Native) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let (a, b) = (left.array().as_primitive::<T>(), right.array().as_primitive::<T>());
    let none = |rows: usize| PrimitiveArray::<T>::new_null(rows);
    match (left, right) {
        (Values::Rows(_), Values::One(_)) if b.is_null(0) => none(a.len()),
        (Values::One(_), Values::Rows(_)) if a.is_null(0) => none(b.len()),
        (Values::Rows(_), Values::One(_)) => {
            let b = b.value(0);
            a.unary_opt::<_, T>(|a| operation(a, b))
        }
        (Values::One(_), Values::Rows(_)) => {
            let a = a.value(0);
            b.unary_opt::<_, T>(|b| operation(a, b))
        }
        _ => a.iter().zip(b).map(|(a, b)| operation(a?, b?)).collect(),
    }
}

impl Members {
    /// For each value whether it is in the list; unknown when null, or missing beside a null.
    fn find(&self, array: &ArrayRef) -> BooleanArray {
        let found = match &self.values {
            MemberValues::Integer(set) => {
                let array = array.as_primitive::<Int64Type>();
                array.values().iter().map(|value| set.contains(value)).collect::<Vec<bool>>()
            }
            MemberValues::Number(set) => {
                let array = array.as_primitive::<Float64Type>();
                array.values().iter().map(|value| set.contains(&value.to_bits())).collect()
            }
            MemberValues::Text(set) => {
                let array: &StringArray = array.as_string();
                (0..array.len()).map(|row| set.contains(array.value(row))).collect()
            }
        };
        if !self.has_null {
            return BooleanArray::new(found.into(), array.nulls().cloned());
        }
        let valid = |row: usize| array.is_valid(row) && found[row];
        (0..found.len()).map(|row| valid(row).then_some(true)).collect()
    }
}

/// The integer nearest to a double, ties to even as in DuckDB and PostgreSQL; `None` beyond int64.
fn rounded(value: f64) -> Option<i64> {
    // Both bounds are doubles, the lower one an int64 too.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let value = value.round_ties_even();
    (-BOUND..BOUND).contains(&value).then_some(value as i64)
}

/// A value as another kind; null where that cannot be.
pub(super) fn to(array: &ArrayRef, kind: ValueKind) -> Result<ArrayRef, ArrowError> {
    let texts = array.as_string_opt::<i32>();
    let doubles = array.as_primitive_opt::<Float64Type>();
    Ok(match (kind, texts, doubles) {
        (ValueKind::Number, Some(texts), _) => {
            let numbers = texts.iter().map(|text| text::number(text?));
            canonical(Arc::new(numbers.collect::<Float64Array>()))
        }
        (ValueKind::Integer, Some(texts), _) => {
            let integer = |text| text::number(text).or_else(|| rounded(text::number(text)?));
            Arc::new(texts.iter().map(|text| integer(text?)).collect::<Int64Array>())
        }
        (ValueKind::Integer, _, Some(doubles)) => {
            Arc::new(doubles.unary_opt::<_, Int64Type>(rounded))
        }
        _ => cast(array, &kind.data_type())?,
    })
}

/// Dates and times in ISO 8601; what has a time zone, in UTC.
fn printed(array: &ArrayRef) -> Result<ArrayRef> {
    let zoneless: ArrayRef = match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let data = array.to_data().into_builder();
            let data = data.data_type(DataType::Timestamp(*unit, None)).build();
            arrow::array::make_array(data.map_err(failed)?)
        }
        _ => array.clone(),
    };
    cast(&zoneless, &DataType::Utf8).map_err(failed)
}

/// Whether [`printed`] takes a type.
pub(super) fn is_printable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(
                TimeUnit::Second
                    | TimeUnit::Millisecond
                    | TimeUnit::Microsecond
                    | TimeUnit::Nanosecond,
                _
            )
    )
}

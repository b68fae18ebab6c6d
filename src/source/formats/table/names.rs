//! The columns that hold text and id, by name or by a path into structs, and what is left of the
//! others.
//!
//! In → a file's fields and what is asked; out → [`Leading`], or an error that lists the columns.
//! `content.text` is the field `text` of the struct `content`, unless a column's own name is
//! `content.text`. A text or id inside a struct is taken out of it. A text may also be a list of
//! messages, structs with a role and a content. Where answers are asked for and the text column is
//! missing, such a list in `messages` is the text, or `prompt` and `completion` together are.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

use crate::base::config::nearest;
use crate::base::error::{Error, Result};
use crate::source::formats::Ask;
use crate::source::messages::{ANSWERS, COMPLETION, CONTENT_KEYS, MESSAGES, PROMPT, ROLE_KEYS};

/// A column, or a field inside structs of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the column.
    pub root: usize,
    /// Names of fields below it.
    pub inner: Vec<String>,
    pub data_type: DataType,
}

/// Where text and id stand.
#[derive(Clone, Debug)]
pub struct Leading {
    pub text: Place,
    /// The completion, where the text is a prompt.
    pub completion: Option<Place>,
    pub id: Option<Place>,
}

impl Leading {
    /// Finds what `ask` names among `fields`, for the file at `path`.
    pub fn of(fields: &Fields, path: &Path, ask: &Ask) -> Result<Leading> {
        let id = id(fields, path, ask)?;
        if let Some((text, completion)) = conversation(fields, ask) {
            return Ok(Leading { text, completion, id });
        }
        Ok(Leading { text: text(fields, path, ask)?, completion: None, id })
    }

    /// Text, completion and id.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        [Some(&self.text), self.completion.as_ref(), self.id.as_ref()].into_iter().flatten()
    }

    /// Whether each text's answers are known, and asked for.
    pub fn has_answers(&self, ask: &Ask) -> bool {
        ask.answers && (self.completion.is_some() || messages(&self.text.data_type).is_some())
    }

    /// The columns beside text and id with their types, and what is odd about them.
    pub fn others(&self, fields: &Fields, ask: &Ask) -> (Vec<(String, DataType)>, Vec<String>) {
        let mut notices = Vec::new();
        if let (None, Some(field)) = (&self.id, fields.iter().find(|f| f.name() == ask.id_name())) {
            let (name, kind) = (field.name(), field.data_type());
            notices.push(format!(
                "column `{name}` holds {kind}, which is no id: ids are hashes of the texts, and it \
                 is kept as `{name}_original`"
            ));
        }
        let whole: Vec<usize> =
            self.places().filter(|p| p.inner.is_empty()).map(|p| p.root).collect();
        let taken: Vec<&str> = whole.iter().map(|root| fields[*root].name().as_str()).collect();
        let mut others = Vec::new();
        for (root, field) in fields.iter().enumerate().filter(|(root, _)| !whole.contains(root)) {
            if taken.contains(&field.name().as_str()) {
                notices.push(format!(
                    "there are two columns `{}`: the first is read, the other left out",
                    field.name()
                ));
                continue;
            }
            let mut inside =
                self.places().filter(|place| place.root == root && !place.inner.is_empty());
            let rest = inside
                .try_fold(field.data_type().clone(), |rest, place| without(&rest, &place.inner));
            others.extend(rest.map(|rest| (field.name().clone(), rest)));
        }
        if self.has_answers(ask) {
            let own = others.extract_if(.., |(name, _)| name == ANSWERS).count();
            notices.extend((own > 0).then(|| format!("column `{ANSWERS}` is left out")));
            others.push((ANSWERS.to_owned(), DataType::Utf8));
        }
        (others, notices)
    }
}

/// A struct without the field at `inner`; `None` when nothing is left.
fn without(data_type: &DataType, inner: &[String]) -> Option<DataType> {
    let (DataType::Struct(fields), Some((name, rest))) = (data_type, inner.split_first()) else {
        return None;
    };
    let field = |field: &Arc<Field>| match field.name() == name {
        true => {
            without(field.data_type(), rest).map(|kind| Field::new(name, kind, true)).map(Arc::new)
        }
        false => Some(field.clone()),
    };
    let fields: Vec<Arc<Field>> = fields.iter().filter_map(field).collect();
    (!fields.is_empty()).then(|| DataType::Struct(fields.into()))
}

/// The field that `path` leads to: one of that whole name first, then through structs.
fn find(fields: &Fields, path: &str) -> Option<Place> {
    if let Some((root, field)) = fields.find(path) {
        let data_type = field.data_type().clone();
        return Some(Place { root, inner: Vec::new(), data_type });
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (root, field) = fields.find(&path[..dot])?;
        let DataType::Struct(fields) = field.data_type() else { return None };
        let below = find(fields, &path[dot + 1..])?;
        let mut inner = vec![fields[below.root].name().clone()];
        inner.extend(below.inner);
        Some(Place { root, inner, data_type: below.data_type })
    })
}

/// The places of a conversation in a file without the text column: its messages, or a prompt and
/// what completes it.
fn conversation(fields: &Fields, ask: &Ask) -> Option<(Place, Option<Place>)> {
    if !ask.answers || find(fields, &ask.text_column).is_some() {
        return None;
    }
    let of = |name: &str, fits: fn(&DataType) -> bool| {
        find(fields, name).filter(|place| fits(&place.data_type))
    };
    if let Some(list) = of(MESSAGES, |kind| messages(kind).is_some()) {
        return Some((list, None));
    }
    Some((of(PROMPT, is_text)?, Some(of(COMPLETION, is_text)?)))
}

fn text(fields: &Fields, path: &Path, ask: &Ask) -> Result<Place> {
    let wanted = &ask.text_column;
    let Some(place) = find(fields, wanted) else {
        let names = names(fields);
        return Err(missing(
            path,
            "text",
            wanted,
            names.iter().map(String::as_str),
            "--text-column",
        ));
    };
    if is_text(&place.data_type) || messages(&place.data_type).is_some() {
        return Ok(place);
    }
    let (kind, columns) = (&place.data_type, list(names(fields).iter().map(String::as_str)));
    let path = path.display();
    let message =
        format!("column `{wanted}` of `{path}` holds {kind}, not text: its columns are {columns}");
    Err(Error::config(message).with_hint("name the column that holds the text: `--text-column`"))
}

fn id(fields: &Fields, path: &Path, ask: &Ask) -> Result<Option<Place>> {
    match (find(fields, ask.id_name()), &ask.id_column) {
        (Some(place), _) if is_id(&place.data_type) => Ok(Some(place)),
        // The column was not asked for: it is kept under another name, and `others` says so.
        (Some(_), None) | (None, None) => Ok(None),
        (Some(place), Some(wanted)) => Err(Error::config(format!(
            "column `{wanted}` of `{}` holds {}, which is no id",
            path.display(),
            place.data_type
        ))
        .with_hint(
            "name a column of strings or integers, or leave `--id-column` out: ids are then hashes \
             of the texts",
        )),
        (None, Some(wanted)) => {
            let names = names(fields);
            Err(missing(path, "id", wanted, names.iter().map(String::as_str), "--id-column"))
        }
    }
}

/// The error for a column that a file lacks; `names` are those it has.
pub fn missing<'a>(
    path: &Path,
    what: &str,
    wanted: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    flag: &str,
) -> Error {
    let (near, columns, path) = (nearest(wanted, names.clone()), list(names), path.display());
    let message = format!("`{path}` has no {what} column `{wanted}`: its columns are {columns}");
    Error::config(message).with_hint(match near {
        Some(near) => format!("did you mean `{flag} {near}`?"),
        None => format!("name the column: `{flag} NAME`"),
    })
}

/// The columns, then the fields of structs as paths.
fn names(fields: &Fields) -> Vec<String> {
    let inner = fields.iter().flat_map(|field| match field.data_type() {
        DataType::Struct(inner) => {
            inner.iter().map(|below| format!("{}.{}", field.name(), below.name())).collect()
        }
        _ => Vec::new(),
    });
    fields.iter().map(|field| field.name().clone()).chain(inner).collect()
}

/// Names for a message: the first twenty.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(20);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Whether values of this type can be a document's text.
pub fn is_text(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Null => true,
        Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether values of this type can be a document's id: strings and integers, which read the same
/// everywhere. A float's digits, the bytes of a UUID, a list or a struct do not.
fn is_id(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_id(values),
        other => is_string(other) || other.is_integer() || *other == DataType::Null,
    }
}

/// Whether this type's values are promised to be UTF-8.
pub fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// The names of role and content, where a type is a list of messages.
pub fn messages(data_type: &DataType) -> Option<[String; 2]> {
    use DataType::{LargeList, LargeListView, List, ListView, Struct};
    let (List(item) | LargeList(item) | ListView(item) | LargeListView(item)) = data_type else {
        return None;
    };
    let Struct(fields) = item.data_type() else { return None };
    let find = |names: [&str; 2]| {
        let is_it = |field: &&Arc<Field>| {
            names.contains(&field.name().as_str()) && is_string(field.data_type())
        };
        fields.iter().find(is_it).map(|field| field.name().clone())
    };
    Some([find(ROLE_KEYS)?, find(CONTENT_KEYS)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{Int64, Utf8};

    fn record(fields: &[(&str, DataType)]) -> DataType {
        DataType::Struct(
            fields.iter().map(|(n, kind)| Field::new(*n, kind.clone(), true)).collect(),
        )
    }

    #[test]
    fn a_path_leads_into_structs_and_a_column_with_a_dot_wins() {
        let deep = record(&[("b.c", record(&[("d", Utf8), ("e", Int64)]))]);
        let fields: Fields = vec![
            Field::new("n", Int64, true),
            Field::new("a", deep, true),
            Field::new("x", record(&[("y", Utf8)]), true),
            Field::new("x.y", Utf8, true),
        ]
        .into();
        let inner =
            |path: &str| find(&fields, path).map(|place| (place.root, place.inner.join("/")));
        assert_eq!(inner("a.b.c.d"), Some((1, "b.c/d".to_owned())));
        assert_eq!(inner("x.y"), Some((3, String::new())));
        assert_eq!((inner("a.b"), inner("n.y"), inner(".")), (None, None, None));
        let ask = |text: &str| {
            let text_column = text.to_owned();
            Ask { text_column, id_column: None, ..Ask::of_corpus() }
        };
        let leading = Leading::of(&fields, Path::new("f"), &ask("a.b.c.d")).unwrap();
        let (others, _) = leading.others(&fields, &ask("a.b.c.d"));
        assert_eq!(others[1].1, record(&[("b.c", record(&[("e", Int64)]))]));
        // A struct of which nothing is left is no column.
        let fields: Fields = vec![Field::new("x", record(&[("y", Utf8)]), true)].into();
        let leading = Leading::of(&fields, Path::new("f"), &ask("x.y")).unwrap();
        assert!(leading.others(&fields, &ask("x.y")).0.is_empty());
        let error = Leading::of(&fields, Path::new("f"), &ask("y")).unwrap_err();
        assert!(error.to_string().contains("its columns are `x`, `x.y`"), "{error}");
    }
}

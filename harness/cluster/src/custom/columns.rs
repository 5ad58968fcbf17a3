//! The columns in which a definition wants its objects printed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionVersion,
};

use super::json_path::JsonPath;
use crate::cause::{Cause, CauseReason};

/// A column next to the name.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) cell_type: CellType,
    pub(crate) format: String,
    pub(crate) description: String,
    /// Shown with `-o wide` only when greater than 0.
    pub(crate) priority: i32,
    pub(crate) path: JsonPath,
}

/// What the cells of a column show.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum CellType {
    Integer,
    Number,
    Text,
    Boolean,
    /// The time since then.
    Date,
}

impl CellType {
    const ALL: [Self; 5] = [
        Self::Boolean,
        Self::Date,
        Self::Integer,
        Self::Number,
        Self::Text,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "string",
            Self::Boolean => "boolean",
            Self::Date => "date",
        }
    }
}

/// The columns of a version at `path`; the age if it names none.
pub(super) fn read(
    version: &CustomResourceDefinitionVersion,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Vec<Column> {
    let Some(raw) = &version.additional_printer_columns else {
        return vec![age()];
    };
    let columns = raw.iter().enumerate();
    columns
        .filter_map(|(index, raw)| {
            let path = format!("{path}.additionalPrinterColumns[{index}]");
            column(raw, &path, causes)
        })
        .collect()
}

fn age() -> Column {
    Column {
        name: "Age".to_owned(),
        cell_type: CellType::Date,
        format: String::new(),
        description: String::new(),
        priority: 0,
        path: JsonPath::parse(".metadata.creationTimestamp")
            .expect("a path of two plain fields is valid"),
    }
}

fn column(
    raw: &CustomResourceColumnDefinition,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Option<Column> {
    let found = CellType::ALL
        .into_iter()
        .find(|known| known.name() == raw.type_);
    if found.is_none() {
        let names = CellType::ALL
            .map(|known| format!("{:?}", known.name()))
            .join(", ");
        let message = format!("{:?}: supported values: {names}", raw.type_);
        let reason = CauseReason::NotSupported;
        causes.push(Cause::new(reason, format!("{path}.type"), message));
    }
    if raw.name.is_empty() {
        causes.push(Cause::new(
            CauseReason::Required,
            format!("{path}.name"),
            "",
        ));
    }
    let parsed = JsonPath::parse(&raw.json_path).map_err(|error| {
        let message = format!("{:?}: {error}", raw.json_path);
        causes.push(Cause::new(
            CauseReason::Invalid,
            format!("{path}.jsonPath"),
            message,
        ));
    });
    Some(Column {
        name: raw.name.clone(),
        cell_type: found?,
        format: raw.format.clone().unwrap_or_default(),
        description: raw.description.clone().unwrap_or_default(),
        priority: raw.priority.unwrap_or_default(),
        path: parsed.ok()?,
    })
}

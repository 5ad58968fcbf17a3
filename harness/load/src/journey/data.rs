//! Files of records, read once before the load.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_core::experiment::{Data, DataOrder};
use rand::Rng as _;
use rand::rngs::SmallRng;
use serde_json::Value;

use crate::message::RequestError;
use crate::share::Share;

/// Why a file of records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not there, not allowed, or not readable to its end.
    #[error("the data file {} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Not CSV: lines of different lengths, or not UTF-8.
    #[error("the data file {} is not CSV", file.display())]
    NotCsv {
        /// The file.
        file: PathBuf,
        /// What is wrong, and on which line.
        source: csv::Error,
    },
    /// A line that is not an object.
    #[error("line {line} of the data file {} is not a JSON object", file.display())]
    NotAnObject {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, where it is no JSON at all.
        source: Option<serde_json::Error>,
    },
    /// No record at all.
    #[error("the data file {} has no record", .0.display())]
    Empty(PathBuf),
    /// A field that a template uses is not there.
    #[error(
        "the data file {} has no field `{field}` on line {line}, which a request uses as \
         {{{{data.{field}}}}}; it has: {}", file.display(), present.join(", ")
    )]
    NoField {
        /// The file.
        file: PathBuf,
        /// From 1; a CSV's header line is 1.
        line: usize,
        /// The field.
        field: String,
        /// Those that are there.
        present: Vec<String>,
    },
    /// A request that is none with the values of a record.
    #[error("no request can be made with record {record} of the data file {}", file.display())]
    Unsendable {
        /// The file.
        file: PathBuf,
        /// From 1.
        record: usize,
        /// What is wrong with the request.
        source: RequestError,
    },
}

/// The records of a file, and whose turn it is.
#[derive(Debug)]
pub(super) struct Records {
    /// Of each record the fields that templates use; at least one record.
    records: Vec<Box<[Box<str>]>>,
    order: DataOrder,
    turn: Turns,
}

/// Numbers that are given out once each, over all processes of a load.
#[derive(Debug)]
pub(super) struct Turns {
    next: AtomicU64,
    step: u64,
}

impl Turns {
    /// Those of one process.
    pub(super) fn of(share: Share) -> Self {
        Self {
            next: AtomicU64::new(share.index.into()),
            step: share.count.into(),
        }
    }

    pub(super) fn take(&self) -> u64 {
        self.next.fetch_add(self.step, Ordering::Relaxed)
    }
}

impl Records {
    /// Reads `fields` of every record.
    pub(super) fn read(data: &Data, fields: &[String], turn: Turns) -> Result<Self, DataError> {
        let file = &data.file;
        let records = match file.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl") => read_json_lines(file, fields)?,
            _ => read_csv(file, fields)?,
        };
        if records.is_empty() {
            return Err(DataError::Empty(file.clone()));
        }
        Ok(Self {
            records,
            order: data.order,
            turn,
        })
    }

    /// The record for one more beginning.
    pub(super) fn take(&self, chance: &mut SmallRng) -> &[Box<str>] {
        let count = self.records.len();
        let place = match self.order {
            DataOrder::InTurn => (self.turn.take() % count as u64) as usize,
            DataOrder::Random => chance.random_range(0..count),
        };
        &self.records[place]
    }

    pub(super) fn all(&self) -> &[Box<[Box<str>]>] {
        &self.records
    }
}

fn read_csv(file: &Path, fields: &[String]) -> Result<Vec<Box<[Box<str>]>>, DataError> {
    let mut reader = csv::Reader::from_reader(open(file)?);
    let header = reader.headers().map_err(|error| of_csv(file, error))?;
    let places = fields.iter().map(|field| {
        let place = header.iter().position(|present| present == field);
        place.ok_or_else(|| DataError::NoField {
            file: file.to_owned(),
            line: 1,
            field: field.clone(),
            present: header.iter().map(str::to_owned).collect(),
        })
    });
    let places: Vec<usize> = places.collect::<Result<_, _>>()?;
    let records = reader.records().map(|record| {
        let record = record.map_err(|error| of_csv(file, error))?;
        Ok(places.iter().map(|place| record[*place].into()).collect())
    });
    records.collect()
}

fn read_json_lines(file: &Path, fields: &[String]) -> Result<Vec<Box<[Box<str>]>>, DataError> {
    let mut records = Vec::new();
    for (line, text) in (1..).zip(open(file)?.lines()) {
        let text = text.map_err(|source| unreadable(file, source))?;
        if text.trim().is_empty() {
            continue;
        }
        let not_an_object = |source| DataError::NotAnObject {
            file: file.to_owned(),
            line,
            source,
        };
        let object = match serde_json::from_str(&text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(not_an_object(None)),
            Err(error) => return Err(not_an_object(Some(error))),
        };
        let record = fields.iter().map(|field| match object.get(field) {
            Some(value) => Ok(text_of(value).into()),
            None => Err(DataError::NoField {
                file: file.to_owned(),
                line,
                field: field.clone(),
                present: object.keys().cloned().collect(),
            }),
        });
        records.push(record.collect::<Result<_, _>>()?);
    }
    Ok(records)
}

/// Text as it is, anything else as JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn open(file: &Path) -> Result<BufReader<File>, DataError> {
    let opened = File::open(file).map_err(|source| unreadable(file, source))?;
    Ok(BufReader::new(opened))
}

fn unreadable(file: &Path, source: io::Error) -> DataError {
    DataError::Unreadable {
        file: file.to_owned(),
        source,
    }
}

/// A file that cannot be read is not called bad CSV.
fn of_csv(file: &Path, error: csv::Error) -> DataError {
    if !error.is_io_error() {
        return DataError::NotCsv {
            file: file.to_owned(),
            source: error,
        };
    }
    match error.into_kind() {
        csv::ErrorKind::Io(source) => unreadable(file, source),
        kind => unreadable(file, io::Error::other(format!("{kind:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::failure::words;

    fn read(name: &str, text: &str, order: DataOrder, index: u32) -> Result<Records, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let data = Data { file, order };
        let fields = ["item".to_owned(), "count".to_owned()];
        let records = Records::read(&data, &fields, Turns::of(Share { index, count: 2 }));
        let place = folder.path().display().to_string();
        records.map_err(|error| words(&error).replace(&place, "."))
    }

    fn taken(records: &Records, seed: u64, count: usize) -> Vec<String> {
        let mut chance = SmallRng::seed_from_u64(seed);
        let taken = (0..count).map(|_| records.take(&mut chance).join("/"));
        taken.collect()
    }

    const CSV: &str = "count,who,item\n1,ann,\"chicken, fried\"\n2,bob,pizza\n3,eve,soup\n";
    const JSON_LINES: &str = concat!(
        "{\"item\": \"chicken, fried\", \"count\": 1}\n\n",
        "{\"item\": \"pizza\", \"count\": [2]}\n",
        "{\"item\": \"soup\", \"count\": null, \"more\": true}\n",
    );

    #[test]
    fn records_come_in_turn_each_to_one_process() {
        for (name, text, three) in [
            ("a.csv", CSV, ["chicken, fried/1", "pizza/2", "soup/3"]),
            (
                "a.jsonl",
                JSON_LINES,
                ["chicken, fried/1", "pizza/[2]", "soup/null"],
            ),
        ] {
            let read = |index| read(name, text, DataOrder::InTurn, index).unwrap();
            assert_eq!(taken(&read(0), 1, 3), [three[0], three[2], three[1]]);
            assert_eq!(taken(&read(1), 1, 3), [three[1], three[0], three[2]]);
        }
    }

    #[test]
    fn random_records_are_those_of_the_seed() {
        let records = read("a.csv", CSV, DataOrder::Random, 0).unwrap();
        let drawn = taken(&records, 7, 3000);
        assert_eq!(drawn, taken(&records, 7, 3000));
        assert_ne!(drawn, taken(&records, 8, 3000));
        for record in ["chicken, fried/1", "pizza/2", "soup/3"] {
            let count = drawn.iter().filter(|drawn| *drawn == record).count();
            // Binomial: a standard deviation is 26.
            assert!((870..1130).contains(&count), "{record}: {count}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let error = |name, text| read(name, text, DataOrder::InTurn, 0).unwrap_err();
        assert_eq!(
            error("a.csv", "item,number\nx,1\n"),
            "the data file ./a.csv has no field `count` on line 1, which a request uses as \
             {{data.count}}; it has: item, number"
        );
        assert_eq!(
            error("a.csv", "item,count\nx,1\ny\n"),
            "the data file ./a.csv is not CSV: CSV error: record 2 (line: 3, byte: 15): found \
             record with 1 fields, but the previous record has 2 fields"
        );
        for (name, text) in [("a.csv", ""), ("a.csv", "item,count\n"), ("a.jsonl", "\n")] {
            let error = error(name, text);
            assert!(error.contains("has no"), "{error}");
        }
        assert_eq!(
            error("a.jsonl", "{\"item\": 1, \"count\": 2}\n{\"item\": 1}\n"),
            "the data file ./a.jsonl has no field `count` on line 2, which a request uses as \
             {{data.count}}; it has: item"
        );
        assert_eq!(
            error("a.jsonl", "\n[1]\n"),
            "line 2 of the data file ./a.jsonl is not a JSON object"
        );
        assert!(error("a.jsonl", "{\n").starts_with(
            "line 1 of the data file ./a.jsonl is not a JSON object: EOF while parsing"
        ));
        let missing = Data {
            file: "/nowhere/a.csv".into(),
            order: DataOrder::InTurn,
        };
        let error = Records::read(&missing, &[], Turns::of(Share::default())).unwrap_err();
        assert_eq!(
            words(&error),
            "the data file /nowhere/a.csv cannot be read: No such file or directory (os error 2)"
        );
    }
}

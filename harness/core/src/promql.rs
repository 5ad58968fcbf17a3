//! What Prometheus computes: an instant query at its HTTP API, and the answer to it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::Value;

use crate::experiment::Address;

/// Why an answer has no numbers.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or not what the API answers.
    #[error("the answer is not one of Prometheus' HTTP API")]
    Form(#[source] serde_json::Error),
    /// The query was refused.
    #[error("{kind}: {words}")]
    Refused {
        /// Prometheus' name of the mistake.
        kind: String,
        /// Its words.
        words: String,
    },
    /// A range or text: nothing that could be compared.
    #[error("the query gives a {0}, not a number")]
    NoNumber(String),
}

/// Where `query` is asked of the server whose base URL is `server`.
#[must_use]
pub fn address(server: &str, query: &str) -> Address {
    let server = server.trim_end_matches('/');
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    Address::Url(format!("{server}/api/v1/query?query={query}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    data: Option<Data>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// A time and a number as text: `NaN` and `+Inf` are none in JSON.
#[derive(Deserialize)]
struct Sample(IgnoredAny, String);

/// The numbers of an answer: one of a scalar, one for each series of a vector.
///
/// # Errors
/// The answer has none.
pub fn read(body: &[u8]) -> Result<Vec<f64>, AnswerError> {
    let told: Told = serde_json::from_slice(body).map_err(AnswerError::Form)?;
    let Some(Data {
        result_type,
        result,
    }) = told.data
    else {
        return Err(AnswerError::Refused {
            kind: told.error_type,
            words: told.error,
        });
    };
    let samples = match result_type.as_str() {
        "scalar" => serde_json::from_value(result).map(|sample| vec![sample]),
        "vector" => serde_json::from_value(result)
            .map(|vector: Vec<Series>| vector.into_iter().map(|series| series.value).collect()),
        _ => return Err(AnswerError::NoNumber(result_type)),
    };
    let samples: Vec<Sample> = samples.map_err(AnswerError::Form)?;
    let numbers = samples.iter().map(|Sample(_, text)| text.parse());
    // Go's words for what is no number are Rust's as well.
    let numbers: Result<Vec<f64>, _> = numbers.collect();
    numbers.map_err(|error| AnswerError::Form(serde_json::Error::custom(error)))
}

/// Why numbers are not within bounds; `None`: they all are. No number at all is within none.
#[must_use]
pub fn out_of_bounds(numbers: &[f64], min: Option<f64>, max: Option<f64>) -> Option<String> {
    if numbers.is_empty() {
        return Some("gives no number".to_owned());
    }
    numbers.iter().find_map(|number| {
        if number.is_nan() {
            return Some("is NaN".to_owned());
        }
        let below = min.filter(|min| number < min);
        let above = max.filter(|max| number > max);
        let below = below.map(|min| format!("is {number}, below {min}"));
        below.or_else(|| above.map(|max| format!("is {number}, above {max}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_one_value_of_the_address() {
        let Address::Url(url) = address("http://p:9090/", r#"rate(x{a="é&"}[1m]) > 0"#) else {
            panic!("an URL");
        };
        assert_eq!(
            url,
            "http://p:9090/api/v1/query?query=rate%28x%7Ba%3D%22%C3%A9%26%22%7D%5B1m%5D%29%20%3E%200"
        );
    }

    #[test]
    fn numbers_are_read_from_scalars_and_vectors() {
        let scalar = br#"{"status": "success", "data": {"resultType": "scalar", "result": [1764443400.1, "0.25"]}}"#;
        assert_eq!(read(scalar).unwrap(), [0.25]);
        let vector = br#"{"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"pod": "a"}, "value": [1764443400, "3"]},
            {"metric": {}, "value": [1764443400, "+Inf"]}]}, "warnings": ["w"]}"#;
        assert_eq!(read(vector).unwrap(), [3.0, f64::INFINITY]);
    }

    #[test]
    fn other_answers_say_why_they_have_none() {
        for (body, words) in [
            ("<html>", "not one of Prometheus'"),
            (
                r#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#,
                "bad_data: parse error",
            ),
            (
                r#"{"status": "success", "data": {"resultType": "matrix", "result": []}}"#,
                "gives a matrix",
            ),
            (
                r#"{"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}"#,
                "not one of Prometheus'",
            ),
        ] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_number_must_be_within_bounds_and_there_must_be_one() {
        let bounds = |numbers: &[f64]| out_of_bounds(numbers, Some(1.0), Some(5.0));
        assert_eq!(bounds(&[1.0, 5.0]), None);
        assert_eq!(bounds(&[]).unwrap(), "gives no number");
        assert_eq!(bounds(&[2.0, 0.5]).unwrap(), "is 0.5, below 1");
        assert_eq!(bounds(&[f64::INFINITY]).unwrap(), "is inf, above 5");
        assert_eq!(bounds(&[f64::NAN]).unwrap(), "is NaN");
        assert_eq!(out_of_bounds(&[-9.0], None, Some(5.0)), None);
    }
}

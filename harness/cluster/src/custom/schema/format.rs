//! The formats of text and numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::jiff::{Timestamp, civil};
use serde_json::Value;

/// A format which is checked.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Format {
    Int32,
    Int64,
    DateTime,
    Date,
    Duration,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    Byte,
    Uri,
    Hostname,
}

/// What a definition's format means here.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Known {
    Checked(Format),
    /// Accepts everything.
    Unchecked,
    /// A real API server checks it.
    NotSupported,
    /// A real API server does not know it either.
    Unknown,
}

pub(super) fn named(name: &str) -> Known {
    // Real API servers overlook dashes: `datetime` is `date-time`.
    match name.replace('-', "").as_str() {
        "int32" => Known::Checked(Format::Int32),
        "int64" => Known::Checked(Format::Int64),
        "datetime" => Known::Checked(Format::DateTime),
        "date" => Known::Checked(Format::Date),
        "duration" => Known::Checked(Format::Duration),
        "ipv4" => Known::Checked(Format::Ipv4),
        "ipv6" => Known::Checked(Format::Ipv6),
        "cidr" => Known::Checked(Format::Cidr),
        "mac" => Known::Checked(Format::Mac),
        "uuid" => Known::Checked(Format::Uuid),
        "byte" => Known::Checked(Format::Byte),
        "uri" => Known::Checked(Format::Uri),
        "hostname" => Known::Checked(Format::Hostname),
        "float" | "double" | "password" => Known::Unchecked,
        "bsonobjectid" | "email" | "uuid3" | "uuid4" | "uuid5" | "isbn" | "isbn10" | "isbn13"
        | "creditcard" | "ssn" | "hexcolor" | "rgbcolor" => Known::NotSupported,
        _ => Known::Unknown,
    }
}

/// Whether a format means anything; others are ignored.
pub(crate) fn is_known(name: &str) -> bool {
    named(name) != Known::Unknown
}

impl Format {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Byte => "byte",
            Self::Uri => "uri",
            Self::Hostname => "hostname",
        }
    }

    /// Whether a value has this format. Formats of text say nothing about
    /// numbers, nor those of numbers about text.
    pub(super) fn accepts(self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.accepts_text(text),
            Value::Number(number) => match self {
                Self::Int32 => number.as_f64().is_some_and(|number| {
                    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
                }),
                Self::Int64 => number.as_u64().is_none() || number.as_i64().is_some(),
                _ => true,
            },
            _ => true,
        }
    }

    fn accepts_text(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 => true,
            Self::DateTime => text.parse::<Timestamp>().is_ok(),
            Self::Date => text.parse::<civil::Date>().is_ok() && text.len() == "2006-01-02".len(),
            Self::Duration => is_duration(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid => is_uuid(text),
            Self::Byte => is_base64(text),
            Self::Uri => text
                .parse::<http::Uri>()
                .is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/')),
            Self::Hostname => is_hostname(text),
        }
    }
}

/// As Go writes durations: `1h30m`, `-1.5s`, `100ms`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let (digits, unit_first) = rest.split_at(number);
        let unit = unit_first.len()
            - unit_first
                .trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.')
                .len();
        let (unit, remaining) = unit_first.split_at(unit);
        let valid = digits.parse::<f64>().is_ok()
            && matches!(unit, "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h");
        if !valid {
            return false;
        }
        parts += 1;
        rest = remaining;
    }
    parts > 0
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        let longest = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= longest)
    })
}

fn is_mac(text: &str) -> bool {
    let octets: Vec<_> = text.split([':', '-']).collect();
    matches!(octets.len(), 6 | 8 | 20)
        && octets
            .iter()
            .all(|octet| octet.len() == 2 && octet.chars().all(|c| c.is_ascii_hexdigit()))
}

fn is_uuid(text: &str) -> bool {
    let digits = text.chars().filter(|c| *c != '-');
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    digits.clone().all(|c| c.is_ascii_hexdigit()) && (groups == [8, 4, 4, 4, 12] || groups == [32])
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/')
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_tell_right_from_wrong() {
        for (format, right, wrong) in [
            (
                Format::Int32,
                json!(2_147_483_647),
                json!(2_147_483_648_u64),
            ),
            (Format::Int64, json!(i64::MIN), json!(u64::MAX)),
            (
                Format::DateTime,
                json!("2026-01-02T03:04:05.5Z"),
                json!("2026-01-02"),
            ),
            (Format::Date, json!("2026-01-02"), json!("2026-13-02")),
            (Format::Duration, json!("1h1.5s"), json!("1 day")),
            (Format::Duration, json!("0"), json!("")),
            (Format::Ipv4, json!("127.0.0.1"), json!("::1")),
            (Format::Ipv6, json!("::1"), json!("127.0.0.1")),
            (Format::Cidr, json!("10.0.0.0/8"), json!("10.0.0.0/33")),
            (Format::Mac, json!("00:1b:2c:3d:4e:5f"), json!("00:1b")),
            (
                Format::Uuid,
                json!("0b2d3c4d-0000-4000-8000-0123456789ab"),
                json!("0b2d"),
            ),
            (Format::Byte, json!("aGk="), json!("a")),
            (Format::Uri, json!("http://a/b"), json!("a b")),
            (Format::Hostname, json!("a.b-c"), json!("-a")),
        ] {
            assert!(format.accepts(&right), "{format:?} {right}");
            assert!(!format.accepts(&wrong), "{format:?} {wrong}");
        }
    }
}

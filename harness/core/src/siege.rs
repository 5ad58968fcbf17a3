//! siege's own arithmetic, as read in its source (4.0.x): what each outcome adds to which figure.
//!
//! The rules and where they come from are in the table of `harness/docs/siege-figures.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Sample;

/// siege's accumulators, additive over ticks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// "Transactions": answers whose status is not 408 or 500–509.
    pub hits: u64,
    /// Of these, redirects that were followed.
    #[serde(default)]
    pub redirects: u64,
    /// "Successful transactions": status below 400, or 401, or 407.
    pub successful: u64,
    /// "Failed transactions": no answer, or 408, or 500–509.
    pub failed: u64,
    /// Body bytes of every answer.
    pub bytes: u64,
    /// Sum over every answer, failures included, in microseconds.
    pub time_us: u64,
    /// Longest answer, in microseconds.
    pub longest_us: u64,
    /// Shortest answer, in microseconds; `None` without an answer.
    pub shortest_us: Option<u64>,
}

impl Tally {
    /// Counts one finished request by siege's rules: the redirects that were followed are
    /// transactions of their own, unless the last of them led to no answer.
    pub fn count(&mut self, sample: &Sample) {
        let hops: Duration = sample.hops.iter().map(|hop| hop.time).sum();
        for hop in &sample.hops {
            self.count_answer(hop.status, hop.time, hop.body_bytes);
        }
        let Some(status) = sample.status else {
            self.failed += 1;
            self.hits -= sample.hops.len() as u64;
            return;
        };
        let time = sample.service_time.saturating_sub(hops);
        let hits = self.hits;
        self.count_answer(status, time, sample.body_bytes);
        let redirects = sample.hops.len() as u64;
        if self.hits == hits {
            self.hits -= redirects;
        } else {
            self.redirects += redirects;
        }
    }

    fn count_answer(&mut self, status: u16, time: Duration, body_bytes: u64) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.time_us += micros;
        self.bytes += body_bytes;
        self.longest_us = self.longest_us.max(micros);
        self.shortest_us = Some(self.shortest_us.map_or(micros, |least| least.min(micros)));
        if status < 400 || status == 401 || status == 407 {
            self.successful += 1;
        }
        if status == 408 || (500..=509).contains(&status) {
            self.failed += 1;
        } else {
            self.hits += 1;
        }
    }

    /// Adds another tally, as siege adds its users' at the end.
    pub fn merge(&mut self, other: &Self) {
        self.hits += other.hits;
        self.redirects += other.redirects;
        self.successful += other.successful;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.time_us += other.time_us;
        self.longest_us = self.longest_us.max(other.longest_us);
        self.shortest_us = match (self.shortest_us, other.shortest_us) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// The printed figures for a load that lasted `elapsed`.
    #[must_use]
    pub fn figures(&self, elapsed: Duration) -> Figures {
        let elapsed = elapsed.as_secs_f64();
        let per_second = |value: f64| if elapsed > 0.0 { value / elapsed } else { 0.0 };
        let time = self.time_us as f64 / 1e6;
        let mebibytes = self.bytes as f64 / (1024.0 * 1024.0);
        let attempts = self.hits + self.failed;
        Figures {
            transactions: self.hits,
            availability: if self.hits == 0 {
                0.0
            } else {
                self.hits as f64 / attempts as f64 * 100.0
            },
            elapsed,
            data_transferred: mebibytes,
            response_time: if self.hits == 0 {
                0.0
            } else {
                time / self.hits as f64
            },
            transaction_rate: per_second(self.hits as f64),
            throughput: per_second(mebibytes),
            concurrency: per_second(time),
            successful: self.successful,
            failed: self.failed,
            longest: self.longest_us as f64 / 1e6,
            shortest: if self.successful == 0 {
                0.0
            } else {
                self.shortest_us.unwrap_or(0) as f64 / 1e6
            },
        }
    }
}

/// siege's summary block as numbers. Times in seconds, sizes in MiB, availability in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// "Transactions".
    pub transactions: u64,
    /// "Availability".
    pub availability: f64,
    /// "Elapsed time".
    pub elapsed: f64,
    /// "Data transferred".
    pub data_transferred: f64,
    /// "Response time": the time of failures is in the numerator, their number is not in the
    /// denominator. Never compare breaker settings by it.
    pub response_time: f64,
    /// "Transaction rate".
    pub transaction_rate: f64,
    /// "Throughput".
    pub throughput: f64,
    /// "Concurrency".
    pub concurrency: f64,
    /// "Successful transactions".
    pub successful: u64,
    /// "Failed transactions".
    pub failed: u64,
    /// "Longest transaction".
    pub longest: f64,
    /// "Shortest transaction".
    pub shortest: f64,
}

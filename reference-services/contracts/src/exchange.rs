//! What is agreed on requests and answers over HTTP.

use http::{HeaderMap, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::breach::Breach;
use crate::members::Members;

/// A request that the consumer sends, and what it needs of the answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    pub request: RequestTerms,
    pub answers: Vec<AnswerTerms>,
}

/// What the consumer sends: this, and nothing else.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTerms {
    method: String,
    path: String,
    headers: Members,
    /// `None` is a request without a body.
    body: Option<Members>,
}

/// What the consumer reads of an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerTerms {
    /// How things are at the provider before.
    pub given: String,
    /// What the answer means to the consumer.
    pub meaning: String,
    status: Status,
    #[serde(default)]
    headers: Members,
    /// What is read of a body that is an object.
    #[serde(default)]
    body: Members,
    /// What is read of each entry of a body that is a list.
    entries: Option<Members>,
}

/// What the consumer reads of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Status {
    /// `2xx`
    Success,
    Exactly(StatusCode),
}

impl TryFrom<String> for Status {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "2xx" {
            return Ok(Self::Success);
        }
        let status = text.parse().map(Self::Exactly);
        status.map_err(|_| format!("{text} is neither a status nor 2xx"))
    }
}

impl Status {
    fn is_met_by(self, found: StatusCode) -> bool {
        match self {
            Self::Success => found.is_success(),
            Self::Exactly(status) => found == status,
        }
    }

    fn examples(self) -> Vec<StatusCode> {
        match self {
            Self::Success => vec![StatusCode::OK, StatusCode::CREATED, StatusCode::ACCEPTED],
            Self::Exactly(status) => vec![status],
        }
    }

    fn wrong(self) -> impl Iterator<Item = StatusCode> {
        let others = [
            StatusCode::OK,
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        others.into_iter().filter(move |it| !self.is_met_by(*it))
    }
}

impl RequestTerms {
    /// How a request that was sent breaks what was agreed. The transport may add headers.
    pub fn check(&self, sent: &Request<impl AsRef<[u8]>>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        if sent.method().as_str() != self.method {
            let found = sent.method().as_str();
            breaches.push(Breach::wrong("the method", &self.method, found));
        }
        let path = sent.uri().path_and_query().map(ToString::to_string);
        if path.as_ref() != Some(&self.path) {
            breaches.push(Breach::wrong("the path", &self.path, path));
        }
        breaches.extend(self.headers.check(&headers(sent.headers())));
        let found = sent.body().as_ref();
        match (&self.body, object(found)) {
            (Some(terms), Some(body)) => breaches.extend(terms.check_exactly(&body)),
            (Some(_), None) => breaches.push(Breach::NotAnObject("body")),
            (None, _) if found.is_empty() => {}
            (None, _) => breaches.push(Breach::Unknown("the body".to_owned())),
        }
        breaches
    }

    /// The request in full.
    pub fn example(&self) -> Request<String> {
        let mut request = Request::builder().method(&*self.method).uri(&self.path);
        for (name, value) in self.headers.example() {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        let body = self.body.as_ref();
        let body = body.map(|terms| Value::from(terms.example()).to_string());
        request
            .body(body.unwrap_or_default())
            .expect("a contract has requests that can be sent")
    }
}

impl AnswerTerms {
    /// How an answer breaks what was agreed.
    pub fn check(&self, answer: &Response<impl AsRef<[u8]>>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        if !self.status.is_met_by(answer.status()) {
            let wanted = match self.status {
                Status::Success => "2xx".to_owned(),
                Status::Exactly(status) => status.as_str().to_owned(),
            };
            let found = answer.status().as_u16();
            breaches.push(Breach::wrong("the status", wanted, found));
        }
        breaches.extend(self.headers.check(&headers(answer.headers())));
        let found = answer.body().as_ref();
        if let Some(terms) = &self.entries {
            match entries(found) {
                Some(found) => breaches.extend(found.iter().flat_map(|it| terms.check(it))),
                None => breaches.push(Breach::NotAList("body")),
            }
        } else if !self.body.is_empty() {
            match object(found) {
                Some(body) => breaches.extend(self.body.check(&body)),
                None => breaches.push(Breach::NotAnObject("body")),
            }
        }
        breaches
    }

    /// All that the consumer must understand.
    pub fn examples(&self) -> Vec<Response<String>> {
        let (headers, body) = (self.headers.example(), self.whole(self.read().example()));
        let statuses = self.status.examples().into_iter();
        let bodies = self.read().examples().into_iter().map(|it| self.whole(it));
        let rich = self.headers.examples().into_iter();
        let status = self.status.examples()[0];
        statuses
            .map(|status| response(status, &headers, &body))
            .chain(bodies.map(|body| response(status, &headers, &body)))
            .chain(rich.map(|headers| response(status, &headers, &body)))
            .collect()
    }

    /// What means something else to the consumer because of a single difference, and that difference.
    pub fn broken(&self) -> Vec<(String, Response<String>)> {
        let (headers, body) = (self.headers.example(), self.whole(self.read().example()));
        let status = self.status.examples()[0];
        let statuses = self.status.wrong();
        let statuses =
            statuses.map(|it| (format!("the status is {it}"), response(it, &headers, &body)));
        let other_headers = self.headers.broken_texts().into_iter();
        let other_headers = other_headers.map(|(what, it)| (what, response(status, &it, &body)));
        let bodies = self.read().broken().into_iter();
        let bodies = bodies.map(|(what, it)| (what, self.whole(it)));
        let no_lists = self.entries.iter().flat_map(|terms| {
            let object = Value::from(terms.example());
            [
                ("nothing is listed", json!([])),
                ("there is no list", object),
            ]
        });
        let no_lists = no_lists.map(|(what, it)| (what.to_owned(), it));
        let bodies = bodies.chain(no_lists);
        let bodies = bodies.map(|(what, it)| (what, response(status, &headers, &it)));
        statuses.chain(other_headers).chain(bodies).collect()
    }

    /// What is read of the body, or of each of its entries.
    fn read(&self) -> &Members {
        self.entries.as_ref().unwrap_or(&self.body)
    }

    /// The body in which `members` is what is read.
    fn whole(&self, members: Map<String, Value>) -> Value {
        match self.entries {
            Some(_) => json!([members]),
            None => members.into(),
        }
    }
}

fn response(status: StatusCode, headers: &Map<String, Value>, body: &Value) -> Response<String> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        response = response.header(name, text);
    }
    response
        .body(body.to_string())
        .expect("a contract has answers that can be given")
}

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), text.into())
        })
        .collect()
}

/// A list that has entries.
fn entries(body: &[u8]) -> Option<Vec<Map<String, Value>>> {
    let entries: Vec<_> = serde_json::from_slice(body).ok()?;
    (!entries.is_empty()).then_some(entries)
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

//! One request of a journey, made ready: written once where it is always the same, written anew in
//! the same memory where it is not.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::experiment::{Body, Journey, Request};
use holdfast_core::plan::LoadPlan;
use holdfast_core::template::Variable;

use super::answer::Inspection;
use super::data::{DataError, Records, Turns};
use super::recipe::{Encoding, Names, Recipe, Values, uuid};
use super::{JourneyError, Ways};
use crate::client::Outcome;
use crate::message::{self, Message, RequestError};

/// One request of a journey, made ready.
#[derive(Debug)]
pub(crate) struct Leg {
    /// For reports: method and path as the experiment has them.
    pub(crate) label: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) think_time: Duration,
    /// Whether it uses nothing of earlier answers.
    pub(super) is_independent: bool,
    /// Whether a later request uses what is saved of its answer.
    pub(super) is_needed: bool,
    content: Content,
    inspection: Inspection,
}

#[derive(Debug)]
enum Content {
    Fixed(Message),
    Varying(Box<Form>),
}

/// A request with holes.
#[derive(Debug)]
struct Form {
    /// What does not vary of it.
    blank: Message,
    method: String,
    path: Recipe,
    headers: Vec<(String, Recipe)>,
    body: Option<Recipe>,
    has_unique: bool,
    has_uuid: bool,
}

/// Memory in which one request after another is written.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    message: Option<Message>,
    path: String,
    headers: Vec<String>,
    body: String,
    /// The values that this request alone has.
    unique: u64,
    uuid: String,
}

/// What a sender puts into the holes of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Luggage<'a> {
    pub(super) user: u32,
    pub(super) iteration: u64,
    pub(super) record: &'a [Box<str>],
    pub(super) saved: &'a [Option<String>],
}

impl Leg {
    /// Makes the request at `place` of a journey ready.
    pub(super) fn new(
        (journey, place): (&Journey, usize),
        plan: &LoadPlan,
        names: &Names,
        records: Option<&Records>,
        ways: Ways<'_>,
    ) -> Result<Self, JourneyError> {
        let request = &journey.requests[place];
        let later = &journey.requests[place + 1..];
        let content = if request.templates().all(|text| text.as_fixed().is_some()) {
            Content::Fixed(message::prepare(request, ways.target, ways.dialer)?)
        } else {
            let form = Form::new(request, names, ways)?;
            form.check(names, journey, records)?;
            Content::Varying(Box::new(form))
        };
        Ok(Self {
            label: label(request).into(),
            timeout: request.timeout.unwrap_or(plan.timeout),
            think_time: request.think_time.unwrap_or(journey.think_time),
            is_independent: request.is_independent(),
            is_needed: later.iter().any(|later| uses_saved(later, request)),
            content,
            inspection: Inspection::new(request, names, later)?,
        })
    }

    /// The request with its holes filled; `None` when that makes no request.
    pub(super) fn message<'a>(
        &'a self,
        luggage: Luggage<'_>,
        unique: &Turns,
        draft: &'a mut Draft,
    ) -> Option<&'a Message> {
        match &self.content {
            Content::Fixed(message) => Some(message),
            Content::Varying(form) => {
                if form.has_unique {
                    draft.unique = unique.take();
                }
                if form.has_uuid {
                    draft.uuid = uuid();
                }
                form.fill(luggage, draft)?;
                form.write(draft).ok()
            }
        }
    }

    /// Keeps of the expected answer to the request last written what is asked for, and fails the
    /// request when the answer is not what it must be.
    pub(super) fn inspect(
        &self,
        outcome: &mut Outcome,
        luggage: Luggage<'_>,
        draft: &Draft,
    ) -> Vec<(usize, String)> {
        let (unique, uuid) = (draft.unique, draft.uuid.as_str());
        self.inspection
            .apply(outcome, &luggage.values(unique, uuid))
    }
}

impl<'a> Luggage<'a> {
    fn values(self, unique: u64, uuid: &'a str) -> Values<'a> {
        Values {
            user: self.user,
            iteration: self.iteration,
            unique,
            uuid,
            record: self.record,
            saved: self.saved,
        }
    }
}

impl Form {
    fn new(request: &Request, names: &Names, ways: Ways<'_>) -> Result<Self, JourneyError> {
        let recipe = |template, encoding| Recipe::new(template, encoding, names);
        let has = |wanted: &Variable| {
            let mut variables = request.templates().flat_map(|text| text.variables());
            variables.any(|variable| variable == wanted)
        };
        let headers = request.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), recipe(value, Encoding::Plain)));
        Ok(Self {
            blank: message::blank(request, Arc::clone(ways.target), ways.dialer),
            method: request.method.clone(),
            path: recipe(&request.path, Encoding::Path),
            headers: headers.collect(),
            body: request.body.as_ref().map(|body| match body {
                Body::Text(text) => recipe(text, Encoding::Plain),
                Body::Json(text) => recipe(text, Encoding::Json),
            }),
            has_unique: has(&Variable::Unique),
            has_uuid: has(&Variable::Uuid),
        })
    }

    /// Writes its texts; `None` when a value is missing.
    fn fill(&self, luggage: Luggage<'_>, draft: &mut Draft) -> Option<()> {
        let values = luggage.values(draft.unique, &draft.uuid);
        self.path.write(&values, &mut draft.path)?;
        draft.headers.resize_with(self.headers.len(), String::new);
        for ((_, recipe), text) in self.headers.iter().zip(&mut draft.headers) {
            recipe.write(&values, text)?;
        }
        match &self.body {
            Some(recipe) => recipe.write(&values, &mut draft.body),
            None => Some(()),
        }
    }

    /// Makes a request of the texts that were written.
    fn write<'a>(&self, draft: &'a mut Draft) -> Result<&'a Message, RequestError> {
        let headers = self.headers.iter().zip(&draft.headers);
        let headers = headers.map(|((name, _), value)| (name.as_str(), value.as_str()));
        let body = self.body.is_some().then_some(draft.body.as_str());
        let message = draft.message.get_or_insert_with(|| self.blank.clone());
        message.resemble(&self.blank);
        message.write(&self.method, &draft.path, headers, body)?;
        Ok(message)
    }

    /// Whether it is a request once its holes are filled, with every record.
    fn check(
        &self,
        names: &Names,
        journey: &Journey,
        records: Option<&Records>,
    ) -> Result<(), JourneyError> {
        let saved = vec![Some("0".to_owned()); names.saved.len()];
        let mut draft = Draft::default();
        let mut write = |record| {
            let luggage = Luggage {
                user: 0,
                iteration: 0,
                record,
                saved: &saved,
            };
            self.fill(luggage, &mut draft)
                .expect("the saved values of the trial fill every hole that the record does not");
            self.write(&mut draft).map(drop)
        };
        let (Some(data), Some(records)) = (&journey.data, records) else {
            return Ok(write(&[])?);
        };
        for (number, record) in (1..).zip(records.all()) {
            write(record).map_err(|source| DataError::Unsendable {
                file: data.file.clone(),
                record: number,
                source,
            })?;
        }
        Ok(())
    }
}

/// Method and path, holes as they are written.
fn label(request: &Request) -> String {
    let Request { method, path, .. } = request;
    match path.as_fixed() {
        Some(path) => format!("{method} {path}"),
        None => format!("{method} {path}"),
    }
}

/// Whether `later` uses something that `earlier` saves.
fn uses_saved(later: &Request, earlier: &Request) -> bool {
    let mut variables = later.templates().flat_map(|text| text.variables());
    variables.any(|variable| match variable {
        Variable::Saved(name) => earlier.save.contains_key(name),
        Variable::Data(_)
        | Variable::User
        | Variable::Iteration
        | Variable::Unique
        | Variable::Uuid => false,
    })
}

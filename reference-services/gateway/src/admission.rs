//! How many requests may be in hand at once. Each upstream has places of its own, so that one that
//! hangs does not take the others with it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use http_body_util::BodyExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::Upstream;
use crate::measurements::Measurements;

/// The places for requests.
#[derive(Debug)]
pub struct Admission {
    places: [(Arc<Semaphore>, Gauge); Upstream::ALL.len()],
}

/// A place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    in_flight: Gauge,
}

impl Admission {
    pub fn new(places_per_upstream: usize, measurements: &Measurements) -> Self {
        Self {
            places: Upstream::ALL.map(|upstream| {
                let places = Arc::new(Semaphore::new(places_per_upstream));
                (places, measurements.in_flight(upstream))
            }),
        }
    }

    /// A place for a request to `upstream`, if there is one.
    pub fn enter(&self, upstream: Upstream) -> Option<Place> {
        let (places, in_flight) = &self.places[upstream as usize];
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        in_flight.inc();
        Some(Place {
            _permit: permit,
            in_flight: in_flight.clone(),
        })
    }
}

impl Place {
    /// Keeps the place until all of `response` is sent, or its client is gone.
    pub fn until_sent(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _kept_with_the_body = &self;
                frame
            }))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

//! An OTLP request between its bytes and the store: one slice at a time, decoded and mapped.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::mapping::{map_logs, map_traces};
use crate::model::batch::{Batch, Rejections};
use crate::model::id::ProjectId;
use crate::model::log::LogRecord;
use crate::model::receipt::Receipt;
use crate::model::span::Span;
use crate::otlp::{Group, Malformed, Metric, Notes, Request, Slices};
use crate::prices::Prices;

/// An item of one of the signals.
pub(super) trait Item: Sized + Send + 'static {
    /// Whether it counts for the quota of steps.
    const IS_CHARGED: bool = true;
    /// What is counted of the items: themselves.
    fn amount(groups: &[Group<Self>]) -> u64 {
        groups.iter().map(|group| group.items.len() as u64).sum()
    }
    /// What of them is stored.
    fn batch(groups: Vec<Group<Self>>, making: &Making) -> Batch;
}

impl Item for Span {
    fn batch(groups: Vec<Group<Span>>, making: &Making) -> Batch {
        let (steps, origins) = map_traces(making.project, groups, making.received_at, &making.prices);
        Batch { steps, origins, ..making.empty_batch() }
    }
}

impl Item for LogRecord {
    fn batch(groups: Vec<Group<LogRecord>>, making: &Making) -> Batch {
        let (logs, origins) = map_logs(making.project, groups, making.received_at);
        Batch { logs, origins, ..making.empty_batch() }
    }
}

/// Walked, counted by data points and not stored.
impl Item for Metric {
    const IS_CHARGED: bool = false;

    fn amount(groups: &[Group<Metric>]) -> u64 {
        groups.iter().flat_map(|group| &group.items).map(|metric| metric.points).sum()
    }

    fn batch(groups: Vec<Group<Metric>>, making: &Making) -> Batch {
        let mut batch = making.empty_batch();
        batch.receipt.metric_points = Metric::amount(&groups);
        batch
    }
}

/// What all steps and records of a request share.
pub(super) struct Making {
    pub project: ProjectId,
    pub key_id: String,
    pub received_at: DateTime<Utc>,
    pub prices: Arc<Prices>,
}

impl Making {
    pub fn empty_batch(&self) -> Batch {
        let (project, received_at) = (self.project, self.received_at);
        let receipt = Receipt { key_id: self.key_id.clone(), ..Receipt::default() };
        Batch { project, received_at, origins: Vec::new(), steps: Vec::new(), logs: Vec::new(), native: None, receipt }
    }
}

/// A request, read up to some place in it.
pub(super) struct Incoming<T> {
    pub slices: Slices<T>,
    pub making: Making,
    /// Items after this many are rejected.
    pub items_max: u64,
    /// Requests and bytes as sent that the next slice accounts for: those of the whole request with the first.
    pub unaccounted: (u64, u64),
}

/// One slice, and the rest of the request unless this was the last.
pub(super) struct Taken<T> {
    pub part: Part,
    pub rest: Option<Incoming<T>>,
}

/// A request whose first slice is decoded and not yet mapped.
pub(super) struct Counted<T> {
    /// Steps and log records of the whole request, as far as it is taken.
    pub charged: u64,
    request: Request<T>,
    incoming: Incoming<T>,
}

impl<T: Item> Counted<T> {
    pub fn map(self) -> Taken<T> {
        self.incoming.taken(self.request)
    }

    pub fn body(&self) -> Bytes {
        self.incoming.body()
    }
}

/// What one slice of a request holds.
pub(super) struct Part {
    pub batch: Batch,
    /// Of the body.
    pub bytes: u64,
    /// Spans, log records or data points that can be taken.
    pub accepted: u64,
    pub rejections: Rejections,
    pub notes: Notes,
}

impl<T: Item> Incoming<T> {
    /// Decodes the first slice and counts all steps and log records of the request: when there are more slices to come,
    /// the whole body is walked, so that a refusal comes before anything is stored.
    pub fn first(mut self) -> Result<Counted<T>, Malformed> {
        let request = self.slices.next_slice()?;
        let charged = match T::IS_CHARGED {
            false => 0,
            true if self.slices.is_done() => request.items(),
            true => self.slices.count()?.min(self.items_max),
        };
        Ok(Counted { charged, request, incoming: self })
    }

    /// The next slice.
    pub fn next(mut self) -> Result<Taken<T>, Malformed> {
        let request = self.slices.next_slice()?;
        Ok(self.taken(request))
    }

    pub fn body(&self) -> Bytes {
        self.slices.body()
    }

    fn taken(mut self, request: Request<T>) -> Taken<T> {
        let accepted = T::amount(&request.groups);
        let mut batch = T::batch(request.groups, &self.making);
        (batch.receipt.requests, batch.receipt.bytes) = std::mem::take(&mut self.unaccounted);
        batch.receipt.rejections = request.rejections.clone();
        let part = Part {
            accepted,
            batch,
            bytes: self.slices.slice_bytes(),
            rejections: request.rejections,
            notes: request.notes,
        };
        Taken { part, rest: (!self.slices.is_done()).then_some(self) }
    }
}

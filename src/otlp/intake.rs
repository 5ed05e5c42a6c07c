//! What the walkers of both encodings share: counting items, bounding memory, gathering groups and rejections.

use std::mem::{size_of, take};

use crate::model::batch::Rejection;
use crate::model::log::LogRecord;
use crate::model::span::{Attributes, Origin, Span};
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::{DecodeLimits, Group, Metric, Request};

/// Heap that structures (not texts) may take for each byte of the body. Eight is what an array of booleans needs, the
/// smallest value that means something; only bodies of empty values stand above it.
const HEAP_PER_BODY_BYTE: usize = 8;

/// Heap that even the smallest body may take, in bytes.
const HEAP_MIN_BYTES: usize = 64 << 10;

/// What an export request is made of: the walkers of both encodings are the same for each.
pub(super) trait Item {
    /// As the text about a malformed request says it.
    const SIGNAL: &'static str;
    /// Names of the protobuf messages around the items.
    const MESSAGES: [&'static str; 3];
    /// Names of OTLP/JSON for the lists of resources, scopes and items.
    const LISTS: [&'static str; 3];
    /// What had to be mended in the item; `None` where nobody asks.
    fn repairs(&mut self) -> Option<&mut Vec<&'static str>>;
}

impl Item for Span {
    const SIGNAL: &'static str = "trace";
    const MESSAGES: [&'static str; 3] = ["ExportTraceServiceRequest", "ResourceSpans", "ScopeSpans"];
    const LISTS: [&'static str; 3] = ["resourceSpans", "scopeSpans", "spans"];

    fn repairs(&mut self) -> Option<&mut Vec<&'static str>> {
        Some(&mut self.repairs)
    }
}

impl Item for LogRecord {
    const SIGNAL: &'static str = "logs";
    const MESSAGES: [&'static str; 3] = ["ExportLogsServiceRequest", "ResourceLogs", "ScopeLogs"];
    const LISTS: [&'static str; 3] = ["resourceLogs", "scopeLogs", "logRecords"];

    fn repairs(&mut self) -> Option<&mut Vec<&'static str>> {
        Some(&mut self.repairs)
    }
}

impl Item for Metric {
    const SIGNAL: &'static str = "metrics";
    const MESSAGES: [&'static str; 3] = ["ExportMetricsServiceRequest", "ResourceMetrics", "ScopeMetrics"];
    const LISTS: [&'static str; 3] = ["resourceMetrics", "scopeMetrics", "metrics"];

    fn repairs(&mut self) -> Option<&mut Vec<&'static str>> {
        None
    }
}

/// What the decoding of one request may still spend, and what had to be mended in the item at hand.
pub(super) struct Ledger {
    pub depth_max: usize,
    span_items_max: usize,
    items_left: usize,
    heap_left_bytes: usize,
    repairs: Vec<&'static str>,
}

impl Ledger {
    pub fn new(body_bytes: usize, limits: DecodeLimits) -> Ledger {
        Ledger {
            depth_max: limits.depth_max,
            span_items_max: limits.span_items_max,
            items_left: limits.span_items_max,
            heap_left_bytes: body_bytes.saturating_mul(HEAP_PER_BODY_BYTE).saturating_add(HEAP_MIN_BYTES),
            repairs: Vec::new(),
        }
    }

    /// Before `count` values of type `T` are built.
    pub fn spend<T>(&mut self, count: usize) -> Result<(), Fault> {
        self.spend_bytes(count.saturating_mul(size_of::<T>()))
    }

    /// Before `count` attributes, events or links of the item at hand are built.
    pub fn spend_items<T>(&mut self, count: usize) -> Result<(), Fault> {
        self.items_left = self.items_left.checked_sub(count).ok_or(Fault::TooManyItems { max: self.span_items_max })?;
        self.spend::<T>(count)
    }

    fn spend_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.heap_left_bytes = self.heap_left_bytes.checked_sub(bytes).ok_or(Fault::TooManyValues)?;
        Ok(())
    }

    /// Notes a repair once, however often it was needed.
    pub fn repaired(&mut self, what: &'static str) {
        if !self.repairs.contains(&what) {
            self.repairs.push(what);
        }
    }

    pub fn take_repairs(&mut self) -> Vec<&'static str> {
        take(&mut self.repairs)
    }

    /// Runs `decode` for one item, resource or scope. What a failed one spent is given back: its memory is free again.
    fn item<T>(&mut self, decode: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> Result<T, Fault> {
        self.items_left = self.span_items_max;
        self.repairs.clear();
        let before = self.heap_left_bytes;
        decode(self).inspect_err(|_| self.heap_left_bytes = before)
    }
}

/// A resource or a scope as it stands in the request. Both have the same parts but for the scope's name and version.
#[derive(Default)]
pub(super) struct Producer {
    pub attributes: Attributes,
    pub dropped_attributes_count: u32,
    pub schema_url: String,
    pub name: String,
    pub version: String,
    /// Mended in this part; noted on each of its items.
    pub repairs: Vec<&'static str>,
    /// What a copy takes of the heap: one resource is copied for each of its scopes.
    pub heap_bytes: usize,
}

fn heap_bytes(attributes: &Attributes) -> usize {
    attributes.iter().map(|(key, value)| key.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AnyValue) -> usize {
    let inside = match value {
        AnyValue::Str(text) => text.len(),
        AnyValue::Bytes(bytes) => bytes.len(),
        AnyValue::Array(items) => items.iter().map(value_bytes).sum(),
        AnyValue::Kvlist(pairs) => pairs.iter().map(|(key, value)| key.len() + value_bytes(value)).sum(),
        _ => 0,
    };
    inside + size_of::<(String, AnyValue)>()
}

/// Builds a [`Request`] from what a walker finds.
pub(super) struct Intake<T> {
    items_max: usize,
    items_sent: usize,
    ledger: Ledger,
    request: Request<T>,
}

impl<T: Item> Intake<T> {
    pub fn new(body_bytes: usize, limits: DecodeLimits) -> Intake<T> {
        Intake {
            items_max: limits.spans_max,
            items_sent: 0,
            ledger: Ledger::new(body_bytes, limits),
            request: Request::default(),
        }
    }

    /// A resource or scope; `unreadable` is what its items are rejected for when it is damaged.
    pub fn producer(
        &mut self,
        unreadable: Fault,
        decode: impl FnOnce(&mut Ledger) -> Result<Producer, Fault>,
    ) -> Result<Producer, Fault> {
        let mut producer = self.ledger.item(decode).map_err(|fault| match fault {
            Fault::TooManyValues => fault,
            _ => unreadable,
        })?;
        producer.repairs = self.ledger.take_repairs();
        producer.heap_bytes = heap_bytes(&producer.attributes) + producer.schema_url.len();
        Ok(producer)
    }

    /// Opens the group of one scope. Its items are rejected when resource or scope is damaged, or when so many scopes
    /// share a large resource that its copies would fill the memory.
    pub fn group<'r>(
        &mut self,
        resource: &'r Result<Producer, Fault>,
        scope: Result<Producer, Fault>,
    ) -> OpenGroup<'r, T> {
        let producers = resource.as_ref().map_err(|fault| *fault).and_then(|resource| {
            let scope = scope?;
            self.ledger.spend_bytes(resource.heap_bytes)?;
            Ok((resource, scope))
        });
        OpenGroup { producers, items: Vec::new() }
    }

    /// One item that was sent: taken into `group`, or rejected and counted.
    pub fn item(
        &mut self,
        group: &mut OpenGroup<'_, T>,
        place: Place,
        decode: impl FnOnce(&mut Ledger) -> Result<T, Fault>,
    ) {
        self.items_sent += 1;
        let decoded = match &group.producers {
            _ if self.items_sent > self.items_max => Err(Fault::TooManySpans { max: self.items_max }),
            Err(fault) => Err(*fault),
            Ok((resource, scope)) => self.ledger.item(decode).map(|mut item| {
                if let Some(repairs) = item.repairs() {
                    repairs.extend(resource.repairs.iter().chain(&scope.repairs));
                    // In one order, whatever the order of the fields was.
                    repairs.sort_unstable();
                    repairs.dedup();
                }
                item
            }),
        };
        match decoded {
            Ok(item) => group.items.push(item),
            Err(fault) => {
                self.request.rejections.add(|| Rejection { place: place.named::<T>(), reason: fault.to_string() })
            }
        }
    }

    pub fn close(&mut self, group: OpenGroup<'_, T>) {
        let Ok((resource, scope)) = group.producers else { return };
        if group.items.is_empty() {
            self.ledger.heap_left_bytes += resource.heap_bytes;
            return;
        }
        let origin = Origin {
            resource: resource.attributes.clone(),
            resource_dropped_attributes_count: resource.dropped_attributes_count,
            resource_schema_url: resource.schema_url.clone(),
            scope_name: scope.name,
            scope_version: scope.version,
            scope_attributes: scope.attributes,
            scope_dropped_attributes_count: scope.dropped_attributes_count,
            scope_schema_url: scope.schema_url,
        };
        self.request.groups.push(Group { origin, items: group.items });
    }

    pub fn finish(self) -> Request<T> {
        self.request
    }
}

/// The items of one scope while they are read.
pub(super) struct OpenGroup<'r, T> {
    producers: Result<(&'r Producer, Producer), Fault>,
    items: Vec<T>,
}

/// Where an item stands in its request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub resource: usize,
    pub scope: usize,
    pub item: usize,
}

impl Place {
    /// In the names of OTLP/JSON.
    fn named<T: Item>(self) -> String {
        let [resources, scopes, items] = T::LISTS;
        format!("{resources}[{}].{scopes}[{}].{items}[{}]", self.resource, self.scope, self.item)
    }
}

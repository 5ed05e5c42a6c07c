//! What the walkers of both encodings share: counting items, bounding memory, gathering groups and rejections.

use std::mem::{size_of, take};

use crate::model::log::LogRecord;
use crate::model::span::{Attributes, Origin, Span};
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::{DecodeLimits, Group, Metric, Request, add_words};

/// Heap that the structures (not the texts) of an item may take for each of its bytes. Eight is what an array of
/// booleans needs, the smallest value that means something; only items of empty values stand above it.
const HEAP_PER_BYTE: usize = 8;

/// Heap that even the smallest item may take, and that no item may go beyond, in bytes.
const HEAP_MIN_BYTES: usize = 64 << 10;
const HEAP_MAX_BYTES: usize = 64 << 20;

/// What is built of a request before it is handed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct SliceBounds {
    items_max: usize,
    /// Of the body.
    bytes_max: usize,
    /// Of structures.
    heap_bytes_max: usize,
}

impl SliceBounds {
    /// Some thousand items are a transaction of a fraction of a second; an item that is larger than the rest of this is
    /// a slice alone.
    pub const SLICE: SliceBounds = SliceBounds { items_max: 2000, bytes_max: 4 << 20, heap_bytes_max: 8 << 20 };
    /// A transaction of some hundredths of a second, for when others wait behind it.
    pub const SHORT: SliceBounds = SliceBounds { items_max: 24, ..SliceBounds::SLICE };
    /// The whole request at once.
    pub const WHOLE: SliceBounds =
        SliceBounds { items_max: usize::MAX, bytes_max: usize::MAX, heap_bytes_max: usize::MAX };
}

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

/// What the decoding of one item may still spend, and what had to be mended in it.
pub(super) struct Ledger {
    pub depth_max: usize,
    span_items_max: usize,
    items_left: usize,
    heap_left_bytes: usize,
    repairs: Vec<&'static str>,
    /// Names in OTLP/JSON that are ours but for their spelling, over the whole request.
    ignored: Vec<&'static str>,
    /// Over the whole request: an enum came by its name.
    has_enum_names: bool,
}

impl Ledger {
    pub fn new(limits: DecodeLimits) -> Ledger {
        Ledger {
            depth_max: limits.depth_max,
            span_items_max: limits.span_items_max,
            items_left: limits.span_items_max,
            heap_left_bytes: HEAP_MIN_BYTES,
            repairs: Vec::new(),
            ignored: Vec::new(),
            has_enum_names: false,
        }
    }

    /// Before `count` values of type `T` are built.
    pub fn spend<T>(&mut self, count: usize) -> Result<(), Fault> {
        let bytes = count.saturating_mul(size_of::<T>());
        self.heap_left_bytes = self.heap_left_bytes.checked_sub(bytes).ok_or(Fault::TooManyValues)?;
        Ok(())
    }

    /// Before `count` attributes, events or links of the item at hand are built.
    pub fn spend_items<T>(&mut self, count: usize) -> Result<(), Fault> {
        self.items_left = self.items_left.checked_sub(count).ok_or(Fault::TooManyItems { max: self.span_items_max })?;
        self.spend::<T>(count)
    }

    /// Notes a repair once, however often it was needed.
    pub fn repaired(&mut self, what: &'static str) {
        add_words(&mut self.repairs, &[what]);
    }

    /// Notes a name that was passed over because it is not in camel case.
    pub fn ignored(&mut self, name: &'static str) {
        add_words(&mut self.ignored, &[name]);
    }

    pub fn enum_by_name(&mut self) {
        self.has_enum_names = true;
    }

    pub fn take_repairs(&mut self) -> Vec<&'static str> {
        take(&mut self.repairs)
    }

    /// Runs `decode` for one item, resource or scope of `bytes`, and tells what it spent.
    fn item<T>(
        &mut self,
        bytes: usize,
        decode: impl FnOnce(&mut Ledger) -> Result<T, Fault>,
    ) -> (Result<T, Fault>, usize) {
        let heap_bytes = bytes.saturating_mul(HEAP_PER_BYTE).saturating_add(HEAP_MIN_BYTES).min(HEAP_MAX_BYTES);
        self.heap_left_bytes = heap_bytes;
        self.items_left = self.span_items_max;
        self.repairs.clear();
        let decoded = decode(self);
        (decoded, heap_bytes - self.heap_left_bytes)
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

/// Builds slices of a [`Request`] from what a walker finds.
pub(super) struct Intake<T> {
    bounds: SliceBounds,
    items_max: usize,
    items_sent: usize,
    /// For copies of resources, over the whole request: a large one that many scopes share would fill the store.
    copies_left_bytes: usize,
    ledger: Ledger,
    resource: Result<Producer, Fault>,
    scope: Result<Producer, Fault>,
    /// The group of the scope at hand, once it has an item.
    open: Option<Group<T>>,
    slice: Request<T>,
    items: usize,
    bytes: usize,
    heap_bytes: usize,
    slice_bytes: usize,
}

impl<T> Intake<T> {
    pub fn new(body_bytes: usize, limits: DecodeLimits, bounds: SliceBounds) -> Intake<T> {
        Intake {
            bounds,
            items_max: limits.spans_max,
            items_sent: 0,
            copies_left_bytes: body_bytes.saturating_mul(HEAP_PER_BYTE).saturating_add(HEAP_MIN_BYTES),
            ledger: Ledger::new(limits),
            resource: Ok(Producer::default()),
            scope: Ok(Producer::default()),
            open: None,
            slice: Request::default(),
            items: 0,
            bytes: 0,
            heap_bytes: 0,
            slice_bytes: 0,
        }
    }

    /// Before anything is read.
    pub fn set_bounds(&mut self, bounds: SliceBounds) {
        self.bounds = bounds;
    }

    /// Whether an item of `bytes` still belongs into this slice. One always does.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.items == 0
            || self.items < self.bounds.items_max
                && self.bytes.saturating_add(bytes) <= self.bounds.bytes_max
                && self.heap_bytes < self.bounds.heap_bytes_max
    }

    /// What was gathered since the last call. The scope at hand may go on in the next slice.
    pub fn take_slice(&mut self) -> Request<T> {
        if let Some(group) = self.open.take_if(|group| !group.items.is_empty()) {
            let position = group.position + group.items.len();
            self.open = Some(Group { origin: group.origin.clone(), position, items: Vec::new() });
            self.slice.groups.push(group);
        }
        self.slice.notes.ignored_names = take(&mut self.ledger.ignored);
        self.slice.notes.has_enum_names = take(&mut self.ledger.has_enum_names);
        self.slice_bytes = self.bytes;
        (self.items, self.bytes, self.heap_bytes) = (0, 0, 0);
        take(&mut self.slice)
    }

    /// Bytes of the items in the slice that was taken last.
    pub fn slice_bytes(&self) -> usize {
        self.slice_bytes
    }

    /// For what is noted outside of items.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Reads the resource of the scopes to come; its items are rejected when it is damaged.
    pub fn open_resource(&mut self, bytes: usize, decode: impl FnOnce(&mut Ledger) -> Result<Producer, Fault>) {
        self.resource = self.producer(Fault::Resource, bytes, decode);
    }

    /// Reads the scope of the items to come. They are rejected when resource or scope is damaged.
    pub fn open_scope(&mut self, bytes: usize, decode: impl FnOnce(&mut Ledger) -> Result<Producer, Fault>) {
        self.scope = self.producer(Fault::Scope, bytes, decode);
    }

    pub fn close_scope(&mut self) {
        self.slice.groups.extend(self.open.take().filter(|group| !group.items.is_empty()));
    }

    fn producer(
        &mut self,
        unreadable: Fault,
        bytes: usize,
        decode: impl FnOnce(&mut Ledger) -> Result<Producer, Fault>,
    ) -> Result<Producer, Fault> {
        let (decoded, _) = self.ledger.item(bytes, decode);
        let mut producer = decoded.map_err(|fault| match fault {
            Fault::TooManyValues => fault,
            _ => unreadable,
        })?;
        producer.repairs = self.ledger.take_repairs();
        producer.heap_bytes = heap_bytes(&producer.attributes) + producer.schema_url.len();
        Ok(producer)
    }
}

impl<T: Item> Intake<T> {
    /// One item that was sent, of `bytes`: taken into the group of its scope, or rejected and counted.
    pub fn item(&mut self, place: Place, bytes: usize, decode: impl FnOnce(&mut Ledger) -> Result<T, Fault>) {
        self.items_sent = self.items_sent.saturating_add(1);
        if let Err(fault) = self.take_item(bytes, decode) {
            self.slice.rejections.add(fault.class(), || (place.named::<T>(), fault.to_string()));
        }
    }

    fn take_item(&mut self, bytes: usize, decode: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> Result<(), Fault> {
        if self.items_sent > self.items_max {
            return Err(Fault::TooManySpans { max: self.items_max });
        }
        let resource = self.resource.as_ref().map_err(|fault| *fault)?;
        let scope = self.scope.as_mut().map_err(|fault| *fault)?;
        let (decoded, heap_bytes) = self.ledger.item(bytes, decode);
        let mut item = decoded?;
        let group = match &mut self.open {
            Some(group) => group,
            None => {
                let left = self.copies_left_bytes.checked_sub(resource.heap_bytes).ok_or(Fault::TooManyValues)?;
                self.copies_left_bytes = left;
                self.open.insert(Group { origin: origin(resource, scope), position: 0, items: Vec::new() })
            }
        };
        if let Some(repairs) = item.repairs() {
            repairs.extend(resource.repairs.iter().chain(&scope.repairs));
            // In one order, whatever the order of the fields was.
            repairs.sort_unstable();
            repairs.dedup();
            self.slice.notes.add_mended(repairs);
        }
        group.items.push(item);
        self.items += 1;
        self.bytes += bytes;
        self.heap_bytes += heap_bytes;
        Ok(())
    }
}

/// The scope's own parts move into it: they are used once.
fn origin(resource: &Producer, scope: &mut Producer) -> Origin {
    Origin {
        resource: resource.attributes.clone(),
        resource_dropped_attributes_count: resource.dropped_attributes_count,
        resource_schema_url: resource.schema_url.clone(),
        scope_name: take(&mut scope.name),
        scope_version: take(&mut scope.version),
        scope_attributes: take(&mut scope.attributes),
        scope_dropped_attributes_count: scope.dropped_attributes_count,
        scope_schema_url: take(&mut scope.schema_url),
    }
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

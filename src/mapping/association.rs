//! Association properties: what an application tells a tracing SDK about the run, one attribute each under a prefix
//! (`traceloop.association.properties.`, `lmnr.association.properties.`).

use crate::mapping::draft::Draft;
use crate::mapping::indexed;
use crate::mapping::langchain;
use crate::mapping::sent::Sent;
use crate::mapping::usable;

/// More of them than this are left to the attributes.
const RUN_METADATA_MAX: usize = 64;

/// Puts the properties that have no field of their own into the metadata of the run. `known` have one.
pub(super) fn read_rest(sent: &Sent<'_>, prefix: &str, known: &[&str], draft: &mut Draft<'_>) {
    for (name, value) in indexed::Family::of(&sent.span.attributes, prefix).members() {
        let is_told = known.contains(&name) || langchain::is_machinery(name) || !usable::is_usable(value);
        if !is_told && draft.run_metadata.len() < RUN_METADATA_MAX {
            draft.run_metadata.insert(name.to_owned(), value.to_plain_json());
        }
    }
}

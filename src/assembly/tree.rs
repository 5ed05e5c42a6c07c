//! The forest of a run as nested nodes. Nothing here recurses: a chain of steps may be as long as it likes.

use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::Step;

/// A step and the steps below it.
pub struct Node {
    pub shown: ShownStep,
    pub children: Vec<Node>,
}

impl Drop for Node {
    /// Takes the tree apart level by level; the drop that the compiler would write overflows the stack on a long chain.
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.children);
        while let Some(mut node) = rest.pop() {
            rest.append(&mut node.children);
        }
    }
}

/// Steps in the order in which people read them: native ones as they were listed, spans by start, end and id.
pub(super) fn reading_order(step: &Step) -> (i32, u64, u64, &str) {
    let end = step.end_ns.unwrap_or(u64::MAX);
    (step.position, step.start_ns.unwrap_or(end), end, step.id.as_str())
}

/// The forest of a run, siblings in order of time; orphans stand at the top, a circle of parents is cut at its
/// earliest step.
pub fn tree(mut steps: Vec<ShownStep>) -> Vec<Node> {
    steps.sort_by(|a, b| reading_order(&a.step).cmp(&reading_order(&b.step)));
    let forest = Forest::new(steps.iter().map(|shown| &shown.step));
    let mut waiting: Vec<Option<ShownStep>> = steps.into_iter().map(Some).collect();
    // Children are complete before their parent comes: backwards through the order from the top down.
    let mut gathered: Vec<Vec<Node>> = waiting.iter().map(|_| Vec::new()).collect();
    let mut top = Vec::with_capacity(forest.roots.len());
    for &index in forest.top_down.iter().rev() {
        let Some(shown) = waiting[index].take() else { continue };
        let mut children = std::mem::take(&mut gathered[index]);
        children.reverse();
        let node = Node { shown, children };
        match forest.parent[index] {
            Some(parent) => gathered[parent].push(node),
            None => top.push(node),
        }
    }
    top.reverse();
    top
}

//! The forest of a run as nested nodes. Nothing here recurses: a chain of steps may be as long as it likes.

use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::Step;

/// A step and the steps below it.
pub struct Node {
    pub shown: ShownStep,
    pub children: Children,
}

/// The steps below a step. It takes itself apart level by level when it is dropped: the drop that the compiler would
/// write overflows the stack on a long chain.
#[derive(Default)]
pub struct Children(Vec<Node>);

impl From<Vec<Node>> for Children {
    fn from(nodes: Vec<Node>) -> Children {
        Children(nodes)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        while let Some(mut node) = self.0.pop() {
            self.0.append(&mut node.children.0);
        }
    }
}

impl std::ops::Deref for Children {
    type Target = Vec<Node>;

    fn deref(&self) -> &Vec<Node> {
        &self.0
    }
}

impl std::ops::DerefMut for Children {
    fn deref_mut(&mut self) -> &mut Vec<Node> {
        &mut self.0
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
    steps.sort_unstable_by(|a, b| reading_order(&a.step).cmp(&reading_order(&b.step)));
    let forest = Forest::new(steps.iter().map(|shown| &shown.step));
    let mut waiting: Vec<Option<ShownStep>> = steps.into_iter().map(Some).collect();
    // Children are complete before their parent comes: backwards through the order from the top down.
    let mut gathered: Vec<Vec<Node>> = waiting.iter().map(|_| Vec::new()).collect();
    let mut top = Vec::with_capacity(forest.roots.len());
    for &index in forest.top_down.iter().rev() {
        let Some(shown) = waiting[index].take() else { continue };
        let mut children = std::mem::take(&mut gathered[index]);
        children.reverse();
        let node = Node { shown, children: Children(children) };
        match forest.parent[index] {
            Some(parent) => gathered[parent].push(node),
            None => top.push(node),
        }
    }
    top.reverse();
    top
}

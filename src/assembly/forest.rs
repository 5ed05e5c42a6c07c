//! Parents and children of a list of steps, whatever the senders wrote: parents that never came, parents in a circle.

use std::collections::HashMap;

use crate::model::step::Step;

/// Indices into the list it was made from.
pub(super) struct Forest {
    pub parent: Vec<Option<usize>>,
    pub children: Vec<Vec<usize>>,
    /// Steps without a parent among the steps, in order.
    pub roots: Vec<usize>,
    /// Every step after its parent, depth first; read backwards, every step comes after its children.
    pub top_down: Vec<usize>,
    /// Whether a step's parent was taken away because it was also below it.
    pub is_cut: Vec<bool>,
    /// Place in `top_down`, and the place after the last step below.
    enter: Vec<usize>,
    exit: Vec<usize>,
}

impl Forest {
    /// A circle is broken at its first step in the order of the list.
    pub fn new<'a>(steps: impl ExactSizeIterator<Item = &'a Step>) -> Forest {
        let len = steps.len();
        let mut ids: HashMap<&str, usize> = HashMap::with_capacity(len);
        let mut wanted = Vec::with_capacity(len);
        for (index, step) in steps.enumerate() {
            ids.entry(step.id.as_str()).or_insert(index);
            wanted.push(step.parent_id.as_deref());
        }
        let mut parent: Vec<Option<usize>> = wanted.iter().map(|id| ids.get((*id)?).copied()).collect();
        let is_cut = break_circles(&mut parent);
        let mut children = vec![Vec::new(); len];
        let mut roots = Vec::new();
        for (index, parent) in parent.iter().enumerate() {
            match parent {
                Some(parent) => children[*parent].push(index),
                None => roots.push(index),
            }
        }
        let mut forest = Forest {
            parent,
            children,
            roots,
            top_down: Vec::with_capacity(len),
            is_cut,
            enter: vec![0; len],
            exit: vec![0; len],
        };
        forest.walk();
        forest
    }

    fn walk(&mut self) {
        let mut stack: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(index) = stack.pop() {
            self.enter[index] = self.top_down.len();
            self.top_down.push(index);
            stack.extend(self.children[index].iter().rev());
        }
        for &index in self.top_down.iter().rev() {
            self.exit[index] = self.children[index].last().map_or(self.enter[index] + 1, |last| self.exit[*last]);
        }
    }

    /// Place of a step in `top_down`.
    pub fn place(&self, index: usize) -> usize {
        self.enter[index]
    }

    /// Places in `top_down` of the steps below `index`.
    pub fn below(&self, index: usize) -> std::ops::Range<usize> {
        self.enter[index] + 1..self.exit[index]
    }

    /// The root above each step.
    pub fn root_of_each(&self) -> Vec<usize> {
        let mut root: Vec<usize> = (0..self.parent.len()).collect();
        for &index in &self.top_down {
            if let Some(parent) = self.parent[index] {
                root[index] = root[parent];
            }
        }
        root
    }
}

fn break_circles(parent: &mut [Option<usize>]) -> Vec<bool> {
    const NEW: usize = usize::MAX;
    let mut seen_from = vec![NEW; parent.len()];
    let mut is_cut = vec![false; parent.len()];
    for start in 0..parent.len() {
        let mut at = start;
        while seen_from[at] == NEW {
            seen_from[at] = start;
            match parent[at] {
                Some(above) => at = above,
                None => break,
            }
        }
        // The walk stopped at a root, at a step of an earlier walk, or where it had been itself: only that is a circle.
        if seen_from[at] == start && parent[at].is_some() {
            let first = smallest_on_circle(parent, at);
            parent[first] = None;
            is_cut[first] = true;
        }
    }
    is_cut
}

fn smallest_on_circle(parent: &[Option<usize>], on_circle: usize) -> usize {
    let mut smallest = on_circle;
    let mut at = on_circle;
    while let Some(above) = parent[at] {
        if above == on_circle {
            break;
        }
        smallest = smallest.min(above);
        at = above;
    }
    smallest
}

//! What the models of a run asked tools for, and what came back: read from the messages of its model calls.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use crate::messages::{self, Message, Part};

/// How many unanswered calls without ids a result without an id is compared with.
const PENDING_MAX: usize = 64;

/// The messages of a model call.
pub(super) struct Said {
    pub input: Vec<Message>,
    pub output: Vec<Message>,
}

/// A tool that a model asked for.
pub(super) struct Request {
    pub id: Option<String>,
    pub name: String,
    pub arguments: Value,
    /// Place among the calls of the one that asked.
    pub call: usize,
    pub answer: Option<Answer>,
    /// Tells equal ids and equal calls without ids apart.
    pub occurrence: usize,
}

pub(super) struct Answer {
    pub content: Value,
    pub is_error: bool,
    /// Place among the calls of the first that was told; `None` when the asking call itself carries the result.
    pub told: Option<usize>,
}

/// Every request once, in the order in which they were made. History before the last word of the user in the first
/// call belongs to earlier runs.
pub(super) fn requests(calls: impl Iterator<Item = Said>) -> Vec<Request> {
    let mut reader = Reader::default();
    // Read one by one: each repeats what was said before it.
    for (place, call) in calls.enumerate() {
        reader.read_input(place, &call.input);
        reader.read_output(place, &call.output);
    }
    reader.requests
}

#[derive(Default)]
struct Reader {
    requests: Vec<Request>,
    by_id: HashMap<String, Vec<usize>>,
    /// Calls without ids, by name and arguments, in order.
    unnamed: HashMap<String, Vec<usize>>,
    /// Requests of outputs that no history has shown yet, by name and arguments: a history may know them under other
    /// ids (OpenAI's response form has one for the item and one for the call) or under none.
    unseen: HashMap<String, VecDeque<usize>>,
    is_seen: Vec<bool>,
    /// Of earlier runs.
    old_ids: HashSet<String>,
    old_unnamed: HashMap<String, usize>,
}

impl Reader {
    fn read_input(&mut self, place: usize, input: &[Message]) {
        let this_run = if place == 0 { last_user_text(input) } else { 0 };
        let mut seen: HashMap<String, usize> = HashMap::new();
        // Calls of this history that have no result so far: name, and request if it is of this run. A result without an
        // id, or with an id that no call has, is of the first of its name.
        let mut pending: VecDeque<(&str, Option<usize>)> = VecDeque::new();
        for (position, message) in input.iter().enumerate() {
            let is_old = position < this_run;
            for part in &message.parts {
                match part {
                    Part::ToolCall { id: Some(id), name, arguments } => {
                        let is_new = !is_old && !self.old_ids.contains(id);
                        if is_old {
                            self.old_ids.insert(id.clone());
                        }
                        let request = is_new.then(|| self.see(place, id, name, arguments));
                        pending.push_back((name, request));
                    }
                    Part::ToolCall { id: None, name, arguments } => {
                        let key = unnamed_key(name, arguments);
                        let nth = seen.entry(key.clone()).or_default();
                        let of_this_run = nth.checked_sub(self.old_unnamed.get(&key).copied().unwrap_or(0));
                        *nth += 1;
                        let request = match of_this_run {
                            _ if is_old => {
                                *self.old_unnamed.entry(key).or_default() += 1;
                                None
                            }
                            None => None,
                            Some(nth) => {
                                let known = self.unnamed.get(&key).and_then(|known| known.get(nth)).copied();
                                let request = known
                                    .or_else(|| {
                                        let unseen = self.take_unseen(&key)?;
                                        self.unnamed.entry(key).or_default().push(unseen);
                                        Some(unseen)
                                    })
                                    .unwrap_or_else(|| self.add(place.saturating_sub(1), None, name, arguments));
                                self.is_seen[request] = true;
                                Some(request)
                            }
                        };
                        pending.push_back((name, request));
                    }
                    Part::ToolResult { id, name, content, is_error } => {
                        let request = self.answered(id.as_deref(), name.as_deref(), &mut pending);
                        self.answer(request, content, *is_error, Some(place));
                    }
                    _ => {}
                }
            }
        }
    }

    fn read_output(&mut self, place: usize, output: &[Message]) {
        // Calls of this output without an id and, so far, without a result.
        let mut pending: VecDeque<(&str, Option<usize>)> = VecDeque::new();
        let speaks = output.iter().any(|message| message.text().is_some());
        for part in output.iter().flat_map(|message| &message.parts) {
            match part {
                Part::ToolCall { id, name, arguments } => {
                    let is_repeated = match id {
                        Some(id) => self.is_repeated(place, id, name, arguments),
                        None => speaks && self.is_told_at(place, name, arguments),
                    };
                    if !is_repeated {
                        let request = self.add(place, id.as_deref(), name, arguments);
                        if id.is_none() {
                            pending.push_back((name, Some(request)));
                        }
                        self.unseen.entry(unnamed_key(name, arguments)).or_default().push_back(request);
                    }
                }
                // Tools that the provider or its SDK runs itself answer inside the same call.
                Part::ToolResult { id: None, name, content, is_error } => {
                    let request = self.answered(None, name.as_deref(), &mut pending);
                    self.answer(request, content, *is_error, None);
                }
                Part::ToolResult { id: Some(id), content, is_error, .. } => {
                    let request = self.latest(id);
                    self.answer(request, content, *is_error, None);
                }
                _ => {}
            }
        }
    }

    /// A call of a history by its id: known, known under another id, or of an output that was not captured.
    fn see(&mut self, place: usize, id: &str, name: &str, arguments: &Value) -> usize {
        let request = self.latest(id).or_else(|| {
            let unseen = self.take_unseen(&unnamed_key(name, arguments))?;
            self.by_id.entry(id.to_owned()).or_default().push(unseen);
            Some(unseen)
        });
        let request = request.unwrap_or_else(|| self.add(place.saturating_sub(1), Some(id), name, arguments));
        self.is_seen[request] = true;
        request
    }

    fn latest(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).and_then(|known| known.last()).copied()
    }

    fn take_unseen(&mut self, key: &str) -> Option<usize> {
        let queue = self.unseen.get_mut(key)?;
        while let Some(request) = queue.pop_front() {
            if !self.is_seen[request] {
                return Some(request);
            }
        }
        None
    }

    /// The same call again before anything answered it: two steps show one output. Or again in the output of the very
    /// call that was told its answer: that model does not ask for it anew.
    fn is_repeated(&self, place: usize, id: &str, name: &str, arguments: &Value) -> bool {
        let Some(known) = self.latest(id) else { return false };
        let known = &self.requests[known];
        let is_told_here = known.answer.as_ref().is_some_and(|answer| answer.told == Some(place));
        (known.answer.is_none() || is_told_here)
            && known.name == name
            && messages::same_arguments(&known.arguments, arguments)
    }

    /// A call without an id that the model was just told the answer of: beside a text it is a leftover of the turn before,
    /// where an instrumentation writes all turns of an agent on one span.
    fn is_told_at(&self, place: usize, name: &str, arguments: &Value) -> bool {
        let alike = self.unnamed.get(&unnamed_key(name, arguments)).and_then(|alike| alike.last());
        let answer = alike.and_then(|last| self.requests[*last].answer.as_ref());
        answer.is_some_and(|answer| answer.told == Some(place))
    }

    fn answered(
        &self,
        id: Option<&str>,
        name: Option<&str>,
        pending: &mut VecDeque<(&str, Option<usize>)>,
    ) -> Option<usize> {
        let known = id.and_then(|id| if self.old_ids.contains(id) { Some(None) } else { self.latest(id).map(Some) });
        if let Some(request) = known {
            let waits = pending.iter().take(PENDING_MAX).position(|(_, waiting)| *waiting == request);
            if let Some(position) = waits {
                pending.remove(position);
            }
            return request;
        }
        let same_name = pending.iter().take(PENDING_MAX).position(|(pending, _)| Some(*pending) == name);
        pending.remove(same_name.unwrap_or(0)).and_then(|(_, request)| request)
    }

    fn answer(&mut self, request: Option<usize>, content: &Value, is_error: bool, told: Option<usize>) {
        if let Some(request) = request.map(|index| &mut self.requests[index])
            && request.answer.is_none()
        {
            request.answer = Some(Answer { content: content.clone(), is_error, told });
        }
    }

    fn add(&mut self, call: usize, id: Option<&str>, name: &str, arguments: &Value) -> usize {
        let index = self.requests.len();
        let same = match id {
            Some(id) => self.by_id.entry(id.to_owned()).or_default(),
            None => self.unnamed.entry(unnamed_key(name, arguments)).or_default(),
        };
        let occurrence = same.len();
        same.push(index);
        let (id, name, arguments) = (id.map(str::to_owned), name.to_owned(), arguments.clone());
        self.is_seen.push(false);
        self.requests.push(Request { id, name, arguments, call, answer: None, occurrence });
        index
    }
}

/// Place after the last message in which the user says something.
fn last_user_text(input: &[Message]) -> usize {
    input.iter().rposition(|message| message.role == "user" && message.text().is_some()).map_or(0, |last| last + 1)
}

fn unnamed_key(name: &str, arguments: &Value) -> String {
    format!("{name}\0{}", messages::tool_arguments(&messages::plain(arguments)))
}

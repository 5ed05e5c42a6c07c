//! Long texts in short: what assembly asks of a text, without the text.
//!
//! A run of very many steps has more text than may be held in memory at once. Of each long text a *seal* is kept: which
//! text it is, what its plain views are, whether it is an answer, and which tools it asks for. Whatever reads texts here
//! reads seals too and gives the same answers, but for a long view, which it names by a *reference*. When the run is
//! assembled, [`reveal`] gives the few texts that its row shows.
//!
//! Both begin with U+0000, which no stored text holds (`store::storable`): no sender can write one.

use std::fmt::Write;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::tool::without_nulls;
use super::{
    Message, OutputText, Part, input_text, is_answer, is_usable, output_view, parse, result_text, tool_arguments,
};

const MARK: char = '\0';
/// Behind the mark: the name of a text that is nowhere here.
const REFERENCE: &str = "\0=";
/// Texts and values up to this stay as they are.
const SHORT_BYTES_MAX: usize = 160;
const HASH_LENGTH: usize = 32;

/// The seal of a text; `None` for a short one, which stays. `with_arguments`: it may be the input of a tool, or an answer
/// that is compared with one.
pub fn seal(text: &str, with_arguments: bool) -> Option<String> {
    if text.len() <= SHORT_BYTES_MAX || text.starts_with(MARK) {
        return None;
    }
    if !is_usable(text) {
        return Some(String::new());
    }
    let mut seal = format!("{MARK}{}", hash(text));
    seal.push(if is_answer(text) { 'a' } else { '-' });
    seal.push(if is_structured(text) { 's' } else { '-' });
    let input = input_text(text).map(|text| named(&text, 't', 'h')).unwrap_or_default();
    let output = match output_view(text) {
        OutputText::Text(text) => named(&text, 't', 'h'),
        OutputText::ToolCalls(calls) => named(&calls, 'c', 'k'),
        OutputText::Opaque => String::new(),
    };
    let arguments = if with_arguments { short(&tool_arguments(text)).to_string() } else { String::new() };
    let tools = tools(text);
    for field in [&input, &output, &arguments, &tools] {
        let _ = write!(seal, "{MARK}{field}");
    }
    Some(seal)
}

/// The seal without the tools that the text asks for, which may be many.
pub fn without_tools(seal: &str) -> Option<String> {
    let read = Seal::read(seal)?;
    let length = seal.len() - read.tools.len();
    Some(format!("{}{}", &seal[..length], if read.tools.is_empty() { "" } else { NO_TOOLS }))
}

/// The hash of the text that stands behind a seal or a reference.
pub fn hidden(text: &str) -> Option<&str> {
    text.strip_prefix(REFERENCE).or_else(|| text.strip_prefix(MARK)?.get(..HASH_LENGTH))
}

/// The text with this hash: `text` itself, or one of its plain views.
pub fn reveal(hidden: &str, text: &str) -> Option<String> {
    let is_it = |text: &String| hash(text) == hidden;
    let views = [input_text(text), super::output_text(text)];
    std::iter::once(text.to_owned()).chain(views.into_iter().flatten()).find(is_it)
}

/// What tells a text from every other: itself, or the hash that its seal has too.
pub fn fingerprint(text: &str) -> std::borrow::Cow<'_, str> {
    match hidden(text) {
        Some(hash) => hash.into(),
        None if text.len() <= SHORT_BYTES_MAX => text.into(),
        None => hash(text).into(),
    }
}

/// Does the text begin as an object or a list does?
pub fn is_structured(text: &str) -> bool {
    match Seal::read(text) {
        Some(seal) => seal.is_structured,
        None => text.trim_start().starts_with(['{', '[']),
    }
}

/// Is it an object or a list, or stands for one?
pub fn is_structure(value: &Value) -> bool {
    value.is_object() || value.is_array() || value.as_str().is_some_and(|text| text.starts_with(REFERENCE))
}

/// Messages that ask for no tool and tell no result.
const NO_TOOLS: &str = "0";

pub(super) struct Seal<'a> {
    pub is_answer: bool,
    pub is_structured: bool,
    input: &'a str,
    output: &'a str,
    arguments: &'a str,
    tools: &'a str,
}

impl<'a> Seal<'a> {
    /// `None` for a text as it was sent.
    pub fn read(text: &'a str) -> Option<Seal<'a>> {
        let rest = text.strip_prefix(MARK).filter(|_| !text.starts_with(REFERENCE))?;
        let mut fields = rest.splitn(5, MARK);
        let mut flags = fields.next()?.get(HASH_LENGTH..)?.chars();
        Some(Seal {
            is_answer: flags.next()? == 'a',
            is_structured: flags.next()? == 's',
            input: fields.next()?,
            output: fields.next()?,
            arguments: fields.next()?,
            tools: fields.next()?,
        })
    }

    pub fn input(&self) -> Option<String> {
        self.input.chars().next().map(|kind| text_of(kind, &self.input[1..]))
    }

    pub fn output(&self) -> OutputText {
        let Some(kind) = self.output.chars().next() else { return OutputText::Opaque };
        let text = text_of(kind, &self.output[1..]);
        if matches!(kind, 'c' | 'k') { OutputText::ToolCalls(text) } else { OutputText::Text(text) }
    }

    pub fn arguments(&self) -> Value {
        serde_json::from_str(self.arguments).unwrap_or_default()
    }

    pub fn messages(&self) -> Option<Vec<Message>> {
        match self.tools {
            "" => None,
            NO_TOOLS => Some(vec![Message::default()]),
            tools => serde_json::from_str(tools).ok(),
        }
    }
}

fn text_of(kind: char, rest: &str) -> String {
    if matches!(kind, 'h' | 'k') { format!("{REFERENCE}{rest}") } else { rest.to_owned() }
}

fn hash(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// A short view as it is, a long one by its hash.
fn named(view: &str, as_it_is: char, by_hash: char) -> String {
    if view.len() > SHORT_BYTES_MAX {
        return format!("{by_hash}{}", hash(view));
    }
    // JSON may hold an escaped U+0000, which no store keeps.
    format!("{as_it_is}{}", view.replace(MARK, "\u{FFFD}"))
}

/// Arguments as they are compared.
fn short(arguments: &Value) -> Value {
    if arguments.to_string().len() <= SHORT_BYTES_MAX {
        return arguments.clone();
    }
    Value::String(format!("{REFERENCE}{}", hash(&without_nulls(arguments).to_string())))
}

/// The messages with what they say of tools alone; a text stands where one was.
fn tools(text: &str) -> String {
    let Some(mut messages) = parse(text) else { return String::new() };
    let is_of_tools = |part: &Part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. });
    if !messages.iter().any(|message| message.parts.iter().any(is_of_tools)) {
        return NO_TOOLS.to_owned();
    }
    for message in &mut messages {
        let says = message.text().is_some();
        message.name = None;
        message.finish_reason = None;
        message.parts.retain(is_of_tools);
        for part in &mut message.parts {
            match part {
                Part::ToolCall { arguments, .. } => *arguments = short(arguments),
                Part::ToolResult { content, .. } if content.to_string().len() > SHORT_BYTES_MAX => {
                    let text = result_text(content);
                    *content = Value::from(&text[..text.floor_char_boundary(SHORT_BYTES_MAX)]);
                }
                _ => {}
            }
        }
        if says {
            message.parts.push(Part::Text("…".to_owned()));
        }
    }
    messages.retain(|message| !message.parts.is_empty());
    serde_json::to_string(&messages).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(text: &str) -> String {
        text.repeat(60)
    }

    #[test]
    fn a_seal_answers_as_its_text_does() {
        let said = long("The flight leaves at nine. ");
        let arguments = serde_json::json!({"city": long("Paris ")});
        let call = serde_json::json!({"type": "tool_call", "id": "c1", "name": "weather", "arguments": arguments});
        let result = serde_json::json!({"type": "tool_call_response", "id": "c1", "response": "sunny"});
        let texts = [
            said.clone(),
            serde_json::json!([{"role": "user", "parts": [{"type": "text", "content": said}]}]).to_string(),
            serde_json::json!([{"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [result]}])
                .to_string(),
            serde_json::json!({"answer": said, "sources": [1, 2]}).to_string(),
            serde_json::json!({"error_code": 5, "blank": " ".repeat(300)}).to_string(),
            format!("<pkg.Thing object at 0x7f{said}>"),
            format!("[{}1]", "1.5, ".repeat(90)),
        ];
        for text in &texts {
            let seal = seal(text, true).unwrap();
            assert!(is_usable(&seal), "{text}");
            assert_eq!(is_answer(&seal), is_answer(text), "{text}");
            assert_eq!(is_structured(&seal), is_structured(text), "{text}");
            let revealed = |view: String| hidden(&view).map_or(Some(view.clone()), |hash| reveal(hash, text));
            assert_eq!(input_text(&seal).and_then(revealed), input_text(text), "{text}");
            match (output_view(&seal), output_view(text)) {
                (OutputText::Text(sealed), OutputText::Text(whole))
                | (OutputText::ToolCalls(sealed), OutputText::ToolCalls(whole)) => {
                    assert_eq!(revealed(sealed), Some(whole), "{text}");
                }
                (sealed, whole) => assert_eq!(sealed, whole, "{text}"),
            }
            assert_eq!(parse(&seal).is_some(), parse(text).is_some(), "{text}");
            assert_eq!(fingerprint(&seal), fingerprint(text));
            assert_eq!(hidden(&seal).and_then(|hash| reveal(hash, text)).as_ref(), Some(text));
            let bare = without_tools(&seal).unwrap();
            assert_eq!((input_text(&bare), output_view(&bare)), (input_text(&seal), output_view(&seal)), "{text}");
        }
        let [call, result] = &parse(&seal(&texts[2], false).unwrap()).unwrap()[..] else { panic!() };
        let Part::ToolCall { name, arguments: sealed, .. } = &call.parts[0] else { panic!() };
        assert_eq!(name, "weather");
        let input = seal(&arguments.to_string(), true).unwrap();
        assert!(super::super::same_arguments(&tool_arguments(&input), sealed), "a tool's input and what was asked for");
        assert!(matches!(&result.parts[0], Part::ToolResult { content, .. } if content == "sunny"));
    }

    #[test]
    fn short_texts_stay() {
        assert_eq!(seal("Hi", true), None);
        assert_eq!(seal(&" ".repeat(500), true).as_deref(), Some(""), "says nothing");
        assert_eq!(Seal::read("{\"role\":\"user\"}").map(|_| ()), None);
        assert_eq!(hidden("Hi"), None);
        assert_eq!(fingerprint("Hi"), "Hi");
    }
}

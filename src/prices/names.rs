//! One model under its many names: what routes, regions, fine-tunes, versions and dates add is taken away step by step.
//!
//! Every step applies to what the steps before it made, and the first name that the table knows is meant. A step is
//! never skipped: `gpt-4o-2024-05-13` may have a price of its own and must not be found as `gpt-4o` first.

/// More names than this of one model are not tried.
const NAMES_MAX: usize = 64;
/// Routes of routes: `litellm_proxy/openrouter/anthropic/claude-3.5-sonnet`.
const ROUTES_MAX: usize = 8;

/// Where Bedrock runs a model: `us.anthropic.claude-…`.
const REGIONS: [&str; 10] = ["us.", "eu.", "apac.", "global.", "us-gov.", "jp.", "au.", "ca.", "sa.", "me."];

/// Who made a model, as Bedrock writes it before the model's name.
const VENDORS: [&str; 16] = [
    "anthropic.",
    "amazon.",
    "meta.",
    "mistral.",
    "cohere.",
    "ai21.",
    "deepseek.",
    "openai.",
    "qwen.",
    "google.",
    "nvidia.",
    "writer.",
    "minimax.",
    "moonshotai.",
    "stability.",
    "twelvelabs.",
];

/// What had to be taken from a name until the table knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    AsSent,
    /// Without `openai/`, `models/`, `us.`, `anthropic.`, `google-gla:` and the like.
    WithoutRoute,
    /// The model that `ft:base:organisation::id` was made from.
    FineTuned,
    /// Without `:free`, `:latest`, `-v1:0`, `@001`.
    WithoutVersion,
    /// Without `-2024-07-18`, `-20240718`, `@20240718`, `-0718`.
    WithoutDate,
    /// `3.5` for `3-5` or the other way round.
    Respelled,
}

impl Form {
    pub fn as_str(self) -> &'static str {
        match self {
            Form::AsSent => "as sent",
            Form::WithoutRoute => "without route",
            Form::FineTuned => "fine-tuned from it",
            Form::WithoutVersion => "without version",
            Form::WithoutDate => "without date",
            Form::Respelled => "dots and dashes",
        }
    }
}

/// The names to try, in order, in lower case.
pub(super) fn names(model: &str) -> Vec<(Form, String)> {
    let mut names = vec![(Form::AsSent, model.trim().to_ascii_lowercase())];
    let mut rest = names[0].1.clone();
    for _ in 0..ROUTES_MAX {
        let Some(shorter) = without_route(&rest).map(str::to_owned) else { break };
        add(&mut names, Form::WithoutRoute, shorter.clone());
        rest = shorter;
    }
    extend(&mut names, Form::FineTuned, |name| fine_tuned_base(name).map(str::to_owned).into_iter().collect());
    extend(&mut names, Form::WithoutVersion, |name| without_version(name).map(str::to_owned).into_iter().collect());
    extend(&mut names, Form::WithoutDate, |name| without_date(name).map(str::to_owned).into_iter().collect());
    extend(&mut names, Form::Respelled, |name| vec![respelled(name, '.', '-'), respelled(name, '-', '.')]);
    names
}

fn add(names: &mut Vec<(Form, String)>, form: Form, name: String) {
    if !name.is_empty() && names.len() < NAMES_MAX && names.iter().all(|(_, known)| *known != name) {
        names.push((form, name));
    }
}

fn extend(names: &mut Vec<(Form, String)>, form: Form, change: impl Fn(&str) -> Vec<String>) {
    let before: Vec<String> = names.iter().map(|(_, name)| name.clone()).collect();
    for name in before.iter().flat_map(|name| change(name)) {
        add(names, form, name);
    }
}

/// Who or what a name says that the model is reached through: `openai/…`, `google-gla:…`.
pub(super) fn routes(model: &str) -> impl Iterator<Item = &str> {
    let (path, _) = model.rsplit_once('/').unwrap_or(("", model));
    let before_colon = route_before_colon(model).map(|(route, _)| route);
    path.split('/').filter(|route| !route.is_empty()).chain(before_colon).take(ROUTES_MAX)
}

/// Whether a name is written as Bedrock writes it.
pub(super) fn is_bedrock(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = REGIONS.iter().find_map(|region| name.strip_prefix(region)).unwrap_or(name);
    VENDORS.iter().any(|vendor| name.starts_with(vendor))
}

fn without_route(name: &str) -> Option<&str> {
    if let Some((_, rest)) = name.split_once('/') {
        return Some(rest);
    }
    let dotted = REGIONS.iter().chain(&VENDORS).find_map(|start| name.strip_prefix(start));
    dotted.or_else(|| route_before_colon(name).map(|(_, rest)| rest))
}

/// `openai:gpt-4o`. What stands before the colon is a word without digits, and not `ft`.
fn route_before_colon(name: &str) -> Option<(&str, &str)> {
    let (route, rest) = name.split_once(':')?;
    let is_word = !route.is_empty() && route.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_'));
    (is_word && route != "ft").then_some((route, rest))
}

fn fine_tuned_base(name: &str) -> Option<&str> {
    name.strip_prefix("ft:")?.split(':').next()
}

fn without_version(name: &str) -> Option<&str> {
    let mut rest = name;
    loop {
        let shorter = [":free", ":latest"].iter().find_map(|end| rest.strip_suffix(end)).or_else(|| {
            let (before, revision) = rest.rsplit_once(':').unwrap_or((rest, ""));
            let before = if is_digits(revision, 1, 3) || revision.is_empty() { before } else { rest };
            let version = before.rsplit_once("-v").filter(|(_, version)| is_digits(version, 1, 2));
            let cut = version.map(|(before, _)| before).filter(|_| before.len() < rest.len());
            cut.or_else(|| rest.rsplit_once('@').filter(|(_, n)| is_digits(n, 3, 3)).map(|(before, _)| before))
        });
        match shorter {
            Some(shorter) => rest = shorter,
            None => return (rest.len() < name.len()).then_some(rest),
        }
    }
}

fn without_date(name: &str) -> Option<&str> {
    let digits_at_end = |count: usize| {
        let at = name.len().checked_sub(count).filter(|at| name.is_char_boundary(*at))?;
        let (before, end) = name.split_at(at);
        is_digits(end, count, count).then_some((before, end))
    };
    if let Some((before, day)) = digits_at_end(8)
        && let Some(before) = before.strip_suffix('-').or_else(|| before.strip_suffix('@'))
        && is_day(&day[..4], &day[4..6], &day[6..])
    {
        return Some(before);
    }
    let parts: Vec<&str> = name.rsplitn(4, '-').collect();
    if let [day, month, year, before] = parts[..]
        && year.len() == 4
        && is_day(year, month, day)
    {
        return Some(before);
    }
    let (before, day) = digits_at_end(4)?;
    let before = before.strip_suffix('-')?;
    is_day("2000", &day[..2], &day[2..]).then_some(before)
}

fn is_day(year: &str, month: &str, day: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| is_digits(text, 2, 4)).unwrap_or(0);
    (2000..2100).contains(&number(year))
        && (1..=12).contains(&number(month))
        && (1..=31).contains(&number(day))
        && month.len() == 2
        && day.len() == 2
}

fn is_digits(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// `from` between two digits becomes `to`.
fn respelled(name: &str, from: char, to: char) -> String {
    let bytes = name.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let change = |(at, c): (usize, char)| {
        let between = c == from && is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
        if between { to } else { c }
    };
    name.char_indices().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(model: &str) -> Vec<String> {
        names(model).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn each_step_takes_one_thing_away() {
        for (sent, form, name) in [
            (" GPT-4o ", Form::AsSent, "gpt-4o"),
            ("openai/gpt-4o", Form::WithoutRoute, "gpt-4o"),
            ("models/gemini-2.5-pro", Form::WithoutRoute, "gemini-2.5-pro"),
            ("accounts/fireworks/models/llama-v3", Form::WithoutRoute, "llama-v3"),
            ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", Form::WithoutRoute, "gemini-2.5-pro"),
            ("bedrock/us.anthropic.claude-3-haiku", Form::WithoutRoute, "claude-3-haiku"),
            ("google-gla:gemini-2.5-flash", Form::WithoutRoute, "gemini-2.5-flash"),
            ("azure/my-deployment", Form::WithoutRoute, "my-deployment"),
            ("ft:gpt-4o-mini-2024-07-18:acme::AbC", Form::FineTuned, "gpt-4o-mini-2024-07-18"),
            ("deepseek-r1:free", Form::WithoutVersion, "deepseek-r1"),
            ("llama3:latest", Form::WithoutVersion, "llama3"),
            ("claude-3-haiku-v1:0", Form::WithoutVersion, "claude-3-haiku"),
            ("gemini-1.5-pro@001", Form::WithoutVersion, "gemini-1.5-pro"),
            ("gpt-4o-2024-07-18", Form::WithoutDate, "gpt-4o"),
            ("claude-sonnet-4-20250514", Form::WithoutDate, "claude-sonnet-4"),
            ("claude-sonnet-4@20250514", Form::WithoutDate, "claude-sonnet-4"),
            ("gpt-4-0613", Form::WithoutDate, "gpt-4"),
            ("claude-3.5-sonnet", Form::Respelled, "claude-3-5-sonnet"),
            ("gpt-4-1-mini", Form::Respelled, "gpt-4.1-mini"),
        ] {
            assert!(names(sent).contains(&(form, name.to_owned())), "{sent}: {:?}", names(sent));
        }
    }

    #[test]
    fn steps_add_up_in_order() {
        let sent = "bedrock/us.anthropic.claude-3.5-sonnet-20241022-v2:0";
        let made = names(sent);
        assert_eq!(made.last().map(|(form, _)| *form), Some(Form::Respelled));
        assert!(all(sent).contains(&"claude-3-5-sonnet".to_owned()), "{made:?}");
        let order: Vec<usize> = made.iter().map(|(form, _)| *form as usize).collect();
        assert!(order.is_sorted(), "{made:?}");
    }

    #[test]
    fn what_looks_like_a_date_and_is_none_stays() {
        // A year and a month, a size, a version of the model.
        for sent in ["mistral-large-2411", "command-r7b", "claude-v2", "gpt-4o-99999999", "phi-4", "-0613é"] {
            assert!(names(sent).iter().all(|(form, _)| *form != Form::WithoutDate), "{sent}: {:?}", all(sent));
        }
        assert_eq!(all("gpt-4o"), ["gpt-4o"]);
    }

    #[test]
    fn hostile_names_make_few_names() {
        for sent in ["/".repeat(1024), "us.".repeat(300), "a:b:".repeat(200), "1.".repeat(500), "é-0101".repeat(100)] {
            assert!(names(&sent).len() <= NAMES_MAX);
        }
        assert_eq!(all(""), [""]);
    }
}

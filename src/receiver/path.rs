//! The one spelling of a path, so that no client has to be redirected: some exporters follow a redirect with GET, others
//! take it for a success, and both lose the data.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Path prefixes under which other backends taught users to send OTLP/HTTP.
const OTLP_PREFIXES: [&str; 4] = ["/otel", "/otlp", "/api/public/otel", "/v1/private/otel"];

/// Rewrites the path of a request: repeated slashes become one, one at the end goes, `prefix` (empty, or `/like/this`)
/// and the prefixes of other backends go. The query stays.
pub(super) fn canonicalize(uri: &mut Uri, prefix: &str) {
    let Cow::Owned(path) = canonical(uri.path(), prefix) else { return };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
    if let Ok(rewritten) = Uri::from_parts(parts) {
        *uri = rewritten;
    }
}

fn canonical<'a>(path: &'a str, prefix: &str) -> Cow<'a, str> {
    let mut path = match path.contains("//") {
        true => Cow::Owned(single_slashes(path)),
        false => Cow::Borrowed(path),
    };
    if path.len() > 1 && path.ends_with('/') {
        path.to_mut().pop();
    }
    if let Some(rest) = below(&path, prefix) {
        path = Cow::Owned(rest.to_owned());
    }
    let signal = OTLP_PREFIXES.iter().find_map(|prefix| below(&path, prefix)).filter(|rest| rest.starts_with("/v1/"));
    match signal {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => path,
    }
}

/// What stands below `prefix`: `/` and more. `None` for a path beside it.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    match rest {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

fn single_slashes(path: &str) -> String {
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !single.ends_with('/') {
            single.push(c);
        }
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (path, expected) in [
            ("/v1/traces", "/v1/traces"),
            ("/v1/traces/", "/v1/traces"),
            ("//v1//traces//", "/v1/traces"),
            ("/otel/v1/traces", "/v1/traces"),
            ("/otlp/v1/logs/", "/v1/logs"),
            ("/api/public/otel/v1/traces", "/v1/traces"),
            ("/v1/private/otel/v1/traces", "/v1/traces"),
            ("/otel", "/otel"),
            ("/otlpx/v1/traces", "/otlpx/v1/traces"),
            ("/own/v1/traces", "/v1/traces"),
            ("/own/otel/v1/traces", "/v1/traces"),
            ("/own", "/"),
            ("/owner", "/owner"),
            ("/runs/", "/runs"),
            ("/", "/"),
        ] {
            assert_eq!(canonical(path, "/own"), expected, "{path}");
        }
    }

    #[test]
    fn the_query_and_the_authority_stay() {
        let mut uri: Uri = "http://host:4318//runs/?limit=5".parse().unwrap();
        canonicalize(&mut uri, "");
        assert_eq!(uri, "http://host:4318/runs?limit=5");
        let mut uri: Uri = "/v1/traces".parse().unwrap();
        canonicalize(&mut uri, "");
        assert_eq!(uri, "/v1/traces");
    }
}

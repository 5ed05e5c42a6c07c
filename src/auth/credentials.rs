//! Where users put keys today: the headers, or gRPC metadata, of every tool they know.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::auth::AuthError;

/// Longest `User-Agent` that is kept, in bytes.
const USER_AGENT_BYTES_MAX: usize = 256;
/// Names under which people try to put a key into an address.
const QUERY_NAMES: [&str; 6] = ["api_key", "apikey", "api-key", "key", "token", "access_token"];

/// The key in the headers. `None` when there is none; an error when two carriers name different keys, because nobody
/// could say whose data it is, or when a key stands in the query, from where it gets into the logs of proxies.
///
/// `Authorization: Bearer K`, `Basic base64(anything:K)` (K may also stand in front when nothing follows), `ApiKey K`
/// or `K` alone; `X-API-Key: K`, `api-key: K`, `api_key: K`. Any of them may be percent-encoded (`Bearer%20K`),
/// because some SDKs do not decode `OTEL_EXPORTER_OTLP_HEADERS`.
pub fn key_in(headers: &HeaderMap, query: Option<&str>) -> Result<Option<String>, AuthError> {
    let authorizations =
        headers.get_all(http::header::AUTHORIZATION).iter().map(|value| from_authorization(text(value)));
    let plain = ["x-api-key", "api-key", "api_key"]
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(|value| some(&decoded(text(value))));
    let mut keys = authorizations.chain(plain).flatten();
    let Some(key) = keys.next() else {
        let in_query = query.is_some_and(|query| query.split('&').any(is_key));
        return match in_query {
            true => Err(AuthError::InQuery),
            false if is_basic(headers) => Err(AuthError::BasicWithoutKey),
            false => Ok(None),
        };
    };
    if keys.any(|other| other != key) { Err(AuthError::Conflicting) } else { Ok(Some(key)) }
}

/// Whether the headers use `Authorization: Basic`, for which other tools have other names and passwords.
fn is_basic(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    values.any(|value| {
        let value = decoded(text(value));
        value.split_whitespace().next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
    })
}

/// Whether the headers use it with a password that is none of our keys.
pub fn is_foreign_basic(headers: &HeaderMap) -> bool {
    let key = key_in(headers, None).ok().flatten();
    is_basic(headers) && key.is_some_and(|key| !key.starts_with("vos_"))
}

/// The `User-Agent`, cut at 256 bytes; empty when there is none or it is not plain text.
pub fn user_agent(headers: &HeaderMap) -> &str {
    let agent = headers.get(http::header::USER_AGENT).map(text).unwrap_or_default();
    &agent[..agent.len().min(USER_AGENT_BYTES_MAX)]
}

/// Visible ASCII; anything else is no key and no name.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn is_key(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, _)| QUERY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

fn from_authorization(value: &str) -> Option<String> {
    let value = decoded(value);
    let value = value.trim();
    let Some((scheme, rest)) = value.split_once(char::is_whitespace) else {
        // A scheme without anything behind it is no key.
        let bare_scheme = ["bearer", "basic", "apikey"].iter().any(|scheme| value.eq_ignore_ascii_case(scheme));
        return if bare_scheme { None } else { some(value) };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "apikey" => some(rest),
        "basic" => from_basic(rest.trim()),
        _ => None,
    }
}

fn from_basic(encoded: &str) -> Option<String> {
    let bytes = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':').unwrap_or((&text, ""));
    some(if password.is_empty() { user } else { password })
}

fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

fn some(key: &str) -> Option<String> {
    let key = key.trim();
    (!key.is_empty()).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        key_in(&headers, None).unwrap()
    }

    #[test]
    fn every_accepted_form_yields_the_key() {
        for (name, value) in [
            ("authorization", "Bearer K1"),
            ("authorization", "bearer   K1"),
            ("authorization", "Bearer%20K1"),
            ("authorization", "K1"),
            ("authorization", "ApiKey K1"),
            ("authorization", "Basic YW55dGhpbmc6SzE="),
            ("authorization", "Basic YW55dGhpbmc6SzE"),
            ("authorization", "Basic%20YW55dGhpbmc6SzE%3D"),
            ("authorization", "Basic SzE6"),
            ("x-api-key", "K1"),
            ("api-key", "K1"),
            ("api_key", "%4B1"),
        ] {
            assert_eq!(key(name, value).as_deref(), Some("K1"), "{name}: {value}");
        }
    }

    #[test]
    fn what_holds_no_key_yields_none() {
        for (name, value) in [
            ("authorization", ""),
            ("authorization", "Bearer"),
            ("authorization", "Bearer  "),
            ("authorization", "Digest username=x"),
            ("x-api-key", " "),
            ("cookie", "K1"),
        ] {
            assert_eq!(key(name, value), None, "{name}: {value}");
        }
        assert_eq!(key_in(&HeaderMap::new(), Some("limit=5")).unwrap(), None);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(key_in(&headers, None).unwrap(), None);
    }

    #[test]
    fn basic_without_a_key_is_told_apart() {
        for value in ["Basic", "Basic !!!", "basic Og==", "Basic%20Og%3D%3D"] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", value.parse().unwrap());
            assert!(matches!(key_in(&headers, None), Err(AuthError::BasicWithoutKey)), "{value}");
            assert!(!is_foreign_basic(&headers), "{value}");
            headers.insert("x-api-key", "K1".parse().unwrap());
            assert_eq!(key_in(&headers, None).unwrap().as_deref(), Some("K1"), "{value}");
        }
    }

    #[test]
    fn a_foreign_password_is_told_from_a_key() {
        for (value, is_foreign) in [
            // pk-lf-1:sk-lf-2 and x:vos_1
            ("Basic cGstbGYtMTpzay1sZi0y", true),
            ("Basic eDp2b3NfMQ==", false),
            ("Bearer sk-lf-2", false),
        ] {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(is_foreign_basic(&headers), is_foreign, "{value}");
        }
    }

    #[test]
    fn two_carriers_must_agree() {
        let with = |other: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", HeaderValue::from_static("Bearer K1"));
            headers.insert("x-api-key", HeaderValue::from_static(other));
            key_in(&headers, None)
        };
        assert_eq!(with("K1").unwrap().as_deref(), Some("K1"));
        assert_eq!(with("").unwrap().as_deref(), Some("K1"));
        assert!(matches!(with("K2"), Err(AuthError::Conflicting)));
    }

    #[test]
    fn a_key_in_the_query_is_refused_with_a_hint() {
        assert!(matches!(key_in(&HeaderMap::new(), Some("a=1&API_KEY=K1")), Err(AuthError::InQuery)));
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("K1"));
        assert_eq!(key_in(&headers, Some("key=x")).unwrap().as_deref(), Some("K1"));
    }

    #[test]
    fn a_user_agent_is_cut() {
        let mut headers = HeaderMap::new();
        assert_eq!(user_agent(&headers), "");
        headers.insert("user-agent", "x".repeat(USER_AGENT_BYTES_MAX + 1).parse().unwrap());
        assert_eq!(user_agent(&headers).len(), USER_AGENT_BYTES_MAX);
        headers.insert("user-agent", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(user_agent(&headers), "");
    }
}

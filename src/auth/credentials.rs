//! Where users put keys today: the headers, or gRPC metadata, of every tool they know.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

/// The key in the headers; the first carrier that is present wins. `None` when there is none.
///
/// `Authorization: Bearer K`, `Basic base64(anything:K)` (K may also stand in front when nothing follows), `ApiKey K`
/// or `K` alone; `X-API-Key: K`, `api-key: K`, `api_key: K`. Any of them may be percent-encoded (`Bearer%20K`),
/// because some SDKs do not decode `OTEL_EXPORTER_OTLP_HEADERS`.
pub fn key_in(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        return from_authorization(value.to_str().ok()?);
    }
    let value = ["x-api-key", "api-key", "api_key"].iter().find_map(|name| headers.get(*name))?;
    some(&decoded(value.to_str().ok()?))
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
        key_in(&headers)
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
            ("authorization", "Basic !!!"),
            ("authorization", "Digest username=x"),
            ("x-api-key", " "),
            ("cookie", "K1"),
        ] {
            assert_eq!(key(name, value), None, "{name}: {value}");
        }
        assert_eq!(key_in(&HeaderMap::new()), None);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", http::HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(key_in(&headers), None);
    }
}

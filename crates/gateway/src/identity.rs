//! Who is asking: decided from the head alone, before a body is read.

use domain::{Fault, FaultKind, UserPath};
use http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::Settings;

/// Who is asking.
#[derive(Clone, Debug)]
pub struct Caller {
    /// How the caller showed who it is.
    pub method: Method,
    /// Its place in the organisation, if it said so.
    pub user_path: Option<UserPath>,
}

/// How a caller showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The gateway is open.
    NoKey,
    /// The master key.
    MasterKey,
}

impl Method {
    /// The word for logs.
    pub fn word(self) -> &'static str {
        match self {
            Method::NoKey => "no_key",
            Method::MasterKey => "master_key",
        }
    }
}

/// Decides who is asking.
pub fn identify(settings: &Settings, headers: &HeaderMap) -> Result<Caller, Fault> {
    let method = match &settings.master_key {
        None => Method::NoKey,
        Some(key) => {
            let shown = credential(headers)?;
            if !bool::from(shown.ct_eq(key.reveal().as_bytes())) {
                return Err(Fault::new(FaultKind::Unauthenticated, "invalid master key"));
            }
            Method::MasterKey
        }
    };
    Ok(Caller { method, user_path: user_path(settings, headers)? })
}

/// The key as the client shows it: OpenAI's `Authorization: Bearer`, Anthropic's `x-api-key`, Azure's `api-key`. The
/// last two count only where there is no `Authorization`.
fn credential(headers: &HeaderMap) -> Result<&[u8], Fault> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.as_bytes().strip_prefix(b"Bearer ");
        return token.filter(|t| !t.is_empty() && !t.starts_with(b" ")).ok_or_else(|| {
            let message = "invalid authorization header format, expected 'Bearer <token>'";
            Fault::new(FaultKind::Unauthenticated, message)
        });
    }
    let other = ["x-api-key", "api-key"].iter().find_map(|name| headers.get(*name));
    other.map(|value| value.as_bytes()).ok_or_else(|| {
        let message = "missing credentials: send 'Authorization: Bearer <token>' or 'x-api-key: <token>'";
        Fault::new(FaultKind::Unauthenticated, message)
    })
}

fn user_path(settings: &Settings, headers: &HeaderMap) -> Result<Option<UserPath>, Fault> {
    // mostly there is none, which is seen fastest this way around
    if !headers.keys().any(|name| settings.user_path_headers.contains(name)) {
        return Ok(None);
    }
    for name in &settings.user_path_headers {
        let Some(value) = headers.get(name) else { continue };
        let invalid =
            || Fault::invalid(format!("invalid {} header", pretty(name.as_str()))).param(name.as_str());
        let text = value.to_str().map_err(|_| invalid())?;
        if let Some(path) = UserPath::parse(text).map_err(|_| invalid())? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A header's name as people write it; GoModel's clients look for theirs in the message.
fn pretty(name: &str) -> String {
    match name {
        "x-gomodel-user-path" => "X-GoModel-User-Path".into(),
        "x-ferrovia-user-path" => "X-Ferrovia-User-Path".into(),
        "x-aurora-user-path" => "X-aurora-User-Path".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(headers: &[(&'static str, &'static str)], expect: Result<(), &str>) {
        let settings = Settings { master_key: Some("Key-1".into()), ..crate::settings_for_tests() };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let found = identify(&settings, &map).map(|_| ()).map_err(|fault| fault.message);
        assert_eq!(found, expect.map_err(str::to_owned), "{headers:?}");
    }

    #[test]
    fn the_master_key_opens_in_three_headers() {
        check(&[("authorization", "Bearer Key-1")], Ok(()));
        check(&[("x-api-key", "Key-1")], Ok(()));
        check(&[("api-key", "Key-1")], Ok(()));
    }

    #[test]
    fn nothing_else_opens() {
        let format = "invalid authorization header format, expected 'Bearer <token>'";
        for value in [
            "bearer Key-1",
            "BEARER Key-1",
            "BearerKey-1",
            "Bearer  Key-1",
            "Basic Key-1",
            "Key-1",
            "Bearer ",
        ] {
            check(&[("authorization", value)], Err(format));
        }
        check(&[("authorization", "Bearer key-1")], Err("invalid master key"));
        check(&[("authorization", "Bearer no"), ("x-api-key", "Key-1")], Err("invalid master key"));
        check(&[], Err("missing credentials: send 'Authorization: Bearer <token>' or 'x-api-key: <token>'"));
    }

    #[test]
    fn a_user_path_that_climbs_is_refused() {
        check(
            &[("x-api-key", "Key-1"), ("x-gomodel-user-path", "/a/../b")],
            Err("invalid X-GoModel-User-Path header"),
        );
    }
}

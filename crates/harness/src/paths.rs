//! Where a passthrough path leads: never out of the base path, and never to a control route in a disguise.
//!
//! Input: a line with the place of the type among those that are built, and behind a blank the base URL; then the path.

use http::uri::PathAndQuery;
use provider::{Base, CATALOG, Spec, control, passthrough};

use crate::headed;

pub(crate) fn run(input: &[u8]) {
    let (head, path) = headed(input);
    let (Ok(head), Ok(path)) = (std::str::from_utf8(head), std::str::from_utf8(path)) else { return };
    let (place, url) = head.split_once(' ').unwrap_or((head, "http://h/v1"));
    let built: Vec<&Spec> = CATALOG.iter().copied().filter(|spec| spec.built).collect();
    let spec = built[place.parse::<usize>().unwrap_or(0) % built.len()];
    let Some(base) = base(url) else { return };
    // what gets here has been a request target, and had its query taken off
    let target = format!("/{path}");
    if path.contains(['?', '#']) || target.parse::<PathAndQuery>().is_err() {
        return;
    }
    let written_v1 = path.strip_prefix("v1/").or_else(|| path.strip_prefix("V1/"));
    let rest = written_v1.unwrap_or(path);
    let Some(normal) = control::normalise(&format!("/{rest}")) else { return };
    assert!(normal.is_empty() || normal.starts_with('/'));
    assert!(!normal.contains("//") && !normal.split('/').any(|segment| matches!(segment, "." | "..")));
    if control::is_control(spec, &normal) {
        return;
    }
    let sent = passthrough::path(spec, &base, rest, written_v1.is_some());
    assert!(sent.parse::<PathAndQuery>().is_ok(), "{sent} is no request target");
    assert!(sent.starts_with(&format!("{}/", base.root)), "{sent} does not lie below {}", base.root);
    let below = &sent[base.root.len()..];
    for decode in [0, 1, 2] {
        let Some(meant) = understood(below, decode) else { continue };
        assert!(!meant.iter().any(|segment| segment == ".."), "{sent} climbs");
        let shown = format!("/{}", meant.join("/")).to_lowercase();
        for control in spec.control_paths {
            let candidates = [Some(&*shown), shown.strip_prefix("/v1")];
            for candidate in candidates.into_iter().flatten() {
                let hit = candidate
                    .strip_prefix(control)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                assert!(
                    !hit,
                    "{sent} is the control route {control} to a server that decodes {decode} times"
                );
            }
        }
    }
}

/// A base URL that has something in it which can be sent.
fn base(url: &str) -> Option<Base> {
    let base = Base::parse(url).ok()?;
    assert!(!base.root.ends_with('/') && !base.api.ends_with('/'));
    let again = Base::parse(&format!("{}{}", base.origin, base.api)).expect("it was a base URL before");
    assert_eq!(again, base, "a base URL means the same when it is written whole");
    let sendable = |path: &str| path.is_empty() || path.parse::<PathAndQuery>().is_ok();
    // a root that climbs by itself is the operator's business
    (sendable(&base.root) && sendable(&base.api) && !base.root.contains(['%', '.', ';'])).then_some(base)
}

/// The segments of a path to a server that decodes so often, cuts off path parameters and ignores empty segments.
fn understood(path: &str, decode: usize) -> Option<Vec<String>> {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..decode {
        bytes = decoded(&bytes);
    }
    let text = String::from_utf8(bytes).ok()?;
    let segments = text.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap_or_default());
    Some(segments.filter(|segment| !matches!(*segment, "" | ".")).map(str::to_owned).collect())
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = hex.filter(|_| text[at] == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(text[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

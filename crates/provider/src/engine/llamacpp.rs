//! llama.cpp's `/props` and `/health` (`tools/server/README.md`, "API Endpoints"). A server has one model, whatever name
//! it is called by; one that routes to others tells no context length.

use serde::Deserialize;
use serde_json::Value;

use crate::ModelAbilities;

/// What `/props` says that is of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Props {
    /// The build: `b8100-5d3a4f1c`, number and commit.
    pub build: Option<String>,
    /// What it says of its model. The context length is that of one slot, which is what one call gets.
    pub model: ModelAbilities,
}

/// Reads `/props`. `None`: this is not llama.cpp's.
pub fn props(json: &[u8]) -> Option<Props> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        build_info: Value,
        #[serde(default)]
        default_generation_settings: Value,
    }
    let page: Page = serde_json::from_slice(json).ok()?;
    if page.build_info.is_null() && page.default_generation_settings.is_null() {
        return None;
    }
    let length = page.default_generation_settings.get("n_ctx").and_then(Value::as_u64);
    Some(Props {
        build: page.build_info.as_str().map(str::to_owned),
        model: ModelAbilities {
            context_length: length.filter(|length| *length > 0),
            ..ModelAbilities::default()
        },
    })
}

/// Whether a refusal means that the model is still being loaded: 503 with an error of type `unavailable_error`.
pub fn is_loading(status: u16, body: &[u8]) -> bool {
    let error =
        || serde_json::from_slice::<Value>(body).ok()?.pointer("/error/type")?.as_str().map(str::to_owned);
    status == 503 && error().as_deref() == Some("unavailable_error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn props_tell_the_build_and_what_one_call_gets() {
        let page = br#"{"default_generation_settings":{"id":0,"n_ctx":8192},"total_slots":4,"build_info":"b8100-5d3a4f1c"}"#;
        let props = props(page).expect("llama.cpp's");
        assert_eq!(
            (props.build.as_deref(), props.model.context_length),
            (Some("b8100-5d3a4f1c"), Some(8192))
        );
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        for other in [&b"<html>"[..], b"{}", b"7", br#"{"error":{"code":404}}"#] {
            assert_eq!(props(other), None);
        }
        let router =
            props(br#"{"role":"router","default_generation_settings":{"n_ctx":0},"build_info":"b1"}"#);
        assert_eq!(router.expect("llama.cpp's").model, ModelAbilities::default());
    }

    #[test]
    fn loading_is_not_just_any_503() {
        let loading = br#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        assert!(is_loading(503, loading));
        assert!(!is_loading(500, loading));
        assert!(!is_loading(503, b"<html>busy</html>"));
        assert!(!is_loading(503, br#"{"error":"unavailable_error"}"#));
    }
}

//! SGLang's `/model_info` and `/server_info` (`python/sglang/srt/entrypoints/http_server.py`; docs.sglang.ai, "Native
//! APIs"). A server has one model, whatever name it is called by.

use serde::Deserialize;
use serde_json::Value;

use crate::ModelAbilities;

/// What `/server_info` says that is of use here. The rest of that page, the server's keys among it, is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The version, as SGLang spells it.
    pub version: Option<String>,
    /// The context length that the server was started with, if it was given one; in tokens.
    pub context_length: Option<u64>,
}

/// Reads `/model_info`. `None`: this is not SGLang's.
///
/// A model that generates does not embed: the server refuses that unless it was started with `--is-embedding`. One that
/// does not generate embeds, rewards or classifies; which of these is not told.
pub fn model_info(json: &[u8]) -> Option<ModelAbilities> {
    #[derive(Deserialize)]
    struct ModelInfo {
        is_generation: bool,
        #[serde(default)]
        has_image_understanding: Value,
        #[serde(default)]
        has_audio_understanding: Value,
    }
    let info: ModelInfo = serde_json::from_slice(json).ok()?;
    let mut capabilities = Vec::new();
    if info.is_generation {
        capabilities.push("completion".to_owned());
        let more = [("vision", &info.has_image_understanding), ("audio", &info.has_audio_understanding)];
        let told = more.iter().filter(|(_, has)| has.as_bool() == Some(true));
        capabilities.extend(told.map(|(word, _)| (*word).to_owned()));
    }
    Some(ModelAbilities {
        generates: Some(info.is_generation),
        embeds: info.is_generation.then_some(false),
        capabilities,
        ..ModelAbilities::default()
    })
}

/// Reads `/server_info`. `None`: it is no object.
pub fn server_info(json: &[u8]) -> Option<ServerInfo> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        version: Value,
        #[serde(default)]
        context_length: Value,
    }
    let page: Page = serde_json::from_slice(json).ok()?;
    Some(ServerInfo {
        version: page.version.as_str().map(str::to_owned),
        context_length: page.context_length.as_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_generates_does_not_embed() {
        let told = model_info(br#"{"model_path":"m","is_generation":true,"has_image_understanding":true}"#);
        let told = told.expect("SGLang's");
        assert_eq!((told.generates, told.embeds), (Some(true), Some(false)));
        assert_eq!(told.capabilities, ["completion", "vision"]);
        let told =
            model_info(br#"{"is_generation":false,"has_image_understanding":null}"#).expect("SGLang's");
        assert_eq!((told.generates, told.embeds), (Some(false), None));
        assert!(told.capabilities.is_empty());
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        for other in [&b"<html>"[..], b"{}", b"[]", br#"{"is_generation":"yes"}"#] {
            assert_eq!(model_info(other), None);
        }
        let page =
            server_info(br#"{"api_key":"sk","context_length":null,"version":"0.5.9"}"#).expect("a page");
        assert_eq!((page.version.as_deref(), page.context_length), (Some("0.5.9"), None));
        assert_eq!(server_info(b"{}"), Some(ServerInfo::default()));
        assert_eq!(server_info(b"oops"), None);
    }
}

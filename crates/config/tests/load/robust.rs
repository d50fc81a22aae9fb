//! Whatever is written, it loads or is reported; nothing panics.

use proptest::prelude::*;

use crate::Place;

/// Pieces that configurations are made of, in good and in bad order.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "server",
        "port",
        "providers",
        "vllm",
        "type",
        "models",
        "resilience",
        "retry",
        ": ",
        ":\n",
        "\n  ",
        "\n",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<",
        "|",
        "#",
        "${",
        "}",
        "${env:X}",
        "${X:-y}",
        "$${",
        "~",
        "8080",
        "-1",
        "true",
        "1m30s",
        "headers",
        "api_key",
        "storage",
        "virtual_models",
        "\t",
        "---",
        "!!str ",
        "é",
        "? ",
    ];
    prop_oneof![prop::sample::select(words.to_vec()).prop_map(String::from), "\\PC{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_loads_or_is_reported(yaml in prop::collection::vec(piece(), 0..40), dotenv in prop::collection::vec(piece(), 0..12)) {
        let place = Place::new().yaml(&yaml.concat()).file(".env", &dotenv.join("="));
        if let Err(report) = place.load() {
            prop_assert!(report.errors() > 0);
            prop_assert!(!report.to_string().is_empty());
        }
    }

    #[test]
    fn any_value_of_a_variable_is_taken_or_reported(value in "\\PC{0,24}", index in 0usize..200) {
        let settings = config::settings();
        let names: Vec<&String> = settings.iter().flat_map(|s| &s.env).collect();
        let name = names[index % names.len()];
        let _ = Place::new().env(&[&format!("{name}={value}"), &format!("VLLM_BASE_URL={value}"), &format!("OPENAI_API_KEY={value}")]).load();
    }
}

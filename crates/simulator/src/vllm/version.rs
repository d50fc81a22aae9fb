//! What depends on vLLM's version. Everything else is as in 0.32.
//!
//! | from | change | source |
//! |---|---|---|
//! | 0.10.0 | `vllm:kv_cache_usage_perc` and `vllm:prefix_cache_*` instead of `vllm:gpu_…` | vllm#18354 |
//! | 0.10.0 | `/v1/responses` | vllm#20504 |
//! | 0.10.1 | errors are `{"error": {…}}`; before, `{"object": "error", …}` without a level around it | vllm#22099 |
//! | 0.11.1 | thoughts are called `reasoning`, with `reasoning_content` beside it for a while | vllm#27752 |
//! | 0.11.1 | `/v1/messages` | vllm#22627 |
//! | 0.12.0 | `guided_*` parameters are gone, and ignored like any unknown member; `structured_outputs` came in 0.10.2 | vllm#22772 |
//! | 0.16.0 | `reasoning_content` is gone | vllm#33402 |

/// A version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

/// What the text of a thought is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThoughtName {
    Old,
    Both,
    New,
}

impl Version {
    /// Reads `major.minor.patch`; what stands behind, and what is missing, does not matter.
    pub(crate) fn parse(text: &str) -> Self {
        let mut numbers = text.trim_start_matches('v').split('.').map(|part| {
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().unwrap_or(0)
        });
        let mut next = || numbers.next().unwrap_or(0);
        Version(next(), next(), next())
    }

    /// Whether an error stands at the top level of its body.
    pub(crate) fn flat_errors(self) -> bool {
        self < Version(0, 10, 1)
    }

    /// What thoughts are called.
    pub(crate) fn thoughts(self) -> ThoughtName {
        if self < Version(0, 11, 1) {
            ThoughtName::Old
        } else if self < Version(0, 16, 0) {
            ThoughtName::Both
        } else {
            ThoughtName::New
        }
    }

    /// Whether `guided_json` and its like constrain the answer.
    pub(crate) fn guided(self) -> bool {
        self < Version(0, 12, 0)
    }

    /// Whether `structured_outputs` constrains the answer.
    pub(crate) fn structured(self) -> bool {
        self >= Version(0, 10, 2)
    }

    /// Whether there is `/v1/responses`.
    pub(crate) fn responses(self) -> bool {
        self >= Version(0, 10, 0)
    }

    /// Whether there is `/v1/messages`.
    pub(crate) fn messages(self) -> bool {
        self >= Version(0, 11, 1)
    }

    /// Whether the metrics of the cache carry `gpu` in their names.
    pub(crate) fn old_cache_names(self) -> bool {
        self < Version(0, 10, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(Version::parse("0.32.0"), Version(0, 32, 0));
        assert_eq!(Version::parse("v0.9.2rc1+cpu"), Version(0, 9, 2));
        assert_eq!(Version::parse("0.12"), Version(0, 12, 0));
        assert!(Version::parse("0.9.2") < Version::parse("0.10.0"));
        let thoughts = ["0.9.0", "0.11.0", "0.11.1", "0.15.1", "0.16.0", "0.32.0"];
        let thoughts = thoughts.map(|version| Version::parse(version).thoughts());
        use ThoughtName::{Both, New, Old};
        assert_eq!(thoughts, [Old, Old, Both, Both, New, New]);
    }
}

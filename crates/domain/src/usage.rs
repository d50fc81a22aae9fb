//! Tokens in, tokens out; seconds, where audio is counted so.

/// What one call used, in tokens if nothing else is said. Zero where an upstream said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, those served from a cache included.
    pub input: u64,
    /// Tokens generated.
    pub output: u64,
    /// Tokens of the prompt that a cache served.
    pub cached: u64,
    /// Tokens generated as reasoning; part of `output`.
    pub reasoning: u64,
    /// Seconds of audio heard, rounded up: what speech models report instead of tokens.
    pub audio_seconds: u64,
    /// The upstream did not report; the figures are our estimate.
    pub estimated: bool,
}

impl Usage {
    /// Input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

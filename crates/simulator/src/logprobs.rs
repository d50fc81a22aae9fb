//! Log probabilities that no model computed: plausible, ordered, and the same each time.

use crate::seed::{Choices, mix};
use crate::tokens;

/// One position: the token that was taken, and what else might have been.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    pub(crate) token: u32,
    pub(crate) logprob: f64,
    /// The most likely tokens, the taken one first.
    pub(crate) top: Vec<(u32, f64)>,
}

/// Scores one token, with so many of the most likely ones.
pub(crate) fn score(token: u32, seed: u64, position: usize, top: usize) -> Scored {
    let mut choices = Choices::new(mix(seed ^ position as u64));
    let logprob = negative(&mut choices, 0.0);
    let mut likely = vec![(token, logprob)];
    let plain = tokens::vocabulary() - tokens::first_plain();
    while likely.len() < top {
        let other = tokens::first_plain() + u32::try_from(choices.below(plain as usize)).unwrap_or(0);
        if !likely.iter().any(|(known, _)| *known == other) {
            let below = likely.last().map_or(0.0, |(_, logprob)| *logprob);
            likely.push((other, negative(&mut choices, below)));
        }
    }
    likely.truncate(top);
    Scored { token, logprob, top: likely }
}

/// A number a little below another, with the digits of a 32-bit float as an engine prints them.
fn negative(choices: &mut Choices, below: f64) -> f64 {
    let step = (choices.below(10_000) + 1) as f32 / 5_000.0;
    let number = below as f32 - step;
    f64::from(number)
}

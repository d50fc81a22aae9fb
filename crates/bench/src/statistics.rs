//! Quantiles, medians and spreads.

use serde::Serialize;

/// The value below which this share lies, interpolated between neighbours. `sorted` ascends; `None` if it is empty.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Largest.
    pub max: f64,
    /// How many values there are.
    pub rounds: usize,
}

impl Spread {
    /// Of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Spread {
            min: *sorted.first()?,
            median: quantile(&sorted, 0.5)?,
            max: *sorted.last()?,
            rounds: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let values = [1.0, 2.0, 3.0, 10.0];
        for (share, expect) in [(0.0, 1.0), (0.5, 2.5), (1.0, 10.0), (2.0, 10.0)] {
            assert_eq!(quantile(&values, share), Some(expect));
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn a_spread_is_of_what_can_be_compared() {
        let spread = Spread::of([3.0, f64::NAN, 1.0, 2.0, f64::INFINITY]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max, spread.rounds), (1.0, 2.0, 3.0, 3));
        assert_eq!(Spread::of([f64::NAN]), None);
    }
}

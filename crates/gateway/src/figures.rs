//! Figures as text, for what is written on every call: decimal, without the general machinery of formatting.

use std::time::Duration;

/// The longest figure that is written here: 2^64, a dot, and three digits behind it.
const LONGEST: usize = 24;

/// One figure, written out.
pub(crate) struct Figure {
    bytes: [u8; LONGEST],
    from: usize,
}

impl Figure {
    /// A number: `0`, `4711`.
    pub(crate) fn number(number: u64) -> Figure {
        let mut figure = Figure { bytes: [b'0'; LONGEST], from: LONGEST };
        figure.put_before(number);
        figure
    }

    /// Milliseconds to the microsecond, all three digits: `0.000`, `12.500`.
    pub(crate) fn millis(duration: Duration) -> Figure {
        let micros = micros(duration);
        let mut figure = Figure { bytes: [b'0'; LONGEST], from: LONGEST };
        figure.put_before(micros % 1000);
        figure.from = LONGEST - 4;
        figure.bytes[figure.from] = b'.';
        figure.put_before(micros / 1000);
        figure
    }

    /// Puts a number before what is there.
    fn put_before(&mut self, mut number: u64) {
        loop {
            self.from -= 1;
            // a remainder of ten is a digit
            self.bytes[self.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    /// The same without the zeros that say nothing: `0.0`, `12.5`. Only for what has a dot.
    pub(crate) fn shortest(&self) -> &[u8] {
        let nothing = self.bytes[LONGEST - 2..].iter().rev().take_while(|digit| **digit == b'0').count();
        &self.bytes[self.from..LONGEST - nothing]
    }

    /// Its digits.
    pub(crate) fn digits(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// A duration in microseconds, rounded.
fn micros(duration: Duration) -> u64 {
    let behind = u64::from((duration.subsec_nanos() + 500) / 1000);
    duration.as_secs().saturating_mul(1_000_000).saturating_add(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 7, 10, 499, 1000, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(Figure::number(number).digits(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn milliseconds_are_rounded_to_the_microsecond() {
        for (nanos, all, shortest) in [
            (0, "0.000", "0.0"),
            (499, "0.000", "0.0"),
            (500, "0.001", "0.001"),
            (20_000, "0.020", "0.02"),
            (999_999, "1.000", "1.0"),
            (12_500_000, "12.500", "12.5"),
            (600_000_123_456, "600000.123", "600000.123"),
            (u64::MAX, "18446744073709.552", "18446744073709.552"),
        ] {
            let figure = Figure::millis(Duration::from_nanos(nanos));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("digits");
            assert_eq!((&*text(figure.digits()), &*text(figure.shortest())), (all, shortest), "{nanos} ns");
        }
        assert!(Figure::millis(Duration::MAX).digits().len() <= LONGEST);
    }
}

//! JSON as vLLM prints it: compact, and outside of streams with Python's way of writing numbers.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A JSON text as Python's `json.dumps` prints it: what every answer that is not a stream went through.
pub(crate) fn python(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1_024);
    let mut serializer = Serializer::with_formatter(&mut bytes, Python);
    value.serialize(&mut serializer).expect("plain data, written to memory");
    bytes
}

/// A JSON text as pydantic prints it: what events went through.
pub(crate) fn event(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data, written to memory")
}

struct Python;

impl Formatter for Python {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }
}

/// A number as Python's `repr` writes it: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
pub(crate) fn float(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        let name = if value.is_nan() { "NaN" } else { "Infinity" };
        return if value < 0.0 { format!("-{name}") } else { name.to_owned() };
    }
    if value == 0.0 || (1e-4..1e16).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_python() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-0.779_332_339_763_641_4, "-0.7793323397636414"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (1e-7, "1e-07"),
            (1e16, "1e+16"),
            (123_456_789.0, "123456789.0"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}

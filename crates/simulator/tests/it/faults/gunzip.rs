//! As much of gzip as the simulated engine writes: stored blocks, and blocks with the codes that need no table.

/// What a gzip file holds, and whether it is whole and its length is right. None if it is no gzip.
pub(super) fn gunzip(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let rest = bytes.strip_prefix(&[0x1f, 0x8b, 8, 0])?.get(6..)?;
    let mut bits = Bits { bytes: rest, at: 0 };
    let mut out = Vec::new();
    let whole = loop {
        let (Some(last), Some(kind)) = (bits.low_first(1), bits.low_first(2)) else { break false };
        let read = if kind == 0 { stored(&mut bits, &mut out) } else { fixed(&mut bits, &mut out) };
        if read.is_none() || last == 1 {
            break read.is_some();
        }
    };
    let end = rest.get(bits.at.div_ceil(8)..).unwrap_or_default();
    let length = u32::try_from(out.len()).unwrap().to_le_bytes();
    Some((out, whole && end.len() == 8 && end[4..] == length))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<usize> {
        let bit = usize::from(self.bytes.get(self.at / 8)? >> (self.at % 8) & 1);
        self.at += 1;
        Some(bit)
    }

    fn low_first(&mut self, count: usize) -> Option<usize> {
        (0..count).try_fold(0, |value, place| Some(value | self.bit()? << place))
    }

    fn high_first(&mut self, count: usize) -> Option<usize> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }
}

fn stored(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Option<()> {
    bits.at = bits.at.div_ceil(8) * 8;
    let (length, inverse) = (bits.low_first(16)?, bits.low_first(16)?);
    assert_eq!(length ^ inverse, 0xffff);
    let from = bits.at / 8;
    out.extend_from_slice(bits.bytes.get(from..from + length)?);
    bits.at += length * 8;
    Some(())
}

fn fixed(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Option<()> {
    loop {
        let seven = bits.high_first(7)?;
        let code = match seven {
            0..=0x17 => 256 + seven,
            0x18..=0x5f => (seven << 1 | bits.bit()?) - 0x30,
            0x60..=0x63 => (seven << 1 | bits.bit()?) - 0xc0 + 280,
            _ => (seven << 2 | bits.high_first(2)?) - 0x190 + 144,
        };
        match code {
            256 => return Some(()),
            285 => {
                assert_eq!(bits.high_first(5)?, 0, "a distance of one");
                let byte = *out.last()?;
                out.extend([byte; 258]);
            }
            code => out.push(u8::try_from(code).expect("a literal")),
        }
    }
}

//! The fields of a form that decide where a call goes and what comes back.

use bytes::Bytes;
use dialect::multipart::Piece;
use domain::Fault;

use crate::call::{MISSING, wrong_type};

/// The fields that are read. An upstream that finds one of them twice may believe the other one.
const READ: [&str; 3] = ["model", "stream", "response_format"];

/// The longest value of one of them, in bytes.
const VALUE: usize = 4 << 10;

/// What was read of a form so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    values: [Option<String>; READ.len()],
    /// The field whose value is being read, and what of it there is.
    reading: Option<(usize, Vec<u8>)>,
    /// The file's part has begun.
    pub(super) file_began: bool,
}

impl Fields {
    /// Looks at the next piece. True if it is part of the model's name.
    pub(super) fn see(&mut self, piece: &Piece) -> Result<bool, Fault> {
        match piece {
            Piece::Frame(_) => Ok(false),
            Piece::Begin(part) => {
                self.file_began |= part.is_file || part.name == "file";
                let field = READ.iter().position(|name| part.name.eq_ignore_ascii_case(name));
                let Some(field) = field else { return Ok(false) };
                let name = READ[field];
                if self.values[field].is_some() || part.name != name {
                    let message = format!(
                        "invalid multipart body: field `{name}` stands twice; send it once, in lower case"
                    );
                    return Err(Fault::invalid(message).param(name));
                }
                if part.is_file {
                    return Err(wrong_type(name, "a field without a file name"));
                }
                self.reading = Some((field, Vec::new()));
                Ok(false)
            }
            Piece::Data(bytes) => self.read(bytes),
            Piece::End => {
                if let Some((field, value)) = self.reading.take() {
                    let value =
                        String::from_utf8(value).map_err(|_| wrong_type(READ[field], "UTF-8 text"))?;
                    self.values[field] = Some(value);
                }
                Ok(false)
            }
        }
    }

    fn read(&mut self, bytes: &Bytes) -> Result<bool, Fault> {
        let Some((field, value)) = &mut self.reading else { return Ok(false) };
        if value.len() + bytes.len() > VALUE {
            return Err(wrong_type(READ[*field], &format!("at most {VALUE} bytes long")));
        }
        value.extend_from_slice(bytes);
        Ok(*field == 0)
    }

    /// The model, once its field is whole.
    pub(super) fn model(&self) -> Option<&str> {
        self.values[0].as_deref()
    }

    /// The format that the answer is asked for in.
    pub(super) fn format(&self) -> Option<&str> {
        self.values[2].as_deref()
    }

    /// Whether a stream is asked for, in any spelling that engines take for a yes or a no.
    pub(super) fn stream(&self) -> Result<bool, Fault> {
        let Some(value) = self.values[1].as_deref() else { return Ok(false) };
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
            "false" | "0" | "no" | "off" | "f" | "n" | "" => Ok(false),
            _ => Err(wrong_type("stream", "true or false")),
        }
    }

    /// Whether the field that asks for a stream, or for none, has arrived.
    pub(super) fn says_stream(&self) -> bool {
        self.values[1].is_some()
    }

    /// A form without a file asks for nothing.
    pub(super) fn check_file(&self) -> Result<(), Fault> {
        if self.file_began {
            return Ok(());
        }
        Err(Fault::invalid("Missing required parameter: 'file'.").param("file").code(MISSING))
    }
}

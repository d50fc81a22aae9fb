//! A form with a file, as speech routes take it.

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::HeaderMap;

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// The texts, in the order in which they came.
    pub(crate) texts: Vec<(String, String)>,
    /// The file, if there is one.
    pub(crate) file: Option<Bytes>,
}

impl Form {
    /// Reads a form; `None` if it is none.
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Option<Form> {
        let boundary = boundary(headers)?;
        let whole = Ok::<_, std::convert::Infallible>(body.clone());
        let form = multer::Multipart::new(stream::iter([whole]), boundary);
        // all of it is there, so nothing is waited for
        collect(form).now_or_never()?.ok()
    }

    /// The last text of that name: the one that counts.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().rev().find(|(field, _)| field == name).map(|(_, text)| text.as_str())
    }

    /// Whether a text says yes, as pydantic reads it.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default().to_ascii_lowercase();
        ["true", "1", "yes", "on", "t", "y"].contains(&text.as_str())
    }
}

/// What parts the form, if the body is one.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get("content-type")?.to_str().ok()?;
    multer::parse_boundary(kind).ok()
}

/// The same form with more texts at its end, which count instead of those of the same names.
pub(crate) fn with_texts(boundary: &str, form: &[u8], texts: &[(&str, &str)]) -> Bytes {
    let end = format!("--{boundary}--");
    let at = form.windows(end.len()).rposition(|window| window == end.as_bytes()).unwrap_or(form.len());
    let mut longer = form[..at].to_vec();
    for (name, text) in texts {
        let part =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        longer.extend_from_slice(part.as_bytes());
    }
    longer.extend_from_slice(&form[at..]);
    longer.into()
}

async fn collect(mut parts: multer::Multipart<'_>) -> multer::Result<Form> {
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" && part.file_name().is_some() {
            form.file = Some(part.bytes().await?);
        } else {
            let bytes = part.bytes().await?;
            form.texts.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(form)
}

//! What a request asks, as far as faults care.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde_json::Value;

use crate::form::{self, Form};

/// In whose words the answer comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Completions,
    Responses,
    Messages,
    /// Speech to text, asked for with a form.
    Transcription,
    /// None that streams text.
    #[default]
    Other,
}

impl Dialect {
    /// The dialect of a route.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" | "/chat/completions" => Dialect::Chat,
            "/v1/completions" | "/completions" => Dialect::Completions,
            "/v1/responses" => Dialect::Responses,
            "/v1/messages" => Dialect::Messages,
            "/v1/audio/transcriptions" | "/v1/audio/translations" => Dialect::Transcription,
            _ => Dialect::Other,
        }
    }
}

/// What a request asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) dialect: Dialect,
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    /// The key that came with it.
    pub(crate) key: Option<String>,
    body: Value,
    /// The boundary of a form, and the form.
    form: Option<(String, Bytes)>,
    edited: bool,
}

impl Asked {
    /// Reads a request; a body that is neither JSON nor a form says nothing.
    pub(crate) fn read(head: &Parts, body: &Bytes) -> Self {
        let path = head.uri.path().to_owned();
        let dialect = Dialect::of(&path);
        let key = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = key.map(|value| value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
        if let Some(form) = Form::read(&head.headers, body) {
            let (model, stream) = (form.text("model").map(str::to_owned), form.flag("stream"));
            let form = form::boundary(&head.headers).map(|boundary| (boundary, body.clone()));
            return Asked { path, dialect, model, stream, key, form, ..Asked::default() };
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let model = body.get("model").and_then(Value::as_str).map(str::to_owned);
        let stream = body.get("stream") == Some(&Value::Bool(true));
        Asked { path, dialect, model, stream, key, body, form: None, edited: false }
    }

    /// Puts another model into the request; an empty name takes the model out.
    pub(crate) fn name_model(&mut self, name: &str) {
        let Value::Object(members) = &mut self.body else { return };
        if name.is_empty() {
            members.shift_remove("model");
        } else {
            members.insert("model".to_owned(), name.into());
        }
        self.model = Some(name.to_owned()).filter(|name| !name.is_empty());
        self.edited = true;
    }

    /// Asks the engine for a stream, or for none.
    pub(crate) fn want_stream(&mut self, stream: bool) {
        if stream == self.stream || self.dialect == Dialect::Other {
            return;
        }
        if let Some((boundary, body)) = &mut self.form {
            let texts: &[_] = match stream {
                true => &[("stream", "true")],
                false => &[("stream", "false"), ("stream_include_usage", "false")],
            };
            *body = form::with_texts(boundary, body, texts);
            self.edited = true;
        }
        let Value::Object(members) = &mut self.body else { return };
        members.insert("stream".to_owned(), stream.into());
        if !stream {
            members.shift_remove("stream_options");
        }
        self.edited = true;
    }

    /// The body, if it is not as it came.
    pub(crate) fn edited_body(&self) -> Option<Bytes> {
        self.edited.then(|| match &self.form {
            Some((_, body)) => body.clone(),
            None => Bytes::from(self.body.to_string()),
        })
    }

    /// The first tool on offer, and the schema of its arguments.
    pub(crate) fn tool(&self) -> Option<(&str, &Value)> {
        let tool = self.body.get("tools")?.get(0)?.get("function")?;
        Some((tool.get("name")?.as_str()?, tool.get("parameters").unwrap_or(&Value::Null)))
    }

    /// What the user said last, if it was plain text.
    pub(crate) fn said(&self) -> &str {
        let messages = self.body.get("messages").and_then(Value::as_array);
        let last = messages.and_then(|messages| messages.last());
        last.and_then(|message| message.get("content")?.as_str()).unwrap_or_default()
    }
}

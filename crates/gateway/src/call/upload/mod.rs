//! Calls that bring a file: read as far as they must be, and no further.
//!
//! A form is read to its end if it is small, or if its model stands behind its file; what does not fit into memory then
//! goes to a spool on disk. A large file whose model came before it is never stored: it goes upstream while it arrives.

mod fields;
mod form;
mod spool;

pub use form::Form;
pub(crate) use form::refused;
pub use spool::SpoolSettings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dialect::multipart::{self, Piece, Scanner};
use domain::{Dialect, Fault, FaultKind, Operation, Selector};
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;

use crate::Gateway;
use crate::call::{self, Call, Held, Payload};
use crate::inbound::{Inbound, InboundBody};
use fields::Fields;
use form::Rest;
use spool::Spool;

/// Forms up to this many bytes are read whole, and can be sent again when an upstream fails. Of a larger one, so much
/// stays in memory.
pub const IN_MEMORY: usize = 1 << 20;

/// Uploads that lie on disk, of all calls together, in bytes.
#[derive(Debug, Default)]
pub struct Spooled(Arc<AtomicU64>);

impl Spooled {
    /// How many bytes there are now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads a call that brings a file.
pub(crate) async fn read(gateway: &Gateway, inbound: Inbound, operation: Operation) -> Result<Call, Fault> {
    let length = inbound.length();
    let Inbound { head, mut body, request_id, .. } = inbound;
    let limit = gateway.settings.upload_limit;
    if length.is_some_and(|length| length > limit as u64) {
        return Err(call::too_large(limit));
    }
    let boundary = boundary(&head.headers)?;
    let mut reading = Reading {
        gateway,
        scanner: Scanner::new(&boundary),
        fields: Fields::default(),
        form: Form::default(),
        held: Held::of(&gateway.metrics.request_memory),
        spool: None,
        read: 0,
        limit,
    };
    // a short one is worth reading whole: then it can be sent again
    let long = length.is_none_or(|length| length > IN_MEMORY as u64);
    loop {
        if long && reading.spool.is_none() && reading.fields.file_began && reading.fields.model().is_some() {
            return reading.streamed(head.headers, request_id, body, length, operation);
        }
        match next(&mut body).await? {
            Some(data) => reading.take(data).await?,
            None => return reading.whole(head.headers, request_id, operation),
        }
    }
}

/// The next bytes of a body.
async fn next(body: &mut InboundBody) -> Result<Option<bytes::Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| call::unreadable(&*error))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn boundary(headers: &HeaderMap) -> Result<String, Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    multipart::boundary(kind).map_err(|flaw| flawed(&flaw).param("content-type"))
}

/// The fault of a body that is no form.
fn flawed(flaw: &multipart::Flaw) -> Fault {
    Fault::invalid(flaw.to_string())
}

/// A form that is being read.
struct Reading<'a> {
    gateway: &'a Gateway,
    scanner: Scanner,
    fields: Fields,
    form: Form,
    held: Held,
    spool: Option<Spool>,
    read: usize,
    limit: usize,
}

impl Reading<'_> {
    /// Takes the next bytes of the body.
    async fn take(&mut self, data: bytes::Bytes) -> Result<(), Fault> {
        self.read += data.len();
        if self.read > self.limit {
            return Err(call::too_large(self.limit));
        }
        let mut pieces = Vec::new();
        self.scanner.push(data, &mut pieces).map_err(|flaw| flawed(&flaw))?;
        for piece in pieces {
            let is_model = self.fields.see(&piece)?;
            let (Piece::Frame(bytes) | Piece::Data(bytes)) = piece else { continue };
            if is_model {
                // kept apart, wherever the rest is
                self.form.add_model(&bytes);
            } else if self.spool.is_some() || self.form.in_memory() + bytes.len() > IN_MEMORY {
                self.spool(&bytes).await?;
            } else {
                let needed = self.form.in_memory() + bytes.len();
                self.held.grow(needed, IN_MEMORY, self.gateway.settings.memory_limit)?;
                self.form.add(&bytes);
            }
        }
        Ok(())
    }

    async fn spool(&mut self, bytes: &bytes::Bytes) -> Result<(), Fault> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => {
                // what waits to be written is held as well
                let needed = self.form.in_memory() + spool::BLOCK;
                self.held.grow(needed, IN_MEMORY + spool::BLOCK, self.gateway.settings.memory_limit)?;
                let spool =
                    Spool::open(&self.gateway.settings.spool, &self.gateway.metrics.spooled.0).await?;
                self.spool.insert(spool)
            }
        };
        let from = spool.length();
        spool.write(bytes).await?;
        self.form.add_spooled(from, bytes.len() as u64);
        Ok(())
    }

    /// The form was read to its end.
    fn whole(
        mut self,
        headers: HeaderMap,
        request_id: Arc<str>,
        operation: Operation,
    ) -> Result<Call, Fault> {
        self.scanner.finish().map_err(|flaw| flawed(&flaw))?;
        self.fields.check_file()?;
        self.form.end(self.spool.take());
        self.call(headers, request_id, operation)
    }

    /// A file is still arriving, and everything that must be known stood before it.
    fn streamed(
        mut self,
        headers: HeaderMap,
        request_id: Arc<str>,
        source: InboundBody,
        length: Option<u64>,
        operation: Operation,
    ) -> Result<Call, Fault> {
        let (scanner, fields) = (self.scanner.clone(), self.fields.clone());
        self.form.follow(Rest::new(source, scanner, fields, self.read, self.limit), length);
        self.call(headers, request_id, operation)
    }

    fn call(self, headers: HeaderMap, request_id: Arc<str>, operation: Operation) -> Result<Call, Fault> {
        let Reading { fields, mut form, held, .. } = self;
        let model = fields.model().unwrap_or_default();
        let selector = Selector::parse(model, None)
            .ok_or_else(|| Fault::invalid("model is required").param("model").code(call::MISSING))?;
        form.format = fields.format().map(str::to_owned);
        form.said_stream = fields.says_stream();
        let stream = fields.stream()?;
        Ok(Call {
            operation,
            dialect: Dialect::Transcription,
            method: Method::POST,
            query: None,
            headers,
            request_id,
            payload: Payload::Form(Box::new(form)),
            selector: Some(selector),
            stream,
            asked_usage: true,
            choices: 1,
            rerank: None,
            memory: held,
        })
    }
}

/// The disk has no room, or cannot be written.
fn no_spool(what: &str) -> Fault {
    tracing::error!("{what}");
    let message =
        "the gateway cannot store this upload now; send `model` before the file, then it need not be stored";
    let mut fault = Fault::new(FaultKind::Unavailable, message).code("upload_spool_unavailable");
    fault.retry_after = Some("1".into());
    fault
}

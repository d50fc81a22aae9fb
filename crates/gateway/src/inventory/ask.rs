//! Asking one instance what it has: its models first, then, by [`probe`], everything else.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::listing::{self, Listed};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use upstream::{Limits, OutBody, Outbound};

use super::probe;
use crate::instance::{self, Instance, ListMode, State};
use crate::{Gateway, headers};

/// The most that is read of a model list.
const LARGEST: usize = 8 << 20;

/// How long a list may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an instance answered to a question.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Its body.
    pub(super) body: Bytes,
}

/// A question to an instance. Costs no token and changes nothing there.
pub(super) struct Question {
    /// The path, prefix included.
    pub(super) path: String,
    /// JSON to post; `None` gets the path.
    pub(super) post: Option<Bytes>,
    /// How long the whole answer may take.
    pub(super) patience: Duration,
    /// The most that is read of it, in bytes.
    pub(super) largest: usize,
}

/// Asks, with the instance's key.
pub(super) async fn put(
    gateway: &Gateway,
    instance: &Instance,
    question: Question,
) -> Result<Answer, String> {
    let Question { path, post, patience, largest } = question;
    let asking = async {
        let mut head = HeaderMap::with_capacity(6);
        let json = HeaderValue::from_static("application/json");
        head.insert(header::ACCEPT, json.clone());
        if post.is_some() {
            head.insert(header::CONTENT_TYPE, json);
        }
        headers::from_the_operator(&mut head, instance);
        let request = Outbound {
            method: if post.is_some() { Method::POST } else { Method::GET },
            fixed: None,
            path_and_query: path.clone().into(),
            headers: head,
            body: post.map_or(OutBody::Empty, |json| OutBody::Segments([json].into_iter().collect())),
        };
        let limits = Limits { first_byte: patience, ..instance.limits };
        let sent = gateway.pool.send(&instance.target, request, &limits).await;
        let answer = sent.map_err(|error| error.sentence())?;
        let status = answer.status.as_u16();
        let mut body = BytesMut::new();
        let mut incoming = answer.body;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > largest {
                    return Err(format!("the answer to {path} is larger than {largest} bytes"));
                }
                body.extend_from_slice(data);
            }
        }
        Ok(Answer { status, body: body.freeze() })
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(answer) => answer.map_err(|sentence| gateway.masks.text(sentence)),
        Err(_) => Err(format!("no answer to {path} within {} s", patience.as_secs())),
    }
}

/// Reads the list of models.
pub async fn list(gateway: &Gateway, instance: &Instance) -> Result<Vec<Listed>, String> {
    let path = format!("{}/models", instance.base.api);
    let question = Question { path, post: None, patience: PATIENCE, largest: LARGEST };
    let answer = put(gateway, instance, question).await?;
    if answer.status == 200 {
        return listing::read(&answer.body);
    }
    let said = gateway.masks.text(dialect::fault::refusal(answer.status, &answer.body).message);
    Err(match answer.status {
        401 | 403 => format!("the key was not accepted ({}): {said}", answer.status),
        status => format!("the model list was refused ({status}): {said}"),
    })
}

/// Asks an instance for everything, and remembers what it says. An instance that does not answer keeps what it had.
pub async fn refresh(gateway: &Gateway, instance: &Instance) -> Result<(), String> {
    let closed_list = instance.mode == ListMode::Allowlist && !instance.configured.is_empty();
    let listed = if closed_list { Ok(Vec::new()) } else { list(gateway, instance).await };
    let before = instance.state();
    let configured = || instance.configured.iter().map(|model| Listed::named(model.id.clone()));
    let models: Vec<Listed> = match (&listed, instance.mode) {
        (Ok(_), ListMode::Allowlist) if closed_list => configured().collect(),
        (Ok(listed), ListMode::Merge) => {
            let extra = configured().filter(|model| listed.iter().all(|l| l.id != model.id));
            listed.iter().cloned().chain(extra).collect()
        }
        (Ok(listed), _) if listed.is_empty() && !instance.configured.is_empty() => configured().collect(),
        (Ok(listed), _) => listed.clone(),
        (Err(_), _) if !before.models.is_empty() => {
            let since = before.stale_since.or_else(|| Some(Timestamp::now()));
            let state =
                State { stale_since: since, error: listed.as_ref().err().cloned(), ..(*before).clone() };
            instance.update(state);
            return listed.map(|_| ());
        }
        (Err(_), _) => configured().collect(),
    };
    let models: Vec<Listed> = models.into_iter().filter(|model| instance.filter.shows(&model.id)).collect();
    let abilities = match &listed {
        // a server that cannot be reached is not asked any further
        Err(_) => before.abilities.clone(),
        Ok(_) => {
            if models.iter().any(|model| !before.models.contains_key(model.id.as_str())) {
                // what is listed can be called; what else is to be known may take a while longer
                let models = models.iter().map(|model| probe::enrich(model.clone(), &before.abilities));
                instance.update(State {
                    models: instance::models(models),
                    abilities: before.abilities.clone(),
                    heard: Some(Timestamp::now()),
                    stale_since: None,
                    error: None,
                });
            }
            probe::probe(gateway, instance, &models).await
        }
    };
    let models = models.into_iter().map(|model| probe::enrich(model, &abilities));
    let models = instance::models(models);
    let answered = listed.is_ok() || !models.is_empty();
    if abilities.version != before.abilities.version || listed.is_ok() {
        instance.forget_what_is_missing();
    }
    instance.update(State {
        models,
        abilities,
        heard: if answered { Some(Timestamp::now()) } else { before.heard },
        stale_since: if listed.is_ok() {
            None
        } else {
            before.stale_since.or_else(|| Some(Timestamp::now()))
        },
        error: listed.as_ref().err().cloned(),
    });
    listed.map(|_| ())
}

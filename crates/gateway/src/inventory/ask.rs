//! Asking one instance what it has: its models, its version, its routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::listing::{self, Listed};
use domain::ModelName;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use provider::Abilities;
use provider::spec::Probe;
use upstream::{Limits, OutBody, Outbound};

use crate::instance::{Instance, ListMode, State};
use crate::{Gateway, headers};

/// The most that is read of a model list or a description of routes.
const LARGEST: usize = 8 << 20;

/// How long a list may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an instance answered to a question.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
}

/// Gets one path of an instance, with its key.
pub async fn get(gateway: &Gateway, instance: &Instance, path: &str) -> Result<Answer, String> {
    let asking = async {
        let mut head = HeaderMap::with_capacity(6);
        head.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers::from_the_operator(&mut head, instance);
        let request = Outbound {
            method: Method::GET,
            path_and_query: path.to_owned(),
            headers: head,
            body: OutBody::Empty,
        };
        let limits = Limits { first_byte: PATIENCE, ..instance.limits };
        let sent = gateway.pool.send(&instance.target, request, &limits).await;
        let answer = sent.map_err(|error| error.sentence())?;
        let status = answer.status.as_u16();
        let mut body = BytesMut::new();
        let mut incoming = answer.body;
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            if let Some(data) = frame.data_ref() {
                if body.len() + data.len() > LARGEST {
                    return Err(format!("the answer to {path} is larger than {LARGEST} bytes"));
                }
                body.extend_from_slice(data);
            }
        }
        Ok(Answer { status, body: body.freeze() })
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|sentence| gateway.masks.text(sentence)),
        Err(_) => Err(format!("no answer to {path} within {} s", PATIENCE.as_secs())),
    }
}

/// Reads the list of models.
pub async fn list(gateway: &Gateway, instance: &Instance) -> Result<Vec<Listed>, String> {
    let answer = get(gateway, instance, &format!("{}/models", instance.base.api)).await?;
    if answer.status == 200 {
        return listing::read(&answer.body);
    }
    let said = gateway.masks.text(dialect::fault::refusal(answer.status, &answer.body).message);
    Err(match answer.status {
        401 | 403 => format!("the key was not accepted ({}): {said}", answer.status),
        status => format!("the model list was refused ({status}): {said}"),
    })
}

/// Finds out the engine's version and routes, as far as it tells them.
pub async fn probe(gateway: &Gateway, instance: &Instance) -> Abilities {
    match instance.spec.probe {
        Probe::None => Abilities::default(),
        Probe::Vllm => {
            let ask = async |path: &str| {
                let path = format!("{}{path}", instance.base.root);
                get(gateway, instance, &path).await.ok().filter(|answer| answer.status == 200)
            };
            let (version, document) = (ask("/version").await, ask("/openapi.json").await);
            Abilities {
                version: version.and_then(|answer| Abilities::read_version(&answer.body)),
                routes: document.and_then(|answer| Abilities::read_routes(&answer.body)),
            }
        }
    }
}

/// Asks an instance for everything, and remembers what it says. An instance that does not answer keeps what it had.
pub async fn refresh(gateway: &Gateway, instance: &Instance) -> Result<(), String> {
    let closed_list = instance.mode == ListMode::Allowlist && !instance.configured.is_empty();
    let (listed, abilities) = if closed_list {
        (Ok(Vec::new()), probe(gateway, instance).await)
    } else {
        // one after the other: a server that cannot be reached is not asked thrice
        match list(gateway, instance).await {
            Ok(listed) => (Ok(listed), probe(gateway, instance).await),
            Err(error) => (Err(error), Abilities::default()),
        }
    };
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
    let shown = models.into_iter().filter(|model| instance.filter.shows(&model.id));
    let models: HashMap<_, _> =
        shown.map(|model| (ModelName::from(model.id.as_str()), Arc::new(model))).collect();
    let answered = listed.is_ok() || !models.is_empty();
    if abilities.version != before.abilities.version || listed.is_ok() {
        instance.forget_what_is_missing();
    }
    instance.update(State {
        models,
        abilities: if listed.is_ok() { abilities } else { before.abilities.clone() },
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

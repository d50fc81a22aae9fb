//! One call on its way upstream: along the plans, with retries, until something answers.
//!
//! A flight owns what it needs to try again, and is a future of its own: the reply can poll it after its status was
//! settled. Dropping it closes the connection, which is how a client that leaves stops the upstream.

mod answer;
mod hearing;

pub(crate) use answer::{Beginning, media_type, read_refusal};
pub mod outgoing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use dialect::fault::is_about_the_model;
use dialect::stream::Frame;
use domain::{Blame, Fault, FaultKind, Operation, Retry};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use provider::plan::{Plan, Plans, Unsupported, plans};
use provider::{Known, Outgoing};
use smallvec::SmallVec;
use tokio::time::Instant;
use upstream::{BodyError, Incoming, Outbound, Pass, SendError};

use crate::call::{Call, Payload, upload};
use crate::instance::Learned;
use crate::reply::relay::Relay;
use crate::routing::Route;
use crate::trail::Progress;
use crate::{Gateway, headers, unsupported};
use outgoing::Changed;

/// Names of what was changed: one or two, nearly always.
pub type Names = SmallVec<[&'static str; 4]>;

/// An answer that has begun: nothing of it has been said to the client.
pub struct Opened {
    /// The status that the client gets.
    pub status: StatusCode,
    /// The headers that the client gets.
    pub headers: HeaderMap,
    /// What was read of it while it was judged.
    pub frames: Vec<Frame>,
    /// What is to come, and how it is passed on. `None`: that was everything.
    pub rest: Option<(Incoming, Box<Relay>)>,
    /// What this route and this reply made it necessary to change, by name.
    pub changes: Names,
    /// A failure that a whole reply tells in the client's own words.
    pub told: Option<Box<Fault>>,
    /// The breaker's question that only the end of the reply answers.
    pub verdict: Option<Pass>,
}

/// Everything that one flight needs.
pub struct Flight {
    gateway: Arc<Gateway>,
    call: Call,
    route: Route,
    plans: Plans,
    changed: Changed,
    progress: Arc<Progress>,
}

/// Why one request did not lead to an answer.
pub(crate) enum Miss {
    /// The route does not exist there: the next plan may.
    NoRoute,
    /// Everything else.
    Fault(Fault),
}

impl Flight {
    /// Plans a call. What the provider is known not to do ends here: nothing has gone upstream.
    pub fn plan(
        gateway: &Arc<Gateway>,
        call: Call,
        route: Route,
        progress: Arc<Progress>,
    ) -> Result<Box<Flight>, Fault> {
        let instance = &route.instance;
        let outgoing = Outgoing {
            operation: call.operation,
            dialect: call.dialect,
            native_rerank: call.rerank.as_ref().is_some_and(|r| r.shape == dialect::rerank::Shape::Vllm),
            model: Some(route.model.as_str()),
        };
        let learned = instance.learned(call.operation, call.dialect, &route.model);
        let path = match &learned {
            Some(Learned::Unsupported(_)) => {
                return Err(unsupported::by(instance, call.operation, call.dialect));
            }
            Some(Learned::Path(path)) => Some(&**path),
            None => None,
        };
        let state = instance.state();
        let mut plans = plans(instance.spec, &instance.base, &outgoing, &state.abilities, path).map_err(
            |why| match why {
                Unsupported::Provider => unsupported::by(instance, call.operation, call.dialect),
                Unsupported::Model => unsupported::by_model(&route.deployment(), call.operation),
            },
        )?;
        let certain = instance.spec.knows(call.operation, call.dialect) == Known::Yes && plans.len() == 1;
        for plan in &mut plans {
            plan.may_be_missing &= !certain;
        }
        let changed = outgoing::changes(&gateway.settings, &call, &route)?;
        Ok(Box::new(Flight { gateway: gateway.clone(), call, route, plans, changed, progress }))
    }

    /// What is changed in the request on every route, by name.
    pub fn changes(&self) -> &Names {
        &self.changed.names
    }

    /// The ways to do it, best first.
    #[cfg(test)]
    pub(crate) fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Flies: tries the plans in order, each with its retries. The last thing that was said is what the client gets.
    pub async fn fly(mut self: Box<Self>) -> Result<Opened, Fault> {
        self.progress.wait_begins();
        let mut result = self.try_plans().await;
        self.progress.wait_ends();
        if let Err(fault) = &mut result {
            self.gateway.masks.fault(fault);
        }
        result
    }

    async fn try_plans(&mut self) -> Result<Opened, Fault> {
        let (operation, dialect) = (self.call.operation, self.call.dialect);
        let instance = self.route.instance.clone();
        let pass = self.admit()?;
        let slow_after = instance.slow_call.map(|slow| Instant::now() + slow);
        let plans = std::mem::take(&mut self.plans);
        for plan in &plans {
            match self.try_plan(plan).await {
                Ok(mut opened) => {
                    let slow = slow_after.is_some_and(|at| Instant::now() > at);
                    if slow || opened.told.as_ref().is_some_and(|fault| instance.fails_by(fault)) {
                        pass.fail();
                    } else if opened.rest.is_none() || pass.is_probe() {
                        // a probe is not held for as long as a stream may last
                        pass.succeed();
                    } else {
                        opened.verdict = Some(pass);
                    }
                    if plans.len() > 1 {
                        instance.learn(
                            operation,
                            dialect,
                            &self.route.model,
                            Learned::Path((&*plan.path).into()),
                        );
                    }
                    return Ok(opened);
                }
                Err(Miss::NoRoute) => {}
                Err(Miss::Fault(fault)) => {
                    match fault.blame {
                        _ if instance.fails_by(&fault) => pass.fail(),
                        // it answered: a refusal says that it is well. Being busy says neither, nor does a client whose
                        // upload broke.
                        Blame::Caller
                            if fault.upstream_status.is_some() && fault.kind != FaultKind::Refused(429) =>
                        {
                            pass.succeed();
                        }
                        _ => drop(pass),
                    }
                    return Err(fault);
                }
            }
        }
        pass.succeed();
        instance.learn(operation, dialect, &self.route.model, Learned::Unsupported(Instant::now()));
        Err(self.no_plan_worked())
    }

    /// What it means that no route of the upstream's exists for this.
    pub(crate) fn no_plan_worked(&self) -> Fault {
        unsupported::by(&self.route.instance, self.call.operation, self.call.dialect)
    }

    /// Asks the breaker. Where several instances have the model, the last one that is well is never shut out.
    fn admit(&self) -> Result<Pass, Fault> {
        let Route { instance, model, .. } = &self.route;
        let key = instance.breaker_key(model);
        instance.breakers.admit(key).or_else(|open| {
            let others = || {
                let all = self.gateway.inventory.instances().iter();
                all.filter(|other| other.name != instance.name && other.model(model.as_str()).is_some())
            };
            let well = others().any(|other| {
                other.breakers.state(other.breaker_key(model)) == upstream::BreakerState::Closed
            });
            if others().next().is_some() && !well {
                return Ok(instance.breakers.admit_regardless(key));
            }
            let message = format!(
                "circuit breaker is open - provider temporarily unavailable: {} failed repeatedly",
                self.route.deployment()
            );
            let mut fault = Fault::new(FaultKind::Unavailable, message).code("circuit_breaker_open");
            fault.retry_after = Some(open.retry_in.as_secs().max(1).to_string());
            Err(fault)
        })
    }

    /// One plan, with its retries.
    async fn try_plan(&mut self, plan: &Plan) -> Result<Opened, Miss> {
        let mut attempt = 0;
        loop {
            let missed = match self.try_once(plan).await {
                Ok(opened) => return Ok(opened),
                Err(missed) => missed,
            };
            let Some(wait) = self.wait_before_retry(&missed, attempt) else { return Err(missed) };
            attempt += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// How long to wait before the same request goes out again, after so many retries. `None`: it does not.
    pub(crate) fn wait_before_retry(&self, missed: &Miss, retries: u32) -> Option<Duration> {
        let policy = &self.route.instance.retry;
        let Miss::Fault(fault) = missed else { return None };
        if retries >= policy.retries || !self.replayable() {
            return None;
        }
        let usual = policy.backoff.delay(retries + 1);
        match fault.retry {
            Retry::Never => None,
            Retry::Same => Some(usual),
            // who asks for more time than we would ever wait is told on to the client
            Retry::After(asked) if asked > policy.backoff.max => None,
            Retry::After(asked) => Some(asked.max(usual)),
        }
    }

    fn replayable(&self) -> bool {
        match &self.call.payload {
            Payload::Form(form) => form.replayable(),
            Payload::Stream { .. } => false,
            Payload::Json(_) | Payload::Opaque(_) | Payload::Empty => true,
        }
    }

    /// One request.
    async fn try_once(&mut self, plan: &Plan) -> Result<Opened, Miss> {
        // `&mut self` throughout: a payload that is still arriving can be sent on, but not shared between threads
        let instance = self.route.instance.clone();
        let request = self.request(plan);
        let sent = self.gateway.pool.send(&instance.target, request, &instance.limits).await;
        let answer = sent.map_err(|error| Miss::Fault(unsent(&error)))?;
        if answer.status.is_success() {
            return self.open(plan, answer).await.map_err(Miss::Fault);
        }
        let status = answer.status.as_u16();
        // boxed: every flight would be as large as one that is refused
        let (head, body) = Box::pin(answer::read_refusal(answer, instance.idle)).await;
        Err(self.refused(plan, status, &head, &body))
    }

    /// The request as it goes out now under one plan; counted.
    pub(crate) fn request(&mut self, plan: &Plan) -> Outbound {
        self.progress.attempts.fetch_add(1, Ordering::Relaxed);
        self.progress.began.store(true, Ordering::Relaxed);
        let (client, instance) = (&self.call.headers, &self.route.instance);
        let fixed = instance.fixed_fields();
        let kind = match &self.call.payload {
            // it names the boundary
            Payload::Form(_) => client.get(header::CONTENT_TYPE).cloned(),
            _ => Some(HeaderValue::from_static("application/json")),
        };
        let headers = headers::for_a_call(client, fixed.map(), kind, instance, &self.call.request_id);
        Outbound {
            method: self.call.method.clone(),
            path_and_query: plan.path.clone(),
            fixed: Some(fixed),
            headers,
            body: outgoing::body(&mut self.call, &self.route, plan, &self.changed),
        }
    }

    /// What a refusal means: no such route, or a fault.
    pub(crate) fn refused(&self, plan: &Plan, status: u16, head: &HeaderMap, body: &[u8]) -> Miss {
        let mut fault = answer::refusal(status, head, body);
        fault.retry = self.retry(status, head);
        headers::keep_in(&mut fault, head);
        let no_route = matches!(status, 404 | 405 | 501) && !is_about_the_model(body);
        if no_route && plan.may_be_missing { Miss::NoRoute } else { Miss::Fault(fault) }
    }

    /// Whether and when a refusal may be tried again.
    fn retry(&self, status: u16, head: &HeaderMap) -> Retry {
        if !self.route.instance.retry.covers(status) {
            return Retry::Never;
        }
        match upstream::retry::asked_wait(head, SystemTime::now()) {
            Some(asked) => Retry::After(asked),
            None => Retry::Same,
        }
    }

    /// The longest wait for the first event after the head.
    fn patience(&self) -> Duration {
        self.route.instance.limits.first_byte
    }
}

/// What it means that no answer came.
pub(crate) fn unsent(error: &SendError) -> Fault {
    if let Some(fault) = upload::refused(error) {
        return fault.clone();
    }
    let kind = match error {
        _ if error.is_callers() => FaultKind::Invalid,
        _ if error.timed_out() => FaultKind::TimedOut,
        SendError::InvalidHead { .. } => FaultKind::Broken,
        _ => FaultKind::Unreachable,
    };
    Fault::new(kind, format!("failed to send request: {}", error.sentence()))
}

/// What it means that an answer broke off before anything of it was said to the client.
pub(crate) fn broken_off(error: &BodyError) -> Fault {
    if let Some(fault) = upload::refused(error) {
        return fault.clone();
    }
    Fault::new(FaultKind::Unreachable, format!("the upstream's answer broke off: {}", error.sentence()))
}

/// Whether the `provider` member belongs into replies to this.
fn has_provider_member(operation: Operation, dialect: domain::Dialect) -> bool {
    use domain::Dialect::{Chat, Responses};
    match operation {
        Operation::Generate => matches!(dialect, Chat | Responses),
        Operation::Embed | Operation::Rerank => true,
        _ => false,
    }
}

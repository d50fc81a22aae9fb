//! Golden transcripts as pure functions: the code that serves calls, given the pieces of a story instead of sockets.
//!
//! Each story is played once as it stands and then with its bodies cut in every way of
//! [`chunks::battery`](testkit::chunks::battery), or in many ways if they are long: what comes out must not depend on
//! where a network cut them.
//! `UPDATE=1 cargo test -p gateway story` rewrites what the stories say came out. `server` plays the same files over
//! real sockets.

mod stage;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dialect::stream::Frame;
use domain::{Fault, FaultKind};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use testkit::chunks;
use testkit::golden;
use testkit::story::{self, Ending, Setup, Used};
use testkit::transcript::{self, Exchange, Side, Transcript};
use upstream::{BodyError, OutBody, Outbound};

use crate::flight::{Beginning, Flight, Miss};
use crate::pipeline::{self, Answer, AnyFlight, Departure};
use crate::reply::{End, ReplyBody, Tap};
use crate::trail::Trail;
use crate::{Gateway, Inbound, passthrough};

/// Bodies up to this long are cut at every place.
const CUT_EVERYWHERE: usize = 400;

/// Plays every story of one folder.
fn play_all(front: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(front);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut wrong = Vec::new();
    for (path, told) in transcript::load_dir(&folder) {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&runtime, &path, &told)));
        if played.is_err() {
            wrong.push(path.file_name().unwrap().to_owned());
        }
    }
    assert!(wrong.is_empty(), "stories that are not so, told above: {wrong:?}");
}

macro_rules! fronts {
    ($($name:ident)*) => {
        const FRONTS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                play_all(stringify!($name));
            }
        )*
    };
}

fronts! {
    chat chat_stream completions responses messages embeddings rerank scoring models errors requests passthrough
}

#[test]
fn every_folder_of_stories_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(FRONTS.contains(&name.as_str()), "{name} is in no list of fronts");
    }
}

fn play(runtime: &tokio::runtime::Runtime, path: &PathBuf, told: &Transcript) {
    let setup = Setup::read(told);
    let request = story::request(told);
    let answers: Vec<Side> = told.upstream_replies().map(|side| story::answer(&setup, side)).collect();
    let whole: Vec<Vec<&[u8]>> = answers.iter().map(|answer| vec![&answer.body[..]]).collect();
    let play = |body: &[&[u8]], answers: &[(&Side, Vec<&[u8]>)]| {
        runtime.block_on(Play::new(told, &setup, &request).run(body, answers))
    };

    let produced = play(&[&request.body], &together(&answers, &whole));
    golden::assert_or_update(path, &produced);
    let same = |other: &Transcript, what: &str, cut: &str| {
        assert!(
            *other == produced,
            "{}: another story with {what} cut by {cut}:\n{other}\ninstead of\n{produced}",
            path.display()
        );
    };
    for (name, pieces) in cuttings(&request.body) {
        same(&play(&pieces, &together(&answers, &whole)), "the request", &name);
    }
    for (n, answer) in answers.iter().enumerate() {
        for (name, pieces) in cuttings(&answer.body) {
            let mut all = whole.clone();
            all[n] = pieces;
            same(&play(&[&request.body], &together(&answers, &all)), &format!("answer {}", n + 1), &name);
        }
    }
}

fn together<'a>(answers: &'a [Side], pieces: &[Vec<&'a [u8]>]) -> Vec<Pieces<'a>> {
    answers.iter().zip(pieces.iter().cloned()).collect()
}

/// The ways in which a body is cut: all of the battery if it is short; some of it, and some more places, if it is long.
fn cuttings(body: &[u8]) -> Vec<(String, Vec<&[u8]>)> {
    if body.len() <= CUT_EVERYWHERE {
        return chunks::battery(body, 20).map(|cutting| (cutting.name, cutting.pieces)).collect();
    }
    let sizes =
        [1, 2, 7, 37, 1000, 16 << 10, 100 << 10].into_iter().filter(|size| body.len() / size <= 1 << 16);
    let of_size = sizes.map(|size| (format!("pieces of {size}"), chunks::pieces_of(body, size)));
    let seeds = if body.len() > 100 << 10 { 5 } else { 20 };
    let random = (0..seeds).map(|seed| (format!("random, seed {seed}"), chunks::random(body, seed)));
    // where something might go wrong: around the ends of lines and braces, and evenly
    let near =
        body.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\n' | b'\r' | b'}')).map(|(at, _)| at);
    let evenly = (0..body.len()).step_by(body.len() / 67 + 1);
    let mut places: Vec<usize> = near.flat_map(|at| [at, at + 1]).chain(evenly).collect();
    places.sort_unstable();
    places.dedup();
    let step = places.len() / 200 + 1;
    let at = places.into_iter().step_by(step).map(|at| (format!("split at {at}"), chunks::at(body, &[at])));
    of_size.chain(random).chain(at).collect()
}

/// One playing of one story.
struct Play<'a> {
    setup: &'a Setup,
    request: &'a Side,
    produced: Transcript,
}

/// An upstream's answer, in pieces.
type Pieces<'a> = (&'a Side, Vec<&'a [u8]>);

impl<'a> Play<'a> {
    fn new(told: &Transcript, setup: &'a Setup, request: &'a Side) -> Play<'a> {
        let mut produced = told.given();
        produced.exchanges.clear();
        Play { setup, request, produced }
    }

    async fn run(mut self, body: &[&[u8]], answers: &[Pieces<'_>]) -> Transcript {
        let gateway = stage::gateway(self.setup);
        let inbound = self.inbound(body);
        let mut trail = Trail::open(&gateway, &inbound);
        let mut allowed: &'static [http::Method] = &[];
        match pipeline::answer(&gateway, inbound, &mut trail, &mut allowed).await {
            Ok(Answer::Own(body)) => self.full(pipeline::own(body, trail), None, &End::Complete),
            Ok(Answer::Reply(departure)) => self.fly(&gateway, departure, trail, answers).await,
            Err(fault) => self.refuse(fault, trail, allowed),
        }
        let asked = self.produced.exchanges.len();
        assert_eq!(
            asked,
            answers.len(),
            "the upstream was asked {asked} times, and the story has {} answers",
            answers.len()
        );
        self.produced
    }

    fn inbound(&self, pieces: &[&[u8]]) -> Inbound {
        let mut request = Request::builder().method(self.request.method()).uri(self.request.target());
        for (name, value) in &self.request.headers {
            request = request.header(name, value);
        }
        if !self.request.body.is_empty() && self.request.header("content-length").is_none() {
            request = request.header("content-length", self.request.body.len());
        }
        let (head, ()) = request.header("host", "gateway").body(()).unwrap().into_parts();
        let pieces: Vec<_> = pieces
            .iter()
            .filter(|_| !self.request.body.is_empty())
            .map(|piece| Ok(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = match pieces.is_empty() {
            true => http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync(),
            false => StreamBody::new(stream::iter(pieces)).boxed_unsync(),
        };
        let request_id = self.request.header("x-request-id").unwrap_or(story::REQUEST_ID).to_owned();
        let dialect = Inbound::speaks(&head);
        Inbound { head, body, client: None, dialect, request_id: request_id.into(), arrived: Instant::now() }
    }

    async fn fly(
        &mut self,
        gateway: &Arc<Gateway>,
        departure: Departure,
        trail: Trail,
        answers: &[Pieces<'_>],
    ) {
        let Departure { flight, changes, .. } = departure;
        let mut answers = answers.iter();
        let opened = match flight {
            AnyFlight::Call(flight) => self.fly_call(*flight, &mut answers),
            AnyFlight::Passthrough(flight) => self.fly_passthrough(*flight, &mut answers).await,
        };
        match opened {
            Ok((beginning, rest)) => self.tell(beginning, rest, changes, trail),
            Err(mut fault) => {
                gateway.masks.fault(&mut fault);
                let end = End::Failed(fault.clone());
                let used = trail.used(&end);
                self.full(pipeline::refuse_sent(fault, &changes, trail), used, &end);
            }
        }
    }

    /// Along the plans and the retries, as [`Flight::fly`] goes.
    fn fly_call<'s>(
        &mut self,
        mut flight: Flight,
        answers: &mut impl Iterator<Item = &'s Pieces<'s>>,
    ) -> Result<(Beginning, VecDeque<Bytes>), Fault> {
        for plan in &flight.plans().to_vec() {
            let mut retries = 0;
            loop {
                self.asked(flight.request(plan));
                let (side, pieces) = answers.next().expect("the story has an answer to every request");
                self.answered(side);
                let (status, head) = head(side);
                let mut pieces: VecDeque<Bytes> =
                    pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
                let missed = if status.is_success() {
                    match open(&flight, plan, status, &head, &mut pieces) {
                        Ok(beginning) => return Ok((beginning, pieces)),
                        Err(fault) => Miss::Fault(fault),
                    }
                } else {
                    flight.refused(plan, status.as_u16(), &head, &side.body)
                };
                if flight.wait_before_retry(&missed, retries).is_some() {
                    retries += 1;
                    continue;
                }
                match missed {
                    Miss::NoRoute => break,
                    Miss::Fault(fault) => return Err(fault),
                }
            }
        }
        Err(flight.no_plan_worked())
    }

    async fn fly_passthrough<'s>(
        &mut self,
        mut flight: passthrough::Flight,
        answers: &mut impl Iterator<Item = &'s Pieces<'s>>,
    ) -> Result<(Beginning, VecDeque<Bytes>), Fault> {
        let mut outbound = flight.request();
        if let OutBody::Stream { body, .. } = outbound.body {
            let sent = body.collect().await.expect("the story's request comes whole").to_bytes();
            outbound.body = OutBody::Segments([sent].into_iter().collect());
        }
        self.asked(outbound);
        let (side, pieces) = answers.next().expect("the story has an answer to every request");
        self.answered(side);
        let (status, head) = head(side);
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        if passthrough::is_refusal(status) {
            let beginning = flight.refused(status, &head, Bytes::copy_from_slice(&side.body))?;
            return Ok((beginning, VecDeque::new()));
        }
        Ok((flight.opened(status, &head), pieces))
    }

    /// A reply that has begun: the rest of its pieces, through the relay.
    fn tell(
        &mut self,
        beginning: Beginning,
        rest: VecDeque<Bytes>,
        mut changes: crate::flight::Names,
        mut trail: Trail,
    ) {
        let Beginning { status, headers, frames, relay, changes: more, told } = beginning;
        changes.extend(more);
        let head = pipeline::begin(status, headers, &changes, &mut trail);
        let mut out = VecDeque::new();
        let mut tap = |frame: &Frame| trail.see(frame);
        let (end, cut) = match relay {
            None => {
                for frame in frames {
                    tap(&frame);
                    out.push_back(frame.raw);
                }
                (told.map_or(End::Complete, |fault| End::Failed(*fault)), false)
            }
            Some(mut relay) => {
                let tells = relay.tells_failures();
                let mut end = relay.begin(frames, &mut tap, &mut out);
                for piece in rest {
                    end = end.or_else(|| relay.hear(piece, &mut tap, &mut out));
                }
                let broken = || Fault::new(FaultKind::Broken, BodyError::Cut.sentence());
                let end = end.unwrap_or_else(|| relay.close(self.setup.cut.then(broken), &mut tap, &mut out));
                let cut = !tells && matches!(end, End::Failed(_));
                (end, cut)
            }
        };
        let body: Vec<u8> = out.iter().flatten().copied().collect();
        let used = trail.used(&end);
        trail.end(&end);
        self.told(&head, &body, used, &end, cut);
    }

    fn refuse(&mut self, fault: Fault, trail: Trail, allowed: &[http::Method]) {
        let end = End::Failed(fault.clone());
        let used = trail.used(&end);
        let response = pipeline::allow(pipeline::refuse(fault, trail), allowed);
        self.full(response, used, &end);
    }

    fn full(&mut self, response: Response<ReplyBody>, used: Option<domain::Usage>, end: &End) {
        let (head, body) = response.into_parts();
        let ReplyBody::Full(body) = body else { panic!("what we say ourselves is there at once") };
        self.told(&Response::from_parts(head, ()), &body, used, end, false);
    }

    fn told(&mut self, head: &Response<()>, body: &[u8], used: Option<domain::Usage>, end: &End, cut: bool) {
        let headers = pairs(head.headers());
        self.produced.reply = Some(story::got(self.setup, head.status().as_u16(), &headers, body));
        let used = used.unwrap_or_default();
        let ending = Ending {
            changes: headers
                .iter()
                .find(|(name, _)| name == "x-ferrovia-changes")
                .map(|(_, value)| value.clone()),
            used: Used {
                input: used.input,
                output: used.output,
                cached: used.cached,
                estimated: used.estimated,
            },
            outcome: end.word().to_owned(),
            code: end.fault().and_then(|fault| fault.code.clone()),
            cut,
        };
        ending.tell(&mut self.produced);
    }

    fn asked(&mut self, request: Outbound) {
        let body = match request.body {
            OutBody::Segments(segments) => segments.concat(),
            OutBody::Empty => Vec::new(),
            OutBody::Stream { .. } => panic!("a streamed body is read before it is told"),
        };
        let fixed = request.fixed.as_ref().map(|fixed| pairs(fixed.map())).unwrap_or_default();
        let headers = [fixed, pairs(&request.headers)].concat();
        let side =
            story::asked(self.setup, request.method.as_str(), &request.path_and_query, &headers, &body);
        self.produced.exchanges.push(Exchange { request: Some(side), reply: None });
    }

    fn answered(&mut self, side: &Side) {
        let told = Side { body: self.setup.unfilled(&side.body), ..side.clone() };
        self.produced.exchanges.last_mut().expect("it was asked").reply = Some(told);
    }
}

/// Feeds an answer's pieces to a hearing until it has heard enough, as `Flight::open` does from a connection.
fn open(
    flight: &Flight,
    plan: &provider::Plan,
    status: StatusCode,
    head: &HeaderMap,
    pieces: &mut VecDeque<Bytes>,
) -> Result<Beginning, Fault> {
    let mut hearing = flight.hearing(plan, head)?;
    while !hearing.enough() {
        match pieces.pop_front() {
            Some(bytes) => hearing.take(bytes),
            None => hearing.end(),
        }
    }
    flight.judge(plan, status, head, hearing)
}

fn head(side: &Side) -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    if let Some(kind) = side.content_type() {
        headers.insert("content-type", HeaderValue::from_str(kind).unwrap());
    }
    for (name, value) in side.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
        headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    (StatusCode::from_u16(side.status()).unwrap(), headers)
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

//! A naive gateway: honest enough for a handful of faults, and on request a liar in one thing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The key that it sends to the engines.
pub(crate) const KEY: &str = "sk-liar-upstream-key";

/// What it lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// A success of the engine's is a success, whatever is in it.
    Errors,
    /// A stream that broke off ends with a reason of its own and `[DONE]`.
    Endings,
    /// A stream that broke off is asked for again.
    Retries,
    /// What an engine says about when to come back is kept from the client.
    Waits,
    /// Messages are passed on with the keys in them.
    Keys,
    /// The engine works on when nobody listens.
    Leaving,
    /// When one engine has failed, the other is not asked either.
    Neighbour,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct State {
    lie: Lie,
    faulty: SocketAddr,
    steady: SocketAddr,
    failed: AtomicBool,
}

/// Starts it, and gives its address.
pub(crate) async fn start(lie: Lie, faulty: SocketAddr, steady: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let state = Arc::new(State { lie, faulty, steady, failed: AtomicBool::new(false) });
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&state, request).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, task)
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let steady = asked["model"] == "steady";
    let path = head.uri.path().to_owned();
    if steady && state.lie == Lie::Neighbour && state.failed.load(Ordering::Relaxed) {
        return refusal(503, "the engines are not well");
    }
    state.failed.fetch_or(!steady, Ordering::Relaxed);
    let address = if steady { state.steady } else { state.faulty };
    if state.lie == Lie::Leaving && !steady {
        let again = (path.clone(), body.clone());
        // somebody else asks, and nobody tells it to stop
        let asked = tokio::spawn(async move {
            let answer = ask(address, &again.0, again.1).await;
            match answer {
                Some((status, headers, mut incoming)) => {
                    let (tell, told) = mpsc::channel(64);
                    tokio::spawn(async move {
                        while let Some(Ok(frame)) = incoming.frame().await {
                            let _ = tell.send(frame.into_data().unwrap_or_default()).await;
                        }
                    });
                    Some((status, headers, told))
                }
                None => None,
            }
        });
        return match asked.await {
            Ok(Some((status, headers, told))) => respond(status, &headers, channelled(told)),
            _ => refusal(502, "the engine hung up"),
        };
    }
    let Some((status, headers, incoming)) = ask(address, &path, body.clone()).await else {
        return refusal(502, "the engine hung up");
    };
    if asked["stream"] == true && status == 200 {
        let (tell, told) = mpsc::channel(64);
        let state = Arc::clone(state);
        tokio::spawn(async move {
            tokio::select! {
                () = relay(&state, address, &path, body, incoming, &tell) => {}
                () = tell.closed() => {}
            }
        });
        return respond(status, &headers, channelled(told));
    }
    let Ok(bytes) = incoming.collect().await else { return refusal(502, "the engine hung up") };
    let bytes = bytes.to_bytes();
    let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status == 200 && !said["choices"].is_array() && state.lie != Lie::Errors {
        return refusal(502, "the engine failed");
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = if state.lie == Lie::Keys { text.into_owned() } else { text.replace(KEY, "***") };
    let mut headers = headers;
    if state.lie == Lie::Waits {
        headers.remove(header::RETRY_AFTER);
    }
    respond(status, &headers, Full::from(text).boxed_unsync())
}

/// Passes whole events on, and says how it ended.
async fn relay(
    state: &State,
    address: SocketAddr,
    path: &str,
    body: Bytes,
    mut incoming: Incoming,
    tell: &mpsc::Sender<Bytes>,
) {
    let mut again = state.lie == Lie::Retries;
    let mut held = Vec::new();
    loop {
        match incoming.frame().await {
            Some(Ok(frame)) => {
                held.extend_from_slice(&frame.into_data().unwrap_or_default());
                let whole = held.windows(2).rposition(|two| two == b"\n\n").map_or(0, |at| at + 2);
                let rest = held.split_off(whole);
                let events = Bytes::from(std::mem::replace(&mut held, rest));
                let over = events.ends_with(b"data: [DONE]\n\n");
                if tell.send(events).await.is_err() || over {
                    return;
                }
            }
            _ if again => {
                again = false;
                held.clear();
                match ask(address, path, body.clone()).await {
                    Some((.., next)) => incoming = next,
                    None => break,
                }
            }
            _ => break,
        }
    }
    let last = match state.lie {
        Lie::Endings => {
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
        }
        _ => "data: {\"error\":{\"message\":\"the engine hung up\",\"type\":\"server_error\"}}\n\n",
    };
    let _ = tell.send(Bytes::from_static(last.as_bytes())).await;
}

async fn ask(address: SocketAddr, path: &str, body: Bytes) -> Option<(u16, HeaderMap, Incoming)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::post(path)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
        .body(Full::<Bytes>::from(body))
        .ok()?;
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    Some((head.status.as_u16(), head.headers, body))
}

fn channelled(mut told: mpsc::Receiver<Bytes>) -> Body {
    let frames =
        stream::poll_fn(move |cx| told.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))));
    StreamBody::new(frames).boxed_unsync()
}

fn respond(status: u16, headers: &HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn refusal(status: u16, message: &str) -> Response<Body> {
    let body = serde_json::json!({"error": {"message": message, "type": "server_error"}}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    respond(status, &headers, Full::from(body).boxed_unsync())
}

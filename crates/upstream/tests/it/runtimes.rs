//! One pool under several runtimes, and many sends in one task.

use std::{
    collections::HashSet,
    sync::{Arc, mpsc},
    thread,
};

use tokio::{net::TcpListener, runtime, sync::Mutex};
use upstream::{Pool, Target};

use crate::server::*;

/// Answers every request on every connection with the client's port, until the runtime ends.
async fn answers(listener: TcpListener) {
    loop {
        let (stream, client) = listener.accept().await.expect("accept");
        tokio::spawn(async move {
            let mut peer = Peer::new(stream);
            let port = client.port().to_string();
            while peer.request().await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{port}", port.len());
                peer.say(head.as_bytes()).await;
            }
        });
    }
}

/// A server on a runtime of its own, which lives as long as the returned value.
fn server() -> (runtime::Runtime, Arc<Target>) {
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let (listener, target) = runtime.block_on(listen());
    runtime.spawn(answers(listener));
    (runtime, target)
}

fn single() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

/// The ports of the connections that `count` sends in a row went over.
async fn ports(pool: &Pool, target: &Arc<Target>, count: usize) -> HashSet<String> {
    let mut ports = HashSet::new();
    for _ in 0..count {
        ports.insert(text(send(pool, target, post("{}")).await.expect("answer")).await.expect("body"));
    }
    ports
}

#[test]
fn runtimes_on_two_threads_share_a_pool_but_no_connection() {
    let (_server, target) = server();
    let pool = pool();
    let (ready, wait) = mpsc::channel::<()>();
    let (done, finish) = mpsc::channel::<()>();
    let other = {
        let (pool, target) = (pool.clone(), target.clone());
        thread::spawn(move || {
            let runtime = single();
            let ports = runtime.block_on(ports(&pool, &target, 20));
            ready.send(()).expect("the test waits");
            finish.recv().expect("the test says when");
            drop(runtime);
            ports
        })
    };
    let mine = single();
    let before = mine.block_on(ports(&pool, &target, 20));
    wait.recv().expect("the other thread is done");
    assert_eq!(pool.idle_connections(), 2);
    let after = mine.block_on(ports(&pool, &target, 20));
    done.send(()).expect("the other thread waits");
    let theirs = other.join().expect("the other thread");
    assert_eq!((before.len(), theirs.len()), (1, 1), "each runtime reuses its own connection");
    assert_eq!(before, after);
    assert!(before.is_disjoint(&theirs));
    assert_eq!(pool.idle_connections(), 1, "a runtime's connections end with it");
}

#[test]
fn a_later_runtime_does_not_inherit_connections() {
    let (_server, target) = server();
    let pool = pool();
    let first = single().block_on(ports(&pool, &target, 3));
    assert_eq!(pool.idle_connections(), 0);
    let second = single().block_on(ports(&pool, &target, 3));
    assert!(first.is_disjoint(&second));
}

#[test]
fn an_answer_that_outlives_its_runtime_ends_without_harm() {
    let (_server, target) = server();
    let pool = pool();
    let answer = single().block_on(send(&pool, &target, post("{}"))).expect("answer");
    // Its socket has no driver any more; whatever it still yields, nothing hangs or panics.
    single().block_on(async { tokio::time::timeout(LONG, text(answer)).await }).expect("an end").ok();
    assert_eq!(pool.idle_connections(), 0);
}

#[test]
fn the_threads_of_one_runtime_share_their_connections() {
    let (_server, target) = server();
    let pool = pool();
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("runtime");
    let seen = Arc::new(Mutex::new(HashSet::new()));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (pool, target, seen) = (pool.clone(), target.clone(), seen.clone());
            tasks.spawn(async move {
                let used = ports(&pool, &target, 50).await;
                seen.lock().await.extend(used);
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("every send answered");
        }
        assert!(seen.lock().await.len() <= 16, "never more connections than callers");
    });
}

#[test]
fn hundreds_of_sends_in_one_task_all_come_back() {
    // More than a task may do in one go: none may be forgotten when its turn is cut short.
    let (_server, target) = server();
    let pool = pool();
    single().block_on(async {
        for _ in 0..3 {
            let sends = (0..300)
                .map(|_| async { text(send(&pool, &target, post("{}")).await.expect("answer")).await });
            let all = futures_util::future::join_all(sends).await;
            assert_eq!(all.iter().filter(|body| body.is_ok()).count(), 300);
        }
    });
}

#[test]
fn futures_and_bodies_may_move_between_threads() {
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let (_server, target) = server();
    let pool = pool();
    let request = movable(pool.send(&target, post("{}"), &LIMITS));
    let answer = movable(single().block_on(request).expect("answer"));
    drop(answer);
}

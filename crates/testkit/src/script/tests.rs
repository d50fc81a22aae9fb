//! What scripts are made into, before any socket.

use super::*;

fn written(reply: &Reply) -> String {
    let bytes = reply.steps.iter().flat_map(|step| match step {
        Step::Write(bytes) => bytes.clone(),
        _ => Vec::new(),
    });
    String::from_utf8(bytes.collect()).unwrap()
}

#[test]
fn a_head_says_what_the_script_says() {
    let reply = Reply::json(429, "{}").header("Retry-After", "1").header("X-A", "b");
    assert_eq!(
        reply.head(false).unwrap(),
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nRetry-After: 1\r\nX-A: b\r\n\
         content-length: 2\r\n\r\n"
    );
    assert_eq!(Reply::status(204).head(false).unwrap(), "HTTP/1.1 204 No Content\r\n\r\n");
    assert!(Reply::json(200, "{}").wrong_length(9).head(false).unwrap().contains("content-length: 9\r\n"));
    assert!(Reply::sse().with_status(529).head(true).unwrap().starts_with("HTTP/1.1 529 \r\n"));
    assert_eq!(Reply::no_response().head(false), None);
}

#[test]
fn events_are_written_as_servers_write_them() {
    let reply = Reply::sse().comment("hi").event("{}").named_event("ping", "a\nb").done();
    assert_eq!(written(&reply), ": hi\n\ndata: {}\n\nevent: ping\ndata: a\ndata: b\n\ndata: [DONE]\n\n");
}

#[test]
fn a_truncated_body_declares_its_whole_length() {
    let reply = Reply::json(200, "0123").raw("4567").raw("89").truncate_after(6);
    assert_eq!(written(&reply), "012345");
    assert!(reply.head(false).unwrap().contains("content-length: 10\r\n"));
    let none = Reply::json(200, "0123").truncate_after(0);
    assert_eq!((written(&none), none.truncated), (String::new(), true));
}

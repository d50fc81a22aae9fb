//! Golden transcripts over real sockets: the built binary between a client and an upstream that plays the story, its
//! answers cut into pieces of 37 bytes. The same files run as pure functions in `gateway`, which also writes them.

#[path = "../it/gateway.rs"]
#[expect(dead_code, reason = "the other suite uses all of it")]
mod gateway;
mod play;

use std::path::{Path, PathBuf};

use testkit::transcript::{self, Transcript};

/// Where the stories are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/transcripts")
}

/// Stories of all fronts, dealt out to several tests so that they run beside each other: each waits for a process to
/// start far longer than it computes.
fn play_share(share: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut wrong = Vec::new();
    for (index, (path, told)) in transcript::load_dir(folder()).into_iter().enumerate() {
        if index % SHARES == share && !is_so(&runtime, &path, &told) {
            wrong.push(path.strip_prefix(folder()).expect("it was found there").to_owned());
        }
    }
    assert!(
        wrong.is_empty(),
        "stories that sockets tell otherwise, in the order of the messages above: {wrong:?}"
    );
}

/// Whether a story happens as its file tells it; a panic says how it differs, and the next story is played all the
/// same.
fn is_so(runtime: &tokio::runtime::Runtime, path: &Path, told: &Transcript) -> bool {
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let produced = runtime.block_on(play::play(told));
        testkit::golden::assert_same(path, &produced);
    }));
    played.is_ok()
}

macro_rules! shares {
    ($count:literal: $($name:ident $index:literal)*) => {
        const SHARES: usize = $count;
        $(
            #[test]
            fn $name() {
                play_share($index);
            }
        )*
    };
}

shares!(4: stories_first_share 0 stories_second_share 1 stories_third_share 2 stories_fourth_share 3);

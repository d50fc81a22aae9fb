//! What an edit comes to.

use config::Changes;

use crate::Place;

fn changes(before: Place, after: Place) -> Changes {
    after.ok().changes_since(&before.ok())
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

const ONE: &str = "providers:\n  vllm-a:\n    type: vllm\n    base_url: http://a:8000/v1\n";

#[test]
fn nothing_new_is_no_change() {
    let place = || Place::new().yaml(ONE).env(&["FERROVIA_MASTER_KEY=sk-one", "BODY_SIZE_LIMIT=2M"]);
    assert_eq!(changes(place(), place()), Changes::default());
    // nor is a default that is written out
    let written = Place::new().yaml(&format!("{ONE}server:\n  port: 8080\n"));
    assert_eq!(changes(Place::new().yaml(ONE), written), Changes::default());
}

#[test]
fn each_setting_is_told_once_and_no_secret_is() {
    let with = |key: &str, retries: u8, port: u16| {
        let own = format!(
            "server:\n  port: {port}\n  master_key: {key}\nresilience:\n  retry:\n    max_retries: {retries}\n"
        );
        Place::new().yaml(&format!("{ONE}{own}"))
    };
    let found = changes(with("sk-one", 1, 8080), with("sk-two", 2, 9000));
    assert_eq!(
        found.changed,
        names(&["resilience.retry.max_retries", "server.master_key", "server.port"]),
        "not once more for each provider"
    );
    assert_eq!(found.needs_restart, names(&["server.port"]));
    let (before, after) = (with("sk-one", 1, 8080).ok(), with("sk-two", 1, 8080).ok());
    let shown = format!("{before:?} {:?}", after.changes_since(&before));
    assert!(!shown.contains("sk-one") && !shown.contains("sk-two"), "{shown}");
}

#[test]
fn providers_come_and_go_as_a_whole() {
    let two = format!("{ONE}  my.vllm:\n    type: vllm\n    base_url: http://b:8000/v1\n");
    assert_eq!(
        changes(Place::new().yaml(ONE), Place::new().yaml(&two)).changed,
        names(&["providers.my.vllm"])
    );
    assert_eq!(
        changes(Place::new().yaml(&two), Place::new().yaml(ONE)).changed,
        names(&["providers.my.vllm"])
    );
    let moved = Place::new().yaml(&two.replace("http://b", "http://c"));
    assert_eq!(changes(Place::new().yaml(&two), moved).changed, names(&["providers.my.vllm.base_url"]));
}

#[test]
fn what_is_edited_in_vain_is_told() {
    let of = |limit: &str| {
        Place::new()
            .yaml(&format!("server:\n  body_size_limit: {limit}\n  upload_size_limit: {limit}\n"))
            .file(".env", &format!("FERROVIA_UPLOAD_SIZE_LIMIT={limit}\nFERROVIA_IDLE_TIMEOUT=3s\n"))
            .env(&["BODY_SIZE_LIMIT=2M", "FERROVIA_UPLOAD_SIZE_LIMIT=9M"])
    };
    let found = changes(of("3M"), of("4M"));
    assert_eq!(found.changed, names(&[]));
    assert_eq!(
        found.overridden,
        names(&[
            "FERROVIA_UPLOAD_SIZE_LIMIT (environment variable FERROVIA_UPLOAD_SIZE_LIMIT)",
            "server.body_size_limit (environment variable BODY_SIZE_LIMIT)",
            "server.upload_size_limit (environment variable FERROVIA_UPLOAD_SIZE_LIMIT)",
        ])
    );
    let flag = |limit: &str| of(limit).flag("server.body_size_limit", "1M");
    assert!(
        changes(flag("3M"), flag("4M"))
            .overridden
            .contains(&"server.body_size_limit (flag server.body_size_limit)".to_owned())
    );
    assert_eq!(changes(of("3M"), of("3M")), Changes::default());
}

#[test]
fn tls_is_switched_by_a_restart_and_renewed_without_one() {
    let of = |cert: &str| {
        let tls = format!("server:\n  tls:\n    cert_file: {cert}\n    key_file: key.pem\n");
        Place::new().yaml(&tls)
    };
    assert_eq!(changes(Place::new(), of("a.pem")).needs_restart, names(&["server.tls"]));
    assert_eq!(changes(of("a.pem"), of("b.pem")).needs_restart, names(&[]));
    assert_eq!(changes(of("a.pem"), of("b.pem")).changed, names(&["server.tls.cert_file"]));
}

#[test]
fn every_file_that_matters_is_known() {
    let place = Place::new();
    let secret = place.path().join("secret");
    let place = place
        .file("secret", "sk-one")
        .yaml(&format!("server:\n  master_key: ${{file:{}}}\n", secret.display()));
    let loaded = place.ok();
    for file in [place.path().join("config.yaml"), place.path().join(".env"), secret] {
        assert!(loaded.files.contains(&file), "{} is not in {:?}", file.display(), loaded.files);
    }
    // one that is not there may come
    let bare = Place::new();
    assert!(bare.ok().files.contains(&bare.path().join("config/config.yaml")));
}

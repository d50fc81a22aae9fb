//! Breakers on a paused clock.

use tokio::time::advance;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(30);

fn breakers() -> Breakers {
    Breakers::new(BreakerSettings::default())
}

fn pass(breakers: &Breakers) -> Pass {
    breakers.admit("vllm/m").expect("admitted")
}

fn open(breakers: &Breakers) {
    for _ in 0..5 {
        pass(breakers).fail();
    }
    assert_eq!(breakers.state("vllm/m"), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it() {
    let breakers = breakers();
    for _ in 0..4 {
        pass(&breakers).fail();
    }
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
    pass(&breakers).fail();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Open);
    advance(Duration::from_secs(10)).await;
    assert_eq!(breakers.admit("vllm/m").err(), Some(Open { retry_in: Duration::from_secs(20) }));
    assert!(breakers.admit("vllm/other").is_ok(), "keys are independent");
}

#[tokio::test(start_paused = true)]
async fn a_success_in_between_starts_the_count_anew() {
    let breakers = breakers();
    for _ in 0..20 {
        for _ in 0..4 {
            pass(&breakers).fail();
        }
        pass(&breakers).succeed();
    }
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_pass_without_a_verdict_counts_for_nothing() {
    let breakers = breakers();
    for _ in 0..4 {
        pass(&breakers).fail();
    }
    drop(pass(&breakers));
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
    pass(&breakers).fail();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_probe_at_a_time() {
    let breakers = breakers();
    open(&breakers);
    advance(OPEN_FOR).await;
    assert_eq!(breakers.state("vllm/m"), BreakerState::HalfOpen);
    let probe = pass(&breakers);
    assert!(probe.is_probe());
    assert_eq!(breakers.admit("vllm/m").err(), Some(Open { retry_in: BESIDE_PROBE }));
    drop(probe);
    let probe = pass(&breakers);
    assert!(probe.is_probe(), "a probe without a verdict frees its place");
    probe.succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::HalfOpen);
    pass(&breakers).succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
    assert!(!pass(&breakers).is_probe());
}

#[tokio::test(start_paused = true)]
async fn a_failing_probe_opens_it_for_the_whole_time() {
    let breakers = breakers();
    open(&breakers);
    advance(OPEN_FOR).await;
    pass(&breakers).succeed();
    pass(&breakers).fail();
    assert_eq!(breakers.admit("vllm/m").err(), Some(Open { retry_in: OPEN_FOR }));
    advance(OPEN_FOR).await;
    pass(&breakers).succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::HalfOpen, "successes must be in a row");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_from_before_a_change_is_ignored() {
    let breakers = breakers();
    let (early_good, early_bad) = (pass(&breakers), pass(&breakers));
    open(&breakers);
    early_good.succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Open);
    advance(OPEN_FOR).await;
    let probe = pass(&breakers);
    early_bad.fail();
    assert_eq!(breakers.state("vllm/m"), BreakerState::HalfOpen);
    probe.succeed();
    pass(&breakers).succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_last_deployment_is_admitted_though_open() {
    let breakers = breakers();
    open(&breakers);
    breakers.admit_regardless("vllm/m").fail();
    assert_eq!(breakers.admit("vllm/m").err(), Some(Open { retry_in: OPEN_FOR }));
    breakers.admit_regardless("vllm/m").succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::HalfOpen);
    breakers.admit_regardless("vllm/m").succeed();
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_lets_everything_pass() {
    let breakers = Breakers::new(BreakerSettings { enabled: false, ..BreakerSettings::default() });
    for _ in 0..100 {
        pass(&breakers).fail();
    }
    assert_eq!(breakers.state("vllm/m"), BreakerState::Closed);
    assert!(breakers.states().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_makes_room() {
    let breakers = breakers();
    open(&breakers);
    for n in 0..MOST - 1 {
        pass_for(&breakers, n).succeed();
    }
    assert!(breakers.admit("vllm/m").is_err(), "still there, and now the youngest");
    pass_for(&breakers, MOST).succeed();
    assert_eq!(breakers.states().len(), MOST);
    assert_eq!(breakers.state("vllm/m"), BreakerState::Open);
    assert!(!breakers.states().iter().any(|(key, _)| key == "key-0"));
}

fn pass_for(breakers: &Breakers, n: usize) -> Pass {
    breakers.admit(&format!("key-{n}")).expect("admitted")
}

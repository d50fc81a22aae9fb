//! Gates: points at which a scripted reply waits for the test.

use std::sync::Arc;

use tokio::sync::watch;

/// A point at which a reply waits until the test lets it go on. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Debug, Clone, Copy, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Closes the gate again for those who have not reached it yet.
    pub fn close(&self) {
        self.0.send_modify(|state| state.open = false);
    }

    /// Waits until at least `count` replies have come to this gate in all.
    ///
    /// Not bounded in time by itself; the reply that waits here is.
    pub async fn reached(&self, count: usize) {
        let mut states = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = states.wait_for(|state| state.waiting >= count).await;
    }

    pub(crate) async fn pass(&self) {
        self.0.send_modify(|state| state.waiting += 1);
        let mut states = self.0.subscribe();
        let _ = states.wait_for(|state| state.open).await;
    }
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_passes_a_gate_before_it_opens() {
        let gate = Gate::new();
        let passing = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await }
        });
        gate.reached(1).await;
        assert!(!passing.is_finished());
        gate.open();
        passing.await.unwrap();
        gate.pass().await;
    }
}

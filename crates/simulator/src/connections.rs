//! Which connections are open, by number.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The connections of one engine.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    accepted: u64,
    open: BTreeSet<u64>,
}

impl Connections {
    /// Counts a new connection in.
    pub(crate) fn open(self: &Arc<Self>) -> Connection {
        let mut table = self.0.lock();
        table.accepted += 1;
        let number = table.accepted;
        table.open.insert(number);
        Connection { number, all: Arc::clone(self) }
    }

    /// The numbers of those that are open.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.lock().open.iter().copied().collect()
    }
}

/// One connection; dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    all: Arc<Connections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.0.lock().open.remove(&self.number);
    }
}

//! The KV cache: blocks of sixteen tokens, shared by prefix; those that nobody uses are given up oldest first.

use std::collections::{BTreeMap, HashMap};

use crate::seed::mix;

/// How many tokens a block holds.
pub(crate) const BLOCK: usize = 16;

/// Names the full blocks of a text: each by its own tokens and by all that come before it.
pub(crate) fn chain(salt: u64, tokens: impl IntoIterator<Item = u32>) -> Vec<u64> {
    let (mut names, mut name, mut filled) = (Vec::new(), mix(salt), 0);
    for token in tokens {
        name = mix(name ^ u64::from(token).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        filled += 1;
        if filled % BLOCK == 0 {
            names.push(name);
        }
    }
    names
}

#[derive(Clone, Copy, Debug)]
struct Block {
    users: u32,
    /// Its place among the unused ones.
    stamp: u64,
}

/// All blocks of one engine.
#[derive(Debug)]
pub(crate) struct Blocks {
    capacity: usize,
    named: HashMap<u64, Block>,
    /// The unused ones, oldest first.
    unused: BTreeMap<u64, u64>,
    /// Promised to running requests for what has no name yet: half a block, and what is still to be written.
    promised: usize,
    clock: u64,
}

impl Blocks {
    /// Room for so many blocks.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Blocks { capacity, named: HashMap::new(), unused: BTreeMap::new(), promised: 0, clock: 0 }
    }

    /// How many blocks there are in all.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many blocks from the first on are there.
    pub(crate) fn known(&self, chain: &[u64]) -> usize {
        chain.iter().take_while(|name| self.named.contains_key(name)).count()
    }

    /// How many blocks somebody uses, those that were only promised left out.
    pub(crate) fn used(&self) -> usize {
        self.named.len() - self.unused.len()
    }

    /// Whether there is room for these blocks and so many more without names.
    pub(crate) fn fits(&self, chain: &[u64], more: usize) -> bool {
        let new =
            chain.iter().filter(|name| self.named.get(name).is_none_or(|block| block.users == 0)).count();
        self.used() + self.promised + new + more <= self.capacity
    }

    /// Takes these blocks into use, and promises room for so many more.
    pub(crate) fn hold(&mut self, chain: &[u64], more: usize) {
        self.promised += more;
        for name in chain {
            let block = self.named.entry(*name).or_insert(Block { users: 0, stamp: 0 });
            if block.users == 0 {
                self.unused.remove(&block.stamp);
            }
            block.users += 1;
        }
        self.give_up();
    }

    /// Lets go of what was held. `written` are the blocks that were filled meanwhile; they stay to be found.
    pub(crate) fn release(&mut self, chain: &[u64], more: usize, written: &[u64]) {
        self.promised = self.promised.saturating_sub(more);
        // the end of a text is worth less than its beginning, which others share
        for name in written.iter().rev() {
            if !self.named.contains_key(name) {
                let stamp = self.tick();
                self.named.insert(*name, Block { users: 0, stamp });
                self.unused.insert(stamp, *name);
            }
        }
        for name in chain.iter().rev() {
            let stamp = self.tick();
            let Some(block) = self.named.get_mut(name) else { continue };
            block.users = block.users.saturating_sub(1);
            if block.users == 0 {
                block.stamp = stamp;
                self.unused.insert(stamp, *name);
            }
        }
        self.give_up();
    }

    /// Forgets what nobody uses.
    pub(crate) fn forget(&mut self) {
        for name in std::mem::take(&mut self.unused).into_values() {
            self.named.remove(&name);
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn give_up(&mut self) {
        while self.named.len() + self.promised > self.capacity {
            let Some((_, name)) = self.unused.pop_first() else { break };
            self.named.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_only_behind_the_same_beginning() {
        let (one, other) = (chain(0, 0..40), chain(0, (0..16).chain(100..124)));
        assert_eq!((one.len(), other.len()), (2, 2));
        assert_eq!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
        assert_ne!(one[0], chain(1, 0..40)[0]);
        let moved = chain(0, 16..32);
        assert_ne!(one[1], moved[0]);
    }

    #[test]
    fn the_longest_unused_block_is_given_up_first_and_never_a_used_one() {
        let mut blocks = Blocks::new(4);
        let (old, new) = (chain(1, 0..32), chain(2, 0..32));
        blocks.hold(&old, 0);
        blocks.release(&old, 0, &[]);
        blocks.hold(&new, 0);
        assert_eq!((blocks.known(&old), blocks.known(&new)), (2, 2));
        blocks.hold(&[], 1);
        // of the old text the end went first
        assert_eq!((blocks.known(&old), blocks.known(&new)), (1, 2));
        blocks.hold(&[], 1);
        assert_eq!((blocks.known(&old), blocks.known(&new)), (0, 2));
        assert!(!blocks.fits(&chain(3, 0..16), 0));
        assert!(blocks.fits(&new, 0));
        blocks.release(&new, 2, &chain(2, 0..48)[2..]);
        assert_eq!((blocks.used(), blocks.known(&chain(2, 0..48))), (0, 3));
        blocks.forget();
        assert_eq!(blocks.known(&new), 0);
    }
}

//! server: being built.

fn main() {}

//! provider: being built.

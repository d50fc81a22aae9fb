//! gateway: being built.

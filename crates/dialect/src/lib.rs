//! dialect: being built.

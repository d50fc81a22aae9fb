//! The command line as a person or a script uses it: the built binary, in an empty environment and an empty folder.

mod process;

mod configuration;
mod demo;
mod doctor;
mod pages;
mod serving;
mod torture;

//! JSON looked at without being decoded: the scanner against serde_json, bodies, edits, replies in pieces, rerank.

mod body;
mod edit;
mod rerank;
mod scan;
mod texts;
mod top_level;

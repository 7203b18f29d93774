//! Guessing at passwords, and what is told of them.

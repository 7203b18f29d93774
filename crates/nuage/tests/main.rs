//! The program as a whole, from outside: each module is named after what it defends against.
//!
//! With `NUAGE_TEST_SERVER=http://127.0.0.1:8888` the histories run against a server that is
//! there already; with `NUAGE_TEST_FLAVOUR=kinto` they take it for the original.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod abuse;
mod collisions;
mod crash;
mod data_format;
mod disagreement;
mod explained;
mod failing_disk;
mod feed;
mod hostile_input;
mod kinto_protocol;
mod leaking_feeds;
mod lost_database;
mod lost_pages;
mod moves;
mod nested_groups;
mod older_forms;
mod one_judgement;
mod planted_damage;
mod programs;
mod rough_ends;
mod several_processes;
mod slow_clients;
mod stale_rights;
mod writers;
mod wrong_database;

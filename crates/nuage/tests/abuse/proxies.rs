//! What stands between clients and the server, and what it does to requests and answers.

mod answers;

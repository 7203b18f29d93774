//! Answers that would hold more than a server has, and work that walks everything.

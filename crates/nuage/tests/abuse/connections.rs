//! Connections, streams and bodies of people that nobody knows.

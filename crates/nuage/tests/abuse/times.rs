//! Times in the future, and what is told by times and tags.

//! Schemas that are small to send and large to compile.

//! Work that takes long, while others wait for short work.

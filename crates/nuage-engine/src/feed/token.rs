//! What a device brings back: where it is in a feed, sealed.

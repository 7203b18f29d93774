//! What the program does when it is called wrongly, or on a machine that is in a bad state.

//! Several processes serve one database, and each would like to believe that it is alone.

mod attempts;
mod kills;
mod laws;
mod load;
mod requests;
mod rights;
mod sites;
mod starts;
mod watches;

//! Who is asking: accounts, passwords, policies.

//! The verbs of Nuage: the only way to read, judge and change a record.

//! Full disks, files that vanish, damage and databases with few connections.

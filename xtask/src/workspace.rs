//! Where things lie in this repository.

use std::path::{Path, PathBuf};

/// The folder of the workspace manifest.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// What the conformance suites install and write: not committed, kept between runs.
pub(crate) fn scratch() -> PathBuf {
    target().join("conformance")
}

/// Cargo's folder of built files.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

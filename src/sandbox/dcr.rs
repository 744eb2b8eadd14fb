//! dcr

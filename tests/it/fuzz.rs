//! Properties of everything that meets outside bytes: no forgery gets in, nothing panics, nothing takes long, and no
//! outside text means anything where it is shown.

mod depth;
mod forgery;
mod payloads;
mod shown;
mod shown_elsewhere;

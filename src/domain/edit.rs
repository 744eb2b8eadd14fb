//! Edits to files: bytes in, bytes out, comments and order kept where the format has them.

use serde::{Deserialize, Serialize};

/// One edit of one file. `T` is a template before rendering and plain text after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit<T> {
    /// The file's path in the repository.
    pub path: T,
    /// What is done to it.
    pub action: EditAction<T>,
}

/// What an edit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EditAction<T> {
    /// The file's whole content, created if absent.
    Write {
        /// The content.
        content: T,
    },
    /// One value in a YAML, JSON or TOML file (by its ending), keeping everything else as it is.
    Set {
        /// JSON pointer (RFC 6901); missing objects on the way are created, missing array items are an error.
        pointer: T,
        /// The value, written as JSON (`3`, `"text"`, `{"a":1}`); text that is not JSON is taken as a string.
        value: T,
    },
    /// An XML element inserted once: nothing happens if an equal element is already there.
    InsertXml {
        /// The parent: element names from the root, `/project/modules`.
        parent: T,
        /// The element, as XML.
        element: T,
    },
    /// The file is removed; a file already absent is no change.
    Delete,
}

//! What stepherd says, before any platform's markup: blocks of spans. All text in it is plain: an adapter
//! escapes every `Text` and `Code` for its platform, so nothing outside input says can become markup, a mention
//! or a command.

use serde::{Deserialize, Serialize};

use super::ids::Percent;

/// A message in neutral form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Doc {
    /// Its blocks, top to bottom.
    pub blocks: Vec<Block>,
    /// Buttons under it, where the platform has buttons; elsewhere they are left out (the text names the command).
    pub buttons: Vec<Button>,
    /// The mood of the message, for platforms that colour (Discord embeds, Jira panels).
    pub tone: Tone,
}

impl Doc {
    /// One message that says all of this, in this order.
    pub fn joined(docs: Vec<Self>) -> Self {
        let mut joined = Self::default();
        for doc in docs {
            joined.blocks.extend(doc.blocks);
            joined.buttons.extend(doc.buttons);
        }
        joined
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// A heading line.
    Heading(Vec<Span>),
    /// A paragraph.
    Paragraph(Vec<Span>),
    /// A bar with its figure.
    Progress(Percent),
    /// Items, one a line.
    List(Vec<Vec<Span>>),
    /// Rows of label and value.
    Fields(Vec<(String, Vec<Span>)>),
    /// Verbatim text of outside origin (a failure reason), possibly several lines.
    Verbatim(String),
}

/// A run of text within a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// Plain text, possibly of outside origin.
    Text(String),
    /// Emphasised text, possibly of outside origin.
    Strong(String),
    /// Something to type or a name, possibly of outside origin.
    Code(String),
    /// A link. Adapters drop the link (not the label) unless the address is http or https.
    Link {
        /// What is shown.
        label: String,
        /// Where it leads.
        url: String,
    },
}

/// A button that invokes a command on one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What it says, at most 80 characters.
    pub label: String,
    /// The command it invokes, without the slash.
    pub command: String,
    /// The verb.
    pub verb: String,
    /// Arguments by name, opaque ids only: authority is checked again when it is pressed.
    pub args: Vec<(String, String)>,
}

/// The mood of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Tone {
    /// Nothing to worry about.
    #[default]
    Neutral,
    /// Under way.
    Busy,
    /// Done well.
    Good,
    /// Wants somebody's attention.
    Bad,
}

/// Shorthand for building docs.
impl Span {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
    /// Emphasised text.
    pub fn strong(text: impl Into<String>) -> Self {
        Self::Strong(text.into())
    }
    /// Something to type or a name.
    pub fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }
    /// A link.
    pub fn link(label: impl Into<String>, url: impl Into<String>) -> Self {
        Self::Link {
            label: label.into(),
            url: url.into(),
        }
    }
}

impl Doc {
    /// A single paragraph.
    pub fn paragraph(spans: Vec<Span>) -> Self {
        Self {
            blocks: vec![Block::Paragraph(spans)],
            ..Self::default()
        }
    }
}

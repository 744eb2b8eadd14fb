//! What a delivery says is read again on its platform before it is obeyed: it may be forged where its proof does not
//! cover the body, and what was true when it was sent may be so no longer.

use super::Engine;
use super::deliveries::Piece;
use super::intake::Wait;
use crate::adapters::MoveSeen;
use crate::domain::signal::TicketMoved;

impl Engine {
    /// Whether any command begins with this move.
    pub(super) fn triggers_on(&self, moved: &TicketMoved) -> bool {
        let mut triggers = self.catalog.commands.iter().flat_map(|command| &command.triggers);
        triggers.any(|trigger| trigger.on.means_ticket(&moved.ticket, &moved.to))
    }

    /// The move as the ticket's own record has it, if it stands. Not to know is no answer: then the delivery waits.
    pub(super) async fn move_stands(&self, told: &TicketMoved, delivery: &Piece) -> Result<MoveSeen, Wait> {
        let platform = told.thread.platform.as_str();
        let tracker = self.hands.tracker.as_ref();
        let Some(tracker) = tracker.filter(|tracker| tracker.platform() == told.thread.platform) else {
            return Ok(MoveSeen::Not(format!("{platform} cannot be asked about tickets")));
        };
        // Whatever goes wrong, the move may stand.
        let seen = self.ask_outside(platform, delivery, tracker.move_stands(told)).await?;
        seen.map_err(|why| Wait::Later { why, after: None })
    }
}

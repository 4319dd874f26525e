//! The names of wanted files, `protocol-notes/02-command-line.md#options-for-the-list`.

use std::sync::mpsc;

use super::outbox::Outbox;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::wire::negotiated::NamesFraming;

/// How much of them is sent at once.
const PIECE: usize = 32 * 1024;

/// An outbox that is lent until all names are sent.
pub(super) struct Sending(mpsc::Receiver<Result<Outbox>>);

/// Sends names, if there are to be any, on a thread of its own: the NAS lists files while it hears of them, and stops to listen
/// once nobody takes its list.
pub(super) fn send(mut outbox: Outbox, names: Option<Vec<Box<[u8]>>>, framing: NamesFraming) -> Result<Sending> {
    let (tell, told) = mpsc::channel();
    // Whoever waits no more has ended for another reason.
    let Some(names) = names else {
        let _ = tell.send(Ok(outbox));
        return Ok(Sending(told));
    };
    blocking::start(move || {
        let sent = put(&mut outbox, names, framing).map(|()| outbox);
        let _ = tell.send(sent);
    })?;
    Ok(Sending(told))
}

fn put(outbox: &mut Outbox, names: Vec<Box<[u8]>>, framing: NamesFraming) -> Result<()> {
    let mut piece = Vec::new();
    for name in names {
        piece.extend(name.iter().copied().chain([0]));
        if piece.len() >= PIECE {
            put_piece(outbox, std::mem::take(&mut piece), framing)?;
        }
    }
    // An empty one ends them.
    piece.push(0);
    put_piece(outbox, piece, framing)
}

fn put_piece(outbox: &mut Outbox, piece: Vec<u8>, framing: NamesFraming) -> Result<()> {
    match framing {
        NamesFraming::Data => outbox.frame().extend(piece),
        NamesFraming::Raw => outbox.unframed(piece)?,
    }
    outbox.flush()
}

impl Sending {
    /// Waits for the end.
    pub fn finish(self) -> Result<Outbox> {
        self.0.recv().map_err(|_| NasSyncError::new(ErrorKind::Internal, "the names were not sent"))?
    }
}

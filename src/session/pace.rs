//! Keeps what is sent below a rate.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::blocking;
use crate::rate::Rate;

/// In how many pieces a second is sent.
const PIECES: u64 = 8;
/// A frame's header and some data.
const LEAST_PIECE: usize = 512;

/// Lets through so many bytes in a second, of all the sessions that share it.
#[derive(Debug)]
pub struct Pace {
    rate: Rate,
    /// When what was let through has been sent.
    free_at: Mutex<Instant>,
}

impl Pace {
    /// A pace that begins now.
    pub fn new(rate: Rate) -> Self {
        Self { rate, free_at: Mutex::new(Instant::now()) }
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many of these bytes are sent next, at once that they may be.
    pub(super) async fn next(&self, bytes: usize) -> usize {
        let most = usize::try_from(self.rate.bytes() / PIECES).unwrap_or(usize::MAX).max(LEAST_PIECE);
        let piece = bytes.min(most);
        let begins = self.reserve(piece, Instant::now());
        tokio::time::sleep_until(begins.into()).await;
        piece
    }

    /// When so many more bytes may be sent.
    fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let takes = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.rate.bytes());
        let mut free_at = blocking::lock(&self.free_at);
        let begins = (*free_at).max(now);
        *free_at = begins + takes;
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_by_all_stays_below_the_rate() {
        let pace = Pace::new(Rate::parse("1m").unwrap().unwrap());
        let began = *pace.free_at.lock().unwrap();
        let eighth = (1 << 20) / 8;
        let begins: Vec<Duration> = (0..9).map(|_| pace.reserve(eighth, began) - began).collect();
        assert_eq!(begins[0], Duration::ZERO);
        assert_eq!(begins[8], Duration::from_secs(1));
        let later = began + Duration::from_secs(10);
        assert_eq!(pace.reserve(eighth, later), later, "time that went by is not made up for");
    }

    #[tokio::test]
    async fn large_pieces_are_cut_and_small_ones_are_not() {
        let pace = Pace::new(Rate::parse("1").unwrap().unwrap());
        assert_eq!(pace.next(100).await, 100);
        assert_eq!(pace.next(100_000).await, LEAST_PIECE);
        let pace = Pace::new(Rate::parse("1m").unwrap().unwrap());
        assert_eq!(pace.next(1 << 20).await, (1 << 20) / 8);
    }
}

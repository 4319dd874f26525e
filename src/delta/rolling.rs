//! The weak sum of a window, and how it follows the window through the data.
//!
//! Bytes count as signed. `a` is their sum, `b` the sum of all values that `a` takes, both modulo 2^16; the sum on the
//! wire is `b << 16 | a`. It is cheap and easy to forge: it only ever says where a strong sum is worth computing.
//! See `protocol-notes/09-checksums.md`.

/// How many bytes [`weak_sum`] takes at a time: enough lanes to fill the vector units of current processors.
const LANES: usize = WIDTH as usize;
const WIDTH: u16 = 32;

/// The weak sum of a whole block.
pub fn weak_sum(data: &[u8]) -> u32 {
    let (chunks, tail) = data.as_chunks::<LANES>();
    let (a, b) = lane_sums(chunks);
    // b[lane] has counted each byte once per later chunk. Each chunk is WIDTH bytes wide, and within its own chunk a
    // byte counts once for itself and once for each byte after it.
    let mut sum_a = 0u16;
    let mut sum_b = 0u16;
    for (own, (a, b)) in OWN.into_iter().zip(a.into_iter().zip(b)) {
        sum_a = sum_a.wrapping_add(a);
        sum_b = sum_b.wrapping_add(b.wrapping_mul(WIDTH)).wrapping_add(a.wrapping_mul(own));
    }
    for &byte in tail {
        sum_a = sum_a.wrapping_add(signed(byte));
        sum_b = sum_b.wrapping_add(sum_a);
    }
    u32::from(sum_b) << 16 | u32::from(sum_a)
}

/// How often a byte counts in `b` within its own chunk, by lane.
const OWN: [u16; LANES] = {
    let mut own = [0; LANES];
    let mut times = WIDTH;
    while times > 0 {
        own[(WIDTH - times) as usize] = times;
        times -= 1;
    }
    own
};

/// Sums every LANES-th byte in a lane of its own: `a` of each lane, and the sum of the values that `a` had before each
/// chunk. No addition waits for its neighbour, and 16 bits suffice because only that much of the result is kept.
///
/// Never inlined: merged with the loops around it, the compiler takes the lanes apart and the whole runs at a tenth of
/// the speed.
#[inline(never)]
fn lane_sums(chunks: &[[u8; LANES]]) -> ([u16; LANES], [u16; LANES]) {
    let mut a = [0u16; LANES];
    let mut b = [0u16; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            b[lane] = b[lane].wrapping_add(a[lane]);
            a[lane] = a[lane].wrapping_add(signed(chunk[lane]));
        }
    }
    (a, b)
}

fn signed(byte: u8) -> u16 {
    i16::from(byte.cast_signed()).cast_unsigned()
}

fn signed_wide(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

/// The weak sum of a window that moves. The upper halves of `a` and `b` are rubbish that [`Rolling::value`] drops.
#[derive(Debug, Clone, Copy)]
pub struct Rolling {
    a: u32,
    b: u32,
    len: u32,
}

impl Rolling {
    /// The sum of `window`, which may be of any length; its length counts modulo 2^16.
    pub fn new(window: &[u8]) -> Self {
        let sum = weak_sum(window);
        #[expect(clippy::cast_possible_truncation, reason = "the length only ever takes part modulo 2^16")]
        let len = window.len() as u32;
        Self { a: sum & 0xffff, b: sum >> 16, len }
    }

    /// Moves the window one byte on: `leaving` was its first byte, `entering` is its new last one.
    #[inline]
    pub fn roll(&mut self, leaving: u8, entering: u8) {
        let leaving = signed_wide(leaving);
        self.a = self.a.wrapping_add(signed_wide(entering).wrapping_sub(leaving));
        self.b = self.b.wrapping_add(self.a.wrapping_sub(self.len.wrapping_mul(leaving)));
    }

    /// Takes the first byte away and adds none, as at the end of the data. The window must not be empty.
    pub fn shrink(&mut self, leaving: u8) {
        let leaving = signed_wide(leaving);
        self.a = self.a.wrapping_sub(leaving);
        self.b = self.b.wrapping_sub(self.len.wrapping_mul(leaving));
        self.len = self.len.wrapping_sub(1);
    }

    /// The sum as it travels.
    #[inline]
    pub fn value(self) -> u32 {
        self.b << 16 | self.a & 0xffff
    }

    /// Rolls over `leaving` and `entering`, which have equal lengths, until `stop` accepts a sum or they end. Returns
    /// how often it rolled and whether `stop` accepted the last sum.
    ///
    /// `stop` gets the unmasked halves `(a, b)`: only their lower 16 bits may decide.
    #[inline]
    pub(super) fn roll_until(
        &mut self,
        leaving: &[u8],
        entering: &[u8],
        stop: impl Fn(u32, u32) -> bool,
    ) -> (usize, bool) {
        // Most of the time of a search without matches is spent here. A copy keeps the sum in registers, and eight
        // bytes at a time let the bounds be checked once.
        let mut sum = *self;
        let mut rolled = 0;
        let mut stopped = false;
        let (leaving, leaving_tail) = leaving.as_chunks::<8>();
        let (entering, entering_tail) = entering.as_chunks::<8>();
        'data: for (leaving, entering) in leaving.iter().zip(entering) {
            for (step, (&leaving, &entering)) in (1..).zip(leaving.iter().zip(entering)) {
                sum.roll(leaving, entering);
                if stop(sum.a, sum.b) {
                    rolled += step;
                    stopped = true;
                    break 'data;
                }
            }
            rolled += 8;
        }
        if !stopped {
            for (&leaving, &entering) in leaving_tail.iter().zip(entering_tail) {
                sum.roll(leaving, entering);
                rolled += 1;
                if stop(sum.a, sum.b) {
                    stopped = true;
                    break;
                }
            }
        }
        *self = sum;
        (rolled, stopped)
    }
}

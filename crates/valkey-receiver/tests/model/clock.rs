//! When a step ran. Scripts read the server's clock, and the model has to be told what they read.
//!
//! Most scripts tell their clock in ms. Only the rate counts microseconds: those are tried until one fits, so that
//! nothing is compared with a tolerance. A script that does not tell ran between two looks at the clock.

/// A moment of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

/// What is known of when a step ran.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Told { ms: u64 },
    Between { before_ms: u64, after_ms: u64 },
}

impl Moment {
    pub(crate) const fn ms(self) -> u64 {
        self.0 / 1000
    }

    pub(crate) const fn us(self) -> u64 {
        self.0
    }
}

impl When {
    /// The moments it may have been. With a rate in force `paid_up_to_us` is what the claim left behind, less what it cost:
    /// most often the very moment of it.
    pub(crate) fn moments(self, rate: bool, paid_up_to_us: Option<f64>) -> Vec<Moment> {
        match self {
            Self::Told { ms } if rate => {
                let within = ms * 1000..(ms + 1) * 1000;
                let first = paid_up_to_us.map(|us| us as u64).filter(|us| within.contains(us));
                let around = first.into_iter().flat_map(|us| [us, us + 1, us - 1]);
                around.chain([within.start, within.end - 1]).chain(within).map(Moment).collect()
            }
            Self::Told { ms } => vec![Moment(ms * 1000)],
            Self::Between { before_ms, after_ms } => vec![Moment(before_ms * 1000), Moment(after_ms * 1000)],
        }
    }
}

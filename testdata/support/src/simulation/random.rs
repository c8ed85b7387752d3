//! Random numbers that are the same on every machine.
//!
//! xoshiro256++ (Blackman & Vigna 2019), seeded by SplitMix64. Each part of the simulation draws from a stream of its
//! own, so that a part that draws more than before changes no other.

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
    /// The second of a pair of normal numbers, until it is asked for.
    spare: Option<f64>,
}

impl Random {
    /// The stream called `stream` of the simulation with this seed.
    pub fn new(seed: u64, stream: &str) -> Self {
        let mut mixed = stream.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let state = [(); 4].map(|()| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let once = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let twice = (once ^ (once >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            twice ^ (twice >> 31)
        });
        Random { state, spare: None }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        out
    }

    /// Above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// From `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Normal with mean 0 and deviation 1 (Box & Muller 1958).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// Lognormal: half the numbers are below `median`; `sigma` is the deviation of the logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Exponential with this mean: the time until the next of events that know nothing of each other.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    /// Pareto: never below `least`, and twice as much with a probability of 2 to the power of `-alpha`.
    pub fn pareto(&mut self, least: f64, alpha: f64) -> f64 {
        least * self.uniform().powf(-1.0 / alpha)
    }

    /// Student's t with three degrees of freedom, scaled to a deviation of 1: the tails of measured noise.
    pub fn student(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        // The variance of t with three degrees of freedom is 3.
        self.normal() / (squares / 3.0).sqrt() / 3.0_f64.sqrt()
    }

    /// How many events happen where `mean` are expected.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 40.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut count, mut product, limit) = (0.0, self.uniform(), (-mean).exp());
        while product > limit {
            count += 1.0;
            product *= self.uniform();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(draw: impl Fn(&mut Random) -> f64, mean: f64, deviation: f64) {
        let mut random = Random::new(1, "test");
        let drawn: Vec<f64> = (0..40_000).map(|_| draw(&mut random)).collect();
        let found = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let spread = (drawn.iter().map(|x| (x - found).powi(2)).sum::<f64>() / drawn.len() as f64).sqrt();
        assert!((found - mean).abs() < 0.03 * deviation.max(mean), "mean {found}, expected {mean}");
        assert!((spread / deviation - 1.0).abs() < 0.1, "deviation {spread}, expected {deviation}");
    }

    #[test]
    fn numbers_have_the_mean_and_deviation_they_should() {
        check(Random::normal, 0.0, 1.0);
        check(|random| random.poisson(3.0), 3.0, 3.0_f64.sqrt());
        check(|random| random.poisson(400.0), 400.0, 20.0);
        check(|random| random.exponential(5.0), 5.0, 5.0);
        check(|random| random.between(2.0, 4.0), 3.0, 2.0 / 12.0_f64.sqrt());
    }

    #[test]
    fn streams_differ_and_repeat() {
        let drawn = |seed, stream: &str| Random::new(seed, stream).next();
        assert_eq!(drawn(1, "peers"), drawn(1, "peers"));
        assert_ne!(drawn(1, "peers"), drawn(2, "peers"));
        assert_ne!(drawn(1, "peers"), drawn(1, "blocks"));
    }
}

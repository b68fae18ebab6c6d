//! Random choices that repeat: labelled draws and counter-based streams.
//!
//! In → (seed, label, what the draw is about); out → numbers. A draw is a hash, so it depends on
//! nothing but its arguments: not on threads, order or how often it was asked. A [`Stream`] is the
//! same with a counter as the last argument (the idea of Salmon et al., "Parallel random numbers:
//! as easy as 1, 2, 3", 2011, with XXH3 for Philox). `normal` uses a software `libm`, so it has the
//! same bits on every machine. Cost: some 5 ns a draw.

use super::hash::xxh3_64_with_seed;

/// One draw: XXH3-64, under `seed`, of the label and the parts, each behind its length.
pub fn hash(seed: u64, label: &str, parts: &[&[u8]]) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    xxh3_64_with_seed(&bytes, seed)
}

/// A sequence of draws under one label.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    counter: u64,
}

impl Stream {
    /// The stream of (seed, label); two labels give unrelated streams.
    pub fn new(seed: u64, label: &str) -> Stream {
        Stream { key: hash(seed, label, &[]), counter: 0 }
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let bits = xxh3_64_with_seed(&self.counter.to_le_bytes(), self.key);
        self.counter += 1;
        bits
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller's transform (one of the pair is used).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_fixed_for_ever() {
        assert_eq!(hash(0, "mix", &[b"wiki", b"7"]), hash(0, "mix", &[b"wiki", b"7"]));
        assert_ne!(hash(0, "mix", &[b"wiki", b"7"]), hash(0, "mix", &[b"wiki7", b""]));
        let mut stream = Stream::new(1, "init");
        let first = [stream.next_u64(), stream.next_u64()];
        assert_eq!(first, FIRST);
    }

    const FIRST: [u64; 2] = [4234293965608218725, 4305611292768100666];

    #[test]
    fn normal_draws_have_the_moments_of_a_normal() {
        let mut stream = Stream::new(7, "moments");
        let draws: Vec<f64> = (0..200_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }
}

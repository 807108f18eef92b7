//! A record key in, its partition out, as Java clients compute it.
//!
//! - Equal to `org.apache.kafka.common.utils.Utils.murmur2` and the default partitioner of Java clients, so
//!   that Kafka Streams, ksql and our workers agree where a symbol lives. (`agrees_with_java_clients`)

/// The partition of `key` among `partitions` by Java's rule: `(murmur2(key) & 0x7fffffff) % partitions`.
///
/// `partitions` must be greater than 0.
pub fn key_hash_partition(key: &[u8], partitions: i32) -> i32 {
    debug_assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

/// MurmurHash2 with Kafka's seed, 32 bits.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_java_clients() {
        assert_eq!(murmur2(b"kafka"), 0xd067_cf64);
        assert_eq!(murmur2(b""), 0x106e_08d9);
        for (key, masked, by_2, by_3, by_6) in [
            ("tBTCUSD", 494_409_329, 1, 2, 5),
            ("tETHUSD", 433_279_500, 0, 0, 0),
            ("tXRPUSD", 830_173_136, 0, 2, 2),
            ("tSOLUSD", 1_206_179_316, 0, 0, 0),
            ("Panes", 1_556_733_207, 1, 0, 3),
            ("Bollos", 1_721_712_584, 0, 2, 2),
        ] {
            assert_eq!(murmur2(key.as_bytes()) & 0x7fff_ffff, masked, "{key}");
            let partitions = [2, 3, 6].map(|n| key_hash_partition(key.as_bytes(), n));
            assert_eq!(partitions, [by_2, by_3, by_6], "{key}");
        }
    }
}

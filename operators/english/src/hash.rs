//! Hashes that turn strings into numbers and numbers into rows of embedding tables.

/// MurmurHash64A.
pub(crate) fn murmur64a(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut h = seed ^ (data.len() as u64).wrapping_mul(M);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = (h ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h ^= h >> R;
    h = h.wrapping_mul(M);
    h ^ (h >> R)
}

/// MurmurHash3_x64_128 of the eight bytes of an id, as four keys.
pub(crate) fn embedding_keys(id: u64, seed: u64) -> [u32; 4] {
    fn mix(mut x: u64) -> u64 {
        x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        x ^ (x >> 33)
    }
    let k = id
        .wrapping_mul(0x87c3_7b91_1142_53d5)
        .rotate_left(31)
        .wrapping_mul(0x4cf5_ad43_2745_937f);
    // The length of the key, 8, is mixed into both halves.
    let (mut a, mut b) = (seed ^ k ^ 8, seed ^ 8);
    a = a.wrapping_add(b);
    b = b.wrapping_add(a);
    (a, b) = (mix(a), mix(b));
    a = a.wrapping_add(b);
    b = b.wrapping_add(a);
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_the_ids_of_spacy() {
        for (text, id) in [
            ("a", 11_901_859_001_352_538_922),
            ("hello", 5_983_625_672_228_268_878),
            ("Apple", 6_418_411_030_699_964_375),
            ("naïve", 16_224_804_062_388_677_344),
            ("北京", 11_804_760_672_128_813_659),
            ("0123456789abcdef!", 5_986_858_842_146_537_614),
        ] {
            assert_eq!(murmur64a(text.as_bytes(), 1), id, "{text}");
        }
    }

    #[test]
    fn ids_have_the_rows_of_spacy() {
        let apple = murmur64a(b"apple", 1);
        let keys = embedding_keys(apple, 8);
        assert_eq!(keys, [0x9e2e_98ee, 0xe9d1_9360, 0xed45_e565, 0xdeba_5d10]);
        assert_eq!(keys.map(|k| k % 5000), [3934, 1080, 901, 472]);
        assert_eq!(embedding_keys(1, 12).map(|k| k % 50), [6, 13, 20, 22]);
        let shape = embedding_keys(101, 11).map(|k| k % 2500);
        assert_eq!(shape, [730, 2338, 1936, 2202]);
    }
}

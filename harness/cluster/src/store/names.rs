//! Random names and uids.

use rand::Rng as _;

/// Letters and digits which spell no words and which nobody confuses.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
pub(super) const SUFFIX_LENGTH: usize = 5;

/// A random (version 4) UUID.
pub(crate) fn random_uid() -> String {
    let bits: u128 = rand::rng().random();
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// What makes a name of a prefix.
pub(super) fn random_suffix() -> String {
    let mut random = rand::rng();
    (0..SUFFIX_LENGTH)
        .map(|_| char::from(SUFFIX_ALPHABET[random.random_range(0..SUFFIX_ALPHABET.len())]))
        .collect()
}

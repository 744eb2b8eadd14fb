//! Keyed digests over raw bytes, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Whether `hex` is the HMAC-SHA256 of `body` under one of the secrets. Empty secrets never match, and anything
/// but 64 hexadecimal digits is no digest.
pub fn hmac_sha256_matches(secrets: &[SecretString], body: &[u8], hex: &str) -> bool {
    let mut claimed = [0_u8; 32];
    if hex::decode_to_slice(hex, &mut claimed).is_err() {
        return false;
    }
    // Every secret is tried, so that the time taken does not tell which one matched.
    secrets
        .iter()
        .filter(|secret| !secret.expose_secret().is_empty())
        .fold(false, |found, secret| {
            let matches = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
                .is_ok_and(|mac| mac.chain_update(body).verify_slice(&claimed).is_ok());
            found | matches
        })
}

/// The HMAC-SHA256 of `body` under the secret, as lower-case hexadecimal digits.
pub fn hmac_sha256_hex(secret: &SecretString, body: &[u8]) -> String {
    Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .map(|mac| hex::encode(mac.chain_update(body).finalize().into_bytes()))
        // HMAC takes keys of any length, so this does not happen; an empty digest never matches.
        .unwrap_or_default()
}

/// Whether two texts are equal, in time that depends on their lengths only. An empty secret never matches.
pub fn same_secret(secret: &SecretString, claimed: &str) -> bool {
    let secret = secret.expose_secret().as_bytes();
    !secret.is_empty() && bool::from(secret.ct_eq(claimed.as_bytes()))
}

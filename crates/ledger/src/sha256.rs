//! SHA-256 of what the tree takes in.
//!
//! aws-lc has it in assembly: where the processor has no instruction for SHA-256 it takes half the time of one in Rust.
//! A verifier in a browser has only the one in Rust. The auditor has one of its own either way, see `audit::tree`.

/// SHA-256(prefix ‖ bytes).
#[cfg(not(target_family = "wasm"))]
pub(crate) fn prefixed(prefix: u8, bytes: &[u8]) -> [u8; 32] {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    context.update(&[prefix]);
    context.update(bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// SHA-256(prefix ‖ bytes).
#[cfg(target_family = "wasm")]
pub(crate) fn prefixed(prefix: u8, bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::new().chain_update([prefix]).chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn it_is_the_same_as_in_rust() {
        let bytes: Vec<u8> = (0..400_u32).map(|number| (number * 7 % 251) as u8).collect();
        for length in 0..bytes.len() {
            let wanted: [u8; 32] = Sha256::new().chain_update([1]).chain_update(&bytes[..length]).finalize().into();
            assert_eq!(prefixed(1, &bytes[..length]), wanted, "{length}");
        }
    }
}

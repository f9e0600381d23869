//! The factory through which contracts are created: the deterministic deployment proxy that stands at one address on nearly
//! every EVM chain (and on every anvil). What it creates has an address that follows from the code, the constructor's
//! arguments and a salt alone. So a deployment that was cut short is taken up by looking, whoever lands on an address has the
//! code that belongs there, and the same plan gives the same addresses on every chain.

use ethers_core::utils::get_create2_address;
use manifests::order::{Address, Hash};

use crate::call::Payload;
use crate::convert::{address, h160};

/// Where it stands.
pub(super) const FACTORY: Address = Address([
    0x4e, 0x59, 0xb4, 0x48, 0x47, 0xb3, 0x79, 0x57, 0x85, 0x88, 0x92, 0x0c, 0xa7, 0x8f, 0xbf, 0x26, 0xc0,
    0xb4, 0x95, 0x6c,
]);

/// Its code: take the salt from the call's first word, create what follows, answer with the address.
const CODE: &str = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f5\
                    8015156039578182fd5b8082525050506014600cf3";

/// Whether this is the factory's code.
pub(super) fn is_code(code: &[u8]) -> bool {
    hex::encode(code) == CODE
}

/// Where a contract with this creation code will be.
pub(super) fn place(salt: Hash, creation: &[u8]) -> Address {
    address(get_create2_address(h160(FACTORY), salt.0, creation))
}

/// The call that creates it.
pub(super) fn create(salt: Hash, creation: &[u8]) -> Payload {
    Payload { to: Some(FACTORY), data: [salt.0.as_slice(), creation].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_eip_1014() {
        // The proxy's own worked case: an empty creation code behind a zero salt, by the formula of EIP-1014.
        let by_hand = {
            let mut text = vec![0xff];
            text.extend(FACTORY.0);
            text.extend([0; 32]);
            text.extend(ethers_core::utils::keccak256([]));
            let hash = ethers_core::utils::keccak256(text);
            let mut bytes = [0; 20];
            bytes.copy_from_slice(&hash[12..]);
            Address(bytes)
        };
        assert_eq!(place(Hash::default(), &[]), by_hand);
        assert_ne!(place(Hash([1; 32]), &[]), by_hand);
        assert_eq!(FACTORY.to_string(), "0x4e59b44847b379578588920ca78fbf26c0b4956c");
    }
}

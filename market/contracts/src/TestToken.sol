// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title A dollar for test chains: six decimals, EIP-2612 permit (domain name "Berth Test Dollar", version "1")
/// @notice WARNING: anyone may mint. Never let it settle anything of value.
///
/// Deployed first, without arguments, and only where the chain has no settlement token of its own.
contract TestToken is ERC20, ERC20Permit {
    constructor() ERC20("Berth Test Dollar", "tUSD") ERC20Permit("Berth Test Dollar") {}

    /// @notice Makes `amount` units (10^-6) out of nothing for `to`.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice Six, like the dollar tokens this one stands for.
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}

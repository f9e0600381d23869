// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";

/// @notice A token that keeps one unit of every transfer for itself once it is told to.
contract SkimToken is TestToken {
    bool public skims;

    function skim() external {
        skims = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (skims && from != address(0) && to != address(0)) super._update(to, address(this), 1);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";

/// @notice A token whose issuer can refuse to serve an address.
contract ListToken is TestToken {
    mapping(address => bool) private refused;

    error Refused(address account);

    function refuse(address account) external {
        refused[account] = true;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!refused[from], Refused(from));
        require(!refused[to], Refused(to));
        super._update(from, to, value);
    }
}

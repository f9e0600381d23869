// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";

/// @notice A token that, once it is told to, moves nothing and says so by returning false, without an error.
contract MuteToken is TestToken {
    bool private mute;

    function fallMute() external {
        mute = true;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !mute && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !mute && super.transferFrom(from, to, value);
    }
}

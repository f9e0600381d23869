// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";

/// @notice A token that, in the middle of a transfer, calls back into whatever it was armed with, and lets the transfer
/// pass only if that call failed.
contract HookToken is TestToken {
    address private target;
    bytes private call;
    bytes public answer;

    error CameThrough();

    function arm(address target_, bytes calldata call_) external {
        (target, call) = (target_, call_);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target == address(0)) return;
        bool ok;
        (ok, answer) = target.call(call);
        require(!ok, CameThrough());
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice A wallet that is a contract: what it signed it knows by heart. It does whatever anybody asks of it.
contract Wallet is IERC1271 {
    mapping(bytes32 digest => bool) private _signed;

    function sign(bytes32 digest) external {
        _signed[digest] = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return _signed[digest] ? IERC1271.isValidSignature.selector : bytes4(0);
    }

    function call(address to, bytes calldata data) external returns (bytes memory answer) {
        bool ok;
        (ok, answer) = to.call(data);
        require(ok, "refused");
    }
}

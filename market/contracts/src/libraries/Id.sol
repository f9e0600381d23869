// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Names of accounts, groups, orders and leases
/// @notice One 256-bit word names everything: `tenant(160) | dseq(64) | gseq(16) | oseq(16)`. An account has gseq and
/// oseq zero; a lease has the id of its order. The tenant is part of the word, so a word can never belong to anybody
/// else, on whatever branch of the chain it is read.
library Id {
    /// @notice The escrow account of deployment `dseq` of `owner`.
    function ofAccount(address owner, uint64 dseq) internal pure returns (bytes32) {
        return bytes32((uint256(uint160(owner)) << 96) | (uint256(dseq) << 32));
    }

    /// @notice Who posted what the word names.
    function tenant(bytes32 id) internal pure returns (address) {
        return address(uint160(uint256(id) >> 96));
    }

    /// @notice The account that pays for what the word names.
    function account(bytes32 id) internal pure returns (bytes32) {
        return bytes32((uint256(id) >> 32) << 32);
    }

    /// @notice The group within the deployment, from 1.
    function gseq(bytes32 id) internal pure returns (uint16) {
        // forge-lint: disable-next-line(unsafe-typecast) the cast takes the two bytes that are meant
        return uint16(uint256(id) >> 16);
    }

    /// @notice The order within the group, from 1.
    function oseq(bytes32 id) internal pure returns (uint16) {
        // forge-lint: disable-next-line(unsafe-typecast) the cast takes the two bytes that are meant
        return uint16(uint256(id));
    }
}

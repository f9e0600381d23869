// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Where the Market keeps what
/// @notice The slots that `IMarket.extsload` is asked for. storage/Market.txt is what the compiler says of them, and
/// every view of MarketLens is a test of these numbers.
library Slots {
    uint256 private constant DEPLOYMENTS = 2;
    uint256 private constant ORDERS = 3;
    uint256 private constant BIDS = 4;
    uint256 private constant NONCES = 5;
    /// @notice `fees 128 | dust 128`.
    bytes32 internal constant KEPT = bytes32(uint256(6));
    /// @notice IMarket.Rules: `pausedUntil 40 | pauseSpent 8 | feeBps 16 | minRunway 32 | bondSecs 24 | minOrderDuration 32 |
    /// maxOrderDuration 32`.
    bytes32 internal constant RULES = bytes32(uint256(7));

    /// @notice An Account; the digest of its manifest is in the next slot.
    function deployment(bytes32 accountId) internal pure returns (bytes32) {
        return keccak256(abi.encode(accountId, DEPLOYMENTS));
    }

    /// @notice An Order or Lease; its spec's hash and its Award are in the next slots.
    function order(bytes32 orderId) internal pure returns (bytes32) {
        return keccak256(abi.encode(orderId, ORDERS));
    }

    /// @notice A Bid.
    function bid(bytes32 orderId, address provider) internal pure returns (bytes32) {
        return keccak256(abi.encode(provider, keccak256(abi.encode(orderId, BIDS))));
    }

    /// @notice A nonce's bit in its word.
    function bit(uint256 nonce) internal pure returns (uint256) {
        // forge-lint: disable-next-line(incorrect-shift) one, moved to its place
        return 1 << (nonce & 0xff);
    }

    /// @notice 256 nonces, a bit each.
    function nonces(address signer, uint256 word) internal pure returns (bytes32) {
        return keccak256(abi.encode(word, keccak256(abi.encode(signer, NONCES))));
    }

    /// @notice The slot `by` places after.
    function next(bytes32 slot, uint256 by) internal pure returns (bytes32) {
        return bytes32(uint256(slot) + by);
    }
}

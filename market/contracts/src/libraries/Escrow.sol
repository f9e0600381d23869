// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Accrual by the second
/// @notice One account pays many leases with one number: the sum of their rates. Nothing here loops, and nothing is
/// rounded except the second in which the money ends, which is rounded down. `bal` and rates are in token units × S;
/// S is the Market's `SCALE`.
library Escrow {
    /// @notice The account exists.
    uint8 internal constant EXISTS = 1;
    /// @notice The money ended at `settledAt`; all leases of the account ended with it, for good.
    uint8 internal constant DEPLETED = 2;
    /// @notice "Until for ever": the account pays nobody.
    uint40 internal constant FOREVER = type(uint40).max;

    /// @notice One storage slot.
    /// @param bal What is left at `settledAt`, scaled by S.
    /// @param settledAt The second up to which `bal` is reckoned.
    /// @param rateSum The sum of the rates of the live leases, scaled by S, per second.
    /// @param flags EXISTS, DEPLETED.
    struct Account {
        uint128 bal;
        uint40 settledAt;
        uint80 rateSum;
        uint8 flags;
    }

    function exists(Account memory a) internal pure returns (bool) {
        return a.flags & EXISTS != 0;
    }

    function depleted(Account memory a) internal pure returns (bool) {
        return a.flags & DEPLETED != 0;
    }

    /// @notice The last second that the account can pay. Once it is depleted this never moves again: without the flag
    /// the first close after depletion would lower `rateSum`, and the end would drift by `bal / rateSum`.
    function until(Account memory a) internal pure returns (uint40) {
        if (depleted(a)) return a.settledAt;
        if (a.rateSum == 0) return FOREVER;
        uint256 end = uint256(a.settledAt) + a.bal / a.rateSum;
        // forge-lint: disable-next-line(unsafe-typecast) below FOREVER, which is the largest uint40
        return end < FOREVER ? uint40(end) : FOREVER;
    }

    /// @notice Reckons the account, in memory, up to this block or up to the end of its money.
    function settle(Account memory a) internal view {
        if (depleted(a)) return;
        uint40 end = until(a);
        // forge-lint: disable-next-line(unsafe-typecast) block time needs 40 bits in the year 36,812
        uint40 t = uint40(block.timestamp);
        if (t >= end) {
            t = end;
            a.flags |= DEPLETED;
        }
        // t is at most settledAt + bal / rateSum, so the product is at most `bal`; block time never runs backwards.
        unchecked {
            a.bal -= uint128(a.rateSum) * (t - a.settledAt);
        }
        a.settledAt = t;
    }

    /// @notice What must stay in a settled account so that its leases run `runway` seconds; nothing once it is depleted.
    function floorOf(Account memory a, uint256 runway) internal pure returns (uint256) {
        return depleted(a) ? 0 : uint256(a.rateSum) * runway;
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @dev An account in one word: `bal 128 | settledAt 40 | rateSum 80 | flags 8`, from the lowest bit. `bal` is what is left
/// at `settledAt`, `rateSum` the sum of the rates of the live leases, per second; both in token units × S.
type Account is uint256;

using Escrow for Account global;

/// @title Accrual by the second
/// @notice One account pays many leases with one number: the sum of their rates. Nothing here loops, and nothing is
/// rounded except the second in which the money ends, which is rounded down. Balances and rates are in token units × S;
/// S is the Market's `SCALE`.
library Escrow {
    using SafeCast for uint256;

    /// @notice The account exists.
    uint256 private constant EXISTS = 1 << 248;
    /// @notice The money ended at `settledAt`; all leases of the account ended with it, for good.
    uint256 private constant DEPLETED = 2 << 248;
    /// @notice "Until for ever": the account pays nobody.
    uint40 private constant FOREVER = type(uint40).max;

    // forge-lint: disable-start(unsafe-typecast) the casts take the bits that are meant

    /// @notice A new account, empty.
    function open() internal view returns (Account) {
        return Account.wrap(EXISTS | (uint256(uint40(block.timestamp)) << 128));
    }

    function exists(Account a) internal pure returns (bool) {
        return Account.unwrap(a) != 0;
    }

    function depleted(Account a) internal pure returns (bool) {
        return Account.unwrap(a) & DEPLETED != 0;
    }

    function bal(Account a) internal pure returns (uint256) {
        return uint128(Account.unwrap(a));
    }

    function settledAt(Account a) internal pure returns (uint40) {
        return uint40(Account.unwrap(a) >> 128);
    }

    function rateSum(Account a) internal pure returns (uint80) {
        return uint80(Account.unwrap(a) >> 168);
    }

    function withBal(Account a, uint256 scaled) internal pure returns (Account) {
        return Account.wrap((Account.unwrap(a) >> 128 << 128) | scaled.toUint128());
    }

    function withRateSum(Account a, uint256 sum) internal pure returns (Account) {
        uint256 others = Account.unwrap(a) & ~(uint256(type(uint80).max) << 168);
        return Account.wrap(others | (uint256(sum.toUint80()) << 168));
    }

    /// @notice The last second that the account can pay. Once it is depleted this never moves again: without the flag
    /// the first close after depletion would lower `rateSum`, and the end would drift by `bal / rateSum`.
    function until(Account a) internal pure returns (uint40) {
        if (depleted(a)) return settledAt(a);
        uint256 sum = rateSum(a);
        if (sum == 0) return FOREVER;
        unchecked {
            uint256 end = settledAt(a) + bal(a) / sum;
            return end < FOREVER ? uint40(end) : FOREVER;
        }
    }

    /// @notice The account reckoned up to this block or up to the end of its money.
    function settle(Account a) internal view returns (Account) {
        if (depleted(a)) return a;
        uint256 t = uint40(block.timestamp);
        uint256 end = until(a);
        uint256 flags = Account.unwrap(a) >> 248 << 248;
        if (t >= end) {
            t = end;
            flags |= DEPLETED;
        }
        // t is at most settledAt + bal / rateSum, so the product is at most `bal`; block time never runs backwards.
        unchecked {
            uint256 sum = rateSum(a);
            return Account.wrap(flags | (sum << 168) | (t << 128) | (bal(a) - sum * (t - settledAt(a))));
        }
    }

    // forge-lint: disable-end(unsafe-typecast)

    /// @notice What must stay in a settled account so that its leases run `runway` seconds; nothing once it is depleted.
    function floorOf(Account a, uint256 runway) internal pure returns (uint256) {
        return depleted(a) ? 0 : uint256(rateSum(a)) * runway;
    }

    /// @notice Whole token units that can leave a settled account above `floor`.
    function free(Account a, uint256 floor, uint256 scale) internal pure returns (uint256) {
        return bal(a) > floor ? (bal(a) - floor) / scale : 0;
    }
}

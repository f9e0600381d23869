// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";

/// @dev An order on the book: `state 8 | expiresAt 40 | maxRate 80 | minReclaim 32 | reqBits 95 | lowest 1`, from the
/// lowest bit.
type Order is uint256;
/// @dev What the word of an order becomes when it leaves the book: `state 8 | provider 160 | checkpoint 40 | endedAt 40 |
/// reason 8`. Without a lease, `provider` is zero.
type Lease is uint256;
/// @dev Of orders that are awarded only: `kind 8 | mode 8 | deadline 40 | best 160`; `best` has the lowest bid.
type Award is uint256;
/// @dev A bid: `rate 80 | expiresAt 40 | reclaim 32 | minBill 16 | feeBps 16 | startedAt 40 | state 8 | bondSecs 24`. A won
/// bid holds the terms of the lease, and `expiresAt` the deadline of the provider's notice.
type Bid is uint256;

using Book for Order global;
using Book for Lease global;
using Book for Award global;
using Book for Bid global;

/// @title Orders, bids and leases, one word each
/// @notice How they lie in the Market's storage, and what can be said of them by arithmetic alone. The Market writes the
/// words and MarketLens reads them; both say the same because both say it here. Words hold fields that fit, so they are
/// taken apart without checks; states are written from enums alone.
library Book {
    uint256 private constant LOWEST = 1 << 255;
    uint256 private constant BPS = 10_000;
    /// @notice A best bid is bettered by at least a hundredth of its rate.
    uint256 private constant STEP = 100;

    // forge-lint: disable-start(unsafe-typecast) the casts take the bits that are meant

    // --- orders ---

    function order(bool awarded, uint40 expiry, uint80 most, uint32 notice, uint96 bits)
        internal
        pure
        returns (Order)
    {
        return Order.wrap(
            uint256(IMarket.OrderState.Open) | (uint256(expiry) << 8) | (uint256(most) << 48)
                | (uint256(notice) << 128) | (uint256(bits) << 160) | (awarded ? LOWEST : 0)
        );
    }

    function state(Order o) internal pure returns (IMarket.OrderState now_) {
        assembly ("memory-safe") {
            now_ := and(o, 0xff)
        }
    }

    /// @notice Whether the lowest bid wins.
    function lowest(Order o) internal pure returns (bool) {
        return Order.unwrap(o) & LOWEST != 0;
    }

    function expiresAt(Order o) internal pure returns (uint40) {
        return uint40(Order.unwrap(o) >> 8);
    }

    function maxRate(Order o) internal pure returns (uint80) {
        return uint80(Order.unwrap(o) >> 48);
    }

    function minReclaim(Order o) internal pure returns (uint32) {
        return uint32(Order.unwrap(o) >> 128);
    }

    function reqBits(Order o) internal pure returns (uint96) {
        return uint96((Order.unwrap(o) & ~LOWEST) >> 160);
    }

    /// @notice The same word, read as what an order becomes.
    function asLease(Order o) internal pure returns (Lease) {
        return Lease.wrap(Order.unwrap(o));
    }

    /// @notice Whether time alone has taken an open order off the book. One that is awarded ends early when its deadline
    /// passes without a best bid, or when its best bid expires unawarded: then nothing more can become of it.
    /// @param due Its deadline; zero for an order that the tenant decides.
    /// @param bestExpiresAt Zero without a best bid.
    function expired(Order o, uint40 due, uint40 bestExpiresAt) internal view returns (bool) {
        if (block.timestamp > expiresAt(o)) return true;
        return due != 0 && block.timestamp > due && block.timestamp > bestExpiresAt;
    }

    // --- leases ---

    function lease(IMarket.OrderState now_, address holder, uint40 paidTo, uint40 end, uint8 why)
        internal
        pure
        returns (Lease)
    {
        return Lease.wrap(
            uint256(now_) | (uint256(uint160(holder)) << 8) | (uint256(paidTo) << 168) | (uint256(end) << 208)
                | (uint256(why) << 248)
        );
    }

    function state(Lease l) internal pure returns (IMarket.OrderState now_) {
        assembly ("memory-safe") {
            now_ := and(l, 0xff)
        }
    }

    function provider(Lease l) internal pure returns (address) {
        return address(uint160(Lease.unwrap(l) >> 8));
    }

    function checkpoint(Lease l) internal pure returns (uint40) {
        return uint40(Lease.unwrap(l) >> 168);
    }

    function endedAt(Lease l) internal pure returns (uint40) {
        return uint40(Lease.unwrap(l) >> 208);
    }

    function reason(Lease l) internal pure returns (uint8) {
        return uint8(Lease.unwrap(l) >> 248);
    }

    function withCheckpoint(Lease l, uint40 paidTo) internal pure returns (Lease) {
        return Lease.wrap((Lease.unwrap(l) & ~(uint256(type(uint40).max) << 168)) | (uint256(paidTo) << 168));
    }

    /// @notice The second up to which a lease has earned by now, of an account whose money ends at `until`.
    function billableUntil(Lease l, uint40 until) internal view returns (uint40) {
        if (state(l) == IMarket.OrderState.Closed) return endedAt(l);
        return block.timestamp < until ? uint40(block.timestamp) : until;
    }

    // --- awards ---

    function award(uint8 what, uint8 how, uint40 due) internal pure returns (Award) {
        return Award.wrap(uint256(what) | (uint256(how) << 8) | (uint256(due) << 16));
    }

    function kind(Award w) internal pure returns (uint8) {
        return uint8(Award.unwrap(w));
    }

    function mode(Award w) internal pure returns (uint8) {
        return uint8(Award.unwrap(w) >> 8);
    }

    function deadline(Award w) internal pure returns (uint40) {
        return uint40(Award.unwrap(w) >> 16);
    }

    function best(Award w) internal pure returns (address) {
        return address(uint160(Award.unwrap(w) >> 56));
    }

    function withBest(Award w, address holder) internal pure returns (Award) {
        return Award.wrap(uint256(uint56(Award.unwrap(w))) | (uint256(uint160(holder)) << 56));
    }

    // --- bids ---

    function bid(uint80 rate_, uint40 expiry, uint32 notice, uint16 least, uint24 bondSecs_)
        internal
        pure
        returns (Bid)
    {
        return Bid.wrap(
            uint256(rate_) | (uint256(expiry) << 80) | (uint256(notice) << 120) | (uint256(least) << 152)
                | (uint256(IMarket.BidState.Open) << 224) | (uint256(bondSecs_) << 232)
        );
    }

    /// @notice The bid as the terms of a lease.
    function won(Bid b, uint40 start, uint16 fee, uint24 bondSecs_) internal pure returns (Bid) {
        uint256 kept = Bid.unwrap(b) & (uint256(type(uint80).max) | (uint256(type(uint48).max) << 120));
        return Bid.wrap(
            kept | (uint256(fee) << 168) | (uint256(start) << 184) | (uint256(IMarket.BidState.Won) << 224)
                | (uint256(bondSecs_) << 232)
        );
    }

    function withdrawn(Bid b) internal pure returns (Bid) {
        return Bid.wrap(
            (Bid.unwrap(b) & ~(uint256(type(uint8).max) << 224))
                | (uint256(IMarket.BidState.Withdrawn) << 224)
        );
    }

    function withExpiresAt(Bid b, uint40 expiry) internal pure returns (Bid) {
        return Bid.wrap((Bid.unwrap(b) & ~(uint256(type(uint40).max) << 80)) | (uint256(expiry) << 80));
    }

    function rate(Bid b) internal pure returns (uint80) {
        return uint80(Bid.unwrap(b));
    }

    function expiresAt(Bid b) internal pure returns (uint40) {
        return uint40(Bid.unwrap(b) >> 80);
    }

    function reclaim(Bid b) internal pure returns (uint32) {
        return uint32(Bid.unwrap(b) >> 120);
    }

    function minBill(Bid b) internal pure returns (uint16) {
        return uint16(Bid.unwrap(b) >> 152);
    }

    function feeBps(Bid b) internal pure returns (uint16) {
        return uint16(Bid.unwrap(b) >> 168);
    }

    function startedAt(Bid b) internal pure returns (uint40) {
        return uint40(Bid.unwrap(b) >> 184);
    }

    function state(Bid b) internal pure returns (IMarket.BidState now_) {
        assembly ("memory-safe") {
            now_ := and(shr(224, b), 0xff)
        }
    }

    function bondSecs(Bid b) internal pure returns (uint24) {
        return uint24(Bid.unwrap(b) >> 232);
    }

    /// @notice The most that a bid may ask to take the place of this one as the best.
    function bettering(Bid b) internal pure returns (uint80) {
        return uint80(uint256(rate(b)) * (STEP - 1) / STEP);
    }

    // forge-lint: disable-end(unsafe-typecast)

    // --- money ---

    /// @notice keccak256(abi.encode(rate, reclaim, minBill, expiresAt)): what a tenant accepts.
    function termsHash(uint80 rate_, uint32 notice, uint16 least, uint40 expiry)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(rate_, notice, least, expiry));
    }

    /// @notice Token units of stake that secure a lease, rounded up.
    function bondOf(uint80 rate_, uint24 secs, uint256 scale) internal pure returns (uint256) {
        // A rate has 80 bits and these seconds have 24.
        unchecked {
            return (uint256(rate_) * secs + scale - 1) / scale;
        }
    }

    /// @notice What of `scaled` (a rate times seconds) goes to the provider and to the treasury, in whole units.
    function split(uint256 scaled, uint16 bps, uint256 scale)
        internal
        pure
        returns (uint256 net, uint256 fee)
    {
        // A rate has 80 bits and seconds have 40, and the fee is at most a tenth of it.
        unchecked {
            uint256 gross = scaled / scale;
            fee = gross * bps / BPS;
            net = gross - fee;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "./IMarket.sol";

/// @title What the Market's storage means now
/// @notice Read-only, without storage and without rights: it can be replaced by another at any time. All states are
/// derived, as of the block in which they are read: an order past its time is Expired, a lease whose account ran dry is
/// Depleted, a bid that was passed over is Lost, although no transaction said so. Units, ids and times are IMarket's.
///
/// Deployed last: `MarketLens(IMarket market)`.
interface IMarketLens {
    /// @notice Where an account stands.
    enum AccountState {
        /// Never opened.
        None,
        /// Takes deposits and pays leases.
        Open,
        /// The money ended while leases ran. Final.
        Depleted
    }

    /// @param state Open or Depleted; None if the account never was.
    /// @param tenant Who may spend and take back.
    /// @param manifestHash Digest of the manifest that may run.
    /// @param rateSum Sum of the rates of the live leases.
    /// @param settledAt Second up to which storage is reckoned; for a depleted account the second its money ended.
    /// @param fundedUntil Second in which the money ends; type(uint40).max while no lease is live.
    /// @param balance Whole token units that leases have not earned by now.
    /// @param balanceScaled The same, scaled, to the last part.
    /// @param refundable Whole token units that `refund` would pay now.
    struct AccountView {
        AccountState state;
        address tenant;
        bytes32 manifestHash;
        uint80 rateSum;
        uint40 settledAt;
        uint40 fundedUntil;
        uint256 balance;
        uint256 balanceScaled;
        uint256 refundable;
    }

    /// @notice `maxRate`, `expiresAt`, `minReclaim` and `reqBits` are zero once the order left the book: the log has them.
    /// @param mode 0: the tenant decides. 1: the lowest bid by `deadline` wins.
    /// @param best Mode 1: who has, or had at the end, the lowest bid; zero while nobody bid.
    /// @param bestRate Its rate.
    struct OrderView {
        IMarket.OrderState state;
        address tenant;
        bytes32 specHash;
        uint80 maxRate;
        uint40 expiresAt;
        uint32 minReclaim;
        uint96 reqBits;
        uint8 kind;
        uint8 mode;
        uint40 deadline;
        address best;
        uint80 bestRate;
    }

    /// @param expiresAt Until when it can be accepted. Of a won bid: the deadline of the notice, or 0.
    /// @param eligible The bid is Open, and its provider is active with the stake that a lease would lock now (for a best
    /// bid, which has locked it: always).
    struct BidView {
        IMarket.BidState state;
        uint80 rate;
        uint40 expiresAt;
        uint32 reclaim;
        uint16 minBill;
        bool eligible;
    }

    /// @param state Active, Reclaiming, Depleted or Closed; None if the order has no lease.
    /// @param checkpoint Second up to which the provider was paid; a close before the minimum bill sets it back by the
    /// seconds that were missing.
    /// @param billableUntil Second up to which the lease has earned by now.
    /// @param fundedUntil Second in which the account ends, or in which the lease ended.
    /// @param endedAt Zero while the lease is live in storage.
    /// @param reclaimDeadline From when the provider may leave; 0 if no notice was given.
    /// @param bond Token units of the provider's stake that the lease locks, or locked.
    struct LeaseView {
        IMarket.OrderState state;
        address tenant;
        address provider;
        uint80 rate;
        uint40 startedAt;
        uint40 checkpoint;
        uint40 billableUntil;
        uint40 fundedUntil;
        uint40 endedAt;
        uint8 reason;
        uint32 reclaim;
        uint40 reclaimDeadline;
        uint16 minBill;
        uint16 feeBps;
        uint256 bond;
    }

    /// @notice What a lease has earned and not been paid.
    /// @param net Token units that `withdraw` would pay to the payout address now.
    /// @param fee Token units that it would keep for the treasury.
    /// @param scaled What the lease has earned since `checkpoint`, scaled: rate × seconds.
    /// @param upTo The second up to which this is.
    struct AccruedView {
        uint256 net;
        uint256 fee;
        uint256 scaled;
        uint40 upTo;
    }

    /// @notice More than 100 ids, or lists of different lengths.
    error CapExceeded();

    /// @notice The Market that is read.
    function market() external view returns (IMarket);

    /// @notice The account as of now; state None for an unknown id.
    function account(bytes32 accountId) external view returns (AccountView memory);
    /// @notice The order as of now; state None for an unknown id.
    function order(bytes32 orderId) external view returns (OrderView memory);
    /// @notice The provider's bid as of now; state None if there is none.
    function bid(bytes32 orderId, address provider) external view returns (BidView memory);
    /// @notice The lease as of now; state None if the order never had one.
    function lease(bytes32 orderId) external view returns (LeaseView memory);
    /// @notice What the lease has earned and not been paid, as of now; zeros if the order never had one.
    function accrued(bytes32 orderId) external view returns (AccruedView memory);

    /// @notice What this Market goes by now: the numbers of Params that it has taken over, and its pause.
    function rules() external view returns (IMarket.Rules memory);
    /// @notice What belongs to no account and no lease: `fees` token units for the treasury, and `dustScaled`, what all
    /// payouts together lost to rounding, scaled.
    function kept() external view returns (uint256 fees, uint256 dustScaled);
    /// @notice Whether `signer` can still use a nonce.
    function nonceIsFree(address signer, uint256 nonce) external view returns (bool);

    /// @notice Many at once, at most 100, in the order that was asked. Reverts: CapExceeded.
    function accounts(bytes32[] calldata accountIds) external view returns (AccountView[] memory);
    /// @notice Many at once, at most 100. Reverts: CapExceeded.
    function orders(bytes32[] calldata orderIds) external view returns (OrderView[] memory);
    /// @notice Many at once, at most 100: of each order the bid of the provider at the same place. Reverts: CapExceeded.
    function bids(bytes32[] calldata orderIds, address[] calldata providers)
        external
        view
        returns (BidView[] memory);
    /// @notice Many at once, at most 100. Reverts: CapExceeded.
    function leases(bytes32[] calldata orderIds) external view returns (LeaseView[] memory);
    /// @notice Many at once, at most 100. Reverts: CapExceeded.
    function accruals(bytes32[] calldata orderIds) external view returns (AccruedView[] memory);

    /// @notice What `acceptBid` takes: keccak256(abi.encode(rate, reclaim, minBill, expiresAt)), each as a 32-byte word.
    function termsHashOf(uint80 rate, uint32 reclaim, uint16 minBill, uint40 expiresAt)
        external
        pure
        returns (bytes32);
}

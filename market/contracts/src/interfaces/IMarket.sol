// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The order book and its escrow
/// @notice A tenant opens a deployment with one escrow account, posts one order per group, and accepts one bid per
/// order; the lease that results is paid by the second out of the account until somebody closes it or the money ends.
///
/// Deployed last: `Market(IERC20 token, IProviderRegistry registry, IParams params)`; then the registry's deployer calls
/// `registry.setMarket(market)` once. The order of deployment is TestToken (where needed), Params, ProviderRegistry,
/// Market, setMarket.
///
/// Units. Money is in token units (10^-6 of a token of six decimals). A rate is token units × SCALE per second in 80
/// bits, SCALE being 10^9; amounts called "scaled" are token units × SCALE. Times are unix seconds of block time.
///
/// Ids. `tenant(160) | dseq(64) | gseq(16) | oseq(16)`: an account has gseq and oseq zero, orders count from 1. A lease
/// has the id of its order.
///
/// Rounding. Money that leaves is rounded down to whole units, fees as well. What a payout loses by it (less than one
/// unit) stays here for good; `kept` shows the sum. So, scaled and to the last part:
/// deposits + penalties = refunds + net + fees + dust + balances of accounts + what leases have earned and not withdrawn,
/// and without tokens sent here by mistake that is also what the token says this contract has.
///
/// States. All views return derived states, as of the block they are called in: an order past its time is Expired and a
/// lease whose account ran dry is Depleted although no transaction said so. `WrongState` carries the same numbers.
///
/// WARNING. Depletion is final and hits all leases of an account in the same second: a top-up must be mined before
/// `fundedUntil`. Whoever may end a lease can do so at any second; the clock of the chain is the only clock.
///
/// WARNING. A token that takes fees on transfer, rebases or calls hooks cannot be the token of a Market.
interface IMarket {
    /// @notice Where an order, and the lease that grew from it, stands. The first five are stored, the last two derived.
    enum OrderState {
        /// Never posted.
        None,
        /// On the book, bids are taken.
        Open,
        /// A lease runs.
        Active,
        /// A lease runs and its provider gave notice.
        Reclaiming,
        /// Closed without a lease, or the lease is over.
        Closed,
        /// Open in storage, but past `expiresAt`.
        Expired,
        /// Active or Reclaiming in storage, but the account ran dry; `finalize` is due.
        Depleted
    }

    /// @notice Where a bid stands. The first four are stored, the last two derived.
    enum BidState {
        /// Never placed.
        None,
        /// Can be accepted.
        Open,
        /// Became the lease.
        Won,
        /// Taken back; it may be placed again, on no worse terms.
        Withdrawn,
        /// The order went to another provider or was closed.
        Lost,
        /// The bid or its order is past its time.
        Expired
    }

    /// @notice Where an account stands.
    enum AccountState {
        /// Never opened.
        None,
        /// Takes deposits and pays leases.
        Open,
        /// The money ended while leases ran. Final.
        Depleted
    }

    /// @notice What a tenant asks for, beside the spec.
    /// @param resourceClass keccak256 of a class string such as `cpu` or `gpu/nvidia/h100/80Gi`; only for filters.
    /// @param maxRate The most a bid may ask; not zero.
    /// @param expiresAt Bids are taken and accepted until this second, inclusive; within the durations of Params.
    /// @param minReclaim The least notice, in seconds, that bids must promise.
    /// @param reqBits Capability bits. This version knows none: anything but 0 is refused.
    /// @param kind 0 is a service. This version refuses all others.
    /// @param mode 0 is open bidding. This version refuses all others.
    /// @param deadline Time by which sealed or lowest-bid orders are awarded; 0 with mode 0.
    ///
    /// Kind, mode, deadline and capability bits are in the ABI and the events from the first version on, so that readers
    /// need not change when a later Market trades more.
    struct OrderTerms {
        bytes32 resourceClass;
        uint80 maxRate;
        uint40 expiresAt;
        uint32 minReclaim;
        uint96 reqBits;
        uint8 kind;
        uint8 mode;
        uint40 deadline;
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

    /// @notice The terms from `maxRate` on are zero once the order left the book: the log has them.
    struct OrderView {
        OrderState state;
        address tenant;
        bytes32 specHash;
        uint80 maxRate;
        uint40 expiresAt;
        uint32 minReclaim;
        uint96 reqBits;
    }

    /// @param expiresAt Until when it can be accepted. Of a won bid: the deadline of the notice, or 0.
    struct BidView {
        BidState state;
        uint80 rate;
        uint40 expiresAt;
        uint32 reclaim;
        uint16 minBill;
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
        OrderState state;
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

    /// @notice An account was opened, for a manifest with this digest.
    event DeploymentCreated(bytes32 indexed accountId, address indexed tenant, bytes32 manifestHash);
    /// @notice From now on only a manifest with this digest may run.
    event ManifestChanged(bytes32 indexed accountId, address indexed tenant, bytes32 manifestHash);
    /// @notice `spec` is whole here and nowhere else; storage keeps its hash.
    event OrderCreated(
        bytes32 indexed orderId,
        bytes32 indexed resourceClass,
        address indexed tenant,
        bytes32 specHash,
        uint80 maxRate,
        uint40 expiresAt,
        uint32 minReclaim,
        uint96 reqBits,
        uint8 kind,
        uint8 mode,
        uint40 deadline,
        bytes spec
    );
    /// @notice The order left the book without a lease. Reason 1: cancelled. 201: expired.
    event OrderClosed(bytes32 indexed orderId, address indexed tenant, uint8 reason);
    /// @notice A bid, or a better one in place of the provider's earlier bid.
    event BidPlaced(
        bytes32 indexed orderId,
        address indexed provider,
        uint80 rate,
        uint40 expiresAt,
        uint32 reclaim,
        uint16 minBill
    );
    /// @notice The bid can no longer be accepted.
    event BidWithdrawn(bytes32 indexed orderId, address indexed provider);
    /// @notice The lease is paid from `startedAt` on, until it is closed or the account ends; `fundedUntil` is that end as
    /// of now, FundsChanged tells how it moves.
    event LeaseCreated(
        bytes32 indexed orderId,
        address indexed provider,
        address indexed tenant,
        uint80 rate,
        uint40 startedAt,
        uint16 feeBps,
        uint40 fundedUntil
    );
    /// @notice The provider may leave without penalty from `deadline` on.
    event ReclaimStarted(
        bytes32 indexed orderId,
        address indexed provider,
        address indexed tenant,
        uint40 deadline,
        uint8 reason
    );
    /// @notice A lease ended at `endedAt`, which for reason 200 lies in the past. `penalty` token units moved beside
    /// what the seconds earned: reasons 100 to 149, from the provider's stake into the account (left without notice);
    /// reasons 1 to 99, from the account to what the provider can withdraw (closed before the minimum bill).
    event LeaseClosed(
        bytes32 indexed orderId,
        address indexed provider,
        address indexed tenant,
        uint8 reason,
        uint40 endedAt,
        uint256 penalty
    );
    /// @notice `net` token units went to the payout address, `fee` stayed for the treasury. `upTo` is the second up to
    /// which the lease is now paid.
    event Withdrawn(bytes32 indexed orderId, address indexed provider, uint256 net, uint256 fee, uint40 upTo);
    /// @notice `delta` token units came in (deposit, penalty) or went out (refund). With delta 0, another lease of the
    /// account began or ended and moved `fundedUntil`.
    event FundsChanged(bytes32 indexed accountId, address indexed by, int256 delta, uint40 fundedUntil);
    /// @notice Fees went to the treasury.
    event FeesCollected(address indexed treasury, uint256 amount);

    /// @notice The caller is not the tenant that the id names.
    error NotTenant();
    /// @notice The caller is not the operator key of a provider (or, closing a lease, not its owner either).
    error NotOperator();
    /// @notice No such account.
    error UnknownId();
    /// @notice The id was used before. Ids are never free again.
    error IdTaken();
    /// @notice Groups count from 1; `createOrder` makes order 1 of a group, `reorder` the following ones.
    error InvalidId();
    /// @notice The order or lease is in another state; `have` is an OrderState.
    error WrongState(uint8 have);
    /// @notice The order, or the bid that was placed, is past its time.
    error Expired();
    /// @notice The order's spec is another one; `have` is its hash.
    error SpecMismatch(bytes32 have);
    /// @notice Above the order's maxRate or, bidding again, above the earlier bid.
    error RateTooHigh(uint80 max);
    /// @notice A rate, asked or offered, is not zero.
    error RateZero();
    /// @notice The bid's terms are not the ones accepted; `have` is its rate now.
    error RateChanged(uint80 have);
    /// @notice Below the order's minReclaim or, bidding again, below the earlier bid.
    error ReclaimTooShort();
    /// @notice Above one hour or, bidding again, above the earlier bid.
    error MinBillTooLong(uint16 max);
    /// @notice No such bid, or it was withdrawn, or it expired.
    error BidNotOpen();
    /// @notice The provider is retired.
    error ProviderInactive();
    /// @notice Tenant and provider are the same.
    error SelfDealing();
    /// @notice The account has, or would keep, `have` token units above what is earned; `need` are needed for
    /// Params.minRunway seconds of its leases.
    error RunwayTooShort(uint256 have, uint256 need);
    /// @notice The account's money ended at `endedAt`, and with it all its leases, for good.
    error AccountDepleted(uint40 endedAt);
    /// @notice Zero, or the token moved another amount than asked.
    error AmountMismatch();
    /// @notice `expiresAt` is too near or too far, by Params.
    error DurationOutOfBounds();
    /// @notice The notice runs until `deadline`; 0: none was given.
    error ReclaimNotElapsed(uint40 deadline);
    /// @notice The spec is empty or above 8192 bytes, or more than 100 ids were given.
    error CapExceeded();
    /// @notice A tenant's reasons are 1 to 99, a provider's 100 to 149.
    error ReasonOutOfRange(uint8 reason);
    /// @notice This version trades services only (kind 0).
    error UnsupportedKind(uint8 kind);
    /// @notice This version takes open bids only (mode 0, deadline 0).
    error UnsupportedMode(uint8 mode, uint40 deadline);
    /// @notice This version knows no capability bits.
    error UnsupportedCapabilities(uint96 bits);
    /// @notice The contracts given to the constructor do not fit together.
    error BadSetup();

    // --- tenant ---

    /// @notice Opens account `tenant | dseq` of the caller. `dseq` is any number the caller never used.
    /// Reverts: IdTaken.
    function createDeployment(uint64 dseq, bytes32 manifestHash) external returns (bytes32 accountId);

    /// @notice Binds another manifest. Providers run nothing else from the block of this on.
    /// Reverts: UnknownId, NotTenant.
    function updateManifest(bytes32 accountId, bytes32 manifestHash) external;

    /// @notice Posts order 1 of a group. The account must hold Params.minRunway seconds of `maxRate` beside its leases,
    /// so deposit first. `spec` is the group spec without prices, as JSON with sorted keys, at most 8192 bytes; the
    /// order's specHash is its keccak256. With a spec of 384 bytes this costs about 95,000 gas, and 25 more for every
    /// further byte.
    /// Reverts: NotTenant, InvalidId, UnknownId, IdTaken, UnsupportedKind, UnsupportedMode, UnsupportedCapabilities,
    /// RateZero, DurationOutOfBounds, CapExceeded, AccountDepleted, RunwayTooShort.
    function createOrder(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec) external;

    /// @notice Posts the order after `prevOrderId` in the same group: same spec, new terms. The earlier order must be
    /// Closed or Expired (it is then closed with reason 201). The spec is given again, because the log is where
    /// providers read it. Reverts: WrongState, SpecMismatch, IdTaken, and all that createOrder reverts with.
    function reorder(bytes32 prevOrderId, OrderTerms calldata terms, bytes calldata spec)
        external
        returns (bytes32 orderId);

    /// @notice Takes an order without lease off the book. Reverts: NotTenant, WrongState.
    function cancelOrder(bytes32 orderId) external;

    /// @notice Makes the bid of `provider` a lease that is paid from this second on. `termsHash` is what the tenant saw,
    /// see `termsHashOf`: a bid that changed since then is not accepted. The provider's bond is locked.
    /// Reverts: NotTenant, WrongState, Expired, BidNotOpen, RateChanged, AccountDepleted, RunwayTooShort, and from the
    /// registry ProviderInactive, StakeTooLow.
    function acceptBid(bytes32 orderId, address provider, bytes32 termsHash) external;

    /// @notice Pays `amount` token units to the tenant; type(uint256).max takes all that can be taken and does nothing
    /// if that is nothing. While leases run, Params.minRunway seconds of them stay; without, and after depletion,
    /// everything down to less than one unit can be taken. Open orders do not hold money back.
    /// Reverts: UnknownId, NotTenant, RunwayTooShort.
    function refund(bytes32 accountId, uint256 amount) external returns (uint256 paid);

    // --- provider's operator key ---

    /// @notice Bids, or betters the earlier bid on the same order (withdrawn and expired ones count): rate and minimum
    /// bill may only fall, the promised notice may only grow, `expiresAt` is free. `specHash` is that of the order
    /// that was priced. `reclaim` is the notice in seconds promised before leaving; `minBill` the seconds, at most 3600,
    /// that are paid even if the tenant leaves earlier.
    /// Reverts: NotOperator, ProviderInactive, SelfDealing, WrongState, Expired, SpecMismatch, RateZero, RateTooHigh,
    /// ReclaimTooShort, MinBillTooLong.
    function placeBid(
        bytes32 orderId,
        bytes32 specHash,
        uint80 rate,
        uint40 expiresAt,
        uint32 reclaim,
        uint16 minBill
    ) external;

    /// @notice Takes a bid back that has not won. Reverts: NotOperator, BidNotOpen.
    function withdrawBid(bytes32 orderId) external;

    /// @notice Gives notice: from the deadline on, the lease can be closed without penalty. Operator or owner.
    /// Reverts: WrongState, NotOperator, ReasonOutOfRange.
    function startReclaim(bytes32 orderId, uint8 reason) external;

    // --- tenant, or provider's operator or owner key ---

    /// @notice Ends a lease in this second. The tenant gives a reason from 1 to 99 (1: unspecified), the provider one
    /// from 100 to 149 (100 unspecified, 101 unstable, 102 decommission, 103 manifest timeout, 104 notice elapsed).
    /// No money leaves the contract to either side, so neither can block it; what was earned stays withdrawable.
    ///
    /// A tenant that closes before the minimum bill (and was given no notice) leaves the missing seconds in the
    /// provider's earnings, as far as the account goes. A provider that promised notice and leaves before it has passed
    /// forfeits rate × notice, at most its bond, to the account. If the account ran dry before, this does what
    /// `finalize` does, and the reason is 200.
    /// Reverts: WrongState, NotOperator, ReasonOutOfRange, ReclaimNotElapsed (reason 104 only).
    function closeLease(bytes32 orderId, uint8 reason) external;

    // --- anyone ---

    /// @notice Adds `amount` of the caller's tokens to an account; refunds go to the tenant alone. Must be mined before
    /// the account ends. Reverts: UnknownId, AccountDepleted, AmountMismatch.
    function deposit(bytes32 accountId, uint256 amount) external;

    /// @notice `deposit` with the caller's EIP-2612 permit for exactly `amount`. If the permit was used already by
    /// somebody who saw it under way, the allowance it gave serves.
    function depositWithPermit(
        bytes32 accountId,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Closes an order past its time, reason 201. Reverts: WrongState.
    function expireOrder(bytes32 orderId) external;

    /// @notice Closes a lease whose account ran dry, reason 200, ended in the second the money ended, and frees the
    /// bond. Reverts: WrongState.
    function finalize(bytes32 orderId) external;

    /// @notice Pays what the leases (at most 100) have earned to the payout addresses of their providers. A lease that
    /// has earned less than one unit is passed over without a word. Every payout loses less than one unit to rounding;
    /// who calls often gains nothing. Reverts: WrongState (no lease), CapExceeded.
    function withdraw(bytes32[] calldata orderIds) external;

    /// @notice Pays the fees taken so far to the treasury of Params.
    function collectFees() external returns (uint256 amount);

    // --- views ---

    /// @notice The token that all amounts are in.
    function token() external view returns (address);
    /// @notice Where providers are registered.
    function registry() external view returns (address);
    /// @notice Where the numbers are.
    function params() external view returns (address);
    /// @notice Parts of a token unit in which rates and balances count: 10^9 for a token of up to nine decimals.
    function SCALE() external view returns (uint256);

    /// @notice The account as of now; state None for an unknown id.
    function account(bytes32 accountId) external view returns (AccountView memory);
    /// @notice The order as of now; state None for an unknown id.
    function order(bytes32 orderId) external view returns (OrderView memory);
    /// @notice The provider's bid as of now; state None if there is none.
    function bid(bytes32 orderId, address provider) external view returns (BidView memory);
    /// @notice The lease as of now; state None if the order never had one.
    function lease(bytes32 orderId) external view returns (LeaseView memory);

    /// @notice What `withdraw` would pay for one lease now.
    /// @return net Token units to the payout address.
    /// @return fee Token units to the treasury.
    /// @return scaled What the lease has earned since `checkpoint`, scaled: rate × seconds.
    /// @return upTo The second up to which this is.
    function accrued(bytes32 orderId)
        external
        view
        returns (uint256 net, uint256 fee, uint256 scaled, uint40 upTo);

    /// @notice What belongs to no account and no lease: `fees` token units for the treasury, and `dustScaled`, what all
    /// payouts together lost to rounding, scaled.
    function kept() external view returns (uint256 fees, uint256 dustScaled);

    /// @notice keccak256(abi.encode(rate, reclaim, minBill, expiresAt)), each as a 32-byte word.
    function termsHashOf(uint80 rate, uint32 reclaim, uint16 minBill, uint40 expiresAt)
        external
        pure
        returns (bytes32);
}

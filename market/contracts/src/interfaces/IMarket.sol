// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The order book and its escrow
/// @notice A tenant opens a deployment with one escrow account, posts one order per group, and accepts one bid per
/// order; the lease that results is paid by the second out of the account until somebody closes it or the money ends.
///
/// Deployed after them: `Market(IERC20 token, IParams params)`, whose constructor creates its ProviderRegistry, so that the
/// two know each other from their first block on. The order of deployment is TestToken (where needed), Params, Market,
/// MarketLens.
///
/// Units. Money is in token units (10^-6 of a token of six decimals). A rate is token units × SCALE per second in 80
/// bits, SCALE being 10^9; amounts called "scaled" are token units × SCALE. Times are unix seconds of block time.
///
/// Ids. `tenant(160) | dseq(64) | gseq(16) | oseq(16)`: an account has gseq and oseq zero, orders count from 1. A lease
/// has the id of its order.
///
/// Rounding. Money that leaves is rounded down to whole units, fees as well. What a payout loses by it (less than one
/// unit) stays here for good; `IMarketLens.kept` shows the sum. So, scaled and to the last part:
/// deposits + penalties = refunds + net + fees + dust + balances of accounts + what leases have earned and not withdrawn,
/// and without tokens sent here by mistake that is also what the token says this contract has.
///
/// States. Some follow from time alone: an order past its time is Expired and a lease whose account ran dry is Depleted,
/// although no transaction said so. `WrongState` carries these numbers, and IMarketLens is where they are read. The words
/// that this contract returns are storage as it is: without the lens a reader would have to know the rules again.
///
/// Ways to a lease. An order of mode 0 is decided by its tenant, who accepts a bid or a signed quote. An order of mode 1
/// is decided by price: the best bid so far is kept, with its bond locked, and after the deadline anyone awards it.
///
/// Signatures. Quotes, and what tenants leave to relayers, are EIP-712 typed data in the domain
/// ("Berth Market", "1", chain id, this contract). Nonces are unordered: nonce n is bit n mod 256 of word n / 256 of its
/// signer. Contracts sign by ERC-1271. Relayers can choose nothing but whether and when.
///
/// Stopping. The guardian of Params can stop, for seven days, what begins something new: deployments, orders, bids, accepts
/// and awards. It can do so once, until the owner of Params rearms it. The owner can also end all that for good, when a
/// later version takes over. Neither can stop or redirect what ends something or pays: deposits, closes, notices,
/// cancellations, withdrawals and refunds go on as ever.
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
        /// The order went to another provider or was closed, or a bid on an order of mode 1 was bettered.
        Lost,
        /// The bid or its order is past its time.
        Expired
    }

    /// @notice What a tenant asks for, beside the spec.
    /// @param resourceClass keccak256 of a class string such as `cpu` or `gpu/nvidia/h100/80Gi`; only for filters.
    /// @param maxRate The most a bid may ask; not zero.
    /// @param expiresAt Bids are taken and accepted until this second, inclusive; within the durations of Params.
    /// @param minReclaim The least notice, in seconds, that bids must promise.
    /// @param reqBits Capability bits (0 to 94) that a provider must claim in the registry to bid. Who vouches for the
    /// claim is for the tenant to ask.
    /// @param kind 0 is a service. This version refuses all others, which are for work that is paid otherwise.
    /// @param mode 0: the tenant accepts a bid or a quote. 1: the lowest bid wins, and anyone may award it. Others are
    /// refused.
    /// @param deadline Mode 1: bids are taken until this second, inclusive, and awarded after it; in the future, and at
    /// least five minutes before `expiresAt`. Mode 0: zero.
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

    /// @notice What this Market goes by, in one slot: the numbers of Params as of the last `syncParams`, and the pause.
    /// @param pausedUntil Nothing new begins before this second; type(uint40).max: never again.
    /// @param pauseSpent Whether the guardian must be rearmed to pause.
    struct Rules {
        uint40 pausedUntil;
        bool pauseSpent;
        uint16 feeBps;
        uint32 minRunway;
        uint24 bondSecs;
        uint32 minOrderDuration;
        uint32 maxOrderDuration;
    }

    /// @notice What belongs to no account and no lease, in one slot.
    /// @param fees Token units for the treasury.
    /// @param dust What all payouts together lost to rounding, scaled.
    struct Kept {
        uint128 fees;
        uint128 dust;
    }

    /// @notice The arguments of one `placeBid`.
    struct BidRequest {
        bytes32 orderId;
        address provider;
        bytes32 specHash;
        uint80 rate;
        uint40 expiresAt;
        uint32 reclaim;
        uint16 minBill;
    }

    /// @notice A bid that only the tenant sees, signed by the provider's operator key. It is good for one lease, because
    /// an order is; until `expiresAt` it is the tenant's to take or leave, so quotes are made for a minute or two. Its
    /// signer takes it back by `invalidateNonces`; one nonce may stand on many quotes that are taken back together.
    struct Quote {
        bytes32 orderId;
        bytes32 specHash;
        address provider;
        uint80 rate;
        uint40 expiresAt;
        uint32 reclaim;
        uint16 minBill;
        uint256 nonce;
    }

    /// @notice A tenant's order for a relayer to post. What is signed has `bytes32 specHash`, of the spec that is given
    /// beside it, after `terms`.
    /// @param orderId Order 1 of a group, or the one after an order that is over.
    /// @param manifestHash If the deployment does not exist yet it is created, for a manifest with this digest.
    /// @param deposit Token units to move from the tenant into the account first, by allowance; zero for none. A token's
    /// permit gives that allowance without the tenant sending anything.
    /// @param nonce One of the tenant's.
    /// @param validUntil Last second in which it can be posted.
    struct OrderRequest {
        bytes32 orderId;
        bytes32 manifestHash;
        OrderTerms terms;
        uint256 deposit;
        uint256 nonce;
        uint40 validUntil;
    }

    /// @notice A tenant's choice for a relayer to send: `acceptBid` bound to the order's spec.
    struct Accept {
        bytes32 orderId;
        address provider;
        bytes32 termsHash;
        bytes32 specHash;
        uint256 nonce;
        uint40 validUntil;
    }

    /// @notice A tenant's `closeLease` for a relayer to send.
    struct Close {
        bytes32 orderId;
        uint8 reason;
        uint256 nonce;
        uint40 validUntil;
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
    /// @notice A bid, or a better one in place of the provider's earlier bid. On an order of mode 1 it is the best so far.
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
    /// @notice One bid of a batch was not placed; `reason` is the error that `placeBid` reverted with.
    event BidRefused(bytes32 indexed orderId, address indexed operator, bytes reason);
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
    /// @notice This Market goes by these numbers of Params from now on.
    event ParamsSynced(
        uint16 feeBps, uint32 minRunway, uint24 bondSecs, uint32 minOrderDuration, uint32 maxOrderDuration
    );
    /// @notice The nonces of `signer` whose bits are set in `used` are used: the whole word as it stands now.
    event NoncesInvalidated(address indexed signer, uint256 word, uint256 used);
    /// @notice Nothing new begins before `until`. Not later than this block: the pause was lifted. type(uint40).max: this
    /// Market ended for good, and only winds down.
    event PauseChanged(address indexed by, uint40 until);
    /// @notice The guardian may pause again.
    event PauseRearmed();

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
    /// @notice The order, the bid, the quote or the signed request is past its time.
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
    /// @notice An order's `expiresAt` is too near or too far, by Params; or its deadline is past, or less than five minutes
    /// before its expiry; or a bid on an order of mode 1 would expire less than five minutes after the deadline.
    error DurationOutOfBounds();
    /// @notice The notice runs until `deadline`; 0: none was given.
    error ReclaimNotElapsed(uint40 deadline);
    /// @notice The spec is empty or above 8192 bytes, or more than 100 ids were given.
    error CapExceeded();
    /// @notice A tenant's reasons are 1 to 99, a provider's 100 to 149.
    error ReasonOutOfRange(uint8 reason);
    /// @notice This version trades services only (kind 0).
    error UnsupportedKind(uint8 kind);
    /// @notice There is no such mode, or mode 0 was given a deadline.
    error UnsupportedMode(uint8 mode, uint40 deadline);
    /// @notice The order is of this mode: 0 is accepted by its tenant, 1 awarded by anyone.
    error WrongMode(uint8 mode);
    /// @notice The provider does not claim these capabilities, which the order asks for; or there are no such ones.
    error MissingCapabilities(uint256 missing);
    /// @notice The best bid of an order of mode 1 stays until it is bettered, awarded or expired with its order.
    error BidIsBest();
    /// @notice Bids are taken until `deadline`; the award comes after it.
    error AwardNotDue(uint40 deadline);
    /// @notice The signature is not of the key that should have signed, for exactly this, here.
    error BadSignature();
    /// @notice The nonce was used or invalidated.
    error NonceUsed();
    /// @notice Nothing new begins before `until`; type(uint40).max: never again in this Market.
    error Paused(uint40 until);
    /// @notice The guardian paused before, and the owner of Params did not rearm it.
    error PauseSpent();
    /// @notice The caller is not the owner of Params (or, for a pause, its guardian).
    error NotGovernor();
    /// @notice The contracts given to the constructor do not fit together.
    error BadSetup();

    // --- tenant ---

    /// @notice Opens account `tenant | dseq` of the caller. `dseq` is any number the caller never used.
    /// Reverts: Paused, IdTaken.
    function createDeployment(uint64 dseq, bytes32 manifestHash) external returns (bytes32 accountId);

    /// @notice Binds another manifest. Providers run nothing else from the block of this on.
    /// Reverts: UnknownId, NotTenant.
    function updateManifest(bytes32 accountId, bytes32 manifestHash) external;

    /// @notice Posts order 1 of a group. The account must hold Params.minRunway seconds of `maxRate` beside its leases,
    /// so deposit first. `spec` is the group spec without prices, as JSON with sorted keys, at most 8192 bytes; the
    /// order's specHash is its keccak256. With a spec of 384 bytes this costs about 95,000 gas, and 25 more for every
    /// further byte.
    /// Reverts: Paused, NotTenant, InvalidId, UnknownId, IdTaken, UnsupportedKind, UnsupportedMode, MissingCapabilities (bit 95),
    /// RateZero, DurationOutOfBounds, CapExceeded, AccountDepleted, RunwayTooShort.
    function createOrder(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec) external;

    /// @notice Posts the order after `prevOrderId` in the same group: same spec, new terms. The earlier order must be
    /// Closed or Expired (it is then closed with reason 201). The spec is given again, because the log is where
    /// providers read it. Reverts: WrongState, SpecMismatch, IdTaken, and all that createOrder reverts with.
    function reorder(bytes32 prevOrderId, OrderTerms calldata terms, bytes calldata spec)
        external
        returns (bytes32 orderId);

    /// @notice Takes an order without lease off the book, and frees the bond of a best bid. Reverts: NotTenant, WrongState.
    function cancelOrder(bytes32 orderId) external;

    /// @notice Makes the bid of `provider` a lease that is paid from this second on. `termsHash` is what the tenant saw,
    /// `IMarketLens.termsHashOf`: a bid that changed since then is not accepted. The provider's bond is locked.
    /// Reverts: Paused, NotTenant, WrongState, WrongMode, Expired, BidNotOpen, RateChanged, SelfDealing, AccountDepleted,
    /// RunwayTooShort, and from the registry ProviderInactive, StakeTooLow.
    function acceptBid(bytes32 orderId, address provider, bytes32 termsHash) external;

    /// @notice Makes a quote a lease, without a bid. `operator` is the key that signed it, which must bid for the quote's
    /// provider now. The quote stands under the order's limits like a first bid; an earlier bid of the provider is
    /// overwritten.
    /// Reverts: all that acceptBid reverts with but BidNotOpen and RateChanged, and SpecMismatch, NonceUsed, BadSignature,
    /// NotOperator, MissingCapabilities, RateZero, RateTooHigh, ReclaimTooShort, MinBillTooLong.
    function acceptQuote(Quote calldata quote, address operator, bytes calldata signature) external;

    /// @notice Pays `amount` token units to the tenant; type(uint256).max takes all that can be taken and does nothing
    /// if that is nothing. While leases run, Params.minRunway seconds of them stay; without, and after depletion,
    /// everything down to less than one unit can be taken. Open orders do not hold money back.
    /// Reverts: UnknownId, NotTenant, RunwayTooShort.
    function refund(bytes32 accountId, uint256 amount) external returns (uint256 paid);

    // --- tenant, by signature; sent by anyone ---

    /// @notice Posts an order that its tenant signed, as `createOrder` or `reorder` would; opens the deployment and moves the
    /// deposit first, as the request says.
    /// Reverts: Expired, NonceUsed, BadSignature, and all that these revert with but NotTenant.
    function createOrderFor(OrderRequest calldata request, bytes calldata spec, bytes calldata signature)
        external;

    /// @notice `acceptBid` for a tenant who signed it.
    /// Reverts: Expired, NonceUsed, BadSignature, SpecMismatch, and all that acceptBid reverts with but NotTenant.
    function acceptBidFor(Accept calldata request, bytes calldata signature) external;

    /// @notice `closeLease` for a tenant who signed it. Works while paused.
    /// Reverts: Expired, NonceUsed, BadSignature, WrongState, ReasonOutOfRange.
    function closeLeaseFor(Close calldata request, bytes calldata signature) external;

    /// @notice Uses up those nonces of the caller, 256 × `word` and on, whose bits are set in `mask`: what was signed with
    /// them can no longer be sent. Works while paused.
    function invalidateNonces(uint256 word, uint256 mask) external;

    // --- provider's operator key ---

    /// @notice Bids for `provider`, or betters its earlier bid on the same order (withdrawn and expired ones count): rate and minimum
    /// bill may only fall, the promised notice may only grow, `expiresAt` is free. `specHash` is that of the order
    /// that was priced, and held against the order with the first bid. `reclaim` is the notice in seconds promised before leaving; `minBill` the seconds, at most 3600,
    /// that are paid even if the tenant leaves earlier.
    ///
    /// On an order of mode 1 a bid must be the best when it is placed: at least a hundredth below the rate of the best so
    /// far (any less would be a war of dust, fought with the bidders' fees), so that of equal bids the first stays. Its
    /// bond is locked at once, and that of the bid it betters is freed. Its bidder may still lower it by any step, which
    /// frees a part of the bond, and cannot take it back. `expiresAt` is at least five minutes after the order's deadline.
    /// Reverts: Paused, NotOperator, ProviderInactive, SelfDealing, MissingCapabilities, WrongState, Expired, SpecMismatch,
    /// RateZero, RateTooHigh, ReclaimTooShort, MinBillTooLong, DurationOutOfBounds, and from the registry StakeTooLow.
    function placeBid(
        bytes32 orderId,
        address provider,
        bytes32 specHash,
        uint80 rate,
        uint40 expiresAt,
        uint32 reclaim,
        uint16 minBill
    ) external;

    /// @notice Places up to 100 bids, each as `placeBid` would or not at all: an order that was lost while the batch was
    /// under way (taken, closed, bid lower) is passed over with BidRefused and does not sink the other bids. Who wants all
    /// or none sends `placeBid`s through `multicall`. Returns how many were placed.
    /// Reverts: Paused, CapExceeded.
    function placeBids(BidRequest[] calldata bids) external returns (uint256 placed);

    /// @notice Takes a bid back that has not won. Reverts: NotOperator, BidNotOpen, BidIsBest.
    function withdrawBid(bytes32 orderId, address provider) external;

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

    /// @notice Makes the best bid of an order of mode 1 a lease, after the deadline and before bid or order expire. Nothing
    /// is asked of the winner any more: its bond is locked, and retired or not it is bound. Only the tenant's account can
    /// be in the way. Reverts: Paused, WrongState, WrongMode, AwardNotDue, BidNotOpen (nobody bid), Expired,
    /// AccountDepleted, RunwayTooShort.
    function award(bytes32 orderId) external;

    /// @notice Closes an order past its time, reason 201, and frees the bond of a best bid. An order of mode 1 is past its
    /// time also when its deadline passed without a bid, or its best bid expired unawarded. Reverts: WrongState.
    function expireOrder(bytes32 orderId) external;

    /// @notice Closes a lease whose account ran dry, reason 200, ended in the second the money ended, and frees the
    /// bond. Reverts: WrongState.
    function finalize(bytes32 orderId) external;

    /// @notice Pays what the leases (at most 100) have earned to the payout addresses of their providers. A lease that
    /// has earned less than one unit is passed over without a word. Every payout loses less than one unit to rounding;
    /// who calls often gains nothing. Reverts: WrongState (no lease), CapExceeded.
    function withdraw(bytes32[] calldata orderIds) external;

    /// @notice Takes over the numbers of Params, which rule here only from then on: every order, bid and lease reads them
    /// from the slot that also says whether the Market is paused, instead of from another contract. Who changes Params
    /// does this in the same transaction, or anybody after it.
    function syncParams() external;

    /// @notice Pays the fees taken so far to the treasury of Params.
    function collectFees() external returns (uint256 amount);

    // --- guardian and owner of Params ---

    /// @notice Stops what begins something new for seven days from now. The guardian can do this once, until the owner
    /// rearms it; the owner at any time. Reverts: NotGovernor, PauseSpent, Paused (ended for good).
    function pause() external;

    /// @notice Lifts a pause. Guardian or owner. Reverts: NotGovernor, Paused (ended for good).
    function unpause() external;

    /// @notice Lets the guardian pause once more. Owner only. Reverts: NotGovernor.
    function rearmPause() external;

    /// @notice Ends this Market for good: nothing new begins, everything that stands is wound down by those whose it is.
    /// Owner only. WARNING: nobody can undo this. Reverts: NotGovernor, Paused (ended before).
    function sunset() external;

    // --- views ---

    /// @notice The token that all amounts are in.
    function token() external view returns (address);
    /// @notice Where providers are registered.
    function registry() external view returns (address);
    /// @notice Where the numbers are.
    function params() external view returns (address);
    /// @notice Parts of a token unit in which rates and balances count: 10^9 for a token of up to nine decimals.
    function SCALE() external view returns (uint256);

    /// @notice What storage holds at `slot`; libraries/Slots.sol knows the slots, Book.sol and Escrow.sol the words.
    /// WARNING: raw, as of the last transaction, without what time alone has changed; read IMarketLens instead.
    function extsload(bytes32 slot) external view returns (bytes32);
}

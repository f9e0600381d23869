// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {Escrow} from "./libraries/Escrow.sol";
import {Id} from "./libraries/Id.sol";

/// @title The order book and its escrow. The manual is IMarket.
/// @notice Several calls can travel in one transaction through `multicall(bytes[])`: all happen or none does.
contract Market is IMarket, Multicall, ReentrancyGuardTransient {
    using Escrow for Escrow.Account;
    using Id for bytes32;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    uint256 private constant MAX_SPEC = 8192;
    uint256 private constant MAX_BATCH = 100;
    uint16 private constant MAX_MIN_BILL = 3600;
    uint256 private constant BPS = 10_000;

    uint8 private constant TENANT_CLOSED = 1;
    uint8 private constant LAST_TENANT_REASON = 99;
    uint8 private constant PROVIDER_CLOSED = 100;
    uint8 private constant RECLAIM_ELAPSED = 104;
    uint8 private constant LAST_PROVIDER_REASON = 149;
    uint8 private constant DEPLETED = 200;
    uint8 private constant EXPIRED = 201;

    /// Two slots.
    struct Deployment {
        Escrow.Account account;
        bytes32 manifestHash;
    }

    /// Slot A while the order is on the book, and slot B.
    struct Order {
        OrderState state;
        uint40 expiresAt;
        uint80 maxRate;
        uint32 minReclaim;
        uint96 reqBits;
        bytes32 specHash;
    }

    /// Slot A once the order left the book; without a lease, `provider` is zero.
    struct Lease {
        OrderState state;
        address provider;
        uint40 checkpoint;
        uint40 endedAt;
        uint8 reason;
    }

    /// One slot. A won bid holds the terms of the lease, and `expiresAt` the deadline of the provider's notice.
    struct Bid {
        uint80 rate;
        uint40 expiresAt;
        uint32 reclaim;
        uint16 minBill;
        uint16 feeBps;
        uint40 startedAt;
        BidState state;
        uint24 bondSecs;
    }

    /// One slot: fees in token units, and what payouts lost to rounding, scaled.
    struct Kept {
        uint128 fees;
        uint128 dust;
    }

    IERC20 private immutable _token;
    IProviderRegistry private immutable _registry;
    IParams private immutable _params;
    /// @inheritdoc IMarket
    uint256 public immutable SCALE;

    mapping(bytes32 accountId => Deployment) private _deployments;
    mapping(bytes32 orderId => Order) private _orders;
    mapping(bytes32 orderId => mapping(address provider => Bid)) private _bids;
    Kept private _kept;

    constructor(IERC20 token_, IProviderRegistry registry_, IParams params_) {
        uint8 decimals = IERC20Metadata(address(token_)).decimals();
        require(decimals <= 18 && registry_.token() == address(token_), BadSetup());
        require(address(params_).code.length != 0, BadSetup());
        _token = token_;
        _registry = registry_;
        _params = params_;
        SCALE = decimals <= 9 ? 1e9 : 1;
    }

    // --- tenant ---

    /// @inheritdoc IMarket
    function createDeployment(uint64 dseq, bytes32 manifestHash) external returns (bytes32 accountId) {
        accountId = Id.ofAccount(msg.sender, dseq);
        Deployment storage d = _deployments[accountId];
        require(!d.account.exists(), IdTaken());
        d.account = Escrow.Account({bal: 0, settledAt: _now(), rateSum: 0, flags: Escrow.EXISTS});
        d.manifestHash = manifestHash;
        emit DeploymentCreated(accountId, msg.sender, manifestHash);
    }

    /// @inheritdoc IMarket
    function updateManifest(bytes32 accountId, bytes32 manifestHash) external {
        Deployment storage d = _deployments[accountId];
        require(d.account.exists(), UnknownId());
        _onlyTenant(accountId);
        d.manifestHash = manifestHash;
        emit ManifestChanged(accountId, msg.sender, manifestHash);
    }

    /// @inheritdoc IMarket
    function createOrder(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec) external {
        require(orderId.gseq() != 0 && orderId.oseq() == 1, InvalidId());
        _post(orderId, terms, spec);
    }

    /// @inheritdoc IMarket
    function reorder(bytes32 prevOrderId, OrderTerms calldata terms, bytes calldata spec)
        external
        returns (bytes32 orderId)
    {
        _onlyTenant(prevOrderId);
        Order storage prev = _orders[prevOrderId];
        OrderState state = _stateOf(prevOrderId);
        if (state == OrderState.Expired) _closeOrder(prevOrderId, EXPIRED);
        else require(state == OrderState.Closed, WrongState(uint8(state)));
        require(prev.specHash == keccak256(spec), SpecMismatch(prev.specHash));
        require(prevOrderId.oseq() != type(uint16).max, InvalidId());
        orderId = bytes32(uint256(prevOrderId) + 1);
        _post(orderId, terms, spec);
    }

    /// @inheritdoc IMarket
    function cancelOrder(bytes32 orderId) external {
        _onlyTenant(orderId);
        OrderState state = _orders[orderId].state;
        require(state == OrderState.Open, WrongState(uint8(state)));
        _closeOrder(orderId, TENANT_CLOSED);
    }

    /// @inheritdoc IMarket
    function acceptBid(bytes32 orderId, address provider, bytes32 termsHash) external {
        _onlyTenant(orderId);
        Order storage o = _orders[orderId];
        require(o.state == OrderState.Open, WrongState(uint8(o.state)));
        require(block.timestamp <= o.expiresAt, Expired());
        Bid memory b = _bids[orderId][provider];
        require(b.state == BidState.Open && block.timestamp <= b.expiresAt, BidNotOpen());
        require(termsHash == termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt), RateChanged(b.rate));

        IParams.Values memory p = _params.values();
        bytes32 accountId = orderId.account();
        Escrow.Account memory a = _settled(accountId);
        bool shared = a.rateSum != 0;
        a.rateSum += b.rate;
        _requireRunway(a.bal, uint256(a.rateSum) * p.minRunway);
        _deployments[accountId].account = a;

        b.state = BidState.Won;
        b.expiresAt = 0;
        b.startedAt = _now();
        b.feeBps = p.feeBps;
        b.bondSecs = p.bondSecs;
        _bids[orderId][provider] = b;
        Lease storage l = _leaseSlot(orderId);
        l.state = OrderState.Active;
        l.provider = provider;
        l.checkpoint = b.startedAt;
        l.endedAt = 0;
        l.reason = 0;

        uint40 fundedUntil = a.until();
        emit LeaseCreated(orderId, provider, msg.sender, b.rate, b.startedAt, p.feeBps, fundedUntil);
        if (shared) emit FundsChanged(accountId, msg.sender, 0, fundedUntil);
        _registry.beginLease(provider, _bond(b));
    }

    /// @inheritdoc IMarket
    function refund(bytes32 accountId, uint256 amount) external nonReentrant returns (uint256 paid) {
        Escrow.Account memory a = _deployments[accountId].account;
        require(a.exists(), UnknownId());
        _onlyTenant(accountId);
        a.settle();
        uint256 floor = a.rateSum == 0 ? 0 : a.floorOf(_params.values().minRunway);
        uint256 most = _free(a, floor);
        paid = amount == type(uint256).max ? most : amount;
        if (paid > most) {
            uint256 have = a.bal / SCALE;
            revert RunwayTooShort(have > paid ? have - paid : 0, Math.ceilDiv(floor, SCALE));
        }
        if (paid == 0) return 0;

        a.bal -= (paid * SCALE).toUint128();
        _deployments[accountId].account = a;
        emit FundsChanged(accountId, msg.sender, -paid.toInt256(), a.until());
        _token.safeTransfer(msg.sender, paid);
    }

    // --- provider's operator key ---

    /// @inheritdoc IMarket
    function placeBid(
        bytes32 orderId,
        bytes32 specHash,
        uint80 rate,
        uint40 expiresAt,
        uint32 reclaim,
        uint16 minBill
    ) external {
        address provider = _bidder(orderId);
        Order storage o = _orders[orderId];
        require(o.state == OrderState.Open, WrongState(uint8(o.state)));
        require(block.timestamp <= o.expiresAt && block.timestamp <= expiresAt, Expired());
        require(specHash == o.specHash, SpecMismatch(o.specHash));

        Bid storage b = _bids[orderId][provider];
        (uint80 maxRate, uint32 minReclaim, uint16 maxMinBill) = b.state == BidState.None
            ? (o.maxRate, o.minReclaim, MAX_MIN_BILL)
            : (b.rate, b.reclaim, b.minBill);
        require(rate != 0, RateZero());
        require(rate <= maxRate, RateTooHigh(maxRate));
        require(reclaim >= minReclaim, ReclaimTooShort());
        require(minBill <= maxMinBill, MinBillTooLong(maxMinBill));

        b.rate = rate;
        b.expiresAt = expiresAt;
        b.reclaim = reclaim;
        b.minBill = minBill;
        b.state = BidState.Open;
        emit BidPlaced(orderId, provider, rate, expiresAt, reclaim, minBill);
    }

    /// @inheritdoc IMarket
    function withdrawBid(bytes32 orderId) external {
        (address provider,,) = _registry.bidderOf(msg.sender);
        require(provider != address(0), NotOperator());
        Bid storage b = _bids[orderId][provider];
        require(b.state == BidState.Open, BidNotOpen());
        b.state = BidState.Withdrawn;
        emit BidWithdrawn(orderId, provider);
    }

    /// @inheritdoc IMarket
    function startReclaim(bytes32 orderId, uint8 reason) external {
        OrderState state = _stateOf(orderId);
        require(state == OrderState.Active, WrongState(uint8(state)));
        Lease storage l = _leaseSlot(orderId);
        address provider = l.provider;
        _onlyProvider(provider);
        _requireReason(reason, PROVIDER_CLOSED, LAST_PROVIDER_REASON);

        Bid storage b = _bids[orderId][provider];
        uint40 deadline = _now() + b.reclaim;
        b.expiresAt = deadline;
        l.state = OrderState.Reclaiming;
        emit ReclaimStarted(orderId, provider, orderId.tenant(), deadline, reason);
    }

    // --- tenant, or provider's operator or owner key ---

    /// @inheritdoc IMarket
    function closeLease(bytes32 orderId, uint8 reason) external nonReentrant {
        Lease memory l = _liveLease(orderId);
        if (msg.sender == orderId.tenant()) {
            _requireReason(reason, TENANT_CLOSED, LAST_TENANT_REASON);
        } else {
            _onlyProvider(l.provider);
            _requireReason(reason, PROVIDER_CLOSED, LAST_PROVIDER_REASON);
        }
        _close(orderId, l, reason);
    }

    // --- anyone ---

    /// @inheritdoc IMarket
    function deposit(bytes32 accountId, uint256 amount) external nonReentrant {
        _deposit(accountId, amount);
    }

    /// @inheritdoc IMarket
    function depositWithPermit(
        bytes32 accountId,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // A permit that somebody else sent first has done its work: the transfer below decides.
        try IERC20Permit(address(_token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _deposit(accountId, amount);
    }

    /// @inheritdoc IMarket
    function expireOrder(bytes32 orderId) external {
        OrderState state = _stateOf(orderId);
        require(state == OrderState.Expired, WrongState(uint8(state)));
        _closeOrder(orderId, EXPIRED);
    }

    /// @inheritdoc IMarket
    function finalize(bytes32 orderId) external nonReentrant {
        OrderState state = _stateOf(orderId);
        require(state == OrderState.Depleted, WrongState(uint8(state)));
        _close(orderId, _leaseSlot(orderId), DEPLETED);
    }

    /// @inheritdoc IMarket
    function withdraw(bytes32[] calldata orderIds) external nonReentrant {
        uint256 count = orderIds.length;
        require(count <= MAX_BATCH, CapExceeded());
        Kept memory sums = _kept;
        uint256[] memory nets = new uint256[](count);
        address[] memory providers = new address[](count);
        for (uint256 i = 0; i < count; i++) {
            (nets[i], providers[i]) = _takeEarnings(orderIds[i], sums);
        }
        _kept = sums;
        // Neighbours of one provider share a transfer.
        for (uint256 i = 0; i < count; i++) {
            if (i + 1 < count && providers[i + 1] == providers[i]) nets[i + 1] += nets[i];
            else if (nets[i] != 0) _token.safeTransfer(_registry.payoutOf(providers[i]), nets[i]);
        }
    }

    /// @inheritdoc IMarket
    function collectFees() external nonReentrant returns (uint256 amount) {
        amount = _kept.fees;
        if (amount == 0) return 0;
        _kept.fees = 0;
        address treasury = _params.treasury();
        emit FeesCollected(treasury, amount);
        _token.safeTransfer(treasury, amount);
    }

    // --- views ---

    /// @inheritdoc IMarket
    function token() external view returns (address) {
        return address(_token);
    }

    /// @inheritdoc IMarket
    function registry() external view returns (address) {
        return address(_registry);
    }

    /// @inheritdoc IMarket
    function params() external view returns (address) {
        return address(_params);
    }

    /// @inheritdoc IMarket
    function account(bytes32 accountId) external view returns (AccountView memory v) {
        Deployment storage d = _deployments[accountId];
        Escrow.Account memory a = d.account;
        if (!a.exists()) return v;
        a.settle();
        v.state = a.depleted() ? AccountState.Depleted : AccountState.Open;
        v.tenant = accountId.tenant();
        v.manifestHash = d.manifestHash;
        v.rateSum = a.rateSum;
        v.settledAt = a.depleted() ? a.settledAt : d.account.settledAt;
        v.fundedUntil = a.until();
        v.balance = a.bal / SCALE;
        v.balanceScaled = a.bal;
        v.refundable = _free(a, a.floorOf(_params.values().minRunway));
    }

    /// @inheritdoc IMarket
    function order(bytes32 orderId) external view returns (OrderView memory v) {
        Order storage o = _orders[orderId];
        v.state = _stateOf(orderId);
        if (v.state == OrderState.None) return v;
        v.tenant = orderId.tenant();
        v.specHash = o.specHash;
        if (o.state != OrderState.Open) return v;
        v.maxRate = o.maxRate;
        v.expiresAt = o.expiresAt;
        v.minReclaim = o.minReclaim;
        v.reqBits = o.reqBits;
    }

    /// @inheritdoc IMarket
    function bid(bytes32 orderId, address provider) external view returns (BidView memory v) {
        Bid storage b = _bids[orderId][provider];
        v.state = b.state;
        if (v.state == BidState.None) return v;
        if (v.state == BidState.Open) {
            OrderState o = _stateOf(orderId);
            if (o == OrderState.Expired) v.state = BidState.Expired;
            else if (o != OrderState.Open) v.state = BidState.Lost;
            else if (block.timestamp > b.expiresAt) v.state = BidState.Expired;
        }
        v.rate = b.rate;
        v.expiresAt = b.expiresAt;
        v.reclaim = b.reclaim;
        v.minBill = b.minBill;
    }

    /// @inheritdoc IMarket
    function lease(bytes32 orderId) external view returns (LeaseView memory v) {
        OrderState state = _stateOf(orderId);
        if (state < OrderState.Active || state == OrderState.Expired) return v;
        Lease memory l = _leaseSlot(orderId);
        if (l.provider == address(0)) return v;
        Bid memory b = _bids[orderId][l.provider];
        v.state = state;
        v.tenant = orderId.tenant();
        v.provider = l.provider;
        v.rate = b.rate;
        v.startedAt = b.startedAt;
        v.checkpoint = l.checkpoint;
        v.billableUntil = _billableUntil(orderId, l);
        v.fundedUntil =
            state == OrderState.Closed ? l.endedAt : _deployments[orderId.account()].account.until();
        v.endedAt = l.endedAt;
        v.reason = l.reason;
        v.reclaim = b.reclaim;
        v.reclaimDeadline = b.expiresAt;
        v.minBill = b.minBill;
        v.feeBps = b.feeBps;
        v.bond = _bond(b);
    }

    /// @inheritdoc IMarket
    function accrued(bytes32 orderId)
        external
        view
        returns (uint256 net, uint256 fee, uint256 scaled, uint40 upTo)
    {
        Lease memory l = _requireLease(orderId);
        Bid memory b = _bids[orderId][l.provider];
        upTo = _billableUntil(orderId, l);
        scaled = uint256(b.rate) * (upTo - l.checkpoint);
        (net, fee) = _split(scaled, b.feeBps);
    }

    /// @inheritdoc IMarket
    function kept() external view returns (uint256 fees, uint256 dustScaled) {
        return (_kept.fees, _kept.dust);
    }

    /// @inheritdoc IMarket
    function termsHashOf(uint80 rate, uint32 reclaim, uint16 minBill, uint40 expiresAt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(rate, reclaim, minBill, expiresAt));
    }

    // --- orders ---

    function _post(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec) private {
        _onlyTenant(orderId);
        uint80 maxRate = terms.maxRate;
        uint40 expiresAt = terms.expiresAt;
        require(terms.kind == 0, UnsupportedKind(terms.kind));
        require(terms.mode == 0 && terms.deadline == 0, UnsupportedMode(terms.mode, terms.deadline));
        require(terms.reqBits == 0, UnsupportedCapabilities(terms.reqBits));
        require(maxRate != 0, RateZero());
        require(spec.length != 0 && spec.length <= MAX_SPEC, CapExceeded());
        IParams.Values memory p = _params.values();
        require(
            expiresAt >= block.timestamp + p.minOrderDuration
                && expiresAt <= block.timestamp + p.maxOrderDuration,
            DurationOutOfBounds()
        );
        Escrow.Account memory a = _settled(orderId.account());
        _requireRunway(a.bal, (uint256(a.rateSum) + maxRate) * p.minRunway);

        bytes32 specHash = keccak256(spec);
        Order storage o = _orders[orderId];
        require(o.state == OrderState.None, IdTaken());
        o.state = OrderState.Open;
        o.expiresAt = expiresAt;
        o.maxRate = maxRate;
        o.minReclaim = terms.minReclaim;
        o.reqBits = terms.reqBits;
        o.specHash = specHash;
        emit OrderCreated(
            orderId,
            terms.resourceClass,
            msg.sender,
            specHash,
            maxRate,
            expiresAt,
            terms.minReclaim,
            terms.reqBits,
            terms.kind,
            terms.mode,
            terms.deadline,
            spec
        );
    }

    function _closeOrder(bytes32 orderId, uint8 reason) private {
        Lease storage l = _leaseSlot(orderId);
        l.state = OrderState.Closed;
        l.provider = address(0);
        l.checkpoint = 0;
        l.endedAt = _now();
        l.reason = reason;
        emit OrderClosed(orderId, orderId.tenant(), reason);
    }

    /// The state with what time alone has changed.
    function _stateOf(bytes32 orderId) private view returns (OrderState state) {
        Order storage o = _orders[orderId];
        state = o.state;
        if (state == OrderState.Open) {
            if (block.timestamp > o.expiresAt) state = OrderState.Expired;
        } else if (state == OrderState.Active || state == OrderState.Reclaiming) {
            if (block.timestamp >= _deployments[orderId.account()].account.until()) {
                state = OrderState.Depleted;
            }
        }
    }

    // --- leases ---

    function _close(bytes32 orderId, Lease memory l, uint8 reason) private {
        bytes32 accountId = orderId.account();
        Escrow.Account memory a = _deployments[accountId].account;
        Bid memory b = _bids[orderId][l.provider];
        a.settle();
        if (a.depleted()) reason = DEPLETED;
        a.rateSum -= b.rate;

        uint256 penalty;
        uint256 forfeit;
        uint256 served = a.settledAt - b.startedAt;
        uint256 billed = served;
        uint8 told = reason;
        if (reason <= LAST_TENANT_REASON) {
            if (l.state == OrderState.Active) {
                uint256 missing = _billMinimum(a, l, b);
                penalty = missing * b.rate / SCALE;
                billed += missing;
            }
        } else if (reason <= LAST_PROVIDER_REASON) {
            bool noticed = l.state == OrderState.Reclaiming && block.timestamp >= b.expiresAt;
            require(reason != RECLAIM_ELAPSED || noticed, ReclaimNotElapsed(b.expiresAt));
            if (noticed) told = RECLAIM_ELAPSED;
            else penalty = forfeit = Math.min(uint256(b.rate) * b.reclaim / SCALE, _bond(b));
            a.bal += (forfeit * SCALE).toUint128();
        }
        _deployments[accountId].account = a;

        l.state = OrderState.Closed;
        l.endedAt = a.settledAt;
        l.reason = reason;
        _storeLease(orderId, l);
        emit LeaseClosed(orderId, l.provider, orderId.tenant(), reason, l.endedAt, penalty);
        if (forfeit != 0 || (a.rateSum != 0 && !a.depleted())) {
            emit FundsChanged(accountId, msg.sender, forfeit.toInt256(), a.until());
        }
        (, uint256 fees) = _split(billed * b.rate, b.feeBps);
        _registry.endLease(l.provider, orderId, _bond(b), forfeit, told, served.toUint40(), fees.toUint96());
    }

    /// Moves the seconds that are missing to the minimum bill, as far as the account goes, into the lease's earnings, by
    /// setting its checkpoint back: the lease's end stays where it is. Returns how many.
    function _billMinimum(Escrow.Account memory a, Lease memory l, Bid memory b)
        private
        view
        returns (uint256 missing)
    {
        uint256 least = uint256(b.startedAt) + b.minBill;
        if (block.timestamp >= least) return 0;
        missing = Math.min(least - block.timestamp, a.bal / b.rate);
        a.bal -= (missing * b.rate).toUint128();
        l.checkpoint -= missing.toUint40();
    }

    /// Token units of stake that secure a lease, rounded up.
    function _bond(Bid memory b) private view returns (uint256) {
        return Math.ceilDiv(uint256(b.rate) * b.bondSecs, SCALE);
    }

    /// Moves the checkpoint to now, and says what that has earned. Less than a unit stays where it is.
    function _takeEarnings(bytes32 orderId, Kept memory sums)
        private
        returns (uint256 net, address provider)
    {
        Lease memory l = _requireLease(orderId);
        provider = l.provider;
        Bid storage b = _bids[orderId][provider];
        uint40 upTo = _billableUntil(orderId, l);
        uint256 scaled = uint256(b.rate) * (upTo - l.checkpoint);
        if (scaled < SCALE) return (0, provider);
        uint256 fee;
        (net, fee) = _split(scaled, b.feeBps);
        sums.fees += fee.toUint128();
        sums.dust += (scaled % SCALE).toUint128();
        _leaseSlot(orderId).checkpoint = upTo;
        emit Withdrawn(orderId, provider, net, fee, upTo);
    }

    function _split(uint256 scaled, uint256 feeBps) private view returns (uint256 net, uint256 fee) {
        // `scaled` is a rate of 80 bits times seconds of 40 bits, and the fee at most a tenth of it.
        unchecked {
            uint256 gross = scaled / SCALE;
            fee = gross * feeBps / BPS;
            net = gross - fee;
        }
    }

    /// The second up to which a lease has earned by now.
    function _billableUntil(bytes32 orderId, Lease memory l) private view returns (uint40) {
        if (l.state == OrderState.Closed) return l.endedAt;
        uint40 end = _deployments[orderId.account()].account.until();
        return block.timestamp < end ? _now() : end;
    }

    function _requireLease(bytes32 orderId) private view returns (Lease memory l) {
        l = _leaseSlot(orderId);
        bool leased = l.state >= OrderState.Active && l.provider != address(0);
        require(leased, WrongState(uint8(l.state)));
    }

    function _liveLease(bytes32 orderId) private view returns (Lease memory l) {
        l = _leaseSlot(orderId);
        bool live = l.state == OrderState.Active || l.state == OrderState.Reclaiming;
        require(live, WrongState(uint8(l.state)));
    }

    /// Slot A of an order in its second life.
    function _leaseSlot(bytes32 orderId) private view returns (Lease storage l) {
        Order storage o = _orders[orderId];
        assembly ("memory-safe") {
            l.slot := o.slot
        }
    }

    function _storeLease(bytes32 orderId, Lease memory l) private {
        Lease storage slot = _leaseSlot(orderId);
        slot.state = l.state;
        slot.provider = l.provider;
        slot.checkpoint = l.checkpoint;
        slot.endedAt = l.endedAt;
        slot.reason = l.reason;
    }

    // --- accounts ---

    function _deposit(bytes32 accountId, uint256 amount) private {
        require(amount != 0, AmountMismatch());
        Escrow.Account memory a = _settled(accountId);
        a.bal += (amount * SCALE).toUint128();
        _deployments[accountId].account = a;
        emit FundsChanged(accountId, msg.sender, amount.toInt256(), a.until());

        uint256 before = _token.balanceOf(address(this));
        _token.safeTransferFrom(msg.sender, address(this), amount);
        require(_token.balanceOf(address(this)) - before == amount, AmountMismatch());
    }

    /// A live account, reckoned up to now, in memory.
    function _settled(bytes32 accountId) private view returns (Escrow.Account memory a) {
        a = _deployments[accountId].account;
        require(a.exists(), UnknownId());
        a.settle();
        require(!a.depleted(), AccountDepleted(a.settledAt));
    }

    /// Whole units that can leave a settled account above `floor`.
    function _free(Escrow.Account memory a, uint256 floor) private view returns (uint256) {
        return a.bal > floor ? (a.bal - floor) / SCALE : 0;
    }

    function _requireRunway(uint256 have, uint256 need) private view {
        require(have >= need, RunwayTooShort(have / SCALE, Math.ceilDiv(need, SCALE)));
    }

    // --- callers ---

    function _onlyTenant(bytes32 id) private view {
        require(msg.sender == id.tenant(), NotTenant());
    }

    function _onlyProvider(address provider) private view {
        require(_registry.isKeyOf(provider, msg.sender), NotOperator());
    }

    function _bidder(bytes32 orderId) private view returns (address provider) {
        bool active;
        (provider, active,) = _registry.bidderOf(msg.sender);
        require(provider != address(0), NotOperator());
        require(active, ProviderInactive());
        address tenant = orderId.tenant();
        require(tenant != provider && tenant != msg.sender, SelfDealing());
    }

    function _requireReason(uint8 reason, uint8 least, uint8 most) private pure {
        require(reason >= least && reason <= most, ReasonOutOfRange(reason));
    }

    function _now() private view returns (uint40) {
        // forge-lint: disable-next-line(unsafe-typecast) block time needs 40 bits in the year 36,812
        return uint40(block.timestamp);
    }
}

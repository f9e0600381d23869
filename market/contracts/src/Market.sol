// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {ProviderRegistry} from "./ProviderRegistry.sol";
import {Award, Bid, Book, Lease, Order} from "./libraries/Book.sol";
import {Account, Escrow} from "./libraries/Escrow.sol";
import {Id} from "./libraries/Id.sol";
import {Slots} from "./libraries/Slots.sol";

/// @title The order book and its escrow. The manual is IMarket.
/// @notice Several calls can travel in one transaction through `multicall(bytes[])`: all happen or none does.
/// @dev Accounts, orders, leases and bids are words on the stack (see Book and Escrow): a call reads each slot once and
/// writes it once.
contract Market is IMarket, EIP712, Multicall, ReentrancyGuardTransient {
    using Id for bytes32;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    uint256 private constant MAX_SPEC = 8192;
    uint256 private constant MAX_BATCH = 100;
    uint16 private constant MAX_MIN_BILL = 3600;
    uint40 private constant AWARD_WINDOW = 5 minutes;
    uint40 private constant PAUSE = 7 days;
    uint40 private constant FOR_GOOD = type(uint40).max;

    uint8 private constant LOWEST = 1;
    /// One above the last capability.
    uint96 private constant CAPABILITIES = 1 << 95;

    uint8 private constant TENANT_CLOSED = 1;
    uint8 private constant LAST_TENANT_REASON = 99;
    uint8 private constant PROVIDER_CLOSED = 100;
    uint8 private constant RECLAIM_ELAPSED = 104;
    uint8 private constant LAST_PROVIDER_REASON = 149;
    uint8 private constant DEPLETED = 200;
    uint8 private constant EXPIRED = 201;

    bytes32 private constant QUOTE = keccak256(
        "Quote(bytes32 orderId,bytes32 specHash,address provider,uint80 rate,uint40 expiresAt,uint32 reclaim,uint16 minBill,uint256 nonce)"
    );
    bytes32 private constant ORDER_TERMS = keccak256(
        "OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)"
    );
    bytes32 private constant ORDER_REQUEST = keccak256(
        "OrderRequest(bytes32 orderId,bytes32 manifestHash,OrderTerms terms,bytes32 specHash,uint256 deposit,uint256 nonce,uint40 validUntil)OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)"
    );
    bytes32 private constant ACCEPT = keccak256(
        "Accept(bytes32 orderId,address provider,bytes32 termsHash,bytes32 specHash,uint256 nonce,uint40 validUntil)"
    );
    bytes32 private constant CLOSE =
        keccak256("Close(bytes32 orderId,uint8 reason,uint256 nonce,uint40 validUntil)");

    /// Two slots.
    struct Deployment {
        Account account;
        bytes32 manifestHash;
    }

    /// Three slots. `word` is a Lease once the order left the book; `award` is written only for orders that are awarded.
    struct Entry {
        Order word;
        bytes32 specHash;
        Award award;
    }

    IERC20 private immutable _token;
    IProviderRegistry private immutable _registry;
    IParams private immutable _params;
    /// @inheritdoc IMarket
    uint256 public immutable SCALE;

    // Where these lie is known to libraries/Slots.sol. The two slots before them are of EIP712, and empty.
    mapping(bytes32 accountId => Deployment) private _deployments;
    mapping(bytes32 orderId => Entry) private _orders;
    mapping(bytes32 orderId => mapping(address provider => Bid)) private _bids;
    mapping(address signer => mapping(uint256 word => uint256)) private _nonces;
    Kept private _kept;
    Rules private _rules;

    /// For what begins something new; never for what ends something or pays.
    modifier whileOpen() {
        uint40 until = _rules.pausedUntil;
        require(block.timestamp >= until, Paused(until));
        _;
    }

    constructor(IERC20 token_, IParams params_) EIP712("Berth Market", "1") {
        uint8 decimals = IERC20Metadata(address(token_)).decimals();
        require(decimals <= 18 && address(params_).code.length != 0, BadSetup());
        _token = token_;
        _registry = new ProviderRegistry(token_, params_);
        _params = params_;
        SCALE = decimals <= 9 ? 1e9 : 1;
        _syncParams();
    }

    // --- tenant ---

    /// @inheritdoc IMarket
    function createDeployment(uint64 dseq, bytes32 manifestHash)
        external
        whileOpen
        returns (bytes32 accountId)
    {
        accountId = Id.ofAccount(msg.sender, dseq);
        require(!_deployments[accountId].account.exists(), IdTaken());
        _createDeployment(accountId, manifestHash);
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
    function createOrder(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec) external whileOpen {
        _onlyTenant(orderId);
        require(orderId.oseq() == 1, InvalidId());
        _post(orderId, terms, spec, keccak256(spec));
    }

    /// @inheritdoc IMarket
    function reorder(bytes32 prevOrderId, OrderTerms calldata terms, bytes calldata spec)
        external
        whileOpen
        returns (bytes32 orderId)
    {
        _onlyTenant(prevOrderId);
        require(prevOrderId.oseq() != type(uint16).max, InvalidId());
        orderId = bytes32(uint256(prevOrderId) + 1);
        _post(orderId, terms, spec, keccak256(spec));
    }

    /// @inheritdoc IMarket
    function cancelOrder(bytes32 orderId) external {
        _onlyTenant(orderId);
        _closeOrder(orderId, _openOrder(orderId), TENANT_CLOSED);
    }

    /// @inheritdoc IMarket
    function acceptBid(bytes32 orderId, address provider, bytes32 termsHash) external whileOpen {
        _onlyTenant(orderId);
        _accept(orderId, provider, termsHash);
    }

    /// @inheritdoc IMarket
    function acceptQuote(Quote calldata quote, address operator, bytes calldata signature)
        external
        whileOpen
    {
        bytes32 orderId = quote.orderId;
        address provider = quote.provider;
        _onlyTenant(orderId);
        Order o = _acceptable(orderId);
        _requireSpec(orderId, quote.specHash);
        require(block.timestamp <= quote.expiresAt, Expired());
        require(_nonceIsFree(operator, quote.nonce), NonceUsed());
        _requireSignature(operator, keccak256(abi.encode(QUOTE, quote)), signature);
        _requireBidder(provider, operator, orderId, o.reqBits());
        _requireTerms(quote.rate, quote.reclaim, quote.minBill, o.maxRate(), o.minReclaim(), MAX_MIN_BILL);
        _begin(orderId, provider, Book.bid(quote.rate, 0, quote.reclaim, quote.minBill, 0), false);
    }

    /// @inheritdoc IMarket
    function refund(bytes32 accountId, uint256 amount) external nonReentrant returns (uint256 paid) {
        Account a = _account(accountId).settle();
        _onlyTenant(accountId);
        uint256 floor = a.floorOf(_rules.minRunway);
        uint256 most = a.free(floor, SCALE);
        paid = amount == type(uint256).max ? most : amount;
        if (paid > most) {
            uint256 have = a.bal() / SCALE;
            revert RunwayTooShort(have > paid ? have - paid : 0, Math.ceilDiv(floor, SCALE));
        }
        if (paid == 0) return 0;

        a = a.withBal(a.bal() - paid * SCALE);
        _deployments[accountId].account = a;
        emit FundsChanged(accountId, msg.sender, -paid.toInt256(), a.until());
        _token.safeTransfer(msg.sender, paid);
    }

    // --- tenant, by signature ---

    /// @inheritdoc IMarket
    function createOrderFor(OrderRequest calldata request, bytes calldata spec, bytes calldata signature)
        external
        nonReentrant
        whileOpen
    {
        bytes32 orderId = request.orderId;
        bytes32 specHash = keccak256(spec);
        _requireSigned(orderId, _hashOf(request, specHash), request.nonce, request.validUntil, signature);
        bytes32 accountId = orderId.account();
        if (!_deployments[accountId].account.exists()) _createDeployment(accountId, request.manifestHash);
        if (request.deposit != 0) _deposit(accountId, orderId.tenant(), request.deposit);
        _post(orderId, request.terms, spec, specHash);
    }

    /// @inheritdoc IMarket
    function acceptBidFor(Accept calldata request, bytes calldata signature) external whileOpen {
        bytes32 orderId = request.orderId;
        _requireSigned(
            orderId, keccak256(abi.encode(ACCEPT, request)), request.nonce, request.validUntil, signature
        );
        _requireSpec(orderId, request.specHash);
        _accept(orderId, request.provider, request.termsHash);
    }

    /// @inheritdoc IMarket
    function closeLeaseFor(Close calldata request, bytes calldata signature) external nonReentrant {
        bytes32 orderId = request.orderId;
        _requireSigned(
            orderId, keccak256(abi.encode(CLOSE, request)), request.nonce, request.validUntil, signature
        );
        _closeByTenant(orderId, _liveLease(orderId), request.reason);
    }

    /// @inheritdoc IMarket
    function invalidateNonces(uint256 word, uint256 mask) external {
        uint256 used = _nonces[msg.sender][word] | mask;
        _nonces[msg.sender][word] = used;
        emit NoncesInvalidated(msg.sender, word, used);
    }

    // --- provider's operator key ---

    /// @inheritdoc IMarket
    function placeBid(
        bytes32 orderId,
        address provider,
        bytes32 specHash,
        uint80 rate,
        uint40 expiresAt,
        uint32 reclaim,
        uint16 minBill
    ) external whileOpen {
        Order o = _openOrder(orderId);
        require(block.timestamp <= o.expiresAt() && block.timestamp <= expiresAt, Expired());
        _requireBidder(provider, msg.sender, orderId, o.reqBits());
        Bid b = _bids[orderId][provider];
        if (b.state() == BidState.None) {
            // Once is enough: an order's spec never changes, and a bid that stands here was made for it.
            _requireSpec(orderId, specHash);
            _requireTerms(rate, reclaim, minBill, o.maxRate(), o.minReclaim(), MAX_MIN_BILL);
        } else {
            _requireTerms(rate, reclaim, minBill, b.rate(), b.reclaim(), b.minBill());
        }
        uint24 bondSecs = o.lowest() ? _contend(orderId, provider, b, rate, expiresAt) : 0;

        _bids[orderId][provider] = Book.bid(rate, expiresAt, reclaim, minBill, bondSecs);
        emit BidPlaced(orderId, provider, rate, expiresAt, reclaim, minBill);
    }

    /// @inheritdoc IMarket
    function placeBids(BidRequest[] calldata bids) external whileOpen returns (uint256 placed) {
        require(bids.length <= MAX_BATCH, CapExceeded());
        for (uint256 i = 0; i < bids.length; i++) {
            // The words of a request are those of `placeBid`'s arguments.
            (bool ok, bytes memory reason) =
                address(this).delegatecall(bytes.concat(IMarket.placeBid.selector, abi.encode(bids[i])));
            if (ok) placed += 1;
            else emit BidRefused(bids[i].orderId, msg.sender, reason);
        }
    }

    /// @inheritdoc IMarket
    function withdrawBid(bytes32 orderId, address provider) external {
        (address operator,,) = _registry.standingOf(provider);
        require(msg.sender == operator, NotOperator());
        Bid b = _bids[orderId][provider];
        require(b.state() == BidState.Open, BidNotOpen());
        Order o = _orders[orderId].word;
        if (o.state() == OrderState.Open && o.lowest()) {
            require(_orders[orderId].award.best() != provider, BidIsBest());
        }
        _bids[orderId][provider] = b.withdrawn();
        emit BidWithdrawn(orderId, provider);
    }

    /// @inheritdoc IMarket
    function startReclaim(bytes32 orderId, uint8 reason) external {
        _requireState(orderId, OrderState.Active);
        Lease l = _orders[orderId].word.asLease();
        address provider = l.provider();
        require(_registry.isKeyOf(provider, msg.sender), NotOperator());
        _requireReason(reason, PROVIDER_CLOSED, LAST_PROVIDER_REASON);

        Bid b = _bids[orderId][provider];
        uint40 deadline = _now() + b.reclaim();
        _bids[orderId][provider] = b.withExpiresAt(deadline);
        _store(orderId, Book.lease(OrderState.Reclaiming, provider, l.checkpoint(), 0, 0));
        emit ReclaimStarted(orderId, provider, orderId.tenant(), deadline, reason);
    }

    // --- tenant, or provider's operator or owner key ---

    /// @inheritdoc IMarket
    function closeLease(bytes32 orderId, uint8 reason) external nonReentrant {
        Lease l = _liveLease(orderId);
        if (msg.sender == orderId.tenant()) return _closeByTenant(orderId, l, reason);
        _requireReason(reason, PROVIDER_CLOSED, LAST_PROVIDER_REASON);
        _close(orderId, l, reason, msg.sender);
    }

    // --- anyone ---

    /// @inheritdoc IMarket
    function deposit(bytes32 accountId, uint256 amount) external nonReentrant {
        _deposit(accountId, msg.sender, amount);
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
        _deposit(accountId, msg.sender, amount);
    }

    /// @inheritdoc IMarket
    function award(bytes32 orderId) external whileOpen {
        Order o = _openOrder(orderId);
        require(o.lowest(), WrongMode(0));
        Award w = _orders[orderId].award;
        uint40 deadline = w.deadline();
        require(block.timestamp > deadline, AwardNotDue(deadline));
        Bid b = _bids[orderId][w.best()];
        require(b.state() == BidState.Open, BidNotOpen());
        require(!o.expired(deadline, b.expiresAt()), Expired());
        _begin(orderId, w.best(), b, true);
    }

    /// @inheritdoc IMarket
    function expireOrder(bytes32 orderId) external {
        _requireState(orderId, OrderState.Expired);
        _closeOrder(orderId, _orders[orderId].word, EXPIRED);
    }

    /// @inheritdoc IMarket
    function finalize(bytes32 orderId) external nonReentrant {
        _requireState(orderId, OrderState.Depleted);
        Lease l = _orders[orderId].word.asLease();
        _close(orderId, l, DEPLETED, l.provider());
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
    function syncParams() external {
        _syncParams();
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

    // --- guardian and owner of Params ---

    /// @inheritdoc IMarket
    function pause() external {
        bool owner = _onlyGovernor(true);
        require(owner || !_rules.pauseSpent, PauseSpent());
        _rules.pauseSpent = true;
        _pauseUntil(_now() + PAUSE);
    }

    /// @inheritdoc IMarket
    function unpause() external {
        _onlyGovernor(true);
        _pauseUntil(_now());
    }

    /// @inheritdoc IMarket
    function rearmPause() external {
        _onlyGovernor(false);
        _rules.pauseSpent = false;
        emit PauseRearmed();
    }

    /// @inheritdoc IMarket
    function sunset() external {
        _onlyGovernor(false);
        _pauseUntil(FOR_GOOD);
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
    function extsload(bytes32 slot) external view returns (bytes32 word) {
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    // --- orders ---

    /// Order 1 of a group needs no other; a later one takes the place of the one before it.
    function _post(bytes32 orderId, OrderTerms calldata terms, bytes calldata spec, bytes32 specHash)
        private
    {
        require(orderId.gseq() != 0 && orderId.oseq() != 0, InvalidId());
        if (orderId.oseq() != 1) _succeed(bytes32(uint256(orderId) - 1), specHash);
        require(Order.unwrap(_orders[orderId].word) == 0, IdTaken());
        require(terms.kind == 0, UnsupportedKind(terms.kind));
        require(terms.reqBits < CAPABILITIES, MissingCapabilities(terms.reqBits & ~(CAPABILITIES - 1)));
        require(terms.maxRate != 0, RateZero());
        require(spec.length != 0 && spec.length <= MAX_SPEC, CapExceeded());
        Rules memory r = _rules;
        require(
            terms.expiresAt >= block.timestamp + r.minOrderDuration
                && terms.expiresAt <= block.timestamp + r.maxOrderDuration,
            DurationOutOfBounds()
        );
        Account a = _settled(orderId.account());
        _requireRunway(a.bal(), (uint256(a.rateSum()) + terms.maxRate) * r.minRunway);

        bool lowest = terms.mode == LOWEST;
        if (lowest) {
            require(
                terms.deadline > block.timestamp && terms.expiresAt >= uint256(terms.deadline) + AWARD_WINDOW,
                DurationOutOfBounds()
            );
            _orders[orderId].award = Book.award(terms.kind, terms.mode, terms.deadline);
        } else {
            require(terms.mode == 0 && terms.deadline == 0, UnsupportedMode(terms.mode, terms.deadline));
        }
        _orders[orderId].word =
            Book.order(lowest, terms.expiresAt, terms.maxRate, terms.minReclaim, terms.reqBits);
        _orders[orderId].specHash = specHash;
        _announce(orderId, specHash, terms, spec);
    }

    function _announce(bytes32 orderId, bytes32 specHash, OrderTerms calldata terms, bytes calldata spec)
        private
    {
        emit OrderCreated(
            orderId,
            terms.resourceClass,
            orderId.tenant(),
            specHash,
            terms.maxRate,
            terms.expiresAt,
            terms.minReclaim,
            terms.reqBits,
            terms.kind,
            terms.mode,
            terms.deadline,
            spec
        );
    }

    /// Makes sure that an order is over, and was for the same spec.
    function _succeed(bytes32 prevOrderId, bytes32 specHash) private {
        OrderState state = _stateOf(prevOrderId);
        if (state == OrderState.Expired) {
            _closeOrder(prevOrderId, _orders[prevOrderId].word, EXPIRED);
        } else {
            require(state == OrderState.Closed, WrongState(uint8(state)));
        }
        _requireSpec(prevOrderId, specHash);
    }

    function _closeOrder(bytes32 orderId, Order o, uint8 reason) private {
        _store(orderId, Book.lease(OrderState.Closed, address(0), 0, _now(), reason));
        emit OrderClosed(orderId, orderId.tenant(), reason);
        if (o.lowest()) _freeBest(orderId, _orders[orderId].award.best());
    }

    /// The state with what time alone has changed.
    function _stateOf(bytes32 orderId) private view returns (OrderState state) {
        Order o = _orders[orderId].word;
        state = o.state();
        if (state == OrderState.Open) {
            Award w = o.lowest() ? _orders[orderId].award : Award.wrap(0);
            address best = w.best();
            uint40 bestExpiresAt = best == address(0) ? 0 : _bids[orderId][best].expiresAt();
            if (o.expired(w.deadline(), bestExpiresAt)) state = OrderState.Expired;
        } else if (state == OrderState.Active || state == OrderState.Reclaiming) {
            if (block.timestamp >= _until(orderId)) state = OrderState.Depleted;
        }
    }

    function _openOrder(bytes32 orderId) private view returns (Order o) {
        o = _orders[orderId].word;
        OrderState have = o.state();
        require(have == OrderState.Open, WrongState(uint8(have)));
    }

    /// An order whose tenant decides, in time.
    function _acceptable(bytes32 orderId) private view returns (Order o) {
        o = _openOrder(orderId);
        require(!o.lowest(), WrongMode(LOWEST));
        require(block.timestamp <= o.expiresAt(), Expired());
    }

    /// Puts a lease where its order was.
    function _store(bytes32 orderId, Lease l) private {
        _orders[orderId].word = Order.wrap(Lease.unwrap(l));
    }

    // --- bids ---

    /// Makes a bid the best of its order, and its bond the one that is locked. Returns the seconds that the bond is for.
    /// @param b The bidder's earlier bid.
    function _contend(bytes32 orderId, address provider, Bid b, uint80 rate, uint40 expiresAt)
        private
        returns (uint24 bondSecs)
    {
        Award w = _orders[orderId].award;
        require(block.timestamp <= w.deadline(), Expired());
        require(expiresAt >= uint256(w.deadline()) + AWARD_WINDOW, DurationOutOfBounds());
        address best = w.best();
        if (best == provider) {
            bondSecs = b.bondSecs();
            uint256 freed = Book.bondOf(b.rate(), bondSecs, SCALE) - Book.bondOf(rate, bondSecs, SCALE);
            if (freed != 0) _registry.unlockBond(provider, freed);
            return bondSecs;
        }
        if (best != address(0)) {
            uint80 most = _bids[orderId][best].bettering();
            require(rate <= most, RateTooHigh(most));
            _freeBest(orderId, best);
        }
        _requireOther(provider, orderId.tenant());
        bondSecs = _rules.bondSecs;
        _orders[orderId].award = w.withBest(provider);
        _registry.lockBond(provider, Book.bondOf(rate, bondSecs, SCALE));
    }

    function _freeBest(bytes32 orderId, address best) private {
        if (best == address(0)) return;
        Bid b = _bids[orderId][best];
        _registry.unlockBond(best, _bondOf(b));
    }

    function _requireTerms(
        uint80 rate,
        uint32 reclaim,
        uint16 minBill,
        uint80 maxRate,
        uint32 minReclaim,
        uint16 maxMinBill
    ) private pure {
        require(rate != 0, RateZero());
        require(rate <= maxRate, RateTooHigh(maxRate));
        require(reclaim >= minReclaim, ReclaimTooShort());
        require(minBill <= maxMinBill, MinBillTooLong(maxMinBill));
    }

    // --- leases ---

    function _accept(bytes32 orderId, address provider, bytes32 termsHash) private {
        _acceptable(orderId);
        Bid b = _bids[orderId][provider];
        uint40 expiresAt = b.expiresAt();
        require(b.state() == BidState.Open && block.timestamp <= expiresAt, BidNotOpen());
        require(
            termsHash == Book.termsHash(b.rate(), b.reclaim(), b.minBill(), expiresAt), RateChanged(b.rate())
        );
        _begin(orderId, provider, b, false);
    }

    /// @param bonded Whether the bond is locked already; then nothing is asked of the provider any more.
    function _begin(bytes32 orderId, address provider, Bid b, bool bonded) private {
        address tenant = orderId.tenant();
        if (!bonded) _requireOther(provider, tenant);
        Rules memory r = _rules;
        bytes32 accountId = orderId.account();
        Account a = _settled(accountId);
        uint256 others = a.rateSum();
        a = a.withRateSum(others + b.rate());
        _requireRunway(a.bal(), uint256(a.rateSum()) * r.minRunway);
        _deployments[accountId].account = a;

        b = b.won(_now(), r.feeBps, bonded ? b.bondSecs() : r.bondSecs);
        _bids[orderId][provider] = b;
        _store(orderId, Book.lease(OrderState.Active, provider, _now(), 0, 0));
        uint40 fundedUntil = a.until();
        emit LeaseCreated(orderId, provider, tenant, b.rate(), _now(), r.feeBps, fundedUntil);
        if (others != 0) emit FundsChanged(accountId, msg.sender, 0, fundedUntil);
        _registry.beginLease(provider, bonded ? 0 : _bondOf(b));
    }

    function _closeByTenant(bytes32 orderId, Lease l, uint8 reason) private {
        _requireReason(reason, TENANT_CLOSED, LAST_TENANT_REASON);
        _close(orderId, l, reason, l.provider());
    }

    /// @param key Who has to act for the provider, which the registry looks up as the lease ends there; the provider itself
    /// where nothing is asked of it.
    function _close(bytes32 orderId, Lease l, uint8 reason, address key) private {
        Bid b = _bids[orderId][l.provider()];
        Account a = _deployments[orderId.account()].account.settle();
        a = a.withRateSum(a.rateSum() - b.rate());
        if (a.depleted()) reason = DEPLETED;
        (uint8 told, uint40 missing, uint256 forfeit) = _reckon(a, l, b, reason);
        uint256 billed = uint256(b.rate()) * missing;
        a = a.withBal(a.bal() + forfeit * SCALE - billed);
        _deployments[orderId.account()].account = a;
        // What is missing to the minimum bill joins the earnings by setting the checkpoint back: the end stays.
        _store(
            orderId,
            Book.lease(OrderState.Closed, l.provider(), l.checkpoint() - missing, a.settledAt(), reason)
        );
        emit LeaseClosed(
            orderId, l.provider(), orderId.tenant(), reason, a.settledAt(), forfeit + billed / SCALE
        );
        if (forfeit != 0 || (a.rateSum() != 0 && !a.depleted())) {
            emit FundsChanged(orderId.account(), msg.sender, forfeit.toInt256(), a.until());
        }
        _tellEnd(orderId, l.provider(), key, b, told, forfeit, a.settledAt() - b.startedAt(), missing);
    }

    /// What a lease that ends in this second for `reason` moves: the seconds missing to its minimum bill, and what its
    /// provider forfeits; and the reason that the registry hears: leaving after notice is no early exit, whatever was said.
    function _reckon(Account a, Lease l, Bid b, uint8 reason)
        private
        view
        returns (uint8 told, uint40 missing, uint256 forfeit)
    {
        told = reason;
        if (reason <= LAST_TENANT_REASON) {
            if (l.state() == OrderState.Active) missing = _missing(a, b);
        } else if (reason <= LAST_PROVIDER_REASON) {
            bool noticed = l.state() == OrderState.Reclaiming && block.timestamp >= b.expiresAt();
            require(reason != RECLAIM_ELAPSED || noticed, ReclaimNotElapsed(b.expiresAt()));
            if (noticed) told = RECLAIM_ELAPSED;
            else forfeit = Math.min(uint256(b.rate()) * b.reclaim() / SCALE, _bondOf(b));
        }
    }

    function _tellEnd(
        bytes32 orderId,
        address provider,
        address key,
        Bid b,
        uint8 told,
        uint256 forfeit,
        uint40 served,
        uint40 missing
    ) private {
        (, uint256 fees) = Book.split(uint256(b.rate()) * (served + missing), b.feeBps(), SCALE);
        _registry.endLease(provider, key, orderId, _bondOf(b), forfeit, told, served, fees.toUint96());
    }

    function _bondOf(Bid b) private view returns (uint256) {
        return Book.bondOf(b.rate(), b.bondSecs(), SCALE);
    }

    /// The seconds that are missing to the minimum bill, as far as the account can pay them.
    function _missing(Account a, Bid b) private view returns (uint40) {
        uint256 least = uint256(b.startedAt()) + b.minBill();
        if (block.timestamp >= least) return 0;
        return Math.min(least - block.timestamp, a.bal() / b.rate()).toUint40();
    }

    /// Moves the checkpoint to now, and says what that has earned. Less than a unit stays where it is.
    function _takeEarnings(bytes32 orderId, Kept memory sums)
        private
        returns (uint256 net, address provider)
    {
        Lease l = _orders[orderId].word.asLease();
        OrderState state = l.state();
        provider = l.provider();
        require(state >= OrderState.Active && provider != address(0), WrongState(uint8(state)));
        Bid b = _bids[orderId][provider];
        uint40 upTo = l.billableUntil(state == OrderState.Closed ? 0 : _until(orderId));
        uint256 scaled = uint256(b.rate()) * (upTo - l.checkpoint());
        if (scaled < SCALE) return (0, provider);
        uint256 fee;
        (net, fee) = Book.split(scaled, b.feeBps(), SCALE);
        sums.fees += fee.toUint128();
        sums.dust += (scaled % SCALE).toUint128();
        _store(orderId, l.withCheckpoint(upTo));
        emit Withdrawn(orderId, provider, net, fee, upTo);
    }

    function _liveLease(bytes32 orderId) private view returns (Lease l) {
        l = _orders[orderId].word.asLease();
        OrderState have = l.state();
        require(have == OrderState.Active || have == OrderState.Reclaiming, WrongState(uint8(have)));
    }

    // --- accounts ---

    function _createDeployment(bytes32 accountId, bytes32 manifestHash) private {
        Deployment storage d = _deployments[accountId];
        d.account = Escrow.open();
        d.manifestHash = manifestHash;
        emit DeploymentCreated(accountId, accountId.tenant(), manifestHash);
    }

    function _deposit(bytes32 accountId, address from, uint256 amount) private {
        require(amount != 0, AmountMismatch());
        Account a = _settled(accountId);
        a = a.withBal(a.bal() + amount * SCALE);
        _deployments[accountId].account = a;
        emit FundsChanged(accountId, from, amount.toInt256(), a.until());

        uint256 before = _token.balanceOf(address(this));
        _token.safeTransferFrom(from, address(this), amount);
        require(_token.balanceOf(address(this)) - before == amount, AmountMismatch());
    }

    function _account(bytes32 accountId) private view returns (Account a) {
        a = _deployments[accountId].account;
        require(a.exists(), UnknownId());
    }

    /// A live account, reckoned up to now.
    function _settled(bytes32 accountId) private view returns (Account a) {
        a = _account(accountId).settle();
        require(!a.depleted(), AccountDepleted(a.settledAt()));
    }

    /// The second in which the money of an order's account ends.
    function _until(bytes32 orderId) private view returns (uint40) {
        return _deployments[orderId.account()].account.until();
    }

    function _requireRunway(uint256 have, uint256 need) private view {
        if (have < need) revert RunwayTooShort(have / SCALE, Math.ceilDiv(need, SCALE));
    }

    // --- signatures ---

    function _hashOf(OrderRequest calldata request, bytes32 specHash) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                ORDER_REQUEST,
                request.orderId,
                request.manifestHash,
                keccak256(abi.encode(ORDER_TERMS, request.terms)),
                specHash,
                request.deposit,
                request.nonce,
                request.validUntil
            )
        );
    }

    /// A tenant's word, for one use.
    function _requireSigned(
        bytes32 orderId,
        bytes32 structHash,
        uint256 nonce,
        uint40 validUntil,
        bytes calldata signature
    ) private {
        address tenant = orderId.tenant();
        require(block.timestamp <= validUntil, Expired());
        require(_nonceIsFree(tenant, nonce), NonceUsed());
        _requireSignature(tenant, structHash, signature);
        _nonces[tenant][nonce >> 8] |= Slots.bit(nonce);
    }

    function _requireSignature(address signer, bytes32 structHash, bytes calldata signature) private view {
        bytes32 digest = _hashTypedDataV4(structHash);
        // The key first: it costs less than to ask whether its account has code, and an account with code may have one.
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (recovered == signer && signer != address(0)) return;
        require(
            SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature), BadSignature()
        );
    }

    function _nonceIsFree(address signer, uint256 nonce) private view returns (bool) {
        return _nonces[signer][nonce >> 8] & Slots.bit(nonce) == 0;
    }

    // --- callers and checks ---

    function _onlyTenant(bytes32 id) private view {
        require(msg.sender == id.tenant(), NotTenant());
    }

    /// Whether a key may bid for a provider on an order that asks for these capabilities.
    function _requireBidder(address provider, address key, bytes32 orderId, uint96 reqBits) private view {
        (address operator, bool active, uint96 bits) = _registry.standingOf(provider);
        require(key == operator, NotOperator());
        require(active, ProviderInactive());
        require(reqBits & ~bits == 0, MissingCapabilities(reqBits & ~bits));
        address tenant = orderId.tenant();
        require(tenant != provider && tenant != key, SelfDealing());
    }

    /// @return owner Whether the caller is the owner of Params, not its guardian.
    function _onlyGovernor(bool guardianToo) private view returns (bool owner) {
        owner = msg.sender == _params.owner();
        require(owner || (guardianToo && msg.sender == _params.guardian()), NotGovernor());
    }

    function _pauseUntil(uint40 until) private {
        require(_rules.pausedUntil != FOR_GOOD, Paused(FOR_GOOD));
        _rules.pausedUntil = until;
        emit PauseChanged(msg.sender, until);
    }

    function _syncParams() private {
        IParams.Values memory v = _params.values();
        Rules storage r = _rules;
        r.feeBps = v.feeBps;
        r.minRunway = v.minRunway;
        r.bondSecs = v.bondSecs;
        r.minOrderDuration = v.minOrderDuration;
        r.maxOrderDuration = v.maxOrderDuration;
        emit ParamsSynced(v.feeBps, v.minRunway, v.bondSecs, v.minOrderDuration, v.maxOrderDuration);
    }

    /// Whoever signs for the provider is known to be another than the tenant; so must be who owns it and who is paid.
    function _requireOther(address provider, address tenant) private view {
        require(provider != tenant && _registry.payoutOf(provider) != tenant, SelfDealing());
    }

    function _requireSpec(bytes32 orderId, bytes32 specHash) private view {
        bytes32 have = _orders[orderId].specHash;
        require(specHash == have, SpecMismatch(have));
    }

    function _requireState(bytes32 orderId, OrderState want) private view {
        OrderState have = _stateOf(orderId);
        require(have == want, WrongState(uint8(have)));
    }

    function _requireReason(uint8 reason, uint8 least, uint8 most) private pure {
        require(reason >= least && reason <= most, ReasonOutOfRange(reason));
    }

    function _now() private view returns (uint40) {
        // forge-lint: disable-next-line(unsafe-typecast) block time needs 40 bits in the year 36,812
        return uint40(block.timestamp);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "./interfaces/IMarket.sol";
import {IMarketLens} from "./interfaces/IMarketLens.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {Award, Bid, Book, Lease, Order} from "./libraries/Book.sol";
import {Account} from "./libraries/Escrow.sol";
import {Id} from "./libraries/Id.sol";
import {Slots} from "./libraries/Slots.sol";

/// @title What the Market's storage means now. The manual is IMarketLens.
contract MarketLens is IMarketLens {
    using Id for bytes32;
    using Slots for bytes32;

    uint256 private constant MAX_BATCH = 100;

    IMarket private immutable _market;
    IProviderRegistry private immutable _registry;
    uint256 private immutable _scale;

    constructor(IMarket market_) {
        _market = market_;
        _registry = IProviderRegistry(market_.registry());
        _scale = market_.SCALE();
    }

    // --- one by one ---

    /// @inheritdoc IMarketLens
    function market() external view returns (IMarket) {
        return _market;
    }

    /// @inheritdoc IMarketLens
    function account(bytes32 accountId) public view returns (AccountView memory v) {
        Account stored = _account(accountId);
        if (!stored.exists()) return v;
        Account a = stored.settle();
        v.state = a.depleted() ? AccountState.Depleted : AccountState.Open;
        v.tenant = accountId.tenant();
        v.manifestHash = _market.extsload(Slots.deployment(accountId).next(1));
        v.rateSum = a.rateSum();
        v.settledAt = a.depleted() ? a.settledAt() : stored.settledAt();
        v.fundedUntil = a.until();
        v.balance = a.bal() / _scale;
        v.balanceScaled = a.bal();
        v.refundable = a.free(a.floorOf(rules().minRunway), _scale);
    }

    /// @inheritdoc IMarketLens
    function order(bytes32 orderId) public view returns (OrderView memory v) {
        (Order o, Award w) = _order(orderId);
        v.state = _stateOf(orderId, o, w);
        if (v.state == IMarket.OrderState.None) return v;
        v.tenant = orderId.tenant();
        v.specHash = _market.extsload(Slots.order(orderId).next(1));
        v.kind = w.kind();
        v.mode = w.mode();
        v.deadline = w.deadline();
        v.best = w.best();
        if (v.best != address(0)) v.bestRate = _bid(orderId, v.best).rate();
        if (o.state() != IMarket.OrderState.Open) return v;
        v.maxRate = o.maxRate();
        v.expiresAt = o.expiresAt();
        v.minReclaim = o.minReclaim();
        v.reqBits = o.reqBits();
    }

    /// @inheritdoc IMarketLens
    function bid(bytes32 orderId, address provider) public view returns (BidView memory v) {
        Bid b = _bid(orderId, provider);
        v.state = b.state();
        if (v.state == IMarket.BidState.None) return v;
        (Order o, Award w) = _order(orderId);
        bool best = w.best() == provider;
        if (v.state == IMarket.BidState.Open) {
            IMarket.OrderState now_ = _stateOf(orderId, o, w);
            bool passedOver = w.mode() != 0 && !best;
            if (now_ == IMarket.OrderState.Expired) v.state = IMarket.BidState.Expired;
            else if (now_ != IMarket.OrderState.Open || passedOver) v.state = IMarket.BidState.Lost;
            else if (block.timestamp > b.expiresAt()) v.state = IMarket.BidState.Expired;
        }
        v.rate = b.rate();
        v.expiresAt = b.expiresAt();
        v.reclaim = b.reclaim();
        v.minBill = b.minBill();
        v.eligible = v.state == IMarket.BidState.Open && (best || _canLock(provider, b.rate()));
    }

    /// @inheritdoc IMarketLens
    function lease(bytes32 orderId) public view returns (LeaseView memory v) {
        (Order o, Award w) = _order(orderId);
        Lease l = o.asLease();
        if (!_leased(l)) return v;
        Bid b = _bid(orderId, l.provider());
        v.state = _stateOf(orderId, o, w);
        v.tenant = orderId.tenant();
        v.provider = l.provider();
        v.rate = b.rate();
        v.startedAt = b.startedAt();
        v.checkpoint = l.checkpoint();
        uint40 until = _until(orderId);
        v.billableUntil = l.billableUntil(until);
        v.fundedUntil = l.state() == IMarket.OrderState.Closed ? l.endedAt() : until;
        v.endedAt = l.endedAt();
        v.reason = l.reason();
        v.reclaim = b.reclaim();
        v.reclaimDeadline = b.expiresAt();
        v.minBill = b.minBill();
        v.feeBps = b.feeBps();
        v.bond = Book.bondOf(b.rate(), b.bondSecs(), _scale);
    }

    /// @inheritdoc IMarketLens
    function accrued(bytes32 orderId) public view returns (AccruedView memory v) {
        (Order o,) = _order(orderId);
        Lease l = o.asLease();
        if (!_leased(l)) return v;
        Bid b = _bid(orderId, l.provider());
        v.upTo = l.billableUntil(_until(orderId));
        v.scaled = uint256(b.rate()) * (v.upTo - l.checkpoint());
        (v.net, v.fee) = Book.split(v.scaled, b.feeBps(), _scale);
    }

    /// @inheritdoc IMarketLens
    function rules() public view returns (IMarket.Rules memory r) {
        uint256 word = _load(Slots.RULES);
        // forge-lint: disable-start(unsafe-typecast) the casts take the bits that are meant
        r.pausedUntil = uint40(word);
        r.pauseSpent = uint8(word >> 40) != 0;
        r.feeBps = uint16(word >> 48);
        r.minRunway = uint32(word >> 64);
        r.bondSecs = uint24(word >> 96);
        r.minOrderDuration = uint32(word >> 120);
        r.maxOrderDuration = uint32(word >> 152);
        // forge-lint: disable-end(unsafe-typecast)
    }

    /// @inheritdoc IMarketLens
    function kept() external view returns (uint256 fees, uint256 dustScaled) {
        uint256 word = _load(Slots.KEPT);
        return (word & type(uint128).max, word >> 128);
    }

    /// @inheritdoc IMarketLens
    function nonceIsFree(address signer, uint256 nonce) external view returns (bool) {
        return _load(Slots.nonces(signer, nonce >> 8)) & Slots.bit(nonce) == 0;
    }

    // --- many at once ---

    /// @inheritdoc IMarketLens
    function accounts(bytes32[] calldata accountIds) external view returns (AccountView[] memory all) {
        all = new AccountView[](_count(accountIds));
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = account(accountIds[i]);
        }
    }

    /// @inheritdoc IMarketLens
    function orders(bytes32[] calldata orderIds) external view returns (OrderView[] memory all) {
        all = new OrderView[](_count(orderIds));
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = order(orderIds[i]);
        }
    }

    /// @inheritdoc IMarketLens
    function bids(bytes32[] calldata orderIds, address[] calldata providers)
        external
        view
        returns (BidView[] memory all)
    {
        require(orderIds.length == providers.length, CapExceeded());
        all = new BidView[](_count(orderIds));
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = bid(orderIds[i], providers[i]);
        }
    }

    /// @inheritdoc IMarketLens
    function leases(bytes32[] calldata orderIds) external view returns (LeaseView[] memory all) {
        all = new LeaseView[](_count(orderIds));
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = lease(orderIds[i]);
        }
    }

    /// @inheritdoc IMarketLens
    function accruals(bytes32[] calldata orderIds) external view returns (AccruedView[] memory all) {
        all = new AccruedView[](_count(orderIds));
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = accrued(orderIds[i]);
        }
    }

    /// @inheritdoc IMarketLens
    function termsHashOf(uint80 rate, uint32 reclaim, uint16 minBill, uint40 expiresAt)
        external
        pure
        returns (bytes32)
    {
        return Book.termsHash(rate, reclaim, minBill, expiresAt);
    }

    // --- rules ---

    /// The state with what time alone has changed.
    function _stateOf(bytes32 orderId, Order o, Award w) private view returns (IMarket.OrderState state) {
        state = o.state();
        if (state == IMarket.OrderState.Open) {
            uint40 bestExpiresAt = w.best() == address(0) ? 0 : _bid(orderId, w.best()).expiresAt();
            if (o.expired(w.deadline(), bestExpiresAt)) state = IMarket.OrderState.Expired;
        } else if (state == IMarket.OrderState.Active || state == IMarket.OrderState.Reclaiming) {
            if (block.timestamp >= _until(orderId)) state = IMarket.OrderState.Depleted;
        }
    }

    function _leased(Lease l) private pure returns (bool) {
        return l.state() >= IMarket.OrderState.Active && l.provider() != address(0);
    }

    function _until(bytes32 orderId) private view returns (uint40) {
        return _account(orderId.account()).until();
    }

    function _account(bytes32 accountId) private view returns (Account) {
        return Account.wrap(_load(Slots.deployment(accountId)));
    }

    function _order(bytes32 orderId) private view returns (Order, Award) {
        bytes32 slot = Slots.order(orderId);
        return (Order.wrap(_load(slot)), Award.wrap(_load(slot.next(2))));
    }

    function _bid(bytes32 orderId, address provider) private view returns (Bid) {
        return Bid.wrap(_load(Slots.bid(orderId, provider)));
    }

    function _load(bytes32 slot) private view returns (uint256) {
        return uint256(_market.extsload(slot));
    }

    function _canLock(address provider, uint80 rate) private view returns (bool) {
        IProviderRegistry.ProviderView memory p = _registry.provider(provider);
        return p.state == IProviderRegistry.ProviderState.Active
            && p.stake - p.locked >= Book.bondOf(rate, rules().bondSecs, _scale);
    }

    function _count(bytes32[] calldata ids) private pure returns (uint256) {
        require(ids.length <= MAX_BATCH, CapExceeded());
        return ids.length;
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Vm} from "../Vm.sol";

/// @notice Everybody who may touch a market, played at random, with a ledger kept beside the contracts. Every call is one
/// that must succeed: inputs are bent into what is allowed, and a call for which nothing fits does nothing.
contract Handler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant S = 1e9;
    uint256 private constant MAX_ORDERS = 24;
    uint256 private constant UNIT = 1e6;

    /// What was agreed when the lease began, noted here and not read back.
    struct Agreed {
        address provider;
        uint256 rate;
        uint256 bond;
        bool live;
    }

    /// Money in token units. `payouts` counts those that may each have lost less than a unit.
    struct Books {
        bytes32[] accounts;
        address[] providers;
        bytes32[] orders;
        Agreed[] agreed;
        uint256 deposited;
        uint256 refunded;
        uint256 penalties;
        uint256 paid;
        uint256 collected;
        uint256 payouts;
    }

    TestToken private immutable token;
    IParams private immutable params;
    IProviderRegistry private immutable registry;
    IMarket private immutable market;
    IMarketLens private immutable lens;
    address private immutable governor;

    bytes32[] private accounts;
    address[] private providers;
    bytes32[] private orders;
    mapping(bytes32 account => uint16) private groups;
    mapping(bytes32 order => Agreed) private agreed;

    uint256 private deposited;
    uint256 private refunded;
    uint256 private penalties;
    uint256 private paid;
    uint256 private collected;
    uint256 private payouts;

    constructor(
        TestToken token_,
        IParams params_,
        IProviderRegistry registry_,
        IMarket market_,
        IMarketLens lens_,
        address governor_
    ) {
        (token, params, registry, market) = (token_, params_, registry_, market_);
        (lens, governor) = (lens_, governor_);
        for (uint256 i = 0; i < 4; i++) {
            address tenant = i < 2 ? vm.addr(0x1000) : vm.addr(0x1001);
            approve(tenant);
            vm.prank(tenant);
            accounts.push(market.createDeployment(uint64(i), "manifest"));
        }
        for (uint256 i = 0; i < 2; i++) {
            address owner = vm.addr(0x2000 + i);
            approve(owner);
            token.mint(owner, 1_000_000 * UNIT);
            vm.prank(owner);
            registry.register(operatorOf(i), payoutOf(i), 0, "https://p", 0, 1_000_000 * UNIT);
            providers.push(owner);
        }
    }

    // --- moves ---

    function deposit(uint256 which, uint256 amount) external {
        bytes32 account = pick(accounts, which);
        if (lens.account(account).state != IMarketLens.AccountState.Open) return;
        pay(account, bound(amount, 1, 50 * UNIT));
    }

    function refund(uint256 which, uint256 amount) external {
        takeBack(pick(accounts, which), amount);
    }

    function order(uint256 which, uint256 rate) external {
        post(pick(accounts, which), bound(rate, 1, 1e14));
    }

    function bid(uint256 which, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Open);
        if (found) offer(id, who % 2, rate, reclaim, minBill);
    }

    function withdrawBid(uint256 which, uint256 who) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Open);
        if (!found || lens.bid(id, providers[who % 2]).state != IMarket.BidState.Open) return;
        vm.prank(operatorOf(who % 2));
        market.withdrawBid(id);
    }

    function accept(uint256 which, uint256 who) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Open);
        if (found) take(id, who % 2);
    }

    /// An order, two bids and an acceptance in a row, so that many leases live at once.
    function lease(uint256 which, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill) external {
        (bytes32 id, bool posted) = post(pick(accounts, which), bound(rate, 1, 1e14));
        if (!posted) return;
        offer(id, who % 2, rate, reclaim, minBill);
        offer(id, 1 - who % 2, reclaim, rate, minBill);
        take(id, who % 2);
    }

    function cancelOrExpire(uint256 which) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Expired);
        if (found) return market.expireOrder(id);
        (id, found) = find(which, IMarket.OrderState.Open);
        if (!found) return;
        vm.prank(tenantOf(id));
        market.cancelOrder(id);
    }

    function reorder(uint256 which, uint256 rate) external {
        if (orders.length >= MAX_ORDERS) return;
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Closed);
        bytes32 next = bytes32(uint256(id) + 1);
        bytes32 account = accountOf(id);
        if (!found || lens.order(next).state != IMarket.OrderState.None) return;
        if (lens.account(account).state != IMarketLens.AccountState.Open) return;
        rate = bound(rate, 1, 1e14);
        ensureRunway(account, rate);
        IMarket.OrderTerms memory t = terms(rate);
        vm.prank(tenantOf(id));
        market.reorder(id, t, "spec");
        orders.push(next);
    }

    function close(uint256 which, uint256 by, uint256 reason) external {
        (bytes32 id, bool found) = findLive(which);
        if (!found) return;
        address owner = agreed[id].provider;
        if (by % 3 == 0) end(id, tenantOf(id), uint8(bound(reason, 1, 99)));
        else if (by % 3 == 1) end(id, owner, uint8(bound(reason, 100, 103)));
        else end(id, registry.provider(owner).operator, uint8(bound(reason, 100, 103)));
    }

    /// What must never succeed: it is tried on an order that left the book, and the invariants see whether it did.
    function mischief(uint256 which, uint256 who, uint256 kind) external {
        (bytes32 id, bool found) = findLive(which);
        if (!found) (id, found) = find(which, IMarket.OrderState.Closed);
        if (!found) return;
        address from = providers[who % 2];
        IMarketLens.BidView memory b = lens.bid(id, from);
        bytes32 hash = lens.termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt);
        IMarket.OrderTerms memory t = terms(1);
        if (lens.account(accountOf(id)).state == IMarketLens.AccountState.Open) {
            ensureRunway(accountOf(id), b.rate);
        }
        vm.prank(tenantOf(id));
        if (kind % 4 == 0) {
            try market.acceptBid(id, from, hash) {} catch {}
        } else if (kind % 4 == 1) {
            try market.createOrder(id, t, "spec") {} catch {}
        } else if (kind % 4 == 2) {
            try market.cancelOrder(id) {} catch {}
        } else {
            try market.expireOrder(id) {} catch {}
        }
    }

    function startReclaim(uint256 which) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Active);
        if (!found) return;
        vm.prank(agreed[id].provider);
        market.startReclaim(id, 102);
    }

    /// Lets the money of an account end, if that is near, and a little time pass over it.
    function runDry(uint256 which, uint256 secs) external {
        uint256 end_ = lens.account(pick(accounts, which)).fundedUntil;
        if (end_ > vm.getBlockTimestamp() && end_ < vm.getBlockTimestamp() + 2 days) {
            vm.warp(end_ + secs % 3);
        }
    }

    function finalize(uint256 which) external {
        (bytes32 id, bool found) = find(which, IMarket.OrderState.Depleted);
        if (!found) return;
        market.finalize(id);
        agreed[id].live = false;
    }

    function withdraw(uint256 which, uint256 many) external {
        bytes32[] memory batch = new bytes32[](bound(many, 1, 4));
        uint256 n;
        for (uint256 i = 0; i < orders.length && n < batch.length; i++) {
            bytes32 id = orders[addmod(which, i, orders.length)];
            if (agreed[id].provider != address(0)) batch[n++] = id;
        }
        assembly ("memory-safe") {
            mstore(batch, n)
        }
        payOut(batch);
    }

    function stake(uint256 who, uint256 amount) external {
        address owner = providers[who % 2];
        IProviderRegistry.ProviderView memory v = registry.provider(owner);
        if (v.unbondAt == 0) {
            amount = bound(amount, 0, 1000 * UNIT);
            token.mint(owner, amount);
            vm.startPrank(owner);
            registry.addStake(owner, amount);
            registry.requestUnstake();
        } else {
            if (amount % 4 != 0) return;
            if (vm.getBlockTimestamp() < v.unbondAt) vm.warp(v.unbondAt);
            uint256 least = params.values().minStake;
            if (v.locked > least) least = v.locked;
            if (v.stake < least) return;
            vm.startPrank(owner);
            registry.unstake(bound(amount, 0, (v.stake - least) / 4));
        }
        vm.stopPrank();
    }

    function govern(uint256 fee, uint256 runway, uint256 bondSecs) external {
        IParams.Values memory v = params.values();
        (v.feeBps, v.minRunway, v.bondSecs) =
        (uint16(bound(fee, 0, 1000)), uint32(bound(runway, 600, 3600)), uint24(bound(bondSecs, 3600, 1 days)));
        vm.prank(governor);
        params.setValues(v);
        market.syncParams();
        collectFees();
    }

    function warp(uint256 secs) external {
        vm.warp(vm.getBlockTimestamp() + bound(secs, 1, 20_000));
    }

    // --- the same, for the end of a run ---

    function closeAll() external {
        for (uint256 i = 0; i < orders.length; i++) {
            if (agreed[orders[i]].live) end(orders[i], tenantOf(orders[i]), 1);
        }
    }

    function withdrawAll() external {
        for (uint256 i = 0; i < orders.length; i++) {
            if (agreed[orders[i]].provider == address(0)) continue;
            bytes32[] memory batch = new bytes32[](1);
            batch[0] = orders[i];
            payOut(batch);
        }
    }

    function refundAll() external {
        for (uint256 i = 0; i < accounts.length; i++) {
            takeBack(accounts[i], type(uint256).max);
        }
    }

    function collectFees() public {
        collected += market.collectFees();
    }

    // --- how the moves are made ---

    function pay(bytes32 account, uint256 amount) private {
        address tenant = tenantOf(account);
        token.mint(tenant, amount);
        vm.prank(tenant);
        market.deposit(account, amount);
        deposited += amount;
    }

    function takeBack(bytes32 account, uint256 amount) private {
        address tenant = tenantOf(account);
        uint256 before = token.balanceOf(tenant);
        amount = amount == type(uint256).max ? amount : bound(amount, 0, lens.account(account).refundable);
        vm.prank(tenant);
        market.refund(account, amount);
        refunded += token.balanceOf(tenant) - before;
    }

    function post(bytes32 account, uint256 rate) private returns (bytes32 id, bool posted) {
        if (orders.length >= MAX_ORDERS || lens.account(account).state != IMarketLens.AccountState.Open) {
            return (0, false);
        }
        ensureRunway(account, rate);
        groups[account]++;
        id = bytes32(uint256(account) | (uint256(groups[account]) << 16) | 1);
        IMarket.OrderTerms memory t = terms(rate);
        vm.prank(tenantOf(account));
        market.createOrder(id, t, "spec");
        orders.push(id);
        return (id, true);
    }

    function offer(bytes32 id, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill) private {
        IMarketLens.BidView memory b = lens.bid(id, providers[who]);
        bool again = b.state != IMarket.BidState.None;
        (uint80 ask, uint32 notice, uint16 least) = (
            uint80(bound(rate, 1, again ? b.rate : lens.order(id).maxRate)),
            uint32(bound(reclaim, again ? b.reclaim : 0, 1 days)),
            uint16(bound(minBill, 0, again ? b.minBill : 3600))
        );
        uint40 expiresAt = uint40(vm.getBlockTimestamp() + 12 hours);
        vm.prank(operatorOf(who));
        market.placeBid(id, keccak256("spec"), ask, expiresAt, notice, least);
    }

    function take(bytes32 id, uint256 who) private {
        IMarketLens.BidView memory b = lens.bid(id, providers[who]);
        if (b.state != IMarket.BidState.Open) return;
        bytes32 account = accountOf(id);
        if (lens.account(account).state != IMarketLens.AccountState.Open) return;
        IProviderRegistry.ProviderView memory p = registry.provider(providers[who]);
        uint256 bond = (uint256(b.rate) * params.values().bondSecs + S - 1) / S;
        if (p.stake - p.locked < bond) return;
        ensureRunway(account, b.rate);
        bytes32 hash = lens.termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt);
        vm.prank(tenantOf(id));
        market.acceptBid(id, providers[who], hash);
        agreed[id] = Agreed({provider: providers[who], rate: b.rate, bond: bond, live: true});
    }

    function end(bytes32 id, address by, uint8 reason) private {
        uint256 before = registry.provider(agreed[id].provider).stake;
        vm.prank(by);
        market.closeLease(id, reason);
        penalties += before - registry.provider(agreed[id].provider).stake;
        agreed[id].live = false;
    }

    function payOut(bytes32[] memory batch) private {
        uint256 before = token.balanceOf(payoutOf(0)) + token.balanceOf(payoutOf(1));
        market.withdraw(batch);
        paid += token.balanceOf(payoutOf(0)) + token.balanceOf(payoutOf(1)) - before;
        payouts += batch.length;
    }

    /// Tops an open account up to what one more lease at `rate` needs, and a little more, so that leases begin, and soon
    /// end.
    function ensureRunway(bytes32 account, uint256 rate) private {
        IMarketLens.AccountView memory v = lens.account(account);
        uint256 need = (v.rateSum + rate) * params.values().minRunway;
        if (v.balanceScaled < need) pay(account, (need - v.balanceScaled + rate * 10 minutes) / S + 1);
    }

    function terms(uint256 rate) private view returns (IMarket.OrderTerms memory t) {
        (t.maxRate, t.expiresAt) = (uint80(rate), uint40(vm.getBlockTimestamp() + 2 hours));
    }

    // --- finding something that fits ---

    function find(uint256 from, IMarket.OrderState want) private view returns (bytes32 id, bool found) {
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(from, i, orders.length)];
            found = lens.order(id).state == want;
        }
    }

    function findLive(uint256 from) private view returns (bytes32 id, bool found) {
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(from, i, orders.length)];
            found = agreed[id].live;
        }
    }

    function approve(address who) private {
        vm.startPrank(who);
        token.approve(address(market), type(uint256).max);
        token.approve(address(registry), type(uint256).max);
        vm.stopPrank();
    }

    function pick(bytes32[] storage list, uint256 which) private view returns (bytes32) {
        return list[which % list.length];
    }

    function bound(uint256 x, uint256 least, uint256 most) private pure returns (uint256) {
        return least + x % (most - least + 1);
    }

    function tenantOf(bytes32 id) private pure returns (address) {
        return address(uint160(uint256(id) >> 96));
    }

    function accountOf(bytes32 id) private pure returns (bytes32) {
        return bytes32((uint256(id) >> 32) << 32);
    }

    function operatorOf(uint256 i) private pure returns (address) {
        return vm.addr(0x3000 + i);
    }

    function payoutOf(uint256 i) private pure returns (address) {
        return vm.addr(0x4000 + i);
    }

    /// The whole ledger at once: one call instead of hundreds after every move.
    function books() external view returns (Books memory b) {
        (b.accounts, b.providers, b.orders) = (accounts, providers, orders);
        b.agreed = new Agreed[](orders.length);
        for (uint256 i = 0; i < orders.length; i++) {
            b.agreed[i] = agreed[orders[i]];
        }
        (b.deposited, b.refunded, b.penalties) = (deposited, refunded, penalties);
        (b.paid, b.collected, b.payouts) = (paid, collected, payouts);
    }
}

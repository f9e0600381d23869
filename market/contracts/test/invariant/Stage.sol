// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {ListToken} from "../tokens/ListToken.sol";
import {Vm} from "../Vm.sol";

/// @notice Where everybody plays: who there is, the ledger kept beside the contracts, and the verbs that keep it. A move
/// for which nothing fits is thrown away by `assume`, which forge counts; one that is made must succeed.
abstract contract Stage {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 internal constant S = 1e9;
    uint256 internal constant UNIT = 1e6;
    uint256 internal constant TENANTS = 2;
    uint256 internal constant PROVIDERS = 3;
    uint256 private constant MAX_ORDERS = 20;
    uint256 internal constant MAX_RATE = 1e14;
    bytes internal constant SPEC = "spec";

    /// What was agreed when the lease began, noted here and not read back. `missing` are the seconds that an early close
    /// paid on top, `gross` what was paid out so far, both as told by the handler's own reckoning and the log.
    struct Agreed {
        address provider;
        uint256 rate;
        uint256 bond;
        uint256 reclaim;
        uint256 minBill;
        uint256 feeBps;
        uint256 startedAt;
        uint256 missing;
        uint256 gross;
        bool live;
    }

    /// Whose bid is the best of an order, and what it locks.
    struct Best {
        address provider;
        uint256 bondSecs;
        uint256 bond;
    }

    /// Money in token units. `payouts` counts those that may each have lost less than a unit.
    struct Books {
        bytes32[] accounts;
        address[] providers;
        bytes32[] orders;
        Agreed[] agreed;
        Best[] best;
        uint256 deposited;
        uint256 refunded;
        uint256 penalties;
        uint256 paid;
        uint256 collected;
        uint256 payouts;
    }

    ListToken internal immutable token;
    IParams internal immutable params;
    IProviderRegistry internal immutable registry;
    IMarket internal immutable market;
    IMarketLens internal immutable lens;
    address internal immutable governor;
    address internal constant STRANGER = address(0x57A9);
    address internal constant GUARDIAN = address(0x64A8);

    bytes32[] internal accounts;
    address[] internal providers;
    bytes32[] internal orders;
    mapping(bytes32 account => uint16) private groups;
    mapping(bytes32 order => Agreed) internal agreed;
    mapping(bytes32 order => Best) internal best;
    /// Keys and purses that were ever named; the number counts up when one is replaced.
    mapping(address owner => uint256) internal operators;
    mapping(address owner => uint256) internal purses;
    uint256 internal nextNonce;
    /// The numbers that rule: those of Params on the day somebody told the Market.
    IParams.Values internal numbers;

    uint256 internal deposited;
    uint256 internal refunded;
    uint256 internal penalties;
    uint256 internal paid;
    uint256 internal collected;
    uint256 internal payouts;

    constructor(
        ListToken token_,
        IParams params_,
        IProviderRegistry registry_,
        IMarket market_,
        IMarketLens lens_,
        address governor_
    ) {
        (token, params, registry, market, lens, governor) =
        (token_, params_, registry_, market_, lens_, governor_);
        numbers = params_.values();
        vm.prank(governor_);
        params_.setGuardian(GUARDIAN);
        for (uint256 i = 0; i < TENANTS; i++) {
            approve(tenantAt(i));
            open(i);
            open(i);
        }
        for (uint256 i = 0; i < PROVIDERS; i++) {
            address owner = vm.addr(0x2000 + i);
            approve(owner);
            token_.mint(owner, 1_000_000 * UNIT);
            vm.startPrank(owner);
            registry_.register(keyOf(owner, 0), purseOf(owner, 0), "https://p", 0, 1_000_000 * UNIT);
            registry_.setAttributes("attrs");
            vm.stopPrank();
            providers.push(owner);
        }
        approve(STRANGER);
    }

    // --- verbs ---

    function open(uint256 who) internal {
        address tenant = tenantAt(who);
        vm.prank(tenant);
        accounts.push(market.createDeployment(uint64(accounts.length), "manifest"));
    }

    function pay(bytes32 account, address from, uint256 amount) internal {
        token.mint(from, amount);
        vm.prank(from);
        market.deposit(account, amount);
        deposited += amount;
    }

    function takeBack(bytes32 account, uint256 amount) internal {
        address tenant = tenantOf(account);
        uint256 before = token.balanceOf(tenant);
        vm.prank(tenant);
        market.refund(account, amount);
        refunded += token.balanceOf(tenant) - before;
    }

    /// The id of the next order of a live account, with money enough for it; nothing if there is no room for more.
    function nextOrder(uint256 which, uint256 rate) internal returns (bytes32 id) {
        bytes32 account = liveAccount(which);
        vm.assume(orders.length < MAX_ORDERS);
        ensureRunway(account, rate);
        groups[account]++;
        id = bytes32(uint256(account) | (uint256(groups[account]) << 16) | 1);
        orders.push(id);
    }

    /// An order that is over, of a live account, and that no other follows yet.
    function overAndLast(uint256 which, uint256 rate) internal returns (bytes32 id) {
        vm.assume(orders.length < MAX_ORDERS);
        bool found;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(which, i, orders.length)];
            IMarket.OrderState state = lens.order(id).state;
            found = (state == IMarket.OrderState.Closed || state == IMarket.OrderState.Expired)
                && lens.order(bytes32(uint256(id) + 1)).state == IMarket.OrderState.None
                && lens.account(accountOf(id)).state == IMarketLens.AccountState.Open;
        }
        vm.assume(found);
        ensureRunway(accountOf(id), rate);
        delete best[id];
        orders.push(bytes32(uint256(id) + 1));
    }

    /// Notes the lease that a bid became.
    function begun(bytes32 id, address owner, IMarketLens.BidView memory b, uint256 bond) internal {
        agreed[id] = Agreed({
            provider: owner,
            rate: b.rate,
            bond: bond,
            reclaim: b.reclaim,
            minBill: b.minBill,
            feeBps: numbers.feeBps,
            startedAt: time(),
            missing: 0,
            gross: 0,
            live: true
        });
        delete best[id];
    }

    /// Notes what the tenant's close is about to move to the provider.
    function billMinimum(bytes32 id) internal {
        Agreed storage a = agreed[id];
        uint256 least = a.startedAt + a.minBill;
        if (lens.lease(id).state != IMarket.OrderState.Active || time() >= least) return;
        uint256 most = lens.account(accountOf(id)).balanceScaled / a.rate;
        a.missing = least - time() < most ? least - time() : most;
    }

    function payOut(bytes32[] memory batch) internal {
        uint256 before = token.balanceOf(address(market));
        vm.recordLogs();
        vm.prank(STRANGER);
        market.withdraw(batch);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 nets;
        for (uint256 i = 0; i < logs.length; i++) {
            if (logs[i].topics[0] != IMarket.Withdrawn.selector) continue;
            (uint256 net, uint256 fee,) = abi.decode(logs[i].data, (uint256, uint256, uint40));
            Agreed storage a = agreed[logs[i].topics[1]];
            a.gross += net + fee;
            nets += net;
            payouts++;
            vm.assertLe(fee * 10_000, (net + fee) * a.feeBps, "I14: no fee above that of the first day");
        }
        uint256 left = before - token.balanceOf(address(market));
        vm.assertEq(left, nets, "what the log says was paid was paid");
        paid += left;
    }

    /// Tops an open account up to what one more lease at `rate` needs, and a little more, so that leases begin, and soon
    /// end.
    function ensureRunway(bytes32 account, uint256 rate) internal {
        IMarketLens.AccountView memory v = lens.account(account);
        uint256 need = (v.rateSum + rate) * numbers.minRunway;
        if (v.balanceScaled < need) {
            pay(account, tenantOf(account), (need - v.balanceScaled + rate * 10 minutes) / S + 1);
        }
    }

    /// What begins something new is refused while a pause lasts; then the guardian lifts it, and the move is made.
    function whileOpen() internal {
        if (time() >= lens.rules().pausedUntil) return;
        vm.prank(STRANGER);
        try market.createDeployment(1, 0) {
            vm.assertTrue(false, "nothing new begins during a pause");
        } catch {}
        vm.prank(GUARDIAN);
        market.unpause();
    }

    // --- finding what fits ---

    function liveAccount(uint256 which) internal view returns (bytes32 id) {
        bool found;
        for (uint256 i = 0; i < accounts.length && !found; i++) {
            id = accounts[addmod(which, i, accounts.length)];
            found = lens.account(id).state == IMarketLens.AccountState.Open;
        }
        vm.assume(found);
    }

    function inState(uint256 from, IMarket.OrderState want) internal view returns (bytes32 id) {
        bool found;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(from, i, orders.length)];
            found = lens.order(id).state == want;
        }
        vm.assume(found);
    }

    function openOf(uint256 from, uint8 mode) internal view returns (bytes32 id) {
        bool found;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(from, i, orders.length)];
            IMarketLens.OrderView memory o = lens.order(id);
            found = o.state == IMarket.OrderState.Open && o.mode == mode;
        }
        vm.assume(found);
    }

    function liveLease(uint256 from) internal view returns (bytes32 id) {
        bool found;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(from, i, orders.length)];
            found = agreed[id].live;
        }
        vm.assume(found);
    }

    function activeProvider(uint256 from) internal view returns (address owner) {
        for (uint256 i = 0; i < PROVIDERS; i++) {
            owner = providers[addmod(from, i, PROVIDERS)];
            if (registry.provider(owner).state == IProviderRegistry.ProviderState.Active) return owner;
        }
        vm.assume(false);
    }

    /// Token units of stake that a lease at `rate` begun now would lock.
    function bondOf(uint256 rate) internal view returns (uint256) {
        return bondOf(rate, numbers.bondSecs);
    }

    function bondOf(uint256 rate, uint256 secs) internal pure returns (uint256) {
        return (rate * secs + S - 1) / S;
    }

    function isFree(address owner, uint256 amount) internal view returns (bool) {
        IProviderRegistry.ProviderView memory v = registry.provider(owner);
        return v.stake - v.locked >= amount;
    }

    // --- nouns ---

    function time() internal view returns (uint256) {
        return vm.getBlockTimestamp();
    }

    function terms(uint256 rate, uint256 reclaim, bool lowest, uint256 secs)
        internal
        view
        returns (IMarket.OrderTerms memory t)
    {
        t.maxRate = uint80(rate);
        t.minReclaim = uint32(bound(reclaim, 0, 1 hours));
        t.expiresAt = uint40(time() + 2 hours);
        if (lowest) (t.mode, t.deadline) = (1, uint40(time() + bound(secs, 1, 1 hours)));
    }

    function tenantAt(uint256 i) internal pure returns (address) {
        return vm.addr(tenantKey(i));
    }

    function tenantKey(uint256 i) internal pure returns (uint256) {
        return 0x1000 + i % TENANTS;
    }

    function keyOfTenant(bytes32 id) internal pure returns (uint256) {
        return tenantOf(id) == tenantAt(0) ? tenantKey(0) : tenantKey(1);
    }

    /// The private key of a provider's operator; the address is `keyOf`.
    function secretOf(address owner, uint256 number) internal pure returns (uint256) {
        return uint256(uint160(owner)) + 1 + number;
    }

    function keyOf(address owner, uint256 number) internal pure returns (address) {
        return vm.addr(secretOf(owner, number));
    }

    function operatorOf(address owner) internal view returns (address) {
        return keyOf(owner, operators[owner]);
    }

    function purseOf(address owner, uint256 number) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode(owner, number)))));
    }

    function tenantOf(bytes32 id) internal pure returns (address) {
        return address(uint160(uint256(id) >> 96));
    }

    function accountOf(bytes32 id) internal pure returns (bytes32) {
        return bytes32((uint256(id) >> 32) << 32);
    }

    function bound(uint256 x, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + x % (most - least + 1);
    }

    function one(bytes32 id) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = id;
    }

    function approve(address who) private {
        vm.startPrank(who);
        token.approve(address(market), type(uint256).max);
        token.approve(address(registry), type(uint256).max);
        vm.stopPrank();
    }

    /// The whole ledger at once: one call instead of hundreds after every move.
    function books() external view returns (Books memory b) {
        (b.accounts, b.providers, b.orders) = (accounts, providers, orders);
        b.agreed = new Agreed[](orders.length);
        b.best = new Best[](orders.length);
        for (uint256 i = 0; i < orders.length; i++) {
            b.agreed[i] = agreed[orders[i]];
            b.best[i] = best[orders[i]];
        }
        (b.deposited, b.refunded, b.penalties) = (deposited, refunded, penalties);
        (b.paid, b.collected, b.payouts) = (paid, collected, payouts);
    }
}

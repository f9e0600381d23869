// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Stage} from "./Stage.sol";

/// @notice What providers do, with their cold key and with their hot one.
abstract contract Providers is Stage {
    function operatorBids(uint256 which, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill)
        external
    {
        whileOpen();
        bytes32 id = openOf(which, 0);
        address owner = activeProvider(who);
        IMarket.BidRequest memory b = fitting(id, owner, lens.order(id).maxRate, rate, reclaim, minBill);
        b.expiresAt = uint40(time() + 12 hours);
        place(owner, b);
    }

    function operatorBidsLowest(uint256 which, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill)
        external
    {
        whileOpen();
        bytes32 id = openOf(which, 1);
        address owner = activeProvider(who);
        IMarketLens.OrderView memory o = lens.order(id);
        vm.assume(time() <= o.deadline);
        Best memory w = best[id];
        uint256 most = o.maxRate;
        if (w.provider != address(0) && w.provider != owner) most = uint256(o.bestRate) * 99 / 100;
        vm.assume(most != 0);
        IMarket.BidRequest memory b = fitting(id, owner, most, rate, reclaim, minBill);
        b.expiresAt = o.deadline + 5 minutes + uint40(rate % 1 hours);
        uint256 secs = w.provider == owner ? w.bondSecs : numbers.bondSecs;
        vm.assume(w.provider == owner || isFree(owner, bondOf(b.rate, secs)));
        place(owner, b);
        best[id] = Best(owner, secs, bondOf(b.rate, secs));
    }

    /// Bids on everything at once; some of it is not to be had.
    function operatorBidsOnAll(uint256 who, uint256 rate) external {
        whileOpen();
        address owner = activeProvider(who);
        uint256 n;
        IMarket.BidRequest[] memory bids = new IMarket.BidRequest[](orders.length);
        for (uint256 i = 0; i < orders.length; i++) {
            IMarketLens.OrderView memory o = lens.order(orders[i]);
            // Best bids have a book of their own, which the move for them keeps.
            if (o.mode != 0) continue;
            bids[n++] = IMarket.BidRequest({
                orderId: orders[i],
                provider: owner,
                specHash: keccak256(SPEC),
                rate: uint80(bound(rate, 1, o.maxRate == 0 ? 1 : o.maxRate)),
                expiresAt: uint40(time() + 12 hours),
                reclaim: 1 days,
                minBill: 0
            });
        }
        vm.assume(n != 0);
        assembly ("memory-safe") {
            mstore(bids, n)
        }
        vm.prank(operatorOf(owner));
        vm.assume(market.placeBids(bids) != 0);
    }

    function operatorWithdrawsBid(uint256 which, uint256 who) external {
        bool found;
        bytes32 id;
        address owner;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(which, i, orders.length)];
            for (uint256 k = 0; k < PROVIDERS && !found; k++) {
                owner = providers[addmod(who, k, PROVIDERS)];
                found = best[id].provider != owner && lens.bid(id, owner).state == IMarket.BidState.Open;
            }
        }
        vm.assume(found);
        vm.prank(operatorOf(owner));
        market.withdrawBid(id, owner);
    }

    function providerGivesNotice(uint256 which, bool hot) external {
        bytes32 id = inState(which, IMarket.OrderState.Active);
        address owner = agreed[id].provider;
        vm.prank(hot ? operatorOf(owner) : owner);
        market.startReclaim(id, 102);
    }

    function providerCloses(uint256 which, bool hot, uint256 reason) external {
        bytes32 id = liveLease(which);
        address owner = agreed[id].provider;
        uint256 before = registry.provider(owner).stake;
        vm.prank(hot ? operatorOf(owner) : owner);
        market.closeLease(id, uint8(bound(reason, 100, 103)));
        penalties += before - registry.provider(owner).stake;
        agreed[id].live = false;
    }

    function ownerAddsStake(uint256 who, uint256 amount) external {
        address owner = activeProvider(who);
        amount = bound(amount, 0, 1000 * UNIT);
        token.mint(owner, amount);
        vm.prank(owner);
        registry.addStake(owner, amount);
    }

    function ownerAsksForStake(uint256 who) external {
        vm.prank(providers[who % PROVIDERS]);
        registry.requestUnstake();
    }

    function ownerTakesStake(uint256 who, uint256 amount) external {
        address owner = providers[who % PROVIDERS];
        IProviderRegistry.ProviderView memory v = registry.provider(owner);
        vm.assume(v.unbondAt != 0);
        if (time() < v.unbondAt) vm.warp(v.unbondAt);
        uint256 least = v.state == IProviderRegistry.ProviderState.Active ? params.values().minStake : 0;
        if (v.locked > least) least = v.locked;
        vm.assume(v.stake >= least);
        vm.prank(owner);
        registry.unstake(bound(amount, 0, (v.stake - least) / 4));
    }

    function ownerChangesPurse(uint256 who) external {
        address owner = providers[who % PROVIDERS];
        vm.prank(owner);
        registry.setPayout(purseOf(owner, ++purses[owner]));
    }

    function ownerChangesKey(uint256 who) external {
        address owner = providers[who % PROVIDERS];
        vm.prank(owner);
        registry.setOperator(keyOf(owner, ++operators[owner]));
    }

    function operatorClaims(uint256 who, uint96 bits) external {
        address owner = providers[who % PROVIDERS];
        vm.prank(operatorOf(owner));
        registry.setCapabilities(owner, bits % 4);
    }

    /// The last two stay: a market without sellers plays nothing.
    function ownerRetires(uint256 who, uint256 seldom) external {
        vm.assume(seldom % 8 == 0);
        uint256 left;
        for (uint256 i = 0; i < PROVIDERS; i++) {
            if (registry.provider(providers[i]).state == IProviderRegistry.ProviderState.Active) left++;
        }
        vm.assume(left == PROVIDERS);
        vm.prank(providers[who % PROVIDERS]);
        registry.retire();
    }

    // --- how ---

    /// A bid within what the order and the provider's earlier bid allow.
    function fitting(bytes32 id, address owner, uint256 most, uint256 rate, uint256 reclaim, uint256 minBill)
        private
        view
        returns (IMarket.BidRequest memory b)
    {
        IMarketLens.OrderView memory o = lens.order(id);
        vm.assume(o.reqBits & ~registry.provider(owner).capabilities == 0);
        IMarketLens.BidView memory had = lens.bid(id, owner);
        uint256 notice = o.minReclaim;
        uint256 least = 3600;
        if (had.state != IMarket.BidState.None) {
            (notice, least) = (had.reclaim, had.minBill);
            if (had.rate < most) most = had.rate;
        }
        b.orderId = id;
        b.provider = owner;
        b.specHash = keccak256(SPEC);
        b.rate = uint80(bound(rate, 1, most));
        b.reclaim = uint32(bound(reclaim, notice, notice > 1 days ? notice : 1 days));
        b.minBill = uint16(bound(minBill, 0, least));
    }

    function place(address owner, IMarket.BidRequest memory b) private {
        vm.prank(operatorOf(owner));
        market.placeBid(b.orderId, owner, b.specHash, b.rate, b.expiresAt, b.reclaim, b.minBill);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";

/// @notice Attacks with bids: on the tenant who chooses, on an award that nobody looks at, and on bidders.
contract AuctionAttacksTest is Base {
    address private immutable rival = vm.addr(0x200);
    address private immutable rivalKey = vm.addr(0x201);
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        register(rival, rivalKey, vm.addr(0x202), STAKE);
        account = fund(1, 1000 * UNIT);
    }

    function test_a_bid_worsened_before_the_accept_is_not_accepted() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 1 hours, 0);
        bytes32 hash = termsHash(id, provider);
        // The same price, one word changed: shorter validity here, since all others can only get better.
        skip(1);
        bytes32 specHash = keccak256(spec());
        uint40 end = time() + 30;
        vm.prank(operator);
        market.placeBid(id, provider, specHash, RATE, end, 1 hours, 0);
        vm.prank(tenant);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateChanged.selector, RATE));
        market.acceptBid(id, provider, hash);
    }

    function test_no_term_of_a_bid_can_get_worse() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 1 hours, 60);
        bytes32 specHash = keccak256(spec());
        uint40 end = bidExpiry();
        vm.startPrank(operator);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, RATE));
        market.placeBid(id, provider, specHash, RATE + 1, end, 1 hours, 60);
        expectRevert(IMarket.ReclaimTooShort.selector);
        market.placeBid(id, provider, specHash, RATE, end, 1 hours - 1, 60);
        vm.expectRevert(abi.encodeWithSelector(IMarket.MinBillTooLong.selector, 60));
        market.placeBid(id, provider, specHash, RATE, end, 1 hours, 61);
        vm.stopPrank();
    }

    function test_an_award_is_not_blocked_by_a_bid_that_expires() public {
        bytes32 id = postLowest(1);
        bytes32 specHash = keccak256(spec());
        uint40 tooSoon = deadlineOf(id) + 5 minutes - 1;
        vm.prank(operator);
        expectRevert(IMarket.DurationOutOfBounds.selector);
        market.placeBid(id, provider, specHash, 1, tooSoon, 0, 0);
        bidLowest(id, rivalKey, RATE);
        vm.warp(deadlineOf(id) + 5 minutes);
        market.award(id);
        vm.assertEq(lens.lease(id).provider, rival, "the one that can be held to its word");
    }

    function test_an_award_is_not_blocked_by_a_bid_that_is_withdrawn() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        vm.prank(operator);
        expectRevert(IMarket.BidIsBest.selector);
        market.withdrawBid(id, provider);
        vm.warp(deadlineOf(id) + 1);
        vm.prank(operator);
        expectRevert(IMarket.BidIsBest.selector);
        market.withdrawBid(id, provider);
        market.award(id);
        vm.assertEq(lens.lease(id).provider, provider, "bound");
    }

    function test_an_award_is_not_blocked_by_a_bid_without_stake() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        // Everything it can do to have no stake: ask for it, wait, retire.
        vm.startPrank(provider);
        registry.retire();
        vm.stopPrank();
        vm.warp(deadlineOf(id) + 1);
        market.award(id);
        vm.assertEq(lens.lease(id).provider, provider, "a retired winner is bound");
        vm.assertEq(registry.provider(provider).locked, lens.lease(id).bond, "and its bond is there");
        skip(7 days);
        uint256 stake = registry.provider(provider).stake;
        vm.prank(provider);
        vm.expectRevert();
        registry.unstake(stake);
    }

    function test_a_bid_of_one_without_stake_for_its_bond_never_becomes_the_best() public {
        address poor = vm.addr(0x300);
        register(poor, vm.addr(0x301), poor, 100 * UNIT);
        IProviderRegistry.ProviderView memory v = registry.provider(poor);
        // Its whole stake is locked by one lease.
        uint80 all = uint80(v.stake * S / 6 hours);
        fundMore(uint256(all) * RUNWAY * 3 / S);
        bytes32 first = orderIdOf(account, 9);
        IMarket.OrderTerms memory t = terms();
        t.maxRate = all;
        vm.prank(tenant);
        market.createOrder(first, t, spec());
        placeBid(first, vm.addr(0x301), all, 0, 0);
        accept(first, poor);
        bytes32 id = postLowest(1);
        bytes32 specHash = keccak256(spec());
        uint40 end = deadlineOf(id) + 1 hours;
        uint256 free = registry.provider(poor).stake - registry.provider(poor).locked;
        uint256 need = (uint256(RATE) * 6 hours + S - 1) / S;
        vm.prank(vm.addr(0x301));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, free, need));
        market.placeBid(id, poor, specHash, RATE, end, 0, 0);
    }

    function test_bettering_a_best_bid_frees_its_bond_in_the_same_call() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        uint256 locked = registry.provider(provider).locked;
        vm.assertGe(locked, 1, "locked");
        bidLowest(id, rivalKey, RATE * 99 / 100);
        vm.assertEq(registry.provider(provider).locked, 0, "freed");
        vm.assertGe(registry.provider(rival).locked, 1, "the rival's is locked");
        // Whatever happens to the order, nothing stays locked.
        vm.prank(tenant);
        market.cancelOrder(id);
        vm.assertEq(registry.provider(rival).locked, 0, "freed");
    }

    function test_bonds_on_orders_that_are_never_awarded_come_free_without_the_tenant() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        refundAll(account);
        vm.warp(deadlineOf(id) + 1);
        // The tenant took its money: nobody can award.
        vm.expectRevert();
        market.award(id);
        vm.warp(lens.bid(id, provider).expiresAt + 1);
        vm.prank(stranger);
        market.expireOrder(id);
        vm.assertEq(registry.provider(provider).locked, 0, "the bond is free once the bid is over");
    }

    function test_undercutting_by_dust_does_not_move_the_best_bid() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        bytes32 specHash = keccak256(spec());
        uint40 end = deadlineOf(id) + 1 hours;
        uint80 most = uint80(uint256(RATE) * 99 / 100);
        vm.prank(rivalKey);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, most));
        market.placeBid(id, rival, specHash, RATE - 1, end, 0, 0);
        vm.prank(rivalKey);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, most));
        market.placeBid(id, rival, specHash, most + 1, end, 0, 0);
    }

    function test_an_order_that_is_awarded_is_not_accepted_for_a_friend() public {
        bytes32 id = postLowest(1);
        bidLowest(id, operator, RATE);
        bytes32 hash = termsHash(id, provider);
        vm.prank(tenant);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongMode.selector, 1));
        market.acceptBid(id, provider, hash);
    }

    function test_self_dealing_is_refused_for_every_key_of_the_provider() public {
        // The tenant registers as a provider under its own name, or as the key or purse of another.
        mint(tenant, 3 * STAKE);
        vm.prank(tenant);
        registry.register(vm.addr(0x401), vm.addr(0x402), URI, 0, STAKE);
        bytes32 id = post(account, 1);
        bytes32 specHash = keccak256(spec());
        uint40 end = bidExpiry();
        vm.prank(vm.addr(0x401));
        expectRevert(IMarket.SelfDealing.selector);
        market.placeBid(id, tenant, specHash, RATE, end, 0, 0);
        address shill = vm.addr(0x500);
        register(shill, vm.addr(0x501), tenant, STAKE);
        placeBid(id, vm.addr(0x501), RATE, 0, 0);
        bytes32 hash = termsHash(id, shill);
        vm.prank(tenant);
        expectRevert(IMarket.SelfDealing.selector);
        market.acceptBid(id, shill, hash);
        bytes32 lowest = postLowest(2);
        uint40 late = deadlineOf(lowest) + 1 hours;
        vm.prank(vm.addr(0x501));
        expectRevert(IMarket.SelfDealing.selector);
        market.placeBid(lowest, shill, specHash, RATE, late, 0, 0);
    }

    function test_accept_and_close_pays_the_minimum_bill() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 3600);
        accept(id, provider);
        close(id, tenant, 1);
        vm.assertEq(lens.accrued(id).scaled, uint256(RATE) * 3600, "the hour is paid");
        vm.assertEq(registry.provider(provider).locked, 0, "and the bond is free at once");
    }

    function test_an_id_cannot_be_squatted() public {
        bytes32 id = orderIdOf(account, 1);
        IMarket.OrderTerms memory t = terms();
        bytes memory s = spec();
        vm.startPrank(stranger);
        expectRevert(IMarket.NotTenant.selector);
        market.createOrder(id, t, s);
        expectRevert(IMarket.NotTenant.selector);
        market.reorder(id, t, s);
        // The same number is another id under another name.
        bytes32 own = market.createDeployment(77, MANIFEST);
        vm.stopPrank();
        vm.prank(tenant);
        vm.assertTrue(market.createDeployment(77, MANIFEST) != own, "both have their 77");
        // And a relayer without the tenant's word posts nothing under it either.
        IMarket.OrderRequest memory r;
        (r.orderId, r.terms, r.validUntil) = (id, t, time());
        vm.prank(stranger);
        expectRevert(IMarket.BadSignature.selector);
        market.createOrderFor(r, s, new bytes(65));
    }

    // --- verbs ---

    function fundMore(uint256 amount) private {
        mint(tenant, amount);
        vm.prank(tenant);
        market.deposit(account, amount);
    }

    function postLowest(uint16 gseq) private returns (bytes32 id) {
        id = orderIdOf(account, gseq);
        IMarket.OrderTerms memory t = terms();
        (t.mode, t.deadline) = (1, time() + 10 minutes);
        vm.prank(tenant);
        market.createOrder(id, t, spec());
    }

    function deadlineOf(bytes32 id) private view returns (uint40) {
        return lens.order(id).deadline;
    }

    function bidLowest(bytes32 id, address key, uint80 rate) private {
        bytes32 specHash = keccak256(spec());
        uint40 end = deadlineOf(id) + 5 minutes;
        vm.prank(key);
        market.placeBid(id, bidsFor(key), specHash, rate, end, 0, 0);
    }
}

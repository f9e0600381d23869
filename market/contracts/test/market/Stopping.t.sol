// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {Base} from "../Base.sol";

/// @notice What a pause and a sunset stop, what they cannot stop, and who may.
contract StoppingTest is Base {
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
    }

    // --- who ---

    function test_the_guardian_pauses_for_seven_days() public {
        expectEvent();
        emit IMarket.PauseChanged(guardian, time() + 7 days);
        pauseBy(guardian);
        vm.assertEq(lens.rules().pausedUntil, time() + 7 days, "until");
        vm.assertTrue(lens.rules().pauseSpent, "spent");
        skip(7 days - 1);
        expectPaused(time() + 1);
        post(account, 1);
        skip(1);
        post(account, 1);
    }

    function test_the_guardian_pauses_once_until_it_is_rearmed() public {
        pauseBy(guardian);
        vm.prank(guardian);
        market.unpause();
        expectRevert(IMarket.PauseSpent.selector);
        pauseBy(guardian);
        skip(30 days);
        expectRevert(IMarket.PauseSpent.selector);
        pauseBy(guardian);
        expectEvent();
        emit IMarket.PauseRearmed();
        vm.prank(governor);
        market.rearmPause();
        vm.assertTrue(!lens.rules().pauseSpent, "armed");
        pauseBy(guardian);
    }

    function test_the_owner_pauses_as_often_as_it_wants() public {
        pauseBy(governor);
        skip(1 days);
        pauseBy(governor);
        vm.assertEq(lens.rules().pausedUntil, time() + 7 days, "until");
    }

    function test_a_pause_is_lifted_by_guardian_or_owner() public {
        pauseBy(guardian);
        expectEvent();
        emit IMarket.PauseChanged(guardian, time());
        vm.prank(guardian);
        market.unpause();
        post(account, 1);
        pauseBy(governor);
        vm.prank(governor);
        market.unpause();
        post(account, 2);
    }

    function test_nobody_else_stops_or_starts_anything() public {
        vm.startPrank(stranger);
        expectRevert(IMarket.NotGovernor.selector);
        market.pause();
        expectRevert(IMarket.NotGovernor.selector);
        market.unpause();
        expectRevert(IMarket.NotGovernor.selector);
        market.rearmPause();
        expectRevert(IMarket.NotGovernor.selector);
        market.sunset();
        vm.stopPrank();
        vm.startPrank(guardian);
        expectRevert(IMarket.NotGovernor.selector);
        market.rearmPause();
        expectRevert(IMarket.NotGovernor.selector);
        market.sunset();
    }

    function test_a_sunset_is_for_good() public {
        expectEvent();
        emit IMarket.PauseChanged(governor, type(uint40).max);
        sunset();
        skip(3650 days);
        expectPaused(type(uint40).max);
        post(account, 1);
        vm.startPrank(governor);
        expectPaused(type(uint40).max);
        market.unpause();
        expectPaused(type(uint40).max);
        market.pause();
        expectPaused(type(uint40).max);
        market.sunset();
    }

    // --- what is stopped ---

    function test_nothing_new_begins_while_paused() public {
        nothingBegins(false);
    }

    function test_nothing_new_begins_after_the_sunset() public {
        nothingBegins(true);
    }

    function nothingBegins(bool forGood) private {
        bytes32 plain = post(account, 1);
        bytes32 cancelled = post(account, 2);
        placeBid(plain, operator, RATE, 0, 0);
        bytes32 hash = termsHash(plain, provider);
        bytes32 lowest = postLowest(account, 3);
        contend(lowest, operator, RATE);
        vm.prank(tenant);
        market.cancelOrder(cancelled);
        vm.warp(lens.order(lowest).deadline + 1);
        uint40 until = forGood ? type(uint40).max : time() + 7 days;
        if (forGood) sunset();
        else pauseBy(guardian);

        expectPaused(until);
        market.award(lowest);
        IMarket.BidRequest[] memory bids = new IMarket.BidRequest[](1);
        vm.startPrank(operator);
        expectPaused(until);
        market.placeBid(plain, provider, keccak256(spec()), RATE, until, 0, 0);
        expectPaused(until);
        market.placeBids(bids);
        vm.stopPrank();
        vm.startPrank(tenant);
        expectPaused(until);
        market.createDeployment(2, MANIFEST);
        expectPaused(until);
        market.createOrder(orderIdOf(account, 4), terms(), spec());
        expectPaused(until);
        market.reorder(cancelled, terms(), spec());
        expectPaused(until);
        market.acceptBid(plain, provider, hash);
        IMarket.Quote memory q;
        expectPaused(until);
        market.acceptQuote(q, operator, "");
        IMarket.OrderRequest memory r;
        expectPaused(until);
        market.createOrderFor(r, "", "");
        IMarket.Accept memory a;
        expectPaused(until);
        market.acceptBidFor(a, "");
    }

    // --- what is not ---

    function test_everybody_leaves_while_paused() public {
        everybodyLeaves(false);
    }

    function test_everybody_leaves_after_the_sunset() public {
        everybodyLeaves(true);
    }

    function everybodyLeaves(bool forGood) private {
        bytes32 closed = lease(account, 1, RATE, 0, 0);
        bytes32 left = lease(account, 2, RATE, 60, 0);
        bytes32 dry = leaseFrom(2, 1 * UNIT);
        bytes32 open = post(account, 3);
        bytes32 old = post(account, 4);
        bytes32 lowest = postLowest(account, 5);
        contend(lowest, operator, RATE);
        placeBid(open, operator, RATE, 0, 0);
        if (forGood) sunset();
        else pauseBy(guardian);

        vm.startPrank(operator);
        market.withdrawBid(open, provider);
        market.startReclaim(left, 102);
        vm.stopPrank();
        vm.startPrank(tenant);
        market.updateManifest(account, "other");
        market.deposit(account, 1 * UNIT);
        market.cancelOrder(open);
        market.cancelOrder(lowest);
        skip(3601);
        market.closeLease(closed, 1);
        market.invalidateNonces(0, 1);
        vm.stopPrank();
        market.expireOrder(old);
        vm.prank(operator);
        market.closeLease(left, 104);
        market.finalize(dry);
        market.syncParams();
        withdraw(closed);
        withdraw(left);
        withdraw(dry);
        market.collectFees();
        refundAll(account);
        vm.assertEq(lens.account(account).balance, 0, "all is taken back");
        vm.assertEq(registry.provider(provider).locked, 0, "all is free");
        vm.assertEq(registry.provider(provider).active, 0, "all has ended");
    }

    // --- the numbers ---

    function test_the_numbers_rule_once_they_are_taken_over() public {
        IParams.Values memory v = params.values();
        (v.feeBps, v.minRunway, v.bondSecs) = (77, 1200, 2 hours);
        (v.minOrderDuration, v.maxOrderDuration) = (10 minutes, 1 days);
        vm.prank(governor);
        params.setValues(v);
        vm.assertEq(lens.rules().feeBps, 0, "not yet");
        pauseBy(guardian);
        expectEvent();
        emit IMarket.ParamsSynced(77, 1200, 2 hours, 10 minutes, 1 days);
        vm.prank(stranger);
        market.syncParams();
        IMarket.Rules memory r = lens.rules();
        vm.assertEq(r.feeBps, 77, "feeBps");
        vm.assertEq(r.minRunway, 1200, "minRunway");
        vm.assertEq(r.bondSecs, 2 hours, "bondSecs");
        vm.assertEq(r.minOrderDuration, 10 minutes, "minOrderDuration");
        vm.assertEq(r.maxOrderDuration, 1 days, "maxOrderDuration");
        vm.assertEq(r.pausedUntil, time() + 7 days, "the pause is not touched");
        vm.assertTrue(r.pauseSpent, "nor that it is spent");
    }

    function pauseBy(address who) private {
        vm.prank(who);
        market.pause();
    }

    function sunset() private {
        vm.prank(governor);
        market.sunset();
    }

    function expectPaused(uint40 until) private {
        vm.expectRevert(abi.encodeWithSelector(IMarket.Paused.selector, until));
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {Base} from "../Base.sol";

/// @notice Bids: placing, bettering, taking back, and what becomes of them.
contract BidsTest is Base {
    bytes32 private account;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
        id = post(account, 1);
    }

    function test_a_bid_stands_until_its_time() public {
        expectEvent();
        emit IMarket.BidPlaced(id, provider, RATE, bidExpiry(), 60, 30);
        placeBid(id, operator, RATE, 60, 30);
        IMarketLens.BidView memory v = lens.bid(id, provider);
        vm.assertEq(uint256(v.state), uint256(IMarket.BidState.Open), "state");
        vm.assertEq(v.rate, RATE, "rate");
        vm.assertEq(v.reclaim, 60, "reclaim");
        vm.assertEq(v.minBill, 30, "minBill");
        vm.warp(v.expiresAt);
        assertBid(provider, IMarket.BidState.Open);
        skip(1);
        assertBid(provider, IMarket.BidState.Expired);
    }

    function test_only_an_operator_key_bids() public {
        expectRevert(IMarket.NotOperator.selector);
        placeBid(id, provider, RATE, 0, 0);
        expectRevert(IMarket.NotOperator.selector);
        placeBid(id, stranger, RATE, 0, 0);
    }

    function test_a_retired_provider_does_not_bid() public {
        vm.prank(provider);
        registry.retire();
        expectRevert(IMarket.ProviderInactive.selector);
        placeBid(id, operator, RATE, 0, 0);
    }

    function test_a_tenant_does_not_bid_on_its_own_order() public {
        mint(tenant, STAKE);
        vm.prank(tenant);
        registry.register(vm.addr(0x777), payout, URI, 0, STAKE);
        uint40 expiresAt = bidExpiry();
        expectRevert(IMarket.SelfDealing.selector);
        vm.prank(vm.addr(0x777));
        market.placeBid(id, tenant, keccak256(spec()), RATE, expiresAt, 0, 0);
    }

    function test_a_tenants_key_is_not_the_operator_of_the_bidder() public {
        vm.prank(provider);
        registry.setOperator(tenant);
        expectRevert(IMarket.SelfDealing.selector);
        placeBid(id, tenant, RATE, 0, 0);
    }

    function test_a_bid_never_lands_on_another_spec() public {
        uint40 expiresAt = bidExpiry();
        vm.expectRevert(abi.encodeWithSelector(IMarket.SpecMismatch.selector, keccak256(spec())));
        vm.prank(operator);
        market.placeBid(id, provider, keccak256("another"), RATE, expiresAt, 0, 0);
    }

    function test_a_bid_asks_something_but_not_more_than_the_order_pays() public {
        expectRevert(IMarket.RateZero.selector);
        placeBid(id, operator, 0, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, 2 * RATE));
        placeBid(id, operator, 2 * RATE + 1, 0, 0);
        placeBid(id, operator, 2 * RATE, 0, 0);
        assertBid(provider, IMarket.BidState.Open);
    }

    function test_a_bid_promises_the_notice_that_the_order_wants() public {
        IMarket.OrderTerms memory t = terms();
        t.minReclaim = 3600;
        id = orderIdOf(account, 2);
        vm.prank(tenant);
        market.createOrder(id, t, spec());
        expectRevert(IMarket.ReclaimTooShort.selector);
        placeBid(id, operator, RATE, 3599, 0);
        placeBid(id, operator, RATE, 3600, 0);
        assertBid(provider, IMarket.BidState.Open);
    }

    function test_a_minimum_bill_is_at_most_an_hour() public {
        vm.expectRevert(abi.encodeWithSelector(IMarket.MinBillTooLong.selector, 3600));
        placeBid(id, operator, RATE, 0, 3601);
        placeBid(id, operator, RATE, 0, 3600);
        assertBid(provider, IMarket.BidState.Open);
    }

    function test_a_bid_that_is_over_before_it_began_is_refused() public {
        uint40 past = time() - 1;
        expectRevert(IMarket.Expired.selector);
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, past, 0, 0);
    }

    function test_only_an_open_order_takes_bids() public {
        wrongState(orderIdOf(account, 2), IMarket.OrderState.None);
        skip(1 hours + 1);
        expectRevert(IMarket.Expired.selector);
        placeBid(id, operator, RATE, 0, 0);
        vm.prank(tenant);
        market.cancelOrder(id);
        wrongState(id, IMarket.OrderState.Closed);
        id = lease(account, 2, RATE, 0, 0);
        wrongState(id, IMarket.OrderState.Active);
    }

    function test_a_second_bid_betters_the_first() public {
        placeBid(id, operator, RATE, 60, 30);
        skip(5);
        expectEvent();
        emit IMarket.BidPlaced(id, provider, RATE - 1, bidExpiry(), 61, 29);
        placeBid(id, operator, RATE - 1, 61, 29);
        IMarketLens.BidView memory v = lens.bid(id, provider);
        vm.assertEq(v.rate, RATE - 1, "rate");
        vm.assertEq(v.expiresAt, bidExpiry(), "expiresAt");
        vm.assertEq(v.reclaim, 61, "reclaim");
        vm.assertEq(v.minBill, 29, "minBill");
    }

    function test_a_second_bid_worsens_nothing() public {
        placeBid(id, operator, RATE, 60, 30);
        worsenings();
        placeBid(id, operator, RATE, 60, 30);
    }

    function test_neither_time_nor_withdrawal_lets_a_bid_get_worse() public {
        placeBid(id, operator, RATE, 60, 30);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        worsenings();
        placeBid(id, operator, RATE, 60, 30);
        assertBid(provider, IMarket.BidState.Open);
        skip(10 minutes + 1);
        assertBid(provider, IMarket.BidState.Expired);
        worsenings();
        placeBid(id, operator, RATE, 60, 30);
        assertBid(provider, IMarket.BidState.Open);
    }

    function test_a_bid_is_taken_back() public {
        placeBid(id, operator, RATE, 0, 0);
        expectEvent();
        emit IMarket.BidWithdrawn(id, provider);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        assertBid(provider, IMarket.BidState.Withdrawn);
        expectRevert(IMarket.BidNotOpen.selector);
        vm.prank(operator);
        market.withdrawBid(id, provider);
    }

    function test_what_is_no_open_bid_is_not_taken_back() public {
        expectRevert(IMarket.NotOperator.selector);
        vm.prank(stranger);
        market.withdrawBid(id, provider);
        expectRevert(IMarket.BidNotOpen.selector);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        placeBid(id, operator, RATE, 0, 0);
        accept(id, provider);
        expectRevert(IMarket.BidNotOpen.selector);
        vm.prank(operator);
        market.withdrawBid(id, provider);
    }

    function test_a_bid_is_lost_when_another_wins() public {
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        placeBid(id, operator, RATE, 0, 0);
        placeBid(id, vm.addr(0x201), RATE - 1, 0, 0);
        accept(id, vm.addr(0x200));
        assertBid(provider, IMarket.BidState.Lost);
        assertBid(vm.addr(0x200), IMarket.BidState.Won);
    }

    function test_a_bid_is_lost_with_its_order_and_expires_with_it() public {
        uint40 late = time() + 2 hours;
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, late, 0, 0);
        skip(1 hours + 1);
        assertBid(provider, IMarket.BidState.Expired);
        market.expireOrder(id);
        assertBid(provider, IMarket.BidState.Lost);
        vm.assertEq(uint256(lens.bid(id, stranger).state), uint256(IMarket.BidState.None), "no bid");
    }

    function worsenings() private {
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, RATE));
        placeBid(id, operator, RATE + 1, 60, 30);
        expectRevert(IMarket.ReclaimTooShort.selector);
        placeBid(id, operator, RATE, 59, 30);
        vm.expectRevert(abi.encodeWithSelector(IMarket.MinBillTooLong.selector, 30));
        placeBid(id, operator, RATE, 60, 31);
    }

    function wrongState(bytes32 orderId, IMarket.OrderState have) private {
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, have));
        placeBid(orderId, operator, RATE, 0, 0);
    }

    function assertBid(address from, IMarket.BidState want) private view {
        vm.assertEq(uint256(lens.bid(id, from).state), uint256(want), "state of the bid");
    }
}

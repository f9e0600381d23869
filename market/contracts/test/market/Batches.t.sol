// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";

/// @notice Many bids in one transaction, and the capabilities that a bid needs.
contract BatchesTest is Base {
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
    }

    function test_a_batch_places_each_bid() public {
        IMarket.BidRequest[] memory bids = requests(3);
        expectEvent();
        emit IMarket.BidPlaced(bids[0].orderId, provider, RATE, bidExpiry(), 60, 30);
        vm.prank(operator);
        vm.assertEq(market.placeBids(bids), 3, "placed");
        for (uint256 i = 0; i < 3; i++) {
            vm.assertEq(lens.bid(bids[i].orderId, provider).rate, RATE - uint80(i), "rate");
            vm.assertEq(lens.bid(bids[i].orderId, provider).reclaim, 60, "reclaim");
            vm.assertEq(lens.bid(bids[i].orderId, provider).minBill, 30, "minBill");
        }
    }

    function test_an_order_that_was_lost_does_not_sink_the_other_bids() public {
        IMarket.BidRequest[] memory bids = requests(3);
        vm.prank(tenant);
        market.cancelOrder(bids[1].orderId);
        expectEvent();
        emit IMarket.BidRefused(
            bids[1].orderId,
            operator,
            abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Closed)
        );
        vm.prank(operator);
        vm.assertEq(market.placeBids(bids), 2, "placed");
        vm.assertEq(uint256(lens.bid(bids[0].orderId, provider).state), uint256(IMarket.BidState.Open), "1");
        vm.assertEq(uint256(lens.bid(bids[1].orderId, provider).state), uint256(IMarket.BidState.None), "2");
        vm.assertEq(uint256(lens.bid(bids[2].orderId, provider).state), uint256(IMarket.BidState.Open), "3");
    }

    function test_a_refusal_of_the_registry_is_passed_over_as_well() public {
        IMarket.BidRequest[] memory bids = requests(2);
        bids[0].orderId = postLowest(account, 9);
        bids[0].expiresAt = time() + 15 minutes;
        vm.prank(address(market));
        registry.lockBond(provider, STAKE);
        expectEvent();
        emit IMarket.BidRefused(
            bids[0].orderId,
            operator,
            abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, 0, bondOf(RATE))
        );
        vm.prank(operator);
        vm.assertEq(market.placeBids(bids), 1, "placed");
        vm.assertEq(lens.order(bids[0].orderId).best, address(0), "nothing is left of the one that failed");
    }

    function test_who_may_not_bid_places_nothing() public {
        IMarket.BidRequest[] memory bids = requests(2);
        vm.prank(stranger);
        vm.assertEq(market.placeBids(bids), 0, "placed");
    }

    function test_a_batch_has_at_most_a_hundred_bids() public {
        IMarket.BidRequest[] memory bids = new IMarket.BidRequest[](101);
        expectRevert(IMarket.CapExceeded.selector);
        vm.prank(operator);
        market.placeBids(bids);
        vm.prank(operator);
        vm.assertEq(market.placeBids(new IMarket.BidRequest[](100)), 0, "none of these is an order");
    }

    function test_an_order_asks_for_capabilities_that_a_provider_claims() public {
        bytes32 id = postAsking(1, 5);
        vm.assertEq(lens.order(id).reqBits, 5, "reqBits");
        vm.expectRevert(abi.encodeWithSelector(IMarket.MissingCapabilities.selector, 5));
        placeBid(id, operator, RATE, 0, 0);
        vm.prank(provider);
        registry.setCapabilities(provider, 4 | 8);
        vm.expectRevert(abi.encodeWithSelector(IMarket.MissingCapabilities.selector, 1));
        placeBid(id, operator, RATE, 0, 0);
        vm.prank(provider);
        registry.setCapabilities(provider, 5 | 8);
        placeBid(id, operator, RATE, 0, 0);
    }

    function test_the_highest_capability_can_be_asked_for_and_none_above() public {
        bytes32 id = postAsking(1, 1 << 94);
        vm.assertEq(lens.order(id).reqBits, 1 << 94, "reqBits");
        vm.assertEq(lens.order(id).mode, 0, "no mark of an award");
        vm.prank(operator);
        registry.setCapabilities(provider, 1 << 94);
        placeBid(id, operator, RATE, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IMarket.MissingCapabilities.selector, 1 << 95));
        postAsking(2, type(uint96).max);
    }

    function test_an_awarded_order_asks_for_capabilities_too() public {
        IMarket.OrderTerms memory t = terms();
        (t.mode, t.deadline, t.reqBits) = (1, time() + 10 minutes, 3);
        awardableUntil = t.deadline + 5 minutes;
        bytes32 id = orderIdOf(account, 1);
        vm.prank(tenant);
        market.createOrder(id, t, spec());
        vm.assertEq(lens.order(id).reqBits, 3, "reqBits");
        vm.expectRevert(abi.encodeWithSelector(IMarket.MissingCapabilities.selector, 3));
        contend(id, operator, RATE);
    }

    function postAsking(uint16 gseq, uint96 bits) private returns (bytes32 id) {
        id = orderIdOf(account, gseq);
        IMarket.OrderTerms memory t = terms();
        t.reqBits = bits;
        vm.prank(tenant);
        market.createOrder(id, t, spec());
    }

    function requests(uint16 count) private returns (IMarket.BidRequest[] memory bids) {
        bids = new IMarket.BidRequest[](count);
        for (uint16 i = 0; i < count; i++) {
            bids[i] = IMarket.BidRequest({
                orderId: post(account, i + 1),
                provider: provider,
                specHash: keccak256(spec()),
                rate: RATE - i,
                expiresAt: bidExpiry(),
                reclaim: 60,
                minBill: 30
            });
        }
    }
}

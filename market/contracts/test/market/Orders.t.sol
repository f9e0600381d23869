// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {Base} from "../Base.sol";

/// @notice Orders: posting, repeating, taking off the book.
contract OrdersTest is Base {
    bytes32 private account;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        account = fund(1, 10 * UNIT);
        id = orderIdOf(account, 1);
    }

    // --- createOrder ---

    function test_an_order_is_on_the_book_and_its_spec_in_the_log() public {
        IMarket.OrderTerms memory t = terms();
        t.minReclaim = 3600;
        expectEvent();
        emit IMarket.OrderCreated(
            id, CLASS, tenant, keccak256(spec()), t.maxRate, t.expiresAt, 3600, 0, 0, 0, 0, spec()
        );
        create(t);
        IMarketLens.OrderView memory v = lens.order(id);
        vm.assertEq(uint256(v.state), uint256(IMarket.OrderState.Open), "state");
        vm.assertEq(v.tenant, tenant, "tenant");
        vm.assertEq(v.specHash, keccak256(spec()), "specHash");
        vm.assertEq(v.maxRate, t.maxRate, "maxRate");
        vm.assertEq(v.expiresAt, t.expiresAt, "expiresAt");
        vm.assertEq(v.minReclaim, 3600, "minReclaim");
        vm.assertEq(v.reqBits, 0, "reqBits");
        vm.assertEq(uint256(lens.lease(id).state), uint256(IMarket.OrderState.None), "no lease");
    }

    function test_an_order_expires_by_time_alone() public {
        post(account, 1);
        vm.warp(lens.order(id).expiresAt);
        assertState(id, IMarket.OrderState.Open);
        skip(1);
        assertState(id, IMarket.OrderState.Expired);
    }

    function test_only_the_tenant_orders() public {
        IMarket.OrderTerms memory t = terms();
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.createOrder(id, t, spec());
    }

    function test_groups_and_orders_count_from_one() public {
        refused(account, terms(), spec(), abi.encodePacked(IMarket.InvalidId.selector));
        refused(bytes32(uint256(account) | 1), terms(), spec(), abi.encodePacked(IMarket.InvalidId.selector));
        refused(bytes32(uint256(id) + 1), terms(), spec(), abi.encodePacked(IMarket.InvalidId.selector));
    }

    function test_an_order_id_is_used_once() public {
        post(account, 1);
        refused(id, terms(), spec(), abi.encodePacked(IMarket.IdTaken.selector));
        vm.prank(tenant);
        market.cancelOrder(id);
        refused(id, terms(), spec(), abi.encodePacked(IMarket.IdTaken.selector));
    }

    function test_an_order_needs_an_account() public {
        bytes32 other = bytes32(uint256(id) + (1 << 32));
        refused(other, terms(), spec(), abi.encodePacked(IMarket.UnknownId.selector));
    }

    function test_what_this_version_does_not_trade_is_refused() public {
        IMarket.OrderTerms memory t = terms();
        t.kind = 1;
        refused(id, t, spec(), abi.encodeWithSelector(IMarket.UnsupportedKind.selector, 1));
        t = terms();
        t.mode = 2;
        refused(id, t, spec(), abi.encodeWithSelector(IMarket.UnsupportedMode.selector, 2, 0));
        t = terms();
        t.deadline = 77;
        refused(id, t, spec(), abi.encodeWithSelector(IMarket.UnsupportedMode.selector, 0, 77));
    }

    function test_an_order_for_nothing_is_refused() public {
        IMarket.OrderTerms memory t = terms();
        t.maxRate = 0;
        refused(id, t, spec(), abi.encodePacked(IMarket.RateZero.selector));
    }

    function test_an_order_lasts_between_five_minutes_and_thirty_days() public {
        IMarket.OrderTerms memory t = terms();
        bytes memory bounds = abi.encodePacked(IMarket.DurationOutOfBounds.selector);
        t.expiresAt = time() + 299;
        refused(id, t, spec(), bounds);
        t.expiresAt = time() + 30 days + 1;
        refused(id, t, spec(), bounds);
        t.expiresAt = time() - 1;
        refused(id, t, spec(), bounds);
        t.expiresAt = time() + 300;
        create(t);
        id = orderIdOf(account, 2);
        t.expiresAt = time() + 30 days;
        create(t);
    }

    function test_a_spec_has_between_1_and_8192_bytes() public {
        bytes memory cap = abi.encodePacked(IMarket.CapExceeded.selector);
        refused(id, terms(), "", cap);
        refused(id, terms(), new bytes(8193), cap);
        IMarket.OrderTerms memory t = terms();
        vm.prank(tenant);
        market.createOrder(id, t, new bytes(8192));
        assertState(id, IMarket.OrderState.Open);
    }

    function test_an_order_needs_the_runway_of_its_highest_rate() public {
        uint256 need = 2 * uint256(RATE) * RUNWAY;
        uint256 units = (need + S - 1) / S;
        account = fund(2, units - 1);
        id = orderIdOf(account, 1);
        refused(
            id, terms(), spec(), abi.encodeWithSelector(IMarket.RunwayTooShort.selector, units - 1, units)
        );
        vm.prank(tenant);
        market.deposit(account, 1);
        create(terms());
        assertState(id, IMarket.OrderState.Open);
    }

    function test_the_runway_counts_the_leases_that_run() public {
        uint256 units = (2 * uint256(RATE) * RUNWAY + S - 1) / S;
        account = fund(2, units);
        lease(account, 1, RATE, 0, 0);
        uint256 need = (3 * uint256(RATE) * RUNWAY + S - 1) / S;
        refused(
            orderIdOf(account, 2),
            terms(),
            spec(),
            abi.encodeWithSelector(IMarket.RunwayTooShort.selector, units, need)
        );
    }

    function test_a_depleted_account_orders_nothing() public {
        lease(account, 1, RATE, 0, 0);
        skip(1 days);
        uint40 end = lens.account(account).fundedUntil;
        refused(
            orderIdOf(account, 2),
            terms(),
            spec(),
            abi.encodeWithSelector(IMarket.AccountDepleted.selector, end)
        );
    }

    // --- reorder ---

    function test_a_cancelled_order_is_repeated_with_the_same_spec() public {
        post(account, 1);
        vm.prank(tenant);
        market.cancelOrder(id);
        IMarket.OrderTerms memory t = terms();
        t.maxRate = RATE;
        bytes32 next = bytes32(uint256(id) + 1);
        expectEvent();
        emit IMarket.OrderCreated(
            next, CLASS, tenant, keccak256(spec()), RATE, t.expiresAt, 0, 0, 0, 0, 0, spec()
        );
        vm.prank(tenant);
        vm.assertEq(market.reorder(id, t, spec()), next, "oseq + 1");
        assertState(next, IMarket.OrderState.Open);
        assertState(id, IMarket.OrderState.Closed);
    }

    function test_an_expired_order_is_closed_by_its_repetition() public {
        post(account, 1);
        skip(1 hours + 1);
        IMarket.OrderTerms memory t = terms();
        expectEvent();
        emit IMarket.OrderClosed(id, tenant, 201);
        vm.prank(tenant);
        market.reorder(id, t, spec());
        assertState(id, IMarket.OrderState.Closed);
    }

    function test_an_order_is_repeated_after_its_lease() public {
        id = lease(account, 1, RATE, 0, 0);
        IMarket.OrderTerms memory t = terms();
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Active));
        vm.prank(tenant);
        market.reorder(id, t, spec());
        close(id, tenant, 1);
        vm.prank(tenant);
        market.reorder(id, t, spec());
        assertState(bytes32(uint256(id) + 1), IMarket.OrderState.Open);
    }

    function test_a_repetition_keeps_the_spec_the_tenant_and_its_number() public {
        post(account, 1);
        IMarket.OrderTerms memory t = terms();
        vm.startPrank(tenant);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Open));
        market.reorder(id, t, spec());
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.None));
        market.reorder(bytes32(uint256(id) + 1), t, spec());
        market.cancelOrder(id);
        vm.expectRevert(abi.encodeWithSelector(IMarket.SpecMismatch.selector, keccak256(spec())));
        market.reorder(id, t, "another");
        market.reorder(id, t, spec());
        expectRevert(IMarket.IdTaken.selector);
        market.reorder(id, t, spec());
        vm.stopPrank();
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.reorder(id, t, spec());
    }

    function test_the_last_number_of_a_group_is_not_repeated() public {
        IMarket.OrderTerms memory t = terms();
        expectRevert(IMarket.InvalidId.selector);
        vm.prank(tenant);
        market.reorder(bytes32(uint256(account) | (1 << 16) | type(uint16).max), t, spec());
    }

    // --- cancelOrder, expireOrder ---

    function test_the_tenant_cancels() public {
        post(account, 1);
        expectEvent();
        emit IMarket.OrderClosed(id, tenant, 1);
        vm.prank(tenant);
        market.cancelOrder(id);
        assertState(id, IMarket.OrderState.Closed);
        vm.assertEq(lens.order(id).specHash, keccak256(spec()), "the hash stays");
        vm.assertEq(lens.order(id).maxRate, 0, "the terms do not");
        vm.assertEq(uint256(lens.lease(id).state), uint256(IMarket.OrderState.None), "there was no lease");
        vm.assertEq(refundAll(account), 10 * UNIT, "all the money back");
    }

    function test_the_tenant_cancels_an_expired_order() public {
        post(account, 1);
        skip(1 days);
        vm.prank(tenant);
        market.cancelOrder(id);
        assertState(id, IMarket.OrderState.Closed);
    }

    function test_what_is_not_open_is_not_cancelled() public {
        vm.startPrank(tenant);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.None));
        market.cancelOrder(id);
        vm.stopPrank();
        lease(account, 1, RATE, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Active));
        vm.prank(tenant);
        market.cancelOrder(id);
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.cancelOrder(id);
    }

    function test_anyone_closes_an_expired_order() public {
        post(account, 1);
        vm.warp(lens.order(id).expiresAt);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Open));
        vm.prank(stranger);
        market.expireOrder(id);
        skip(1);
        expectEvent();
        emit IMarket.OrderClosed(id, tenant, 201);
        vm.prank(stranger);
        market.expireOrder(id);
        assertState(id, IMarket.OrderState.Closed);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Closed));
        market.expireOrder(id);
    }

    function create(IMarket.OrderTerms memory t) private {
        vm.prank(tenant);
        market.createOrder(id, t, spec());
    }

    function refused(bytes32 orderId, IMarket.OrderTerms memory t, bytes memory s, bytes memory why) private {
        vm.expectRevert(why);
        vm.prank(tenant);
        market.createOrder(orderId, t, s);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";

/// @notice Leases: how they begin, and every way in which they end.
contract LeasesTest is Base {
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
    }

    // --- acceptBid ---

    function test_an_accepted_bid_is_a_lease_with_its_bond_locked() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 60, 30);
        bytes32 hash = termsHash(id, provider);
        vm.assertEq(
            hash, keccak256(abi.encode(RATE, uint32(60), uint16(30), bidExpiry())), "the hash is the manual's"
        );
        skip(5);
        uint40 until = uint40(time() + 100 * UNIT * S / RATE);
        expectEvent();
        emit IMarket.LeaseCreated(id, provider, tenant, RATE, time(), 0, until);
        vm.prank(tenant);
        market.acceptBid(id, provider, hash);

        IMarketLens.LeaseView memory v = lens.lease(id);
        vm.assertEq(uint256(v.state), uint256(IMarket.OrderState.Active), "state");
        vm.assertEq(v.tenant, tenant, "tenant");
        vm.assertEq(v.provider, provider, "provider");
        vm.assertEq(v.rate, RATE, "rate");
        vm.assertEq(v.startedAt, time(), "startedAt");
        vm.assertEq(v.checkpoint, time(), "checkpoint");
        vm.assertEq(v.billableUntil, time(), "billableUntil");
        vm.assertEq(v.fundedUntil, until, "fundedUntil");
        vm.assertEq(v.endedAt, 0, "endedAt");
        vm.assertEq(v.reclaim, 60, "reclaim");
        vm.assertEq(v.reclaimDeadline, 0, "reclaimDeadline");
        vm.assertEq(v.minBill, 30, "minBill");
        vm.assertEq(v.bond, bondOf(RATE), "bond");
        vm.assertEq(uint256(lens.bid(id, provider).state), uint256(IMarket.BidState.Won), "bid");
        vm.assertEq(lens.account(account).rateSum, RATE, "rateSum");
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE), "locked");
        vm.assertEq(registry.provider(provider).active, 1, "active");
        vm.assertEq(lens.order(id).specHash, keccak256(spec()), "the order keeps its spec");
    }

    function test_a_second_lease_tells_the_first_ones_provider_of_the_nearer_end() public {
        lease(account, 1, RATE, 0, 0);
        bytes32 id = post(account, 2);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        uint40 until = uint40(time() + 100 * UNIT * S / (2 * RATE));
        expectEvent();
        emit IMarket.LeaseCreated(id, provider, tenant, RATE, time(), 0, until);
        expectEvent();
        emit IMarket.FundsChanged(account, tenant, 0, until);
        vm.prank(tenant);
        market.acceptBid(id, provider, hash);
    }

    function test_only_the_tenant_accepts() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        refused(id, stranger, termsHash(id, provider), abi.encodePacked(IMarket.NotTenant.selector));
    }

    function test_an_order_yields_one_lease() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        bytes memory active = wrongState(IMarket.OrderState.Active);
        refused(id, tenant, termsHash(id, provider), active);
        close(id, tenant, 1);
        refused(id, tenant, termsHash(id, provider), wrongState(IMarket.OrderState.Closed));
        refused(orderIdOf(account, 2), tenant, 0, wrongState(IMarket.OrderState.None));
    }

    function test_neither_an_expired_order_nor_an_expired_bid_is_accepted() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        skip(10 minutes + 1);
        refused(id, tenant, hash, abi.encodePacked(IMarket.BidNotOpen.selector));
        skip(1 hours);
        refused(id, tenant, hash, abi.encodePacked(IMarket.Expired.selector));
    }

    function test_a_bid_that_is_not_there_is_not_accepted() public {
        bytes32 id = post(account, 1);
        refused(id, tenant, 0, abi.encodePacked(IMarket.BidNotOpen.selector));
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        refused(id, tenant, hash, abi.encodePacked(IMarket.BidNotOpen.selector));
    }

    function test_terms_that_changed_since_the_tenant_looked_are_not_accepted() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 30);
        bytes32 seen = termsHash(id, provider);
        placeBid(id, operator, RATE - 1, 0, 30);
        refused(id, tenant, seen, abi.encodeWithSelector(IMarket.RateChanged.selector, RATE - 1));
        seen = termsHash(id, provider);
        placeBid(id, operator, RATE - 1, 0, 29);
        refused(id, tenant, seen, abi.encodeWithSelector(IMarket.RateChanged.selector, RATE - 1));
        seen = termsHash(id, provider);
        placeBid(id, operator, RATE - 1, 5, 29);
        refused(id, tenant, seen, abi.encodeWithSelector(IMarket.RateChanged.selector, RATE - 1));
        seen = termsHash(id, provider);
        skip(1);
        placeBid(id, operator, RATE - 1, 5, 29);
        refused(id, tenant, seen, abi.encodeWithSelector(IMarket.RateChanged.selector, RATE - 1));
    }

    function test_a_lease_starts_only_with_its_runway() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        uint256 need = (uint256(RATE) * RUNWAY + S - 1) / S;
        vm.prank(tenant);
        market.refund(account, 100 * UNIT - need + 1);
        refused(id, tenant, hash, abi.encodeWithSelector(IMarket.RunwayTooShort.selector, need - 1, need));
        vm.prank(tenant);
        market.deposit(account, 1);
        vm.prank(tenant);
        market.acceptBid(id, provider, hash);
        assertState(id, IMarket.OrderState.Active);
    }

    function test_a_depleted_account_starts_no_lease() public {
        bytes32 id = post(account, 1);
        uint40 late = time() + 30 days;
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, late, 0, 0);
        bytes32 hash = termsHash(id, provider);
        lease(account, 2, RATE, 0, 0);
        vm.prank(tenant);
        market.refund(account, 100 * UNIT - RUNWAY * uint256(RATE) / S - 1);
        uint40 end = lens.account(account).fundedUntil;
        skip(RUNWAY + 10);
        refused(id, tenant, hash, abi.encodeWithSelector(IMarket.AccountDepleted.selector, end));
    }

    function test_a_provider_without_free_stake_is_not_selectable() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        vm.prank(address(market));
        registry.lockBond(provider, STAKE - bondOf(RATE) + 1);
        refused(
            id,
            tenant,
            hash,
            abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, bondOf(RATE) - 1, bondOf(RATE))
        );
    }

    function test_a_retired_provider_is_not_selectable() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        vm.prank(provider);
        registry.retire();
        refused(id, tenant, hash, abi.encodePacked(IProviderRegistry.ProviderInactive.selector));
    }

    // --- closeLease by the tenant ---

    function test_the_tenant_closes_and_pays_to_the_second() public {
        bytes32 id = lease(account, 1, RATE, 3600, 0);
        skip(1000);
        expectEvent();
        emit IMarket.LeaseClosed(id, provider, tenant, 7, time(), 0);
        close(id, tenant, 7);
        assertState(id, IMarket.OrderState.Closed);
        IMarketLens.LeaseView memory v = lens.lease(id);
        vm.assertEq(uint256(v.state), uint256(IMarket.OrderState.Closed), "state");
        vm.assertEq(v.endedAt, time(), "endedAt");
        vm.assertEq(v.reason, 7, "reason");
        skip(1000);
        vm.assertEq(lens.lease(id).billableUntil, v.endedAt, "time goes on without it");
        IMarketLens.AccruedView memory owed = lens.accrued(id);
        vm.assertEq(owed.scaled, 1000 * uint256(RATE), "rate times seconds");
        vm.assertEq(owed.net, 1000 * uint256(RATE) / S, "whole units");
        vm.assertEq(owed.upTo, v.endedAt, "up to");
        vm.assertEq(
            lens.account(account).balanceScaled, 100 * UNIT * S - owed.scaled, "the rest is the tenant's"
        );
        vm.assertEq(lens.account(account).rateSum, 0, "rateSum");
        vm.assertEq(registry.provider(provider).locked, 0, "bond released");
        vm.assertEq(registry.provider(provider).active, 0, "active");
    }

    function test_a_close_beside_another_lease_tells_of_the_farther_end() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        lease(account, 2, RATE, 0, 0);
        skip(10);
        uint40 until = uint40(time() + (100 * UNIT * S - 20 * uint256(RATE)) / RATE);
        expectEvent();
        emit IMarket.LeaseClosed(id, provider, tenant, 1, time(), 0);
        expectEvent();
        emit IMarket.FundsChanged(account, tenant, 0, until);
        close(id, tenant, 1);
    }

    function test_a_close_before_the_minimum_bill_pays_the_missing_seconds() public {
        bytes32 id = lease(account, 1, RATE, 0, 1800);
        skip(100);
        expectEvent();
        emit IMarket.LeaseClosed(id, provider, tenant, 1, time(), 1700 * uint256(RATE) / S);
        close(id, tenant, 1);
        vm.assertEq(lens.lease(id).endedAt, time(), "the end is not moved");
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 1800 * uint256(RATE), "the minimum bill");
        vm.assertEq(lens.account(account).balanceScaled, 100 * UNIT * S - scaled, "moved at once");
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), 1800 * uint256(RATE) / S, "paid");
    }

    function test_seconds_paid_before_the_close_count_toward_the_minimum_bill() public {
        bytes32 id = lease(account, 1, RATE, 0, 1800);
        skip(100);
        withdraw(id);
        close(id, tenant, 1);
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 1700 * uint256(RATE), "what is missing");
    }

    function test_a_minimum_bill_ends_with_the_account() public {
        account = fund(2, (2 * uint256(RATE) * RUNWAY + S - 1) / S);
        bytes32 id = lease(account, 1, RATE, 0, 3600);
        skip(100);
        close(id, tenant, 1);
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 1200 * uint256(RATE), "whole seconds that were there");
        vm.assertLe(lens.account(account).balanceScaled, RATE, "less than a second is left");
    }

    function test_a_close_after_the_minimum_bill_adds_nothing() public {
        bytes32 id = lease(account, 1, RATE, 0, 1800);
        skip(1800);
        close(id, tenant, 1);
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 1800 * uint256(RATE), "seconds");
    }

    function test_who_was_given_notice_owes_no_minimum_bill() public {
        bytes32 id = lease(account, 1, RATE, 0, 1800);
        vm.prank(operator);
        market.startReclaim(id, 102);
        skip(100);
        close(id, tenant, 1);
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 100 * uint256(RATE), "seconds");
    }

    // --- closeLease by the provider ---

    function test_operator_and_owner_close() public {
        bytes32 id = lease(account, 1, RATE, 0, 1800);
        skip(10);
        expectEvent();
        emit IMarket.LeaseClosed(id, provider, tenant, 103, time(), 0);
        close(id, operator, 103);
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 10 * uint256(RATE), "no minimum bill for who leaves");
        id = lease(account, 2, RATE, 0, 0);
        close(id, provider, 149);
        assertState(id, IMarket.OrderState.Closed);
    }

    function test_a_provider_that_leaves_without_notice_forfeits_it() public {
        bytes32 id = lease(account, 1, RATE, 1000, 0);
        skip(50);
        uint256 penalty = 1000 * uint256(RATE) / S;
        uint40 forever = type(uint40).max;
        expectEvent();
        emit IMarket.LeaseClosed(id, provider, tenant, 101, time(), penalty);
        expectEvent();
        emit IMarket.FundsChanged(account, operator, int256(penalty), forever);
        expectRegistryEvent();
        emit IProviderRegistry.Slashed(provider, id, penalty, 101);
        close(id, operator, 101);
        vm.assertEq(registry.provider(provider).stake, STAKE - penalty, "stake");
        vm.assertEq(registry.provider(provider).locked, 0, "bond");
        vm.assertEq(
            lens.account(account).balanceScaled,
            (100 * UNIT + penalty) * S - 50 * uint256(RATE),
            "in the tenant's account"
        );
        vm.assertEq(token.balanceOf(address(market)), 100 * UNIT + penalty, "and the tokens with it");
    }

    function test_a_penalty_is_at_most_the_bond() public {
        bytes32 id = lease(account, 1, RATE, type(uint32).max, 0);
        close(id, operator, 101);
        vm.assertEq(registry.provider(provider).stake, STAKE - bondOf(RATE), "stake");
    }

    function test_a_provider_that_gave_notice_leaves_free_after_it() public {
        bytes32 id = lease(account, 1, RATE, 1000, 0);
        expectEvent();
        emit IMarket.ReclaimStarted(id, provider, tenant, time() + 1000, 102);
        vm.prank(operator);
        market.startReclaim(id, 102);
        assertState(id, IMarket.OrderState.Reclaiming);
        vm.assertEq(lens.lease(id).reclaimDeadline, time() + 1000, "deadline");
        skip(999);
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReclaimNotElapsed.selector, time() + 1));
        close(id, operator, 104);
        skip(1);
        close(id, operator, 104);
        vm.assertEq(registry.provider(provider).stake, STAKE, "stake");
        uint256 scaled = lens.accrued(id).scaled;
        vm.assertEq(scaled, 1000 * uint256(RATE), "paid to the end");
    }

    function test_a_provider_that_leaves_inside_its_notice_forfeits_it() public {
        bytes32 id = lease(account, 1, RATE, 1000, 0);
        vm.prank(operator);
        market.startReclaim(id, 102);
        skip(999);
        close(id, operator, 102);
        vm.assertEq(registry.provider(provider).stake, STAKE - 1000 * uint256(RATE) / S, "stake");
    }

    function test_notice_elapsed_is_no_reason_without_notice() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReclaimNotElapsed.selector, 0));
        close(id, operator, 104);
    }

    // --- who may, with what reason ---

    function test_a_stranger_closes_nothing_and_gives_no_notice() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        expectRevert(IMarket.NotOperator.selector);
        close(id, stranger, 100);
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        expectRevert(IMarket.NotOperator.selector);
        close(id, vm.addr(0x200), 100);
        expectRevert(IMarket.NotOperator.selector);
        close(id, vm.addr(0x201), 100);
        assertState(id, IMarket.OrderState.Active);
        expectRevert(IMarket.NotOperator.selector);
        vm.prank(stranger);
        market.startReclaim(id, 102);
        expectRevert(IMarket.NotOperator.selector);
        vm.prank(tenant);
        market.startReclaim(id, 102);
    }

    function test_each_side_gives_its_own_reasons() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        badReason(id, tenant, 0);
        badReason(id, tenant, 100);
        badReason(id, operator, 99);
        badReason(id, operator, 150);
        badReason(id, provider, 200);
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReasonOutOfRange.selector, 1));
        vm.prank(operator);
        market.startReclaim(id, 1);
    }

    function test_only_a_live_lease_is_closed_and_given_notice() public {
        bytes32 id = post(account, 1);
        vm.expectRevert(wrongState(IMarket.OrderState.Open));
        close(id, tenant, 1);
        vm.expectRevert(wrongState(IMarket.OrderState.Open));
        vm.prank(operator);
        market.startReclaim(id, 102);
        placeBid(id, operator, RATE, 0, 0);
        accept(id, provider);
        vm.prank(operator);
        market.startReclaim(id, 102);
        vm.expectRevert(wrongState(IMarket.OrderState.Reclaiming));
        vm.prank(operator);
        market.startReclaim(id, 102);
        close(id, tenant, 1);
        vm.expectRevert(wrongState(IMarket.OrderState.Closed));
        close(id, tenant, 1);
        vm.expectRevert(wrongState(IMarket.OrderState.None));
        close(orderIdOf(account, 2), tenant, 1);
    }

    // --- the end of the money ---

    function test_all_leases_of_an_account_end_in_one_second() public {
        bytes32 a = lease(account, 1, RATE, 0, 0);
        skip(33);
        bytes32 b = lease(account, 2, 3 * RATE / 2, 0, 0);
        uint40 end = lens.account(account).fundedUntil;
        vm.warp(end - 1);
        assertState(a, IMarket.OrderState.Active);
        vm.warp(end);
        assertState(a, IMarket.OrderState.Depleted);
        assertState(b, IMarket.OrderState.Depleted);
        skip(12_345);
        expectEvent();
        emit IMarket.LeaseClosed(a, provider, tenant, 200, end, 0);
        vm.prank(stranger);
        market.finalize(a);
        skip(1);
        vm.assertEq(lens.lease(b).billableUntil, end, "the first close does not move the other's end");
        vm.assertEq(lens.account(account).fundedUntil, end, "nor the account's");
        close(b, operator, 102);
        vm.assertEq(lens.lease(a).endedAt, end, "a");
        vm.assertEq(lens.lease(b).endedAt, end, "b");
        vm.assertEq(lens.lease(b).reason, 200, "the money's reason, whoever closes");
        vm.assertEq(registry.provider(provider).locked, 0, "bonds");
        vm.assertEq(registry.provider(provider).stake, STAKE, "no penalty");
        vm.assertEq(lens.account(account).rateSum, 0, "rateSum");
    }

    function test_a_provider_leaving_after_the_end_of_the_money_forfeits_nothing() public {
        bytes32 id = lease(account, 1, RATE, 1000, 0);
        skip(365 days);
        close(id, operator, 101);
        vm.assertEq(registry.provider(provider).stake, STAKE, "stake");
    }

    function test_a_lease_is_not_finalized_while_it_is_paid() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        vm.expectRevert(wrongState(IMarket.OrderState.Active));
        market.finalize(id);
        close(id, tenant, 1);
        vm.expectRevert(wrongState(IMarket.OrderState.Closed));
        market.finalize(id);
    }

    function test_no_notice_after_the_end_of_the_money() public {
        bytes32 id = lease(account, 1, RATE, 1000, 0);
        skip(365 days);
        vm.expectRevert(wrongState(IMarket.OrderState.Depleted));
        vm.prank(operator);
        market.startReclaim(id, 102);
    }

    function test_a_lease_releases_the_bond_it_locked_whatever_governance_does() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        setBondSecs(1 hours);
        vm.assertEq(lens.lease(id).bond, bondOf(RATE), "the bond of its day");
        close(id, tenant, 1);
        vm.assertEq(registry.provider(provider).locked, 0, "released whole");
    }

    function setBondSecs(uint24 secs) private {
        IParams.Values memory v = params.values();
        v.bondSecs = secs;
        setValues(v);
    }

    function badReason(bytes32 id, address by, uint8 reason) private {
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReasonOutOfRange.selector, reason));
        close(id, by, reason);
    }

    function refused(bytes32 id, address by, bytes32 hash, bytes memory why) private {
        vm.expectRevert(why);
        vm.prank(by);
        market.acceptBid(id, provider, hash);
    }

    function wrongState(IMarket.OrderState have) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IMarket.WrongState.selector, have);
    }

    /// Token units, rounded up.
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";

/// @notice Orders that go to the lowest bid: the best bid and its bond, the award, and what cannot be in its way.
contract AwardsTest is Base {
    bytes32 private account;
    bytes32 private id;
    address private immutable rival = vm.addr(0x200);
    address private immutable rivalKey = vm.addr(0x201);

    function setUp() public override {
        super.setUp();
        register(rival, rivalKey, vm.addr(0x202), STAKE);
        account = fund(1, 100 * UNIT);
        id = postLowest(account, 1);
    }

    // --- posting ---

    function test_the_order_says_how_it_is_awarded() public {
        IMarketLens.OrderView memory v = lens.order(id);
        vm.assertEq(v.mode, 1, "mode");
        vm.assertEq(v.deadline, time() + 10 minutes, "deadline");
        vm.assertEq(v.best, address(0), "nobody bid");
        vm.assertEq(v.maxRate, 2 * RATE, "maxRate");
        contend(id, operator, RATE);
        v = lens.order(id);
        vm.assertEq(v.best, provider, "best");
        vm.assertEq(v.bestRate, RATE, "bestRate");
    }

    function test_a_deadline_lies_ahead_and_leaves_five_minutes_to_award() public {
        IMarket.OrderTerms memory t = terms();
        t.mode = 1;
        badDeadline(t, time());
        badDeadline(t, t.expiresAt - 5 minutes + 1);
        badDeadline(t, 0);
        t.deadline = t.expiresAt - 5 minutes;
        vm.prank(tenant);
        market.createOrder(orderIdOf(account, 2), t, spec());
        vm.assertEq(lens.order(orderIdOf(account, 2)).deadline, t.deadline, "the last that will do");
    }

    // --- bidding ---

    function test_the_best_bid_locks_its_bond_and_no_lease() public {
        contend(id, operator, RATE);
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE), "locked");
        vm.assertEq(registry.provider(provider).active, 0, "no lease");
        vm.assertTrue(lens.bid(id, provider).eligible, "eligible");
    }

    function test_a_better_bid_frees_the_one_it_betters() public {
        contend(id, operator, RATE);
        uint80 better = uint80(uint256(RATE) * 99 / 100);
        contend(id, rivalKey, better);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
        vm.assertEq(registry.provider(rival).locked, bondOf(better), "locked");
        vm.assertEq(lens.order(id).best, rival, "best");
        assertBid(provider, IMarket.BidState.Lost);
        assertBid(rival, IMarket.BidState.Open);
    }

    function test_a_bid_must_be_a_hundredth_better_and_of_equal_ones_the_first_stays() public {
        contend(id, operator, RATE);
        uint80 most = uint80(uint256(RATE) * 99 / 100);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, most));
        contend(id, rivalKey, RATE);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, most));
        contend(id, rivalKey, most + 1);
        vm.assertEq(lens.order(id).best, provider, "the first");
        vm.assertEq(registry.provider(rival).locked, 0, "nothing is locked for a bid that is not taken");
    }

    function test_the_best_bidder_lowers_its_bid_by_any_step_and_its_bond_shrinks() public {
        contend(id, operator, RATE);
        contend(id, operator, RATE - 1);
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE - 1), "hardly less");
        contend(id, operator, RATE / 2);
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE / 2), "half");
        vm.assertEq(lens.order(id).bestRate, RATE / 2, "bestRate");
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, RATE / 2));
        contend(id, operator, RATE);
    }

    function test_who_was_bettered_comes_back_below() public {
        contend(id, operator, RATE);
        contend(id, rivalKey, RATE / 2);
        contend(id, operator, RATE / 3);
        vm.assertEq(lens.order(id).best, provider, "best");
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE / 3), "locked");
        vm.assertEq(registry.provider(rival).locked, 0, "free");
    }

    function test_the_bond_is_that_of_the_day_it_was_locked() public {
        contend(id, operator, RATE);
        IMarketLens.OrderView memory v = lens.order(id);
        vm.assertEq(v.best, provider, "best");
        changeBondSecs(1 hours);
        contend(id, operator, RATE / 2);
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE / 2), "revised");
        contend(id, rivalKey, RATE / 4);
        vm.assertEq(registry.provider(provider).locked, 0, "freed whole");
    }

    function test_the_best_bid_is_not_taken_back_and_others_are() public {
        contend(id, operator, RATE);
        expectRevert(IMarket.BidIsBest.selector);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        contend(id, rivalKey, RATE / 2);
        vm.prank(operator);
        market.withdrawBid(id, provider);
        assertBid(provider, IMarket.BidState.Withdrawn);
        vm.assertEq(registry.provider(rival).locked, bondOf(RATE / 2), "the best is not touched");
    }

    function test_a_bid_lasts_past_the_award() public {
        uint40 tooSoon = lens.order(id).deadline + 5 minutes - 1;
        expectRevert(IMarket.DurationOutOfBounds.selector);
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, tooSoon, 0, 0);
        contend(id, operator, RATE);
        expectRevert(IMarket.DurationOutOfBounds.selector);
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, tooSoon, 0, 0);
    }

    function test_no_bid_comes_after_the_deadline() public {
        vm.warp(lens.order(id).deadline);
        contend(id, operator, RATE);
        skip(1);
        uint40 late = time() + 30 minutes;
        expectRevert(IMarket.Expired.selector);
        vm.prank(rivalKey);
        market.placeBid(id, rival, keccak256(spec()), RATE / 2, late, 0, 0);
    }

    function test_who_cannot_secure_a_lease_is_never_the_best() public {
        vm.prank(address(market));
        registry.lockBond(provider, STAKE - bondOf(RATE) + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, bondOf(RATE) - 1, bondOf(RATE))
        );
        contend(id, operator, RATE);
    }

    function test_who_is_paid_to_the_tenants_address_does_not_contend() public {
        vm.prank(provider);
        registry.setPayout(tenant);
        skip(24 hours);
        id = postLowest(account, 2);
        expectRevert(IMarket.SelfDealing.selector);
        contend(id, operator, RATE);
    }

    // --- award ---

    function test_anyone_awards_after_the_deadline() public {
        contend(id, operator, RATE);
        contend(id, rivalKey, RATE / 2);
        vm.warp(lens.order(id).deadline + 1);
        uint40 until = time() + uint40(100 * UNIT * S / (RATE / 2));
        expectEvent();
        emit IMarket.LeaseCreated(id, rival, tenant, RATE / 2, time(), 0, until);
        vm.prank(stranger);
        market.award(id);
        assertState(id, IMarket.OrderState.Active);
        IMarketLens.LeaseView memory l = lens.lease(id);
        vm.assertEq(l.provider, rival, "provider");
        vm.assertEq(l.rate, RATE / 2, "rate");
        vm.assertEq(l.startedAt, time(), "startedAt");
        vm.assertEq(l.bond, bondOf(RATE / 2), "bond");
        vm.assertEq(registry.provider(rival).locked, bondOf(RATE / 2), "still locked");
        vm.assertEq(registry.provider(rival).active, 1, "a lease");
        assertBid(rival, IMarket.BidState.Won);
        close(id, tenant, 1);
        vm.assertEq(registry.provider(rival).locked, 0, "freed at the end");
    }

    function test_nothing_is_awarded_before_the_deadline_has_passed() public {
        contend(id, operator, RATE);
        uint40 deadline = lens.order(id).deadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IMarket.AwardNotDue.selector, deadline));
        market.award(id);
    }

    function test_an_order_without_bids_is_awarded_to_nobody_and_expires() public {
        vm.warp(lens.order(id).deadline);
        assertState(id, IMarket.OrderState.Open);
        skip(1);
        expectRevert(IMarket.BidNotOpen.selector);
        market.award(id);
        assertState(id, IMarket.OrderState.Expired);
        market.expireOrder(id);
        assertState(id, IMarket.OrderState.Closed);
    }

    function test_a_best_bid_that_expired_is_not_awarded_and_its_bond_is_freed() public {
        contend(id, operator, RATE);
        vm.warp(lens.order(id).deadline + 5 minutes);
        assertState(id, IMarket.OrderState.Open);
        skip(1);
        assertState(id, IMarket.OrderState.Expired);
        expectRevert(IMarket.Expired.selector);
        market.award(id);
        market.expireOrder(id);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
        assertBid(provider, IMarket.BidState.Lost);
    }

    function test_an_order_past_its_own_time_is_not_awarded() public {
        uint40 late = time() + 2 hours;
        vm.prank(operator);
        market.placeBid(id, provider, keccak256(spec()), RATE, late, 0, 0);
        skip(1 hours + 1);
        expectRevert(IMarket.Expired.selector);
        market.award(id);
    }

    function test_what_the_tenant_decides_is_not_awarded_and_the_other_way_round() public {
        contend(id, operator, RATE);
        bytes32 hash = termsHash(id, provider);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongMode.selector, 1));
        vm.prank(tenant);
        market.acceptBid(id, provider, hash);
        bytes32 plain = post(account, 2);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongMode.selector, 0));
        market.award(plain);
    }

    function test_only_an_open_order_is_awarded() public {
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.None));
        market.award(orderIdOf(account, 2));
        contend(id, operator, RATE);
        vm.warp(lens.order(id).deadline + 1);
        market.award(id);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Active));
        market.award(id);
    }

    function test_a_winner_cannot_be_in_the_way_of_its_award() public {
        contend(id, operator, RATE);
        vm.startPrank(provider);
        registry.setOperator(tenant);
        registry.setPayout(tenant);
        registry.retire();
        vm.stopPrank();
        vm.prank(address(market));
        registry.lockBond(rival, STAKE);
        vm.warp(lens.order(id).deadline + 1);
        market.award(id);
        vm.assertEq(lens.lease(id).provider, provider, "bound");
    }

    function test_an_account_that_cannot_pay_is_in_the_way() public {
        contend(id, operator, RATE);
        vm.prank(tenant);
        market.refund(account, 100 * UNIT);
        vm.warp(lens.order(id).deadline + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IMarket.RunwayTooShort.selector, 0, (uint256(RATE) * RUNWAY + S - 1) / S)
        );
        market.award(id);
    }

    // --- without an award ---

    function test_a_cancelled_order_frees_its_best_bid() public {
        contend(id, operator, RATE);
        vm.prank(tenant);
        market.cancelOrder(id);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    function test_a_repeated_order_frees_the_best_bid_of_the_one_before() public {
        contend(id, operator, RATE);
        vm.warp(lens.order(id).deadline + 5 minutes + 1);
        IMarket.OrderTerms memory t = terms();
        vm.prank(tenant);
        market.reorder(id, t, spec());
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    function test_a_retired_bidders_bond_is_freed_all_the_same() public {
        contend(id, operator, RATE);
        vm.prank(provider);
        registry.retire();
        contend(id, rivalKey, RATE / 2);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    /// Whatever is bid in whatever order: the best bid alone is locked, each one is a hundredth below the last, and the award
    /// goes to it.
    function testFuzz_one_bond_is_locked_and_it_is_the_lowest(uint80[8] calldata rates, uint8 who) public {
        uint256 best = type(uint256).max;
        address holder;
        for (uint256 i = 0; i < rates.length; i++) {
            (address from, address key) = (who >> i) & 1 == 0 ? (provider, operator) : (rival, rivalKey);
            uint80 rate = rates[i] % (2 * RATE) + 1;
            uint256 most = holder == address(0) ? 2 * RATE : holder == from ? best : best * 99 / 100;
            uint256 own = lens.bid(id, from).rate;
            // A bidder's own earlier bid is what it is held to first.
            if (own != 0 && rate > own) most = own;
            if (rate > most) {
                vm.expectRevert(abi.encodeWithSelector(IMarket.RateTooHigh.selector, most));
            } else {
                (best, holder) = (rate, from);
            }
            contend(id, key, rate);
            address other = holder == provider ? rival : provider;
            if (holder == address(0)) continue;
            vm.assertEq(registry.provider(holder).locked, bondOf(best), "the best is locked");
            vm.assertEq(registry.provider(other).locked, 0, "the other is not");
            vm.assertEq(lens.order(id).bestRate, best, "bestRate");
        }
        vm.warp(lens.order(id).deadline + 1);
        market.award(id);
        vm.assertEq(lens.lease(id).provider, holder, "the lowest");
        vm.assertEq(lens.lease(id).rate, best, "at its rate");
    }

    function changeBondSecs(uint24 secs) private {
        IParams.Values memory v = params.values();
        v.bondSecs = secs;
        setValues(v);
    }

    function badDeadline(IMarket.OrderTerms memory t, uint40 deadline) private {
        t.deadline = deadline;
        expectRevert(IMarket.DurationOutOfBounds.selector);
        vm.prank(tenant);
        market.createOrder(orderIdOf(account, 2), t, spec());
    }

    function assertBid(address from, IMarket.BidState want) private view {
        vm.assertEq(uint256(lens.bid(id, from).state), uint256(want), "state of the bid");
    }
}

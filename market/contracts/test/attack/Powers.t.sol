// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {Base} from "../Base.sol";

/// @notice What those with a power can take with it at worst.
contract PowerAttacksTest is Base {
    function test_a_guardian_cannot_stop_the_market_for_longer_than_a_week() public {
        vm.startPrank(guardian);
        market.pause();
        expectRevert(IMarket.PauseSpent.selector);
        market.pause();
        skip(7 days - 1);
        expectRevert(IMarket.PauseSpent.selector);
        market.pause();
        skip(1);
        expectRevert(IMarket.PauseSpent.selector);
        market.pause();
        vm.stopPrank();
        fund(1, UNIT);
        // Lifting it gives it no second one.
        vm.startPrank(guardian);
        market.unpause();
        expectRevert(IMarket.PauseSpent.selector);
        market.pause();
        expectRevert(IMarket.NotGovernor.selector);
        market.rearmPause();
        expectRevert(IMarket.NotGovernor.selector);
        market.sunset();
        vm.expectRevert();
        params.setGuardian(guardian);
        vm.stopPrank();
    }

    function test_a_pause_stops_no_exit_and_no_payment() public {
        bytes32 account = fund(1, 100 * UNIT);
        bytes32 id = lease(account, 1, RATE, 0, 0);
        bytes32 second = lease(account, 2, RATE, 0, 0);
        bytes32 open = post(account, 3);
        bytes32 bidOn = post(account, 4);
        placeBid(bidOn, operator, RATE, 0, 0);
        vm.prank(guardian);
        market.pause();
        skip(1000);
        vm.prank(tenant);
        market.deposit(account, UNIT);
        withdraw(id);
        vm.prank(operator);
        market.withdrawBid(bidOn, provider);
        vm.prank(provider);
        market.startReclaim(second, 102);
        close(id, tenant, 1);
        close(second, provider, 100);
        vm.prank(tenant);
        market.cancelOrder(open);
        skip(2 hours);
        market.expireOrder(bidOn);
        vm.assertGe(refundAll(account), 99 * UNIT, "everything leaves");
        market.collectFees();
    }

    function test_a_sunset_winds_down_and_never_ends() public {
        bytes32 id = leaseFrom(1, UNIT);
        vm.prank(governor);
        market.sunset();
        skip(365 days);
        vm.prank(tenant);
        vm.expectRevert(abi.encodeWithSelector(IMarket.Paused.selector, type(uint40).max));
        market.createDeployment(2, MANIFEST);
        vm.startPrank(governor);
        vm.expectRevert(abi.encodeWithSelector(IMarket.Paused.selector, type(uint40).max));
        market.unpause();
        vm.expectRevert(abi.encodeWithSelector(IMarket.Paused.selector, type(uint40).max));
        market.pause();
        vm.stopPrank();
        market.finalize(id);
        withdraw(id);
        refundAll(accountOf(id));
    }

    function test_governance_at_its_worst_takes_a_tenth_of_leases_to_come() public {
        bytes32 before = leaseFrom(1, 100 * UNIT);
        IParams.Values memory v = params.values();
        v.feeBps = 1001;
        vm.startPrank(governor);
        vm.expectRevert();
        params.setValues(v);
        v.feeBps = 1000;
        params.setValues(v);
        params.setTreasury(governor);
        market.syncParams();
        vm.stopPrank();
        bytes32 later = leaseFrom(2, 100 * UNIT);
        skip(100_000);
        withdraw(before);
        vm.assertEq(token.balanceOf(payout), uint256(RATE) * 100_000 / S, "the old lease pays no fee");
        withdraw(later);
        uint256 gross = uint256(RATE) * 100_000 / S;
        market.collectFees();
        vm.assertEq(token.balanceOf(governor), gross / 10, "a tenth of the new one");
    }

    function test_nobody_but_the_market_moves_bonds() public {
        address[4] memory all = [governor, guardian, provider, operator];
        for (uint256 i = 0; i < all.length; i++) {
            vm.startPrank(all[i]);
            vm.expectRevert();
            registry.lockBond(provider, 1);
            vm.expectRevert();
            registry.unlockBond(provider, 1);
            vm.expectRevert();
            registry.beginLease(provider, 1);
            vm.expectRevert();
            registry.endLease(provider, provider, 0, 0, 0, 1, 0, 0);
            vm.stopPrank();
        }
    }

    function test_a_provider_slashed_for_leaving_cannot_send_the_penalty_to_itself() public {
        bytes32 account = fund(1, 100 * UNIT);
        bytes32 id = lease(account, 1, RATE, 1 hours, 0);
        uint256 had = token.balanceOf(operator) + token.balanceOf(provider) + token.balanceOf(payout);
        uint256 stake = registry.provider(provider).stake;
        close(id, operator, 100);
        uint256 lost = stake - registry.provider(provider).stake;
        vm.assertEq(lost, uint256(RATE) * 1 hours / S, "the notice it owed");
        uint256 has = token.balanceOf(operator) + token.balanceOf(provider) + token.balanceOf(payout);
        vm.assertEq(had, has, "none of it went to its keys");
        vm.assertEq(lens.account(account).balance, 100 * UNIT + lost, "all of it to the tenant");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {Base} from "../Base.sol";
import {HookToken} from "../tokens/HookToken.sol";
import {ListToken} from "../tokens/ListToken.sol";

/// @notice What leases earn, and how it gets out, to the unit.
contract PayoutsTest is Base {
    address private immutable owner2 = vm.addr(0x200);
    address private immutable key2 = vm.addr(0x201);
    address private immutable purse2 = vm.addr(0x202);

    function test_a_lease_earns_its_rate_times_the_seconds() public {
        bytes32 id = leaseFrom(1, 100 * UNIT);
        skip(10);
        IMarketLens.AccruedView memory v = lens.accrued(id);
        vm.assertEq(v.scaled, 10 * uint256(RATE), "scaled");
        vm.assertEq(v.net, 2777, "2777.77777777 units, rounded down");
        vm.assertEq(v.fee, 0, "fee");
        vm.assertEq(v.upTo, time(), "up to now");
    }

    function test_anyone_withdraws_to_the_payout_address() public {
        bytes32 id = leaseFrom(1, 100 * UNIT);
        skip(10);
        expectEvent();
        emit IMarket.Withdrawn(id, provider, 2777, 0, time());
        vm.prank(stranger);
        market.withdraw(one(id));
        vm.assertEq(token.balanceOf(payout), 2777, "paid");
        vm.assertEq(token.balanceOf(stranger), 0, "not to who called");
        vm.assertEq(lens.lease(id).checkpoint, time(), "checkpoint");
        (, uint256 dust) = lens.kept();
        vm.assertEq(dust, 10 * uint256(RATE) - 2777 * S, "the rest has a name");
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), 2777, "nothing is paid twice");
    }

    function test_less_than_a_unit_waits_and_is_not_lost() public {
        bytes32 id = lease(fund(1, 1 * UNIT), 1, 400_000_000, 0, 0);
        skip(2);
        withdraw(id);
        vm.assertEq(lens.lease(id).checkpoint, time() - 2, "passed over");
        skip(3);
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), 2, "five times 0.4");
        (, uint256 dust) = lens.kept();
        vm.assertEq(dust, 0, "nothing lost");
    }

    function test_a_withdrawal_stops_at_the_end_of_the_money() public {
        bytes32 id = leaseFrom(1, 1 * UNIT);
        uint40 end = lens.account(accountOf(id)).fundedUntil;
        skip(365 days);
        expectEvent();
        uint256 earned = uint256(RATE) * (end - lens.lease(id).startedAt) / S;
        emit IMarket.Withdrawn(id, provider, earned, 0, end);
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), earned, "paid");
        skip(1);
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), earned, "and no more");
    }

    function test_the_fee_is_that_of_the_day_the_lease_began() public {
        setFee(250);
        bytes32 id = leaseFrom(1, 100 * UNIT);
        setFee(1000);
        skip(1000);
        (uint256 net, uint256 fee) = (lens.accrued(id).net, lens.accrued(id).fee);
        vm.assertEq(fee, 6944, "277,777 x 2.5 %, rounded down");
        vm.assertEq(net, 277_777 - 6944, "net");
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), net, "paid");
        (uint256 fees,) = lens.kept();
        vm.assertEq(fees, fee, "kept");
        vm.assertEq(lens.lease(id).feeBps, 250, "snapshot");
        expectEvent();
        emit IMarket.FeesCollected(treasury, fee);
        vm.prank(stranger);
        vm.assertEq(market.collectFees(), fee, "collected");
        vm.assertEq(token.balanceOf(treasury), fee, "treasury");
        vm.assertEq(market.collectFees(), 0, "nothing is left, and that is no error");
    }

    function test_one_call_pays_many_leases_and_providers() public {
        register(owner2, key2, purse2, STAKE);
        bytes32 account = fund(1, 100 * UNIT);
        bytes32[] memory ids = new bytes32[](4);
        ids[0] = lease(account, 1, RATE, 0, 0);
        ids[1] = lease(account, 2, 2 * RATE, 0, 0);
        ids[2] = post(account, 3);
        placeBid(ids[2], key2, RATE, 0, 0);
        accept(ids[2], owner2);
        ids[3] = lease(account, 4, RATE, 0, 0);
        skip(100);
        market.withdraw(ids);
        uint256 each = 100 * uint256(RATE) / S;
        vm.assertEq(token.balanceOf(payout), each + 200 * uint256(RATE) / S + each, "first provider");
        vm.assertEq(token.balanceOf(purse2), each, "second provider");
    }

    function test_a_lease_named_twice_is_paid_once() public {
        bytes32 id = leaseFrom(1, 100 * UNIT);
        bytes32[] memory ids = new bytes32[](2);
        (ids[0], ids[1]) = (id, id);
        skip(10);
        market.withdraw(ids);
        vm.assertEq(token.balanceOf(payout), 2777, "paid");
    }

    function test_a_batch_has_at_most_a_hundred_leases() public {
        expectRevert(IMarket.CapExceeded.selector);
        market.withdraw(new bytes32[](101));
        market.withdraw(new bytes32[](0));
    }

    function test_what_is_no_lease_pays_nothing() public {
        bytes32 id = post(fund(1, 10 * UNIT), 1);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Open));
        withdraw(id);
        vm.prank(tenant);
        market.cancelOrder(id);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Closed));
        withdraw(id);
        vm.assertEq(lens.accrued(id).scaled, 0, "nothing earned");
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.None));
        withdraw("x");
    }

    function test_a_due_change_of_the_payout_address_is_followed() public {
        bytes32 id = leaseFrom(1, 100 * UNIT);
        vm.prank(provider);
        registry.setPayout(purse2);
        skip(10);
        withdraw(id);
        vm.assertEq(token.balanceOf(payout), 2777, "the old address until it is due");
        skip(1 days);
        withdraw(id);
        vm.assertEq(token.balanceOf(purse2), 86_400 * uint256(RATE) / S, "then the new one");
    }

    function test_money_in_is_money_out_and_named_dust() public {
        setFee(123);
        bytes32 account = fund(1, 10 * UNIT);
        bytes32 a = lease(account, 1, RATE, 0, 0);
        bytes32 b = lease(account, 2, 123_456_789_123, 0, 0);
        skip(777);
        withdraw(a);
        skip(333);
        withdraw(b);
        close(a, tenant, 1);
        skip(1);
        close(b, operator, 100);
        withdraw(a);
        withdraw(b);
        uint256 refunded = refundAll(account);
        (uint256 fees, uint256 dust) = lens.kept();
        uint256 left = lens.account(account).balanceScaled;
        vm.assertLe(left, S - 1, "less than a unit is left in the account");
        vm.assertLe(dust, 4 * (S - 1), "less than a unit for each of four payouts");
        vm.assertEq(
            10 * UNIT * S, (refunded + token.balanceOf(payout) + fees) * S + dust + left, "to the last part"
        );
        market.collectFees();
        vm.assertEq(token.balanceOf(address(market)), (dust + left) / S, "nothing else stays");
    }

    // --- tokens that misbehave ---

    function test_a_party_the_token_refuses_blocks_nobody_else() public {
        ListToken bad = new ListToken();
        standOn(bad);
        begin();
        register(owner2, key2, purse2, STAKE);
        bytes32 account = fund(1, 100 * UNIT);
        bytes32 a = lease(account, 1, RATE, 0, 0);
        bytes32 b = post(account, 2);
        placeBid(b, key2, RATE, 0, 0);
        accept(b, owner2);
        skip(100);
        bad.refuse(payout);
        vm.expectRevert(abi.encodeWithSelector(ListToken.Refused.selector, payout));
        withdraw(a);
        close(a, tenant, 1);
        close(b, tenant, 1);
        withdraw(b);
        vm.assertEq(token.balanceOf(purse2), 100 * uint256(RATE) / S, "the other provider is paid");
        vm.assertEq(refundAll(account), (100 * UNIT * S - 200 * uint256(RATE)) / S, "the tenant is refunded");
        vm.prank(provider);
        registry.setPayout(vm.addr(0x999));
        skip(1 days);
        withdraw(a);
        vm.assertEq(token.balanceOf(vm.addr(0x999)), 100 * uint256(RATE) / S, "and a new purse is paid");
    }

    function test_a_token_that_calls_back_does_not_get_in() public {
        HookToken bad = new HookToken();
        standOn(bad);
        begin();
        bytes32 id = leaseFrom(1, 100 * UNIT);
        skip(10);
        bad.arm(address(market), abi.encodeCall(market.withdraw, (one(id))));
        withdraw(id);
        vm.assertEq(
            keccak256(bad.answer()),
            keccak256(abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)),
            "turned away by the guard"
        );
        vm.assertEq(token.balanceOf(payout), 2777, "paid once");
    }

    function begin() private {
        register(provider, operator, payout, STAKE);
        mint(tenant, 1000 * UNIT);
    }
}

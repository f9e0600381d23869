// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {HookToken} from "../tokens/HookToken.sol";
import {ListToken} from "../tokens/ListToken.sol";
import {MuteToken} from "../tokens/MuteToken.sol";
import {SkimToken} from "../tokens/SkimToken.sol";
import {TestToken} from "../../src/TestToken.sol";
import {Base} from "../Base.sol";

/// @notice Attacks on money: on its way in, while it lies here, and on its way out; and tokens that misbehave.
contract MoneyAttacksTest is Base {
    function test_a_permit_front_run_does_not_stop_the_deposit() public {
        bytes32 account = fund(1, 0);
        vm.prank(tenant);
        token.approve(address(market), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(UNIT, time());
        // Somebody saw the permit under way and spends it first.
        vm.prank(stranger);
        token.permit(tenant, address(market), UNIT, time(), v, r, s);
        vm.prank(tenant);
        market.depositWithPermit(account, UNIT, time(), v, r, s);
        vm.assertEq(lens.account(account).balance, UNIT, "the deposit arrived");
    }

    function test_a_stolen_permit_brings_no_money_to_the_thiefs_account() public {
        vm.prank(tenant);
        token.approve(address(market), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(UNIT, time());
        vm.startPrank(stranger);
        bytes32 account = market.createDeployment(1, MANIFEST);
        vm.expectRevert();
        market.depositWithPermit(account, UNIT, time(), v, r, s);
        vm.stopPrank();
        vm.assertEq(token.balanceOf(address(market)), 0, "nothing moved");
    }

    function test_dust_deposits_by_strangers_only_lengthen_a_lease() public {
        bytes32 id = leaseFrom(1, UNIT);
        uint40 end = lens.account(accountOf(id)).fundedUntil;
        mint(stranger, 1000);
        for (uint256 i = 0; i < 1000; i++) {
            vm.prank(stranger);
            market.deposit(accountOf(id), 1);
        }
        vm.assertGe(lens.account(accountOf(id)).fundedUntil, end, "no deposit shortens a lease");
        vm.warp(lens.account(accountOf(id)).fundedUntil);
        market.finalize(id);
        withdraw(id);
        // But for what pays no whole second.
        vm.assertGe(token.balanceOf(payout) + RATE / S + 1, UNIT + 1000, "and the provider earned all of it");
        // After the end, dust does not wake the account.
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(IMarket.AccountDepleted.selector, lens.account(accountOf(id)).settledAt)
        );
        market.deposit(accountOf(id), 1);
    }

    function test_dust_withdrawals_take_nothing_from_the_provider() public {
        bytes32 often = leaseFrom(1, 10 * UNIT);
        bytes32 once = leaseFrom(2, 10 * UNIT);
        for (uint256 i = 0; i < 100; i++) {
            skip(1);
            vm.prank(stranger);
            market.withdraw(one(often));
        }
        uint256 paid = token.balanceOf(payout);
        withdraw(once);
        uint256 whole = token.balanceOf(payout) - paid;
        // A hundred calls by a stranger, who pays for each, cost the provider less than a hundred millionths of a dollar.
        vm.assertLe(whole - paid, 100, "less than a unit each");
    }

    function test_a_refund_racing_the_accept_leaves_no_unpaid_lease() public {
        bytes32 account = fund(1, 10 * UNIT);
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        bytes32 hash = termsHash(id, provider);
        vm.startPrank(tenant);
        market.refund(account, type(uint256).max);
        uint256 need = (uint256(RATE) * RUNWAY + S - 1) / S;
        vm.expectRevert(abi.encodeWithSelector(IMarket.RunwayTooShort.selector, 0, need));
        market.acceptBid(id, provider, hash);
        vm.stopPrank();
    }

    function test_a_refund_after_the_accept_leaves_the_runway() public {
        bytes32 id = leaseFrom(1, 10 * UNIT);
        refundAll(accountOf(id));
        vm.assertGe(lens.account(accountOf(id)).fundedUntil, time() + RUNWAY, "ten minutes stay paid");
    }

    function test_a_hook_token_re_enters_nowhere() public {
        bytes[8] memory calls;
        for (uint256 i = 0; i < calls.length; i++) {
            HookToken hook = new HookToken();
            standOn(hook);
            register(provider, operator, payout, STAKE);
            mint(tenant, 1000 * UNIT);
            bytes32 id = leaseFrom(uint64(i), 10 * UNIT);
            skip(1000);
            calls[0] = abi.encodeCall(market.withdraw, (one(id)));
            calls[1] = abi.encodeCall(market.closeLease, (id, 1));
            calls[2] = abi.encodeCall(market.deposit, (accountOf(id), 1));
            calls[3] = abi.encodeCall(market.refund, (accountOf(id), 1));
            calls[4] = abi.encodeCall(market.collectFees, ());
            calls[5] = abi.encodeCall(market.finalize, (id));
            calls[6] = abi.encodeCall(market.depositWithPermit, (accountOf(id), 1, 0, 0, 0, 0));
            IMarket.Close memory c;
            calls[7] = abi.encodeCall(market.closeLeaseFor, (c, ""));
            hook.arm(address(market), calls[i]);
            uint256 before = token.balanceOf(payout);
            // The hook lets a transfer pass only if the call it made in its midst failed.
            withdraw(id);
            vm.assertGe(
                token.balanceOf(payout), before + 277_000, "the payout went through, and nothing else"
            );
            vm.assertTrue(i == 5 || guarded(hook.answer()), "refused by the guard");
            vm.prank(tenant);
            market.refund(accountOf(id), 1);
        }
    }

    function guarded(bytes memory answer) private pure returns (bool) {
        return bytes4(answer) == bytes4(keccak256("ReentrancyGuardReentrantCall()"));
    }

    function test_a_token_that_moves_nothing_credits_nothing() public {
        MuteToken mute = new MuteToken();
        standOn(mute);
        register(provider, operator, payout, STAKE);
        mint(tenant, 1000 * UNIT);
        bytes32 id = leaseFrom(1, 10 * UNIT);
        skip(1000);
        mute.fallMute();
        vm.expectRevert();
        market.withdraw(one(id));
        vm.startPrank(tenant);
        vm.expectRevert();
        market.deposit(accountOf(id), 1);
        vm.expectRevert();
        market.refund(accountOf(id), 1);
        // Ending needs no token.
        market.closeLease(id, 1);
        vm.stopPrank();
        vm.assertEq(lens.accrued(id).net, 277_777, "what was earned waits, to the unit");
    }

    function test_a_token_that_starts_to_take_fees_brings_no_deposit_and_blocks_no_close() public {
        SkimToken skims = new SkimToken();
        standOn(skims);
        register(provider, operator, payout, STAKE);
        mint(tenant, 1000 * UNIT);
        bytes32 id = leaseFrom(1, 10 * UNIT);
        skims.skim();
        vm.prank(tenant);
        expectRevert(IMarket.AmountMismatch.selector);
        market.deposit(accountOf(id), UNIT);
        skip(100);
        close(id, tenant, 1);
        withdraw(id);
        refundAll(accountOf(id));
        // It can take from who receives, not from what others have here.
        vm.assertLe(lens.account(accountOf(id)).balanceScaled, S - 1, "everything left");
    }

    function test_a_blacklisted_provider_blocks_neither_tenant_nor_other_providers() public {
        ListToken list = new ListToken();
        standOn(list);
        register(provider, operator, payout, STAKE);
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        mint(tenant, 1000 * UNIT);
        bytes32 id = leaseFrom(1, 10 * UNIT);
        bytes32 other = post(fund(2, 10 * UNIT), 1);
        placeBid(other, vm.addr(0x201), RATE, 0, 0);
        accept(other, vm.addr(0x200));
        skip(1000);
        list.refuse(payout);
        list.refuse(provider);
        list.refuse(operator);
        withdraw(other);
        vm.assertGe(token.balanceOf(vm.addr(0x202)), 277_777, "the other was paid");
        close(id, tenant, 1);
        refundAll(accountOf(id));
        vm.expectRevert();
        market.withdraw(one(id));
        // A new purse, a day later, and the money is there.
        vm.prank(provider);
        registry.setPayout(vm.addr(0x203));
        skip(1 days);
        withdraw(id);
        vm.assertEq(token.balanceOf(vm.addr(0x203)), 277_777, "to the unit");
    }

    function test_a_hot_key_diverts_no_payout() public {
        bytes32 id = leaseFrom(1, 10 * UNIT);
        skip(1000);
        vm.startPrank(operator);
        vm.expectRevert();
        registry.setPayout(operator);
        vm.expectRevert();
        registry.setOperator(stranger);
        vm.expectRevert();
        registry.requestUnstake();
        vm.expectRevert();
        registry.retire();
        market.withdraw(one(id));
        vm.stopPrank();
        vm.assertEq(token.balanceOf(operator), 0, "the hot key got nothing");
        vm.assertEq(token.balanceOf(payout), 277_777, "the purse got it");
    }

    function test_a_stolen_cold_key_is_seen_for_a_day_before_it_earns() public {
        bytes32 id = leaseFrom(1, 10 * UNIT);
        vm.prank(provider);
        registry.setPayout(stranger);
        skip(1 days - 1);
        withdraw(id);
        vm.assertEq(token.balanceOf(stranger), 0, "until then it earns nothing");
    }

    function test_gifts_of_tokens_confuse_no_account() public {
        bytes32 id = leaseFrom(1, 10 * UNIT);
        TestToken(address(token)).mint(address(market), 5 * UNIT);
        uint256 before = lens.account(accountOf(id)).balance;
        mint(stranger, UNIT);
        vm.prank(stranger);
        market.deposit(accountOf(id), UNIT);
        vm.assertEq(lens.account(accountOf(id)).balance, before + UNIT, "a deposit counts for itself");
    }
}

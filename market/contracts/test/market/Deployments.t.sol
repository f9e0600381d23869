// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {TestToken} from "../../src/TestToken.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {Base} from "../Base.sol";
import {HookToken} from "../tokens/HookToken.sol";
import {SkimToken} from "../tokens/SkimToken.sol";

/// @notice Accounts: opening them, putting money in, taking it back.
contract DeploymentsTest is Base {
    uint40 private constant FOREVER = type(uint40).max;

    // --- createDeployment, updateManifest ---

    function test_a_deployment_opens_an_empty_account() public {
        bytes32 want = bytes32((uint256(uint160(tenant)) << 96) | (uint256(7) << 32));
        expectEvent();
        emit IMarket.DeploymentCreated(want, tenant, MANIFEST);
        vm.prank(tenant);
        bytes32 id = market.createDeployment(7, MANIFEST);
        vm.assertEq(id, want, "id");
        IMarketLens.AccountView memory v = lens.account(id);
        vm.assertEq(uint256(v.state), uint256(IMarketLens.AccountState.Open), "state");
        vm.assertEq(v.tenant, tenant, "tenant");
        vm.assertEq(v.manifestHash, MANIFEST, "manifest");
        vm.assertEq(v.balanceScaled, 0, "balance");
        vm.assertEq(v.fundedUntil, FOREVER, "pays nobody");
    }

    function test_a_dseq_is_used_once() public {
        fund(7, 0);
        expectRevert(IMarket.IdTaken.selector);
        vm.prank(tenant);
        market.createDeployment(7, MANIFEST);
    }

    function test_two_tenants_may_use_one_dseq() public {
        bytes32 mine = fund(7, 0);
        vm.prank(stranger);
        vm.assertTrue(market.createDeployment(7, MANIFEST) != mine, "ids embed the tenant");
    }

    function test_the_tenant_binds_another_manifest() public {
        bytes32 id = fund(1, 0);
        expectEvent();
        emit IMarket.ManifestChanged(id, tenant, "next");
        vm.prank(tenant);
        market.updateManifest(id, "next");
        vm.assertEq(lens.account(id).manifestHash, "next", "manifest");
    }

    function test_a_manifest_is_bound_by_its_tenant_alone() public {
        bytes32 id = fund(1, 0);
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.updateManifest(id, "next");
        expectRevert(IMarket.UnknownId.selector);
        vm.prank(tenant);
        market.updateManifest(bytes32(uint256(id) + (1 << 32)), "next");
    }

    function test_an_account_that_never_was_reads_as_none() public view {
        vm.assertEq(uint256(lens.account("x").state), uint256(IMarketLens.AccountState.None), "state");
    }

    // --- deposit ---

    function test_anyone_deposits() public {
        bytes32 id = fund(1, 0);
        mint(stranger, 5 * UNIT);
        expectEvent();
        emit IMarket.FundsChanged(id, stranger, int256(5 * UNIT), FOREVER);
        vm.prank(stranger);
        market.deposit(id, 5 * UNIT);
        vm.assertEq(lens.account(id).balance, 5 * UNIT, "balance");
        vm.assertEq(lens.account(id).balanceScaled, 5 * UNIT * S, "scaled");
        vm.assertEq(token.balanceOf(address(market)), 5 * UNIT, "held");
    }

    function test_a_deposit_moves_the_end_of_the_money() public {
        bytes32 id = leaseFrom(1, 1 * UNIT);
        bytes32 account = accountOf(id);
        uint40 before = lens.account(account).fundedUntil;
        vm.assertEq(before, time() + 1 * UNIT * S / RATE, "end");
        skip(100);
        vm.assertEq(lens.account(account).fundedUntil, before, "time alone does not move it");
        vm.prank(tenant);
        market.deposit(account, 1 * UNIT);
        vm.assertEq(lens.account(account).fundedUntil, time() - 100 + 2 * UNIT * S / RATE, "twice as long");
    }

    function test_nothing_is_no_deposit() public {
        bytes32 id = fund(1, 0);
        vm.startPrank(tenant);
        expectRevert(IMarket.AmountMismatch.selector);
        market.deposit(id, 0);
        expectRevert(IMarket.UnknownId.selector);
        market.deposit("x", 1);
    }

    function test_a_deposit_after_the_end_is_too_late() public {
        bytes32 id = leaseFrom(1, 1 * UNIT);
        uint40 end = lens.account(accountOf(id)).fundedUntil;
        vm.warp(end);
        vm.expectRevert(abi.encodeWithSelector(IMarket.AccountDepleted.selector, end));
        vm.prank(tenant);
        market.deposit(accountOf(id), 1 * UNIT);
        vm.warp(end - 1);
        vm.prank(tenant);
        market.deposit(accountOf(id), 1 * UNIT);
        vm.assertTrue(lens.account(accountOf(id)).fundedUntil > end, "a second earlier it was not");
    }

    function test_a_deposit_with_permit_needs_no_approval() public {
        bytes32 id = fund(1, 0);
        vm.prank(tenant);
        token.approve(address(market), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(3 * UNIT, time());
        vm.prank(tenant);
        market.depositWithPermit(id, 3 * UNIT, time(), v, r, s);
        vm.assertEq(lens.account(id).balance, 3 * UNIT, "balance");
    }

    function test_a_permit_sent_first_by_somebody_else_does_not_stop_the_deposit() public {
        bytes32 id = fund(1, 0);
        vm.prank(tenant);
        token.approve(address(market), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(3 * UNIT, time());
        vm.prank(stranger);
        token.permit(tenant, address(market), 3 * UNIT, time(), v, r, s);
        vm.prank(tenant);
        market.depositWithPermit(id, 3 * UNIT, time(), v, r, s);
        vm.assertEq(lens.account(id).balance, 3 * UNIT, "balance");
    }

    function test_a_bad_permit_moves_no_money() public {
        bytes32 id = fund(1, 0);
        vm.prank(tenant);
        token.approve(address(market), 0);
        (uint8 v, bytes32 r, bytes32 s) = permit(3 * UNIT, time());
        vm.expectRevert(
            abi.encodeWithSignature(
                "ERC20InsufficientAllowance(address,uint256,uint256)", address(market), 0, 4 * UNIT
            )
        );
        vm.prank(tenant);
        market.depositWithPermit(id, 4 * UNIT, time(), v, r, s);
    }

    // --- refund ---

    function test_an_idle_account_is_refunded_to_the_last_unit() public {
        bytes32 id = fund(1, 5 * UNIT);
        uint256 before = token.balanceOf(tenant);
        expectEvent();
        emit IMarket.FundsChanged(id, tenant, -int256(2 * UNIT), FOREVER);
        vm.prank(tenant);
        vm.assertEq(market.refund(id, 2 * UNIT), 2 * UNIT, "paid");
        vm.assertEq(lens.account(id).refundable, 3 * UNIT, "refundable");
        vm.assertEq(refundAll(id), 3 * UNIT, "the rest");
        vm.assertEq(token.balanceOf(tenant) - before, 5 * UNIT, "all back");
        vm.assertEq(lens.account(id).balanceScaled, 0, "empty");
        vm.assertEq(refundAll(id), 0, "nothing is not an error");
    }

    function test_a_refund_leaves_the_running_leases_their_runway() public {
        bytes32 id = leaseFrom(1, 10 * UNIT);
        bytes32 account = accountOf(id);
        skip(123);
        uint256 bal = 10 * UNIT * S - 123 * uint256(RATE);
        uint256 floor = uint256(RATE) * RUNWAY;
        uint256 most = (bal - floor) / S;
        vm.assertEq(lens.account(account).refundable, most, "refundable");
        vm.expectRevert(
            abi.encodeWithSelector(IMarket.RunwayTooShort.selector, bal / S - most - 1, (floor + S - 1) / S)
        );
        vm.prank(tenant);
        market.refund(account, most + 1);
        vm.assertEq(refundAll(account), most, "paid");
        vm.assertGe(lens.account(account).fundedUntil, time() + RUNWAY, "the lease goes on");
    }

    function test_a_refund_above_everything_names_what_is_there() public {
        bytes32 id = fund(1, 5 * UNIT);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RunwayTooShort.selector, 0, 0));
        vm.prank(tenant);
        market.refund(id, 5 * UNIT + 1);
    }

    function test_only_the_tenant_is_refunded() public {
        bytes32 id = fund(1, 5 * UNIT);
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.refund(id, 1);
        expectRevert(IMarket.UnknownId.selector);
        vm.prank(tenant);
        market.refund("x", 1);
    }

    function test_a_depleted_account_gives_back_less_than_a_second() public {
        bytes32 id = leaseFrom(1, 1 * UNIT);
        bytes32 account = accountOf(id);
        skip(1 days);
        uint256 left = 1 * UNIT * S % RATE;
        vm.assertEq(lens.account(account).balanceScaled, left, "below a second of rent");
        vm.assertEq(refundAll(account), left / S, "paid without waiting for finalize");
        vm.assertEq(lens.account(account).balanceScaled, left % S, "dust below a unit");
        vm.assertEq(uint256(lens.account(account).state), uint256(IMarketLens.AccountState.Depleted), "state");
        withdraw(id);
        market.finalize(id);
        vm.assertEq(token.balanceOf(payout), (1 * UNIT * S - left) / S, "the provider has all it earned");
    }

    // --- several calls at once ---

    function test_a_deployment_its_money_and_its_order_are_one_transaction() public {
        bytes32 account = bytes32((uint256(uint160(tenant)) << 96) | (uint256(9) << 32));
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(market.createDeployment, (9, MANIFEST));
        calls[1] = abi.encodeCall(market.deposit, (account, 5 * UNIT));
        calls[2] = abi.encodeCall(market.createOrder, (orderIdOf(account, 1), terms(), spec()));
        vm.prank(tenant);
        Multicall(address(market)).multicall(calls);
        assertState(orderIdOf(account, 1), IMarket.OrderState.Open);
        vm.assertEq(lens.account(account).balance, 5 * UNIT, "balance");
    }

    function test_if_one_of_several_calls_fails_none_happened() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(market.createDeployment, (9, MANIFEST));
        calls[1] = abi.encodeCall(market.deposit, (bytes32("x"), 5));
        expectRevert(IMarket.UnknownId.selector);
        vm.prank(tenant);
        Multicall(address(market)).multicall(calls);
        bytes32 account = bytes32((uint256(uint160(tenant)) << 96) | (uint256(9) << 32));
        vm.assertEq(uint256(lens.account(account).state), uint256(IMarketLens.AccountState.None), "state");
    }

    // --- set-up and tokens that misbehave ---

    function test_a_market_stands_on_contracts_that_fit() public {
        vm.assertEq(market.token(), address(token), "token");
        vm.assertEq(market.registry(), address(registry), "registry");
        vm.assertEq(market.params(), address(params), "params");
        vm.assertEq(market.SCALE(), S, "scale");
        TestToken right = token;
        token = new TestToken();
        misfit();
        token = right;
        params = IParams(stranger);
        misfit();
    }

    function test_a_token_of_too_many_decimals_is_refused() public {
        vm.mockCall(address(token), abi.encodeWithSignature("decimals()"), abi.encode(uint8(19)));
        misfit();
        vm.mockCall(address(token), abi.encodeWithSignature("decimals()"), abi.encode(uint8(18)));
        vm.assertEq(deployMarket().SCALE(), 1, "scale of eighteen decimals");
    }

    function misfit() private {
        bytes memory code = bytes.concat(vm.getCode("Market.sol:Market"), abi.encode(token, params));
        expectRevert(IMarket.BadSetup.selector);
        create(code);
    }

    function create(bytes memory code) private returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
    }

    function test_a_token_that_keeps_some_of_a_transfer_is_no_deposit() public {
        SkimToken bad = new SkimToken();
        standOn(bad);
        mint(tenant, 1000 * UNIT);
        bytes32 id = fund(1, 0);
        bad.skim();
        expectRevert(IMarket.AmountMismatch.selector);
        vm.prank(tenant);
        market.deposit(id, 5 * UNIT);
    }

    function test_a_token_that_calls_back_does_not_get_in() public {
        HookToken bad = new HookToken();
        standOn(bad);
        mint(tenant, 1000 * UNIT);
        bytes32 id = fund(1, 5 * UNIT);
        bytes32 guard =
            keccak256(abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        bad.arm(address(market), abi.encodeCall(market.deposit, (id, 1)));
        vm.prank(tenant);
        market.deposit(id, 1);
        vm.assertEq(keccak256(bad.answer()), guard, "deposit");
        bad.arm(address(market), abi.encodeCall(market.refund, (id, 1)));
        refundAll(id);
        vm.assertEq(keccak256(bad.answer()), guard, "refund");
    }
}

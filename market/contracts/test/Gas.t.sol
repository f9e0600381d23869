// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {IMarket} from "../src/interfaces/IMarket.sol";
import {Base} from "./Base.sol";

/// @notice What a whole transaction costs (21,000 and calldata included), against the most it may cost. The figures land
/// in snapshots/gas.json.
/// forge-config: default.isolate = true
contract GasTest is Base {
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        setFee(100);
        // Nobody's first time: balances exist, as they do in a market that has run for a day.
        mint(payout, 1);
        mint(treasury, 1);
        bytes32 first = leaseFrom(1, 100 * UNIT);
        skip(100);
        withdraw(first);
        close(first, tenant, 1);
        account = fund(2, 1000 * UNIT);
    }

    function test_create_deployment() public {
        vm.prank(tenant);
        market.createDeployment(3, MANIFEST);
        costs("create deployment", 95_000);
    }

    function test_deposit() public {
        vm.prank(tenant);
        market.deposit(account, 10 * UNIT);
        costs("deposit", 70_000);
    }

    function test_deposit_with_permit() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(10 * UNIT, time() + 60);
        vm.prank(tenant);
        market.depositWithPermit(account, 10 * UNIT, time() + 60, v, r, s);
        costs("deposit with permit", 120_000);
    }

    function test_create_order() public {
        bytes32 id = orderIdOf(account, 1);
        IMarket.OrderTerms memory t = terms();
        bytes memory s = spec();
        vm.prank(tenant);
        market.createOrder(id, t, s);
        costs("create order (384 bytes)", 95_000);
        id = orderIdOf(account, 2);
        s = bytes.concat(s, s, s, s);
        vm.prank(tenant);
        market.createOrder(id, t, s);
        costs("create order (1536 bytes)", 95_000 + 1152 * 25);
    }

    function test_create_order_and_deposit() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(market.deposit, (account, 10 * UNIT));
        calls[1] = abi.encodeCall(market.createOrder, (orderIdOf(account, 1), terms(), spec()));
        vm.prank(tenant);
        Multicall(address(market)).multicall(calls);
        costs("create order and deposit", 140_000);
    }

    function test_bid() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        costs("place bid", 65_000);
        placeBid(id, operator, RATE - 1, 0, 0);
        costs("revise bid", 45_000);
    }

    function test_accept() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        accept(id, provider);
        costs("accept bid", 72_000);
    }

    function test_withdraw() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        skip(1000);
        withdraw(id);
        costs("withdraw", 65_000);
    }

    function test_withdraw_first() public {
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        bytes32 id = post(account, 1);
        placeBid(id, vm.addr(0x201), RATE, 0, 0);
        accept(id, vm.addr(0x200));
        skip(1000);
        withdraw(id);
        costs("withdraw, first to a payout address", 82_000);
    }

    function test_withdraw_two() public {
        bytes32[] memory ids = new bytes32[](2);
        ids[0] = lease(account, 1, RATE, 0, 0);
        ids[1] = lease(account, 2, RATE, 0, 0);
        skip(1000);
        market.withdraw(ids);
        costs("withdraw two", 90_000);
    }

    function test_close() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        skip(1000);
        close(id, tenant, 1);
        costs("close by tenant", 66_000);
        id = lease(account, 2, RATE, 0, 0);
        close(id, operator, 100);
        costs("close by provider", 66_000);
    }

    function test_refund() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        skip(1000);
        vm.prank(tenant);
        market.refund(account, 10 * UNIT);
        costs("refund beside a lease", 55_000);
        close(id, tenant, 1);
        refundAll(account);
        costs("refund of the rest", 55_000);
    }

    function test_register() public {
        address owner = vm.addr(0x200);
        mint(owner, STAKE);
        vm.prank(owner);
        registry.register(vm.addr(0x201), vm.addr(0x202), keccak256("attrs"), URI, keccak256("spki"), STAKE);
        // Dearer than a registry that leaves URI and certificate to the log: tenants read both with one call, however
        // old the registration is and however short the logs are that their endpoint keeps.
        costs("register provider", 215_000);
    }

    function costs(string memory what, uint256 most) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("gas", what, gas);
        vm.assertLe(gas, most, what);
    }
}

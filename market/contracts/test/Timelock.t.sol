// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IParams} from "../src/interfaces/IParams.sol";
import {Base} from "./Base.sol";

/// @notice Params as it is owned on a real chain.
contract TimelockTest is Base {
    uint256 private constant DELAY = 48 hours;
    address private immutable proposer = vm.addr(0x70);

    TimelockController private timelock;
    bytes private change;

    function setUp() public override {
        super.setUp();
        address[] memory proposers = new address[](1);
        proposers[0] = proposer;
        timelock = TimelockController(
            payable(deploy("Timelock.sol:Timelock", abi.encode(DELAY, proposers, new address[](1))))
        );
        params = IParams(deploy("Params.sol:Params", abi.encode(timelock, treasury, guardian)));
        IParams.Values memory v = params.values();
        v.feeBps = 100;
        change = abi.encodeCall(params.setValues, (v));
    }

    function test_a_change_waits_its_delay_and_then_anyone_makes_it() public {
        vm.prank(proposer);
        timelock.schedule(address(params), 0, change, 0, 0, DELAY);
        skip(DELAY - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                TimelockController.TimelockUnexpectedOperationState.selector,
                timelock.hashOperation(address(params), 0, change, 0, 0),
                bytes32(uint256(1) << uint8(TimelockController.OperationState.Ready))
            )
        );
        timelock.execute(address(params), 0, change, 0, 0);
        skip(1);
        vm.prank(stranger);
        timelock.execute(address(params), 0, change, 0, 0);
        vm.assertEq(params.values().feeBps, 100, "feeBps");
    }

    function test_nothing_waits_shorter_than_the_delay() public {
        vm.expectRevert(
            abi.encodeWithSelector(TimelockController.TimelockInsufficientDelay.selector, DELAY - 1, DELAY)
        );
        vm.prank(proposer);
        timelock.schedule(address(params), 0, change, 0, 0, DELAY - 1);
    }

    function test_nobody_stands_above_the_timelock() public {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        vm.assertTrue(timelock.hasRole(admin, address(timelock)), "itself");
        vm.assertTrue(!timelock.hasRole(admin, address(this)), "not the deployer");
        vm.assertTrue(!timelock.hasRole(admin, proposer), "not the proposer");
        bytes32 role = timelock.PROPOSER_ROLE();
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, proposer, admin)
        );
        vm.prank(proposer);
        timelock.grantRole(role, stranger);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IParams} from "../src/interfaces/IParams.sol";
import {Base} from "./Base.sol";

contract ParamsTest is Base {
    function test_the_defaults_are_those_of_the_manual() public view {
        IParams.Values memory v = params.values();
        vm.assertEq(v.feeBps, 0, "feeBps");
        vm.assertEq(v.minRunway, 600, "minRunway");
        vm.assertEq(v.bondSecs, 21_600, "bondSecs");
        vm.assertEq(v.minOrderDuration, 300, "minOrderDuration");
        vm.assertEq(v.maxOrderDuration, 2_592_000, "maxOrderDuration");
        vm.assertEq(v.minStake, 100_000_000, "minStake");
        vm.assertEq(params.treasury(), treasury, "treasury");
        vm.assertEq(Ownable(address(params)).owner(), governor, "owner");
    }

    function test_the_owner_sets_every_value_to_its_cap() public {
        IParams.Values memory v = IParams.Values({
            feeBps: 1000,
            minRunway: 86_400,
            bondSecs: 604_800,
            minOrderDuration: 2_592_000,
            maxOrderDuration: 2_592_000,
            minStake: 1e12
        });
        vm.expectEmit(true, true, true, true, address(params));
        emit IParams.ParamsChanged(v);
        set(v);
        vm.assertEq(keccak256(abi.encode(params.values())), keccak256(abi.encode(v)), "values");
        v = IParams.Values({
            feeBps: 0,
            minRunway: 600,
            bondSecs: 3600,
            minOrderDuration: 300,
            maxOrderDuration: 300,
            minStake: 0
        });
        set(v);
        vm.assertEq(keccak256(abi.encode(params.values())), keccak256(abi.encode(v)), "values");
    }

    function test_no_value_passes_its_cap() public {
        IParams.Values memory v = params.values();
        v.feeBps = 1001;
        refused(v);
        v = params.values();
        v.minRunway = 599;
        refused(v);
        v.minRunway = 86_401;
        refused(v);
        v = params.values();
        v.bondSecs = 3599;
        refused(v);
        v.bondSecs = 604_801;
        refused(v);
        v = params.values();
        v.minOrderDuration = 299;
        refused(v);
        v = params.values();
        v.maxOrderDuration = 2_592_001;
        refused(v);
        v = params.values();
        v.minOrderDuration = 1000;
        v.maxOrderDuration = 999;
        refused(v);
        v = params.values();
        v.minStake = 1e12 + 1;
        refused(v);
    }

    function test_a_stranger_sets_nothing() public {
        IParams.Values memory v = params.values();
        bytes memory notOwner = abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger);
        vm.startPrank(stranger);
        vm.expectRevert(notOwner);
        params.setValues(v);
        vm.expectRevert(notOwner);
        params.setTreasury(stranger);
    }

    function test_the_treasury_moves_but_not_to_nobody() public {
        vm.startPrank(governor);
        vm.expectEmit(true, true, true, true, address(params));
        emit IParams.TreasuryChanged(stranger);
        params.setTreasury(stranger);
        vm.assertEq(params.treasury(), stranger, "treasury");
        expectRevert(IParams.ZeroAddress.selector);
        params.setTreasury(address(0));
    }

    function test_ownership_moves_in_two_steps() public {
        Ownable2Step owned = Ownable2Step(address(params));
        vm.prank(governor);
        owned.transferOwnership(stranger);
        vm.assertEq(owned.owner(), governor, "owner before the second step");
        vm.prank(stranger);
        owned.acceptOwnership();
        vm.assertEq(owned.owner(), stranger, "owner");
    }

    function set(IParams.Values memory v) private {
        vm.prank(governor);
        params.setValues(v);
    }

    function refused(IParams.Values memory v) private {
        expectRevert(IParams.CapExceeded.selector);
        set(v);
    }
}

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
        vm.assertEq(params.guardian(), guardian, "guardian");
        vm.assertEq(params.owner(), governor, "owner");
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
        vm.expectRevert(notOwner);
        params.setGuardian(stranger);
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

    function test_the_guardian_changes_and_may_be_nobody() public {
        vm.startPrank(governor);
        vm.expectEmit(true, true, true, true, address(params));
        emit IParams.GuardianChanged(stranger);
        params.setGuardian(stranger);
        vm.assertEq(params.guardian(), stranger, "guardian");
        params.setGuardian(address(0));
        vm.assertEq(params.guardian(), address(0), "nobody");
    }

    function test_nobody_is_no_first_owner_and_no_first_treasury() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        this.make(address(0), treasury);
        expectRevert(IParams.ZeroAddress.selector);
        this.make(governor, address(0));
    }

    function test_who_was_not_offered_the_ownership_does_not_take_it() public {
        Ownable2Step owned = Ownable2Step(address(params));
        vm.prank(governor);
        owned.transferOwnership(stranger);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, tenant));
        vm.prank(tenant);
        owned.acceptOwnership();
    }

    function test_a_renounced_ownership_freezes_the_numbers() public {
        vm.startPrank(governor);
        Ownable(address(params)).renounceOwnership();
        vm.assertEq(params.owner(), address(0), "owner");
        IParams.Values memory v = params.values();
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, governor));
        params.setValues(v);
    }

    /// Whatever is asked for: inside the caps it holds, outside it is refused and nothing changes.
    function test_caps_hold_for_any_numbers(
        uint16 feeBps,
        uint32 minRunway,
        uint24 bondSecs,
        uint32 minOrder,
        uint32 maxOrder,
        uint88 minStake
    ) public {
        // Most of the numbers near their caps, or hardly any run would get in.
        if (feeBps % 8 != 0) feeBps %= 1002;
        if (minRunway % 8 != 0) minRunway %= 86_402;
        if (bondSecs % 8 != 0) bondSecs %= 604_802;
        if (minOrder % 8 != 0) minOrder %= 2_592_002;
        if (maxOrder % 8 != 0) maxOrder %= 2_592_002;
        if (minStake % 8 != 0) minStake %= 1e12 + 2;
        IParams.Values memory v = IParams.Values(feeBps, minRunway, bondSecs, minOrder, maxOrder, minStake);
        bool inside = feeBps <= 1000 && minRunway >= 600 && minRunway <= 86_400 && bondSecs >= 3600
            && bondSecs <= 604_800 && minOrder >= 300 && maxOrder <= 2_592_000 && minOrder <= maxOrder
            && minStake <= 1e12;
        bytes32 wanted = keccak256(abi.encode(inside ? v : params.values()));
        if (inside) set(v);
        else refused(v);
        vm.assertEq(keccak256(abi.encode(params.values())), wanted, "values");
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

    /// From outside, so that the constructor's error can be expected.
    function make(address owner, address purse) external {
        deploy("Params.sol:Params", abi.encode(owner, purse, guardian));
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

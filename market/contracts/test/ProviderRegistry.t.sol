// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IProviderRegistry} from "../src/interfaces/IProviderRegistry.sol";
import {Base} from "./Base.sol";
import {HookToken} from "./tokens/HookToken.sol";
import {SkimToken} from "./tokens/SkimToken.sol";

contract ProviderRegistryTest is Base {
    address private immutable owner = vm.addr(0x300);
    address private immutable key = vm.addr(0x301);
    address private immutable purse = vm.addr(0x302);
    bytes32 private constant ATTRS = keccak256("attrs");
    bytes32 private constant SPKI = keccak256("spki");
    uint88 private constant MIN_STAKE = 100e6;

    // --- register ---

    function test_register_keeps_the_whole_record_and_takes_the_stake() public {
        mint(owner, MIN_STAKE);
        expectRegistryEvent();
        emit IProviderRegistry.ProviderRegistered(owner, key, URI, SPKI);
        expectRegistryEvent();
        emit IProviderRegistry.PayoutChanged(owner, purse, time());
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(owner, MIN_STAKE, 0, 0);
        vm.prank(owner);
        registry.register(key, purse, URI, SPKI, MIN_STAKE);

        IProviderRegistry.ProviderView memory v = registry.provider(owner);
        vm.assertEq(uint256(v.state), uint256(IProviderRegistry.ProviderState.Active), "state");
        vm.assertEq(v.operator, key, "operator");
        vm.assertEq(v.payout, purse, "payout");
        vm.assertEq(v.pendingPayout, address(0), "pendingPayout");
        vm.assertEq(v.attrsHash, 0, "attrsHash");
        vm.assertEq(v.spkiHash, SPKI, "spkiHash");
        vm.assertEq(v.capabilities, 0, "capabilities");
        vm.assertEq(v.firstSeen, time(), "firstSeen");
        vm.assertEq(v.gatewayAt, time(), "gatewayAt");
        vm.assertEq(v.stake, MIN_STAKE, "stake");
        vm.assertEq(v.locked, 0, "locked");
        vm.assertEq(v.active, 0, "active");
        vm.assertEq(token.balanceOf(address(registry)), STAKE + MIN_STAKE, "stake is held here");
        (address bidder, bool active,) = registry.standingOf(owner);
        vm.assertEq(bidder, key, "bidder");
        vm.assertTrue(active, "active bidder");
    }

    function test_one_address_registers_once() public {
        mint(provider, MIN_STAKE);
        expectRevert(IProviderRegistry.IdTaken.selector);
        vm.prank(provider);
        registry.register(key, purse, URI, SPKI, MIN_STAKE);
    }

    function test_a_retired_provider_does_not_register_again() public {
        vm.prank(provider);
        registry.retire();
        expectRevert(IProviderRegistry.IdTaken.selector);
        vm.prank(provider);
        registry.register(key, purse, URI, SPKI, MIN_STAKE);
    }

    function test_a_key_that_another_provider_names_too_keeps_its_own() public {
        register(owner, operator, purse, STAKE);
        vm.prank(owner);
        registry.retire();
        (address bidder, bool active,) = registry.standingOf(provider);
        vm.assertEq(bidder, operator, "bidder");
        vm.assertTrue(active, "what the other does changes nothing");
        vm.prank(owner);
        registry.setOperator(key);
        vm.assertTrue(registry.isKeyOf(provider, operator), "nor that it lets go of it");
        vm.assertTrue(!registry.isKeyOf(owner, operator), "of the other no more");
    }

    function test_nobody_is_no_key_and_no_purse() public {
        mint(owner, MIN_STAKE);
        vm.startPrank(owner);
        expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.register(address(0), purse, URI, SPKI, MIN_STAKE);
        expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.register(key, address(0), URI, SPKI, MIN_STAKE);
    }

    function test_a_uri_has_between_1_and_256_bytes() public {
        mint(owner, MIN_STAKE);
        vm.startPrank(owner);
        expectRevert(IProviderRegistry.BadUri.selector);
        registry.register(key, purse, "", SPKI, MIN_STAKE);
        expectRevert(IProviderRegistry.BadUri.selector);
        registry.register(key, purse, string(new bytes(257)), SPKI, MIN_STAKE);
        registry.register(key, purse, string(new bytes(256)), SPKI, MIN_STAKE);
    }

    function test_less_than_the_least_stake_is_refused() public {
        mint(owner, MIN_STAKE);
        vm.expectRevert(
            abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, MIN_STAKE - 1, MIN_STAKE)
        );
        vm.prank(owner);
        registry.register(key, purse, URI, SPKI, MIN_STAKE - 1);
    }

    // --- keys and description ---

    function test_a_new_operator_replaces_the_old_at_once() public {
        expectRegistryEvent();
        emit IProviderRegistry.OperatorChanged(provider, key);
        vm.prank(provider);
        registry.setOperator(key);
        (address bidder, bool active,) = registry.standingOf(provider);
        vm.assertEq(bidder, key, "new key");
        vm.assertTrue(active, "as active as before");
        vm.assertTrue(registry.isKeyOf(provider, key), "acts");
        vm.assertTrue(!registry.isKeyOf(provider, operator), "acts no more");
        vm.assertTrue(registry.isKeyOf(provider, provider), "the owner acts");
    }

    function test_setting_the_same_operator_again_changes_nothing() public {
        vm.prank(provider);
        registry.setOperator(operator);
        (address bidder,,) = registry.standingOf(provider);
        vm.assertEq(bidder, operator, "bidder");
    }

    function test_nobody_operates_no_provider() public {
        expectRevert(IProviderRegistry.ZeroAddress.selector);
        vm.prank(provider);
        registry.setOperator(address(0));
    }

    function test_a_gateway_moves_and_shows_another_certificate_at_once() public {
        uint40 first = time();
        skip(100);
        vm.prank(provider);
        registry.setOperator(key);
        vm.assertEq(
            registry.provider(provider).gatewayAt, first, "what else changes leaves it where it was said"
        );
        expectRegistryEvent();
        emit IProviderRegistry.GatewayChanged(provider, "https://b", "c");
        vm.prank(provider);
        registry.setGateway("https://b", "c");
        vm.assertEq(registry.provider(provider).spkiHash, "c", "spkiHash");
        vm.assertEq(registry.provider(provider).gatewayAt, time(), "gatewayAt");
        vm.assertEq(registry.provider(provider).firstSeen, first, "firstSeen");
        expectRevert(IProviderRegistry.BadUri.selector);
        vm.prank(provider);
        registry.setGateway("", "c");
    }

    function test_attributes_are_published_and_taken_back() public {
        expectRegistryEvent();
        emit IProviderRegistry.AttributesChanged(provider, ATTRS);
        vm.prank(provider);
        registry.setAttributes(ATTRS);
        vm.assertEq(registry.attrsHashOf(provider), ATTRS, "attrsHashOf");
        vm.assertEq(registry.provider(provider).attrsHash, ATTRS, "attrsHash");
        vm.prank(provider);
        registry.setAttributes(0);
        vm.assertEq(registry.attrsHashOf(provider), 0, "taken back");
    }

    function test_a_gateway_with_another_certificate_revokes_the_one_before_too() public {
        vm.startPrank(provider);
        registry.rotateCert("next", time() + 1 days);
        registry.setGateway(URI, "next");
        vm.assertEq(registry.provider(provider).oldSpkiHash, SPKI, "the same certificate: both still count");
        registry.setGateway(URI, "third");
        vm.assertEq(registry.provider(provider).oldSpkiHash, 0, "revoked");
        vm.assertEq(registry.provider(provider).oldSpkiUntil, 0, "revoked");
    }

    function test_two_certificates_count_while_one_replaces_the_other() public {
        uint40 until = time() + 7 days;
        expectRegistryEvent();
        emit IProviderRegistry.CertRotated(provider, "next", SPKI, until);
        vm.prank(provider);
        registry.rotateCert("next", until);
        IProviderRegistry.ProviderView memory v = registry.provider(provider);
        vm.assertEq(v.spkiHash, "next", "spkiHash");
        vm.assertEq(v.oldSpkiHash, SPKI, "oldSpkiHash");
        vm.assertEq(v.oldSpkiUntil, until, "oldSpkiUntil");
        vm.assertEq(v.payout, payout, "what shares the slot stays");
        skip(7 days);
        v = registry.provider(provider);
        vm.assertEq(v.oldSpkiHash, 0, "no more");
        vm.assertEq(v.oldSpkiUntil, 0, "no more");
        vm.assertEq(v.spkiHash, "next", "alone");
    }

    function test_an_old_certificate_counts_for_seven_days_at_most() public {
        vm.startPrank(provider);
        expectRevert(IProviderRegistry.DurationOutOfBounds.selector);
        registry.rotateCert("next", time() + 7 days + 1);
        registry.rotateCert("next", 0);
        vm.assertEq(registry.provider(provider).oldSpkiHash, 0, "revoked at once");
    }

    function test_a_rotation_and_a_payout_change_share_a_slot_in_peace() public {
        vm.startPrank(provider);
        registry.setPayout(purse);
        registry.rotateCert("next", time() + 2 days);
        vm.assertEq(registry.provider(provider).pendingPayout, purse, "waits");
        skip(1 days);
        vm.assertEq(registry.payoutOf(provider), purse, "took effect");
        registry.setPayout(payout);
        vm.assertEq(registry.provider(provider).oldSpkiHash, SPKI, "still counts");
    }

    function test_who_is_not_registered_changes_nothing() public {
        vm.startPrank(stranger);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.rotateCert("c", 0);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.setOperator(key);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.setPayout(purse);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.setGateway(URI, "c");
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.setAttributes("a");
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.requestUnstake();
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.unstake(1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.retire();
    }

    // --- payout ---

    function test_a_new_payout_address_waits_a_day() public {
        expectRegistryEvent();
        emit IProviderRegistry.PayoutChanged(provider, purse, time() + 24 hours);
        vm.prank(provider);
        registry.setPayout(purse);
        skip(24 hours - 1);
        vm.assertEq(registry.payoutOf(provider), payout, "still the old one");
        vm.assertEq(registry.provider(provider).pendingPayout, purse, "waits");
        vm.assertEq(registry.provider(provider).payoutChangeAt, time() + 1, "due");
        skip(1);
        vm.assertEq(registry.payoutOf(provider), purse, "the new one");
        vm.assertEq(registry.provider(provider).payout, purse, "view");
        vm.assertEq(registry.provider(provider).pendingPayout, address(0), "nothing waits");
        vm.assertEq(registry.provider(provider).payoutChangeAt, 0, "nothing due");
    }

    function test_a_second_change_replaces_the_one_that_waits() public {
        vm.startPrank(provider);
        registry.setPayout(purse);
        skip(23 hours);
        registry.setPayout(payout);
        skip(2 hours);
        vm.assertEq(registry.payoutOf(provider), payout, "the stolen change never took effect");
    }

    function test_a_change_after_one_that_took_effect_starts_from_it() public {
        vm.startPrank(provider);
        registry.setPayout(purse);
        skip(2 days);
        registry.setPayout(stranger);
        vm.assertEq(registry.payoutOf(provider), purse, "until the next is due");
        skip(1 days);
        vm.assertEq(registry.payoutOf(provider), stranger, "the next");
    }

    function test_money_does_not_go_to_nobody() public {
        expectRevert(IProviderRegistry.ZeroAddress.selector);
        vm.prank(provider);
        registry.setPayout(address(0));
    }

    // --- stake ---

    function test_anyone_adds_stake() public {
        mint(stranger, 5);
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(provider, uint88(STAKE + 5), 0, 0);
        vm.prank(stranger);
        registry.addStake(provider, 5);
        vm.assertEq(registry.provider(provider).stake, STAKE + 5, "stake");
        vm.assertEq(token.balanceOf(address(registry)), STAKE + 5, "held");
    }

    function test_no_stake_for_who_is_not_active() public {
        mint(stranger, 5);
        vm.prank(provider);
        registry.retire();
        vm.startPrank(stranger);
        expectRevert(IProviderRegistry.ProviderInactive.selector);
        registry.addStake(provider, 5);
        expectRevert(IProviderRegistry.ProviderInactive.selector);
        registry.addStake(stranger, 5);
    }

    function test_stake_comes_out_after_seven_days_down_to_the_least() public {
        vm.startPrank(provider);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StillBonded.selector, 0));
        registry.unstake(1);
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(provider, uint88(STAKE), 0, time() + 7 days);
        registry.requestUnstake();
        skip(7 days - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StillBonded.selector, time() + 1));
        registry.unstake(1);
        skip(1);
        uint256 most = STAKE - MIN_STAKE;
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, most, most + 1));
        registry.unstake(most + 1);
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(provider, MIN_STAKE, 0, 0);
        registry.unstake(most);
        vm.assertEq(token.balanceOf(payout), most, "paid to the payout address");
        vm.assertEq(token.balanceOf(address(registry)), MIN_STAKE, "kept");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StillBonded.selector, 0));
        registry.unstake(0);
    }

    function test_a_retired_provider_takes_all_that_no_lease_locks() public {
        bytes32 id = leaseFrom(1, 1000 * UNIT);
        uint256 bond = lens.lease(id).bond;
        vm.startPrank(provider);
        expectRegistryEvent();
        emit IProviderRegistry.ProviderRetired(provider);
        registry.retire();
        skip(7 days - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StillBonded.selector, time() + 1));
        registry.unstake(1);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, STAKE - bond, STAKE));
        registry.unstake(STAKE);
        registry.unstake(STAKE - bond);
        market.closeLease(id, 102);
        registry.unstake(bond);
        vm.assertEq(token.balanceOf(payout), STAKE, "all of it");
        vm.assertEq(registry.provider(provider).stake, 0, "stake");
    }

    function test_a_request_that_was_kept_in_store_does_not_shorten_the_retirement() public {
        vm.startPrank(provider);
        registry.requestUnstake();
        skip(30 days);
        expectRegistryEvent();
        emit IProviderRegistry.ProviderRetired(provider);
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(provider, uint88(STAKE), 0, time() + 7 days);
        registry.retire();
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StillBonded.selector, time() + 7 days));
        registry.unstake(1);
    }

    function test_stake_goes_where_money_goes_by_then() public {
        vm.startPrank(provider);
        registry.retire();
        registry.setPayout(purse);
        skip(7 days);
        registry.unstake(STAKE);
        vm.assertEq(token.balanceOf(purse), STAKE, "the payout address of now");
    }

    function test_more_stake_than_a_field_holds_is_refused() public {
        uint256 much = uint256(type(uint88).max) + 1;
        mint(stranger, much);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, uint8(88), much)
        );
        vm.prank(stranger);
        registry.addStake(provider, much);
    }

    function test_nobody_retires_twice() public {
        vm.startPrank(provider);
        registry.retire();
        expectRevert(IProviderRegistry.ProviderInactive.selector);
        registry.retire();
    }

    // --- bonds ---

    function test_only_the_market_moves_bonds() public {
        vm.startPrank(stranger);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.lockBond(provider, 1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.unlockBond(provider, 1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.beginLease(provider, 1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        registry.endLease(provider, provider, 0, 0, 0, 100, 0, 0);
    }

    function test_a_lease_locks_its_bond_out_of_free_stake_and_frees_it() public {
        vm.startPrank(address(market));
        registry.beginLease(provider, STAKE - 1);
        vm.assertEq(registry.provider(provider).locked, STAKE - 1, "locked");
        vm.assertEq(registry.provider(provider).active, 1, "active");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, 1, 2));
        registry.beginLease(provider, 2);
        registry.endLease(provider, provider, 0, STAKE - 1, 0, 1, 0, 0);
        vm.assertEq(registry.provider(provider).locked, 0, "released");
        vm.assertEq(registry.provider(provider).active, 0, "no lease");
        vm.assertEq(registry.provider(provider).stake, STAKE, "whole");
    }

    function test_a_best_bid_locks_a_bond_that_counts_no_lease() public {
        vm.startPrank(address(market));
        registry.lockBond(provider, STAKE - 1);
        vm.assertEq(registry.provider(provider).locked, STAKE - 1, "locked");
        vm.assertEq(registry.provider(provider).active, 0, "no lease");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, 1, 2));
        registry.lockBond(provider, 2);
        registry.unlockBond(provider, STAKE - 1);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    function test_an_award_begins_whatever_became_of_its_winner() public {
        vm.prank(address(market));
        registry.lockBond(provider, 100);
        vm.prank(provider);
        registry.retire();
        vm.startPrank(address(market));
        registry.beginLease(provider, 0);
        vm.assertEq(registry.provider(provider).active, 1, "a lease");
        vm.assertEq(registry.provider(provider).locked, 100, "its bond");
        registry.endLease(provider, provider, 0, 100, 0, 1, 0, 0);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    function test_a_bond_of_a_retired_provider_is_unlocked() public {
        vm.prank(address(market));
        registry.lockBond(provider, 100);
        vm.prank(provider);
        registry.retire();
        vm.prank(address(market));
        registry.unlockBond(provider, 100);
        vm.assertEq(registry.provider(provider).locked, 0, "free");
    }

    function test_a_penalty_leaves_the_stake_for_the_market() public {
        vm.startPrank(address(market));
        registry.beginLease(provider, 100);
        expectRegistryEvent();
        emit IProviderRegistry.Slashed(provider, "order", 60, 101);
        expectRegistryEvent();
        emit IProviderRegistry.StakeChanged(provider, uint88(STAKE - 60), 0, 0);
        registry.endLease(provider, provider, "order", 100, 60, 101, 0, 0);
        vm.assertEq(token.balanceOf(address(market)), 60, "the market holds it");
        vm.assertEq(token.balanceOf(address(registry)), STAKE - 60, "the registry the rest");
    }

    function test_only_a_key_of_its_provider_ends_a_lease_in_its_name() public {
        vm.startPrank(address(market));
        registry.beginLease(provider, 100);
        expectRevert(IProviderRegistry.NotOperator.selector);
        registry.endLease(provider, payout, 0, 100, 0, 100, 0, 0);
        expectRevert(IProviderRegistry.NotOperator.selector);
        registry.endLease(provider, address(0), 0, 100, 0, 100, 0, 0);
        registry.endLease(provider, operator, 0, 100, 0, 100, 0, 0);
        vm.assertEq(registry.provider(provider).active, 0, "ended by its operator");
    }

    function test_a_penalty_never_exceeds_the_bond() public {
        vm.startPrank(address(market));
        registry.beginLease(provider, 100);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, 100, 101));
        registry.endLease(provider, provider, "order", 100, 101, 101, 0, 0);
    }

    function test_what_leases_say_of_a_provider_adds_up() public {
        vm.startPrank(address(market));
        for (uint256 i = 0; i < 5; i++) {
            registry.beginLease(provider, 10);
        }
        registry.endLease(provider, provider, 0, 10, 0, 1, 100, 7);
        registry.endLease(provider, provider, 0, 10, 0, 200, 20, 5);
        registry.endLease(provider, provider, 0, 10, 0, 104, 3, 0);
        registry.endLease(provider, provider, 0, 10, 0, 100, 0, 0);
        registry.endLease(provider, provider, 0, 10, 4, 101, 0, 0);
        IProviderRegistry.Reputation memory n = registry.reputationOf(provider);
        vm.assertEq(n.servedSecs, 123, "servedSecs");
        vm.assertEq(n.feesPaid, 12, "feesPaid");
        vm.assertEq(n.completed, 3, "completed");
        vm.assertEq(n.earlyExits, 2, "earlyExits");
        vm.assertEq(n.slashes, 1, "slashes");
    }

    function test_a_count_that_is_full_keeps_no_lease_from_ending() public {
        vm.startPrank(address(market));
        for (uint256 i = 0; i < 2; i++) {
            registry.beginLease(provider, 0);
            registry.endLease(provider, provider, 0, 0, 0, 1, 1, type(uint96).max);
        }
        vm.assertEq(registry.reputationOf(provider).feesPaid, type(uint96).max, "feesPaid");
        vm.assertEq(registry.reputationOf(provider).completed, 2, "completed");
    }

    // --- capabilities ---

    function test_a_provider_says_what_it_can() public {
        expectRegistryEvent();
        emit IProviderRegistry.CapabilitiesChanged(provider, 5);
        vm.prank(provider);
        registry.setCapabilities(provider, 5);
        (,, uint96 bits) = registry.standingOf(provider);
        vm.assertEq(bits, 5, "by the owner");
        vm.prank(operator);
        registry.setCapabilities(provider, 6);
        vm.assertEq(registry.provider(provider).capabilities, 6, "by the operator");
        vm.prank(provider);
        registry.setOperator(key);
        address bidder;
        bool active;
        (bidder, active, bits) = registry.standingOf(provider);
        vm.assertEq(bidder, key, "another key");
        vm.assertEq(bits, 6, "they stay with the provider");
        vm.assertTrue(active, "so does its state");
        expectRevert(IProviderRegistry.NotAllowed.selector);
        vm.prank(operator);
        registry.setCapabilities(provider, 7);
    }

    function test_a_capability_that_does_not_exist_is_refused() public {
        vm.startPrank(provider);
        registry.setCapabilities(provider, (1 << 95) - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.UnknownCapabilities.selector, 1 << 95));
        registry.setCapabilities(provider, type(uint96).max);
        vm.stopPrank();
        expectRevert(IProviderRegistry.NotAllowed.selector);
        vm.prank(stranger);
        registry.setCapabilities(provider, 1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        vm.prank(stranger);
        registry.setCapabilities(stranger, 1);
        expectRevert(IProviderRegistry.NotAllowed.selector);
        vm.prank(address(0));
        registry.setCapabilities(stranger, 1);
    }

    function test_the_roles_of_a_provider_are_three() public view {
        vm.assertTrue(registry.isRoleOf(provider, provider), "owner");
        vm.assertTrue(registry.isRoleOf(provider, operator), "operator");
        vm.assertTrue(registry.isRoleOf(provider, payout), "payout");
        vm.assertTrue(!registry.isRoleOf(provider, stranger), "stranger");
    }

    function test_a_retired_provider_gets_no_new_bond() public {
        vm.prank(provider);
        registry.retire();
        expectRevert(IProviderRegistry.ProviderInactive.selector);
        vm.prank(address(market));
        registry.lockBond(provider, 1);
        expectRevert(IProviderRegistry.ProviderInactive.selector);
        vm.prank(address(market));
        registry.beginLease(provider, 1);
        (address bidder, bool active,) = registry.standingOf(provider);
        vm.assertEq(bidder, operator, "bidder");
        vm.assertTrue(!active, "inactive");
    }

    // --- set-up ---

    function test_it_serves_the_market_that_created_it_and_no_other() public {
        vm.assertEq(registry.market(), address(market), "market");
        address other = deployMarket().registry();
        vm.assertTrue(other != address(registry), "another market has another registry");
        expectRevert(IProviderRegistry.NotAllowed.selector);
        vm.prank(address(market));
        IProviderRegistry(other).beginLease(provider, 0);
    }

    function test_an_unknown_provider_is_nobody() public view {
        IProviderRegistry.ProviderView memory v = registry.provider(stranger);
        vm.assertEq(uint256(v.state), uint256(IProviderRegistry.ProviderState.None), "state");
        vm.assertEq(registry.payoutOf(stranger), address(0), "payout");
        (address bidder, bool active, uint96 bits) = registry.standingOf(stranger);
        vm.assertEq(bidder, address(0), "bidder");
        vm.assertTrue(!active && bits == 0, "standing");
        vm.assertEq(registry.token(), address(token), "token");
        vm.assertEq(registry.params(), address(params), "params");
    }

    // --- tokens that misbehave ---

    function test_a_token_that_keeps_some_of_a_transfer_brings_no_stake() public {
        SkimToken bad = new SkimToken();
        standOn(bad);
        mint(owner, STAKE);
        bad.skim();
        expectRevert(IProviderRegistry.AmountMismatch.selector);
        vm.prank(owner);
        registry.register(key, purse, URI, SPKI, STAKE);
    }

    function test_a_token_that_calls_back_does_not_get_in() public {
        HookToken bad = new HookToken();
        standOn(bad);
        mint(owner, STAKE);
        bad.arm(address(registry), abi.encodeCall(registry.addStake, (owner, 1)));
        vm.prank(owner);
        registry.register(key, purse, URI, SPKI, STAKE);
        vm.assertEq(
            keccak256(bad.answer()),
            keccak256(abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)),
            "turned away by the guard"
        );
    }
}

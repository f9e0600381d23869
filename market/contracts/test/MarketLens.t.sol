// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../src/interfaces/IMarket.sol";
import {IMarketLens} from "../src/interfaces/IMarketLens.sol";
import {Base} from "./Base.sol";

/// @notice What only the lens does: many at once, who could take a lease now, and the words of nobody. What single views say
/// is tested with the calls that they tell of.
contract MarketLensTest is Base {
    bytes32 private account;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
    }

    function test_it_reads_one_market() public view {
        vm.assertEq(address(lens.market()), address(market), "market");
    }

    function test_many_are_answered_in_the_order_they_were_asked() public {
        bytes32 leased = lease(account, 1, RATE, 60, 30);
        bytes32 open = post(account, 2);
        placeBid(open, operator, RATE / 2, 0, 0);
        skip(100);
        bytes32[] memory ids = new bytes32[](3);
        (ids[0], ids[1], ids[2]) = (open, leased, "unknown");

        IMarketLens.OrderView[] memory orders = lens.orders(ids);
        vm.assertEq(orders.length, 3, "orders");
        for (uint256 i = 0; i < 3; i++) {
            vm.assertEq(keccak256(abi.encode(orders[i])), keccak256(abi.encode(lens.order(ids[i]))), "order");
        }
        IMarketLens.LeaseView[] memory leases = lens.leases(ids);
        IMarketLens.AccruedView[] memory accruals = lens.accruals(ids);
        vm.assertEq(uint256(leases[0].state), uint256(IMarket.OrderState.None), "no lease");
        vm.assertEq(leases[1].provider, provider, "the lease");
        vm.assertEq(accruals[0].scaled, 0, "nothing earned");
        vm.assertEq(accruals[1].scaled, 100 * uint256(RATE), "earned");
        vm.assertEq(accruals[2].scaled, 0, "nobody");

        address[] memory who = new address[](3);
        (who[0], who[1], who[2]) = (provider, provider, stranger);
        IMarketLens.BidView[] memory bids = lens.bids(ids, who);
        vm.assertEq(bids[0].rate, RATE / 2, "open");
        vm.assertEq(uint256(bids[1].state), uint256(IMarket.BidState.Won), "won");
        vm.assertEq(uint256(bids[2].state), uint256(IMarket.BidState.None), "none");

        ids[0] = account;
        IMarketLens.AccountView[] memory accounts = lens.accounts(ids);
        vm.assertEq(accounts[0].rateSum, RATE, "account");
        vm.assertEq(uint256(accounts[1].state), 0, "an order is no account");
    }

    function test_a_hundred_can_be_asked_for_and_no_more() public {
        bytes32[] memory ids = new bytes32[](100);
        vm.assertEq(lens.accounts(ids).length, 100, "a hundred");
        ids = new bytes32[](101);
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.accounts(ids);
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.orders(ids);
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.leases(ids);
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.accruals(ids);
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.bids(ids, new address[](101));
        expectRevert(IMarketLens.CapExceeded.selector);
        lens.bids(ids, new address[](100));
    }

    function test_a_bid_is_eligible_while_its_provider_could_secure_it() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        vm.assertTrue(lens.bid(id, provider).eligible, "eligible");
        vm.prank(address(market));
        registry.lockBond(provider, STAKE - bondOf(RATE) + 1);
        vm.assertTrue(!lens.bid(id, provider).eligible, "its stake is locked");
        vm.prank(address(market));
        registry.unlockBond(provider, 1);
        vm.assertTrue(lens.bid(id, provider).eligible, "just enough");
        vm.prank(provider);
        registry.retire();
        vm.assertTrue(!lens.bid(id, provider).eligible, "retired");
    }

    function test_a_best_bid_is_eligible_whatever_becomes_of_its_bidder() public {
        bytes32 id = postLowest(account, 1);
        contend(id, operator, RATE);
        vm.prank(provider);
        registry.retire();
        vm.assertTrue(lens.bid(id, provider).eligible, "its bond is locked");
        skip(20 minutes);
        vm.assertTrue(!lens.bid(id, provider).eligible, "expired");
    }

    function test_what_is_not_there_has_no_words() public view {
        vm.assertEq(market.extsload(keccak256("anything")), 0, "empty");
        vm.assertEq(uint256(lens.order("x").state), 0, "order");
        vm.assertEq(lens.accrued("x").upTo, 0, "accrued");
        vm.assertTrue(lens.nonceIsFree(stranger, type(uint256).max), "nonce");
    }

    function test_terms_hash_like_abi_words() public view {
        bytes32 want = keccak256(abi.encode(uint256(RATE), uint256(60), uint256(30), uint256(1e9)));
        vm.assertEq(lens.termsHashOf(RATE, 60, 30, 1e9), want, "termsHash");
    }
}

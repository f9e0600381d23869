// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";
import {Wallet} from "../Wallet.sol";

/// @notice Quotes, and what tenants leave to relayers. The digests are made here from the text of EIP-712, not by the
/// contract's own code.
contract SignedTest is Base {
    uint256 private constant OPERATOR_KEY = 0x101;
    uint256 private constant ORDER_OF_SECP256K1 =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    string private constant TERMS =
        "OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)";

    bytes32 private account;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        account = fund(1, 100 * UNIT);
        id = post(account, 1);
    }

    function test_the_domain_is_named_for_wallets() public view {
        (, string memory name, string memory version, uint256 chain, address verifier,,) =
            IERC5267(address(market)).eip712Domain();
        vm.assertEq(name, "Berth Market", "name");
        vm.assertEq(version, "1", "version");
        vm.assertEq(chain, block.chainid, "chain");
        vm.assertEq(verifier, address(market), "contract");
    }

    // --- acceptQuote ---

    function test_a_quote_becomes_a_lease_without_a_bid() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        vm.prank(tenant);
        market.acceptQuote(q, operator, signature);
        IMarketLens.LeaseView memory l = lens.lease(id);
        vm.assertEq(uint256(l.state), uint256(IMarket.OrderState.Active), "state");
        vm.assertEq(l.provider, provider, "provider");
        vm.assertEq(l.rate, RATE, "rate");
        vm.assertEq(l.reclaim, 60, "reclaim");
        vm.assertEq(l.minBill, 30, "minBill");
        vm.assertEq(l.reclaimDeadline, 0, "no notice was given");
        vm.assertEq(registry.provider(provider).locked, bondOf(RATE), "bond");
    }

    function test_a_quote_is_good_for_one_lease() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        vm.startPrank(tenant);
        market.acceptQuote(q, operator, signature);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Active));
        market.acceptQuote(q, operator, signature);
        market.closeLease(id, 1);
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Closed));
        market.acceptQuote(q, operator, signature);
        market.reorder(id, terms(), spec());
        q.orderId = bytes32(uint256(id) + 1);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptQuote(q, operator, signature);
    }

    function test_every_field_of_a_quote_is_signed() public {
        bytes memory signature = signed(OPERATOR_KEY, hashOf(quote()));
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        bytes32 other = post(account, 2);
        IMarket.Quote memory q = quote();
        q.orderId = other;
        badQuote(q, signature);
        q = quote();
        q.provider = vm.addr(0x200);
        badQuote(q, signature);
        q = quote();
        q.rate -= 1;
        badQuote(q, signature);
        q = quote();
        q.expiresAt += 1;
        badQuote(q, signature);
        q = quote();
        q.reclaim += 1;
        badQuote(q, signature);
        q = quote();
        q.minBill += 1;
        badQuote(q, signature);
        q = quote();
        q.nonce += 1;
        badQuote(q, signature);
        q = quote();
        q.specHash = keccak256("another");
        vm.expectRevert(abi.encodeWithSelector(IMarket.SpecMismatch.selector, keccak256(spec())));
        vm.prank(tenant);
        market.acceptQuote(q, operator, signature);
        vm.prank(tenant);
        market.acceptQuote(quote(), operator, signature);
    }

    function test_only_the_operator_of_the_quoted_provider_quotes() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(0x102, hashOf(q));
        badQuote(q, signature);
        refusedQuote(q, vm.addr(0x102), signature, abi.encodePacked(IMarket.NotOperator.selector));
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        signature = signed(0x201, hashOf(q));
        refusedQuote(q, vm.addr(0x201), signature, abi.encodePacked(IMarket.NotOperator.selector));
    }

    function test_a_quote_of_a_key_that_was_replaced_is_worth_nothing() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        vm.prank(provider);
        registry.setOperator(vm.addr(0x777));
        refusedQuote(q, operator, signature, abi.encodePacked(IMarket.NotOperator.selector));
    }

    function test_a_quote_stands_under_the_orders_limits() public {
        IMarket.Quote memory q = quote();
        q.rate = 0;
        limited(q, abi.encodePacked(IMarket.RateZero.selector));
        q.rate = 2 * RATE + 1;
        limited(q, abi.encodeWithSelector(IMarket.RateTooHigh.selector, 2 * RATE));
        q = quote();
        q.minBill = 3601;
        limited(q, abi.encodeWithSelector(IMarket.MinBillTooLong.selector, 3600));
        IMarket.OrderTerms memory t = terms();
        (t.minReclaim, t.reqBits) = (61, 2);
        id = orderIdOf(account, 2);
        vm.prank(tenant);
        market.createOrder(id, t, spec());
        q = quote();
        limited(q, abi.encodeWithSelector(IMarket.MissingCapabilities.selector, 2));
        vm.prank(provider);
        registry.setCapabilities(provider, 2);
        limited(q, abi.encodePacked(IMarket.ReclaimTooShort.selector));
    }

    function test_a_quote_ends_and_is_taken_back() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        vm.prank(operator);
        market.invalidateNonces(0, 1 << 7);
        refusedQuote(q, operator, signature, abi.encodePacked(IMarket.NonceUsed.selector));
        q.nonce = 8;
        signature = signed(OPERATOR_KEY, hashOf(q));
        skip(61);
        refusedQuote(q, operator, signature, abi.encodePacked(IMarket.Expired.selector));
    }

    function test_a_quote_is_the_tenants_to_take() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        expectRevert(IMarket.NotTenant.selector);
        vm.prank(stranger);
        market.acceptQuote(q, operator, signature);
    }

    function test_a_quote_does_not_pass_by_an_award() public {
        id = postLowest(account, 2);
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        refusedQuote(q, operator, signature, abi.encodeWithSelector(IMarket.WrongMode.selector, 1));
    }

    function test_a_quote_without_stake_is_worth_nothing() public {
        IMarket.Quote memory q = quote();
        bytes memory signature = signed(OPERATOR_KEY, hashOf(q));
        vm.prank(address(market));
        registry.lockBond(provider, STAKE);
        refusedQuote(
            q,
            operator,
            signature,
            abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, 0, bondOf(RATE))
        );
        vm.prank(provider);
        registry.retire();
        refusedQuote(q, operator, signature, abi.encodePacked(IMarket.ProviderInactive.selector));
    }

    // --- createOrderFor ---

    function test_a_relayer_brings_a_tenant_onto_the_book() public {
        IMarket.OrderRequest memory r = request(2);
        bytes memory signature = signed(TENANT_KEY, hashOf(r, spec()));
        bytes32 made = accountOf(r.orderId);
        expectEvent();
        emit IMarket.DeploymentCreated(made, tenant, MANIFEST);
        expectEvent();
        emit IMarket.FundsChanged(made, tenant, 10e6, type(uint40).max);
        vm.prank(stranger);
        market.createOrderFor(r, spec(), signature);
        IMarketLens.OrderView memory v = lens.order(r.orderId);
        vm.assertEq(uint256(v.state), uint256(IMarket.OrderState.Open), "state");
        vm.assertEq(v.maxRate, r.terms.maxRate, "maxRate");
        vm.assertEq(v.specHash, keccak256(spec()), "specHash");
        vm.assertEq(lens.account(made).balance, 10 * UNIT, "the tenant's money");
        vm.assertEq(lens.account(made).manifestHash, MANIFEST, "manifest");
        vm.assertEq(token.balanceOf(tenant), 1_000_000 * UNIT - 110 * UNIT, "the tenant paid");
    }

    function test_a_relayed_order_may_be_one_that_is_awarded() public {
        IMarket.OrderRequest memory r = request(2);
        (r.terms.mode, r.terms.deadline) = (1, time() + 10 minutes);
        relay(r, signed(TENANT_KEY, hashOf(r, spec())));
        vm.assertEq(lens.order(r.orderId).mode, 1, "mode");
    }

    function test_a_relayer_repeats_an_order_that_is_over() public {
        vm.prank(tenant);
        market.cancelOrder(id);
        IMarket.OrderRequest memory r = request(1);
        r.orderId = bytes32(uint256(id) + 1);
        r.deposit = 0;
        relay(r, signed(TENANT_KEY, hashOf(r, spec())));
        assertState(r.orderId, IMarket.OrderState.Open);
        vm.assertEq(lens.account(account).balance, 100 * UNIT, "nothing was moved");
        r.orderId = bytes32(uint256(id) + 2);
        r.nonce += 1;
        bytes memory signature = signed(TENANT_KEY, hashOf(r, spec()));
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.Open));
        relay(r, signature);
        vm.prank(tenant);
        market.cancelOrder(bytes32(uint256(id) + 1));
        signature = signed(TENANT_KEY, hashOf(r, "another"));
        vm.expectRevert(abi.encodeWithSelector(IMarket.SpecMismatch.selector, keccak256(spec())));
        market.createOrderFor(r, "another", signature);
    }

    function test_a_relayer_can_choose_nothing() public {
        bytes memory signature = signed(TENANT_KEY, hashOf(request(2), spec()));
        IMarket.OrderRequest memory r = request(3);
        badRequest(r, signature);
        r = request(2);
        r.manifestHash = keccak256("another");
        badRequest(r, signature);
        r = request(2);
        r.deposit += 1;
        badRequest(r, signature);
        r = request(2);
        r.nonce += 1;
        badRequest(r, signature);
        r = request(2);
        r.validUntil += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.resourceClass = keccak256("gpu");
        badRequest(r, signature);
        r = request(2);
        r.terms.maxRate += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.expiresAt += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.minReclaim += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.reqBits += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.kind += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.mode += 1;
        badRequest(r, signature);
        r = request(2);
        r.terms.deadline += 1;
        badRequest(r, signature);
        expectRevert(IMarket.BadSignature.selector);
        market.createOrderFor(request(2), "another", signature);
        relay(request(2), signature);
    }

    function test_a_request_is_sent_once_and_in_time() public {
        IMarket.OrderRequest memory r = request(2);
        bytes memory signature = signed(TENANT_KEY, hashOf(r, spec()));
        relay(r, signature);
        vm.prank(tenant);
        market.cancelOrder(r.orderId);
        expectRevert(IMarket.NonceUsed.selector);
        relay(r, signature);
        r = request(3);
        r.nonce = 300;
        signature = signed(TENANT_KEY, hashOf(r, spec()));
        vm.warp(r.validUntil + 1);
        expectRevert(IMarket.Expired.selector);
        relay(r, signature);
    }

    function test_a_tenant_takes_back_what_it_signed() public {
        IMarket.OrderRequest memory r = request(2);
        r.nonce = 256 + 9;
        bytes memory signature = signed(TENANT_KEY, hashOf(r, spec()));
        vm.assertTrue(lens.nonceIsFree(tenant, r.nonce), "free");
        expectEvent();
        emit IMarket.NoncesInvalidated(tenant, 1, 1 << 9);
        vm.prank(tenant);
        market.invalidateNonces(1, 1 << 9);
        vm.assertTrue(!lens.nonceIsFree(tenant, r.nonce), "used");
        vm.assertTrue(lens.nonceIsFree(tenant, r.nonce + 1), "no other");
        vm.assertTrue(lens.nonceIsFree(tenant, 9), "nor of another word");
        expectRevert(IMarket.NonceUsed.selector);
        relay(r, signature);
        expectEvent();
        emit IMarket.NoncesInvalidated(tenant, 1, 1 << 9 | 1);
        vm.prank(tenant);
        market.invalidateNonces(1, 1);
    }

    function test_a_deposit_needs_the_tenants_allowance() public {
        vm.prank(tenant);
        token.approve(address(market), 0);
        IMarket.OrderRequest memory r = request(2);
        bytes memory signature = signed(TENANT_KEY, hashOf(r, spec()));
        (bool ok,) = address(market).call(abi.encodeCall(market.createOrderFor, (r, spec(), signature)));
        vm.assertTrue(!ok, "refused");
        vm.assertEq(uint256(lens.account(accountOf(r.orderId)).state), 0, "nothing was made");
    }

    // --- acceptBidFor ---

    function test_a_relayer_sends_an_accept() public {
        placeBid(id, operator, RATE, 60, 30);
        IMarket.Accept memory a = acceptOf();
        bytes memory signature = signed(TENANT_KEY, hashOf(a));
        vm.prank(stranger);
        market.acceptBidFor(a, signature);
        vm.assertEq(lens.lease(id).provider, provider, "provider");
        expectRevert(IMarket.NonceUsed.selector);
        market.acceptBidFor(a, signature);
    }

    function test_every_field_of_an_accept_is_signed() public {
        placeBid(id, operator, RATE, 60, 30);
        bytes memory signature = signed(TENANT_KEY, hashOf(acceptOf()));
        IMarket.Accept memory a = acceptOf();
        a.orderId = orderIdOf(account, 2);
        badAccept(a, signature);
        a = acceptOf();
        a.provider = vm.addr(0x200);
        badAccept(a, signature);
        a = acceptOf();
        a.termsHash = "another";
        badAccept(a, signature);
        a = acceptOf();
        a.specHash = "another";
        badAccept(a, signature);
        a = acceptOf();
        a.nonce += 1;
        badAccept(a, signature);
        a = acceptOf();
        a.validUntil += 1;
        badAccept(a, signature);
        a = acceptOf();
        a.specHash = "another";
        signature = signed(TENANT_KEY, hashOf(a));
        vm.expectRevert(abi.encodeWithSelector(IMarket.SpecMismatch.selector, keccak256(spec())));
        market.acceptBidFor(a, signature);
    }

    function test_an_accept_that_came_too_late_is_worth_nothing() public {
        placeBid(id, operator, RATE, 60, 30);
        IMarket.Accept memory a = acceptOf();
        bytes memory signature = signed(TENANT_KEY, hashOf(a));
        vm.warp(a.validUntil + 1);
        expectRevert(IMarket.Expired.selector);
        market.acceptBidFor(a, signature);
    }

    function test_a_bid_that_changed_is_not_accepted_by_signature_either() public {
        placeBid(id, operator, RATE, 60, 30);
        IMarket.Accept memory a = acceptOf();
        bytes memory signature = signed(TENANT_KEY, hashOf(a));
        skip(1);
        placeBid(id, operator, RATE, 60, 30);
        vm.expectRevert(abi.encodeWithSelector(IMarket.RateChanged.selector, RATE));
        market.acceptBidFor(a, signature);
    }

    // --- closeLeaseFor ---

    function test_a_relayer_sends_a_close() public {
        id = lease(account, 2, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 7, 3, time() + 60);
        bytes memory signature = signed(TENANT_KEY, hashOf(c));
        skip(10);
        vm.prank(stranger);
        market.closeLeaseFor(c, signature);
        vm.assertEq(lens.lease(id).reason, 7, "reason");
        vm.assertEq(lens.lease(id).endedAt, time(), "endedAt");
    }

    function test_every_field_of_a_close_is_signed() public {
        id = lease(account, 2, RATE, 0, 0);
        bytes32 other = lease(account, 3, RATE, 0, 0);
        uint40 until = time() + 60;
        bytes memory signature = signed(TENANT_KEY, hashOf(IMarket.Close(id, 7, 3, until)));
        badClose(IMarket.Close(other, 7, 3, until), signature);
        badClose(IMarket.Close(id, 8, 3, until), signature);
        badClose(IMarket.Close(id, 7, 4, until), signature);
        badClose(IMarket.Close(id, 7, 3, until + 1), signature);
        market.closeLeaseFor(IMarket.Close(id, 7, 3, until), signature);
    }

    function test_a_close_by_signature_is_the_tenants() public {
        id = lease(account, 2, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 100, 3, time() + 60);
        badClose(c, signed(OPERATOR_KEY, hashOf(c)));
        bytes memory signature = signed(TENANT_KEY, hashOf(c));
        vm.expectRevert(abi.encodeWithSelector(IMarket.ReasonOutOfRange.selector, 100));
        market.closeLeaseFor(c, signature);
        c = IMarket.Close(orderIdOf(account, 9), 1, 3, time() + 60);
        signature = signed(TENANT_KEY, hashOf(c));
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, IMarket.OrderState.None));
        market.closeLeaseFor(c, signature);
    }

    // --- signatures ---

    function test_a_signature_is_for_one_chain_and_one_market() public {
        id = lease(account, 2, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 7, 3, time() + 60);
        bytes32 body = hashOf(c);
        badClose(c, raw(TENANT_KEY, digest(body, block.chainid + 1, address(market))));
        badClose(c, raw(TENANT_KEY, digest(body, block.chainid, address(registry))));
        bytes memory signature = signed(TENANT_KEY, body);
        uint256 here = block.chainid;
        vm.chainId(here + 1);
        badClose(c, signature);
        vm.chainId(here);
        market.closeLeaseFor(c, signature);
    }

    function test_the_twin_of_a_signature_is_none() public {
        id = lease(account, 2, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 7, 3, time() + 60);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(TENANT_KEY, digest(hashOf(c), block.chainid, address(market)));
        bytes memory twin = abi.encodePacked(r, bytes32(ORDER_OF_SECP256K1 - uint256(s)), v ^ 7);
        badClose(c, twin);
        badClose(c, abi.encodePacked(r, s));
        badClose(c, "");
        market.closeLeaseFor(c, abi.encodePacked(r, s, v));
    }

    function test_a_wallet_that_is_a_contract_signs_as_well() public {
        Wallet wallet = new Wallet();
        mint(address(wallet), 10 * UNIT);
        IMarket.OrderRequest memory r = request(1);
        r.orderId = bytes32(uint256(uint160(address(wallet))) << 96 | uint256(1) << 32 | 1 << 16 | 1);
        bytes32 body = hashOf(r, spec());
        expectRevert(IMarket.BadSignature.selector);
        relay(r, "");
        wallet.sign(digest(body, block.chainid, address(market)));
        relay(r, "");
        assertState(r.orderId, IMarket.OrderState.Open);
    }

    // --- making and refusing ---

    function quote() private view returns (IMarket.Quote memory) {
        return IMarket.Quote({
            orderId: id,
            specHash: keccak256(spec()),
            provider: provider,
            rate: RATE,
            expiresAt: time() + 60,
            reclaim: 60,
            minBill: 30,
            nonce: 7
        });
    }

    function request(uint64 dseq) private view returns (IMarket.OrderRequest memory) {
        bytes32 accountId = bytes32(uint256(uint160(tenant)) << 96 | uint256(dseq) << 32);
        return IMarket.OrderRequest({
            orderId: orderIdOf(accountId, 1),
            manifestHash: MANIFEST,
            terms: terms(),
            deposit: 10 * UNIT,
            nonce: 5,
            validUntil: time() + 60
        });
    }

    function acceptOf() private view returns (IMarket.Accept memory) {
        return IMarket.Accept(id, provider, termsHash(id, provider), keccak256(spec()), 4, time() + 60);
    }

    function relay(IMarket.OrderRequest memory r, bytes memory signature) private {
        market.createOrderFor(r, spec(), signature);
    }

    function badQuote(IMarket.Quote memory q, bytes memory signature) private {
        refusedQuote(q, operator, signature, abi.encodePacked(IMarket.BadSignature.selector));
    }

    function refusedQuote(IMarket.Quote memory q, address by, bytes memory signature, bytes memory why)
        private
    {
        vm.expectRevert(why);
        vm.prank(tenant);
        market.acceptQuote(q, by, signature);
    }

    function limited(IMarket.Quote memory q, bytes memory why) private {
        refusedQuote(q, operator, signed(OPERATOR_KEY, hashOf(q)), why);
    }

    function badRequest(IMarket.OrderRequest memory r, bytes memory signature) private {
        expectRevert(IMarket.BadSignature.selector);
        relay(r, signature);
    }

    function badAccept(IMarket.Accept memory a, bytes memory signature) private {
        expectRevert(IMarket.BadSignature.selector);
        market.acceptBidFor(a, signature);
    }

    function badClose(IMarket.Close memory c, bytes memory signature) private {
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, signature);
    }

    // --- EIP-712, by the book ---

    function hashOf(IMarket.Quote memory q) private pure returns (bytes32) {
        bytes32 kind = keccak256(
            "Quote(bytes32 orderId,bytes32 specHash,address provider,uint80 rate,uint40 expiresAt,uint32 reclaim,uint16 minBill,uint256 nonce)"
        );
        return keccak256(
            abi.encode(
                kind, q.orderId, q.specHash, q.provider, q.rate, q.expiresAt, q.reclaim, q.minBill, q.nonce
            )
        );
    }

    function hashOf(IMarket.OrderRequest memory r, bytes memory text) private pure returns (bytes32) {
        bytes32 kind = keccak256(
            bytes.concat(
                "OrderRequest(bytes32 orderId,bytes32 manifestHash,OrderTerms terms,bytes32 specHash,uint256 deposit,uint256 nonce,uint40 validUntil)",
                bytes(TERMS)
            )
        );
        IMarket.OrderTerms memory t = r.terms;
        bytes32 termsOf = keccak256(
            abi.encode(
                keccak256(bytes(TERMS)),
                t.resourceClass,
                t.maxRate,
                t.expiresAt,
                t.minReclaim,
                t.reqBits,
                t.kind,
                t.mode,
                t.deadline
            )
        );
        return keccak256(
            abi.encode(
                kind, r.orderId, r.manifestHash, termsOf, keccak256(text), r.deposit, r.nonce, r.validUntil
            )
        );
    }

    function hashOf(IMarket.Accept memory a) private pure returns (bytes32) {
        bytes32 kind = keccak256(
            "Accept(bytes32 orderId,address provider,bytes32 termsHash,bytes32 specHash,uint256 nonce,uint40 validUntil)"
        );
        return
            keccak256(abi.encode(kind, a.orderId, a.provider, a.termsHash, a.specHash, a.nonce, a.validUntil));
    }

    function hashOf(IMarket.Close memory c) private pure returns (bytes32) {
        bytes32 kind = keccak256("Close(bytes32 orderId,uint8 reason,uint256 nonce,uint40 validUntil)");
        return keccak256(abi.encode(kind, c.orderId, c.reason, c.nonce, c.validUntil));
    }

    function digest(bytes32 body, uint256 chain, address verifier) private pure returns (bytes32) {
        bytes32 kind =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        bytes32 domain =
            keccak256(abi.encode(kind, keccak256("Berth Market"), keccak256("1"), chain, verifier));
        return keccak256(abi.encodePacked("\x19\x01", domain, body));
    }

    function signed(uint256 key, bytes32 body) private view returns (bytes memory) {
        return raw(key, digest(body, block.chainid, address(market)));
    }

    function raw(uint256 key, bytes32 what) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, what);
        return abi.encodePacked(r, s, v);
    }
}

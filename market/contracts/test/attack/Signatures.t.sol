// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Base} from "../Base.sol";

/// @notice Attacks with what others signed: sent twice, elsewhere, for another order, or with a field changed.
contract SignatureAttacksTest is Base {
    bytes32 private constant TERMS = keccak256(
        "OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)"
    );
    bytes32 private constant REQUEST = keccak256(
        "OrderRequest(bytes32 orderId,bytes32 manifestHash,OrderTerms terms,bytes32 specHash,uint256 deposit,uint256 nonce,uint40 validUntil)OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)"
    );
    bytes32 private constant ACCEPT = keccak256(
        "Accept(bytes32 orderId,address provider,bytes32 termsHash,bytes32 specHash,uint256 nonce,uint40 validUntil)"
    );
    bytes32 private constant CLOSE =
        keccak256("Close(bytes32 orderId,uint8 reason,uint256 nonce,uint40 validUntil)");
    bytes32 private constant QUOTE = keccak256(
        "Quote(bytes32 orderId,bytes32 specHash,address provider,uint80 rate,uint40 expiresAt,uint32 reclaim,uint16 minBill,uint256 nonce)"
    );

    bytes32 private account;

    function setUp() public override {
        super.setUp();
        account = fund(1, 1000 * UNIT);
    }

    // --- replay ---

    function test_what_is_signed_for_another_chain_is_refused() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 1, time());
        bytes memory there = sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c)), address(market), 1);
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, there);
        market.closeLeaseFor(c, sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c))));
    }

    function test_what_is_signed_for_another_market_is_refused() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 1, time());
        bytes memory there =
            sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c)), address(registry), block.chainid);
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, there);
    }

    function test_a_quote_for_another_chain_market_or_order_is_refused() public {
        bytes32 id = post(account, 1);
        IMarket.Quote memory q = quote(id);
        bytes32 hash = keccak256(abi.encode(QUOTE, q));
        bytes memory elsewhere = sign(0x101, hash, address(market), 1);
        bytes memory toOther = sign(0x101, hash, stranger, block.chainid);
        bytes memory here = sign(0x101, hash);
        bytes32 second = post(account, 2);
        IMarket.Quote memory forSecond = quote(second);
        vm.startPrank(tenant);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptQuote(q, operator, elsewhere);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptQuote(q, operator, toOther);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptQuote(forSecond, operator, here);
        market.acceptQuote(q, operator, here);
        // It is good for one lease.
        vm.expectRevert(abi.encodeWithSelector(IMarket.WrongState.selector, uint8(IMarket.OrderState.Active)));
        market.acceptQuote(q, operator, here);
        vm.stopPrank();
    }

    function test_a_close_is_not_replayed_on_another_lease_nor_twice() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        bytes32 other = lease(account, 2, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 1, time());
        bytes memory signature = sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c)));
        market.closeLeaseFor(c, signature);
        expectRevert(IMarket.NonceUsed.selector);
        market.closeLeaseFor(c, signature);
        c.orderId = other;
        c.nonce = 2;
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, signature);
    }

    function test_a_request_posts_one_order() public {
        (IMarket.OrderRequest memory r, bytes memory signature) = request(0);
        market.createOrderFor(r, spec(), signature);
        vm.prank(tenant);
        market.cancelOrder(r.orderId);
        expectRevert(IMarket.NonceUsed.selector);
        market.createOrderFor(r, spec(), signature);
    }

    function test_a_signature_of_one_kind_is_none_of_another() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        IMarket.Accept memory a =
            IMarket.Accept(id, provider, termsHash(id, provider), keccak256(spec()), 1, time());
        bytes memory closes = sign(TENANT_KEY, keccak256(abi.encode(CLOSE, id, uint8(1), 1, time())));
        expectRevert(IMarket.BadSignature.selector);
        market.acceptBidFor(a, closes);
    }

    function test_a_signature_turned_over_is_refused() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 1, time());
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(TENANT_KEY, digest(keccak256(abi.encode(CLOSE, c)), address(market), block.chainid));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27)));
    }

    // --- relayers ---

    function test_a_relayer_chooses_no_field_of_an_order() public {
        (IMarket.OrderRequest memory r, bytes memory signature) = request(UNIT);
        IMarket.OrderRequest[] memory wrong = new IMarket.OrderRequest[](10);
        for (uint256 i = 0; i < wrong.length; i++) {
            wrong[i] = abi.decode(abi.encode(r), (IMarket.OrderRequest));
        }
        wrong[0].orderId = orderIdOf(account, 2);
        wrong[1].manifestHash = keccak256("other");
        wrong[2].deposit = 2 * UNIT;
        wrong[3].nonce = 6;
        wrong[4].validUntil += 1;
        wrong[5].terms.maxRate += 1;
        wrong[6].terms.expiresAt += 1;
        wrong[7].terms.minReclaim += 1;
        wrong[8].terms.resourceClass = 0;
        wrong[9].terms.mode = 1;
        vm.startPrank(stranger);
        for (uint256 i = 0; i < wrong.length; i++) {
            expectRevert(IMarket.BadSignature.selector);
            market.createOrderFor(wrong[i], spec(), signature);
        }
        expectRevert(IMarket.BadSignature.selector);
        market.createOrderFor(r, "another spec", signature);
        // As it was signed it goes, and the money moves as it says.
        uint256 before = token.balanceOf(tenant);
        market.createOrderFor(r, spec(), signature);
        vm.stopPrank();
        vm.assertEq(before - token.balanceOf(tenant), UNIT, "the deposit that was signed");
    }

    function test_a_relayer_chooses_no_field_of_an_accept() public {
        bytes32 id = post(account, 1);
        placeBid(id, operator, RATE, 0, 0);
        register(vm.addr(0x200), vm.addr(0x201), vm.addr(0x202), STAKE);
        placeBid(id, vm.addr(0x201), RATE, 0, 0);
        IMarket.Accept memory a =
            IMarket.Accept(id, provider, termsHash(id, provider), keccak256(spec()), 1, time());
        bytes memory signature = sign(TENANT_KEY, keccak256(abi.encode(ACCEPT, a)));
        a.provider = vm.addr(0x200);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptBidFor(a, signature);
        (a.provider, a.nonce) = (provider, 2);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptBidFor(a, signature);
        (a.nonce, a.validUntil) = (1, time() + 1);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptBidFor(a, signature);
        a.validUntil = time();
        skip(1);
        expectRevert(IMarket.Expired.selector);
        market.acceptBidFor(a, signature);
        vm.warp(a.validUntil);
        market.acceptBidFor(a, signature);
        assertState(id, IMarket.OrderState.Active);
    }

    function test_a_relayer_chooses_no_reason_and_no_time_of_a_close() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 1, time());
        bytes memory signature = sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c)));
        c.reason = 2;
        expectRevert(IMarket.BadSignature.selector);
        market.closeLeaseFor(c, signature);
        c.reason = 1;
        skip(1);
        expectRevert(IMarket.Expired.selector);
        market.closeLeaseFor(c, signature);
    }

    function test_an_invalidated_nonce_takes_the_word_back() public {
        bytes32 id = lease(account, 1, RATE, 0, 0);
        IMarket.Close memory c = IMarket.Close(id, 1, 300, time());
        bytes memory signature = sign(TENANT_KEY, keccak256(abi.encode(CLOSE, c)));
        vm.prank(tenant);
        market.invalidateNonces(1, 1 << 44);
        expectRevert(IMarket.NonceUsed.selector);
        market.closeLeaseFor(c, signature);
    }

    function test_a_quote_is_the_operators_alone() public {
        bytes32 id = post(account, 1);
        IMarket.Quote memory q = quote(id);
        bytes32 hash = keccak256(abi.encode(QUOTE, q));
        bytes memory byOwner = sign(0x100, hash);
        bytes memory byStranger = sign(0x57, hash);
        vm.startPrank(tenant);
        // The owner's cold key signs no quotes, and a stranger's are no quotes of the provider.
        expectRevert(IMarket.NotOperator.selector);
        market.acceptQuote(q, provider, byOwner);
        expectRevert(IMarket.NotOperator.selector);
        market.acceptQuote(q, stranger, byStranger);
        expectRevert(IMarket.BadSignature.selector);
        market.acceptQuote(q, operator, byStranger);
        vm.stopPrank();
    }

    // --- verbs ---

    function quote(bytes32 id) private view returns (IMarket.Quote memory) {
        return IMarket.Quote(id, keccak256(spec()), provider, RATE, time() + 60, 0, 0, 1);
    }

    function request(uint256 deposit)
        private
        view
        returns (IMarket.OrderRequest memory r, bytes memory signature)
    {
        r = IMarket.OrderRequest(orderIdOf(account, 1), MANIFEST, terms(), deposit, 5, time());
        bytes32 hash = keccak256(
            abi.encode(
                REQUEST,
                r.orderId,
                r.manifestHash,
                keccak256(abi.encode(TERMS, r.terms)),
                keccak256(spec()),
                r.deposit,
                r.nonce,
                r.validUntil
            )
        );
        signature = sign(TENANT_KEY, hash);
    }

    function sign(uint256 key, bytes32 structHash) private view returns (bytes memory) {
        return sign(key, structHash, address(market), block.chainid);
    }

    function sign(uint256 key, bytes32 structHash, address to, uint256 chain)
        private
        pure
        returns (bytes memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest(structHash, to, chain));
        return abi.encodePacked(r, s, v);
    }

    function digest(bytes32 structHash, address to, uint256 chain) private pure returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Berth Market"),
                keccak256("1"),
                chain,
                to
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }
}

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
        uint256 small = vm.lastCallGas().gasTotalUsed;
        id = orderIdOf(account, 2);
        s = bytes.concat(s, s, s, s);
        vm.prank(tenant);
        market.createOrder(id, t, s);
        costs("create order (1536 bytes)", 95_000 + 1152 * 25);
        uint256 each = (vm.lastCallGas().gasTotalUsed - small) / 1152;
        vm.snapshotValue("gas", "create order, per further byte", each);
        vm.assertLe(each, 25, "per further byte");
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

    function test_bids_in_a_batch() public {
        uint256 first = batch(10);
        uint256 both = batch(20);
        uint256 each = (both - first) / 10;
        vm.snapshotValue("gas", "place bids, per extra", each);
        // A bid of its own pays 21,000 for its transaction, and finds order, registry and rules cold.
        vm.assertLe(each, 40_000, "place bids, per extra");
    }

    function test_award() public {
        address owner = vm.addr(0x200);
        register(owner, vm.addr(0x201), vm.addr(0x202), STAKE);
        bytes32 id = postLowest(account, 1);
        costs("create order, lowest wins (384 bytes)", 120_000);
        contend(id, operator, RATE);
        costs("place bid, first best", 90_000);
        contend(id, vm.addr(0x201), RATE / 2);
        costs("place bid, displacing the best", 90_000);
        contend(id, vm.addr(0x201), RATE / 3);
        costs("revise bid, the best", 55_000);
        vm.warp(awardableUntil);
        market.award(id);
        costs("award", 72_000);
    }

    function test_accept_quote() public {
        IMarket.Quote memory q = IMarket.Quote({
            orderId: post(account, 1),
            specHash: keccak256(spec()),
            provider: provider,
            rate: RATE,
            expiresAt: time() + 60,
            reclaim: 0,
            minBill: 0,
            nonce: 7
        });
        bytes32 kind = keccak256(
            "Quote(bytes32 orderId,bytes32 specHash,address provider,uint80 rate,uint40 expiresAt,uint32 reclaim,uint16 minBill,uint256 nonce)"
        );
        bytes memory signature = sign(0x101, keccak256(abi.encode(kind, q)));
        vm.prank(tenant);
        market.acceptQuote(q, operator, signature);
        costs("accept quote", 95_000);
    }

    /// The tenant's nonces are in use, as they are from its second request on.
    function test_relayed() public {
        vm.prank(tenant);
        market.invalidateNonces(0, 1);
        IMarket.OrderRequest memory r = IMarket.OrderRequest({
            orderId: orderIdOf(account, 1),
            manifestHash: 0,
            terms: terms(),
            deposit: 10 * UNIT,
            nonce: 1,
            validUntil: time() + 60
        });
        string memory termsOf =
            "OrderTerms(bytes32 resourceClass,uint80 maxRate,uint40 expiresAt,uint32 minReclaim,uint96 reqBits,uint8 kind,uint8 mode,uint40 deadline)";
        bytes32 kind = keccak256(
            bytes.concat(
                "OrderRequest(bytes32 orderId,bytes32 manifestHash,OrderTerms terms,bytes32 specHash,uint256 deposit,uint256 nonce,uint40 validUntil)",
                bytes(termsOf)
            )
        );
        bytes32 body = keccak256(abi.encode(keccak256(bytes(termsOf)), r.terms));
        body = keccak256(
            abi.encode(
                kind, r.orderId, r.manifestHash, body, keccak256(spec()), r.deposit, r.nonce, r.validUntil
            )
        );
        bytes memory s = spec();
        bytes memory signature = sign(TENANT_KEY, body);
        market.createOrderFor(r, s, signature);
        costs("relayed order and deposit", 165_000);

        placeBid(r.orderId, operator, RATE, 0, 0);
        IMarket.Accept memory a =
            IMarket.Accept(r.orderId, provider, termsHash(r.orderId, provider), keccak256(s), 2, time() + 60);
        kind = keccak256(
            "Accept(bytes32 orderId,address provider,bytes32 termsHash,bytes32 specHash,uint256 nonce,uint40 validUntil)"
        );
        signature = sign(TENANT_KEY, keccak256(abi.encode(kind, a)));
        market.acceptBidFor(a, signature);
        costs("relayed accept", 90_000);

        skip(1000);
        IMarket.Close memory c = IMarket.Close(r.orderId, 1, 3, time() + 60);
        kind = keccak256("Close(bytes32 orderId,uint8 reason,uint256 nonce,uint40 validUntil)");
        signature = sign(TENANT_KEY, keccak256(abi.encode(kind, c)));
        market.closeLeaseFor(c, signature);
        costs("relayed close", 80_000);
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
        costs("close by tenant", 60_000);
        id = lease(account, 2, RATE, 0, 0);
        close(id, operator, 100);
        costs("close by provider", 60_000);
    }

    function test_finalize() public {
        bytes32 id = leaseFrom(3, 100 * UNIT);
        vm.warp(lens.lease(id).fundedUntil);
        market.finalize(id);
        costs("finalize", 60_000);
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
        registry.register(vm.addr(0x201), vm.addr(0x202), URI, keccak256("spki"), STAKE);
        costs("register provider", 150_000);
        vm.prank(owner);
        registry.setAttributes(keccak256("attrs"));
        costs("publish attributes", 50_000);
    }

    /// What a batch of so many first bids costs, on orders of an account of its own.
    function batch(uint16 count) private returns (uint256) {
        bytes32 of_ = fund(100 + count, 1000 * UNIT);
        IMarket.BidRequest[] memory bids = new IMarket.BidRequest[](count);
        for (uint16 i = 0; i < count; i++) {
            bids[i] =
                IMarket.BidRequest(post(of_, i + 1), provider, keccak256(spec()), RATE, bidExpiry(), 0, 0);
        }
        vm.prank(operator);
        market.placeBids(bids);
        return vm.lastCallGas().gasTotalUsed;
    }

    function sign(uint256 key, bytes32 body) private view returns (bytes memory) {
        bytes32 kind =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        bytes32 domain = keccak256(
            abi.encode(kind, keccak256("Berth Market"), keccak256("1"), block.chainid, address(market))
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked("\x19\x01", domain, body)));
        return abi.encodePacked(r, s, v);
    }

    function costs(string memory what, uint256 most) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("gas", what, gas);
        vm.assertLe(gas, most, what);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../src/TestToken.sol";
import {IMarket} from "../src/interfaces/IMarket.sol";
import {IMarketLens} from "../src/interfaces/IMarketLens.sol";
import {IParams} from "../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../src/interfaces/IProviderRegistry.sol";
import {Vm} from "./Vm.sol";

/// @notice A market with one tenant and one provider, and the verbs in which the tests are told.
/// @dev Time is read with `time()`: the compiler takes block.timestamp for one value per call and would keep the one
/// from before a `skip`.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant UNIT = 1e6;
    uint256 internal constant S = 1e9;
    uint256 internal constant STAKE = 10_000 * UNIT;
    uint256 internal constant TENANT_KEY = 0xA11CE;
    /// A dollar an hour is 277.777… units a second: no multiple of S, as real rates are.
    uint80 internal constant RATE = 277_777_777_777;
    uint40 internal constant RUNWAY = 600;
    uint256 internal constant BOND_SECS = 6 hours;
    bytes32 internal constant MANIFEST = keccak256("manifest");
    bytes32 internal constant CLASS = keccak256("cpu");
    string internal constant URI = "https://provider.example:8443";

    address internal immutable tenant = vm.addr(TENANT_KEY);
    address internal immutable stranger = vm.addr(0x57);
    address internal immutable provider = vm.addr(0x100);
    address internal immutable operator = vm.addr(0x101);
    address internal immutable payout = vm.addr(0x102);
    address internal immutable governor = vm.addr(0x60);
    address internal immutable treasury = vm.addr(0x61);
    address internal immutable guardian = vm.addr(0x62);

    TestToken internal token;
    IParams internal params;
    IProviderRegistry internal registry;
    IMarket internal market;
    IMarketLens internal lens;
    /// Until when the bids last that `contend` places: five minutes past the deadline of the last order of `postLowest`.
    uint40 internal awardableUntil;
    mapping(address key => address) private _bidsFor;

    function setUp() public virtual {
        vm.warp(1_900_000_000);
        token = new TestToken();
        params = IParams(deploy("Params.sol:Params", abi.encode(governor, treasury, guardian)));
        standOn(token);
        register(provider, operator, payout, STAKE);
        mint(tenant, 1_000_000 * UNIT);
    }

    // --- deployment ---

    /// Puts a contract on chain as forge built it for the chain; its constructor's error comes through.
    function deploy(string memory what, bytes memory args) internal returns (address made) {
        bytes memory code = bytes.concat(vm.getCode(what), args);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
            if iszero(made) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }

    function deployMarket() internal returns (IMarket) {
        return IMarket(deploy("Market.sol:Market", abi.encode(token, params)));
    }

    /// A market and a registry of their own for another token.
    function standOn(TestToken other) internal {
        token = other;
        market = deployMarket();
        registry = IProviderRegistry(market.registry());
        lens = IMarketLens(deploy("MarketLens.sol:MarketLens", abi.encode(market)));
    }

    // --- verbs ---

    function mint(address to, uint256 amount) internal {
        token.mint(to, amount);
        vm.startPrank(to);
        token.approve(address(market), type(uint256).max);
        token.approve(address(registry), type(uint256).max);
        vm.stopPrank();
    }

    function register(address owner, address key, address purse, uint256 stake) internal {
        mint(owner, stake);
        vm.prank(owner);
        registry.register(key, purse, URI, keccak256("spki"), stake);
        _bidsFor[key] = owner;
    }

    /// An account of the tenant with `amount` token units in it.
    function fund(uint64 dseq, uint256 amount) internal returns (bytes32 accountId) {
        vm.startPrank(tenant);
        accountId = market.createDeployment(dseq, MANIFEST);
        if (amount != 0) market.deposit(accountId, amount);
        vm.stopPrank();
    }

    function post(bytes32 accountId, uint16 gseq) internal returns (bytes32 orderId) {
        orderId = orderIdOf(accountId, gseq);
        vm.prank(tenant);
        market.createOrder(orderId, terms(), spec());
    }

    function placeBid(bytes32 orderId, address key, uint80 rate, uint32 reclaim, uint16 minBill) internal {
        bytes32 specHash = keccak256(spec());
        uint40 expiresAt = bidExpiry();
        address owner = bidsFor(key);
        vm.prank(key);
        market.placeBid(orderId, owner, specHash, rate, expiresAt, reclaim, minBill);
    }

    /// An order of group `gseq` that goes to the lowest bid of the next ten minutes.
    function postLowest(bytes32 accountId, uint16 gseq) internal returns (bytes32 orderId) {
        orderId = orderIdOf(accountId, gseq);
        IMarket.OrderTerms memory t = terms();
        t.mode = 1;
        t.deadline = time() + 10 minutes;
        awardableUntil = t.deadline + 5 minutes;
        vm.prank(tenant);
        market.createOrder(orderId, t, spec());
    }

    /// A bid that lasts past the award of such an order.
    function contend(bytes32 orderId, address key, uint80 rate) internal {
        address owner = bidsFor(key);
        vm.prank(key);
        market.placeBid(orderId, owner, keccak256(spec()), rate, awardableUntil, 0, 0);
    }

    function accept(bytes32 orderId, address from) internal {
        bytes32 hash = termsHash(orderId, from);
        vm.prank(tenant);
        market.acceptBid(orderId, from, hash);
    }

    /// A lease at `rate` on group `gseq`, with the notice and minimum bill given.
    function lease(bytes32 accountId, uint16 gseq, uint80 rate, uint32 reclaim, uint16 minBill)
        internal
        returns (bytes32 orderId)
    {
        orderId = post(accountId, gseq);
        placeBid(orderId, operator, rate, reclaim, minBill);
        accept(orderId, provider);
    }

    /// A plain lease of the provider, paid from an account of its own with `amount` token units.
    function leaseFrom(uint64 dseq, uint256 amount) internal returns (bytes32 orderId) {
        orderId = lease(fund(dseq, amount), 1, RATE, 0, 0);
    }

    function close(bytes32 orderId, address by, uint8 reason) internal {
        vm.prank(by);
        market.closeLease(orderId, reason);
    }

    function withdraw(bytes32 orderId) internal {
        market.withdraw(one(orderId));
    }

    function refundAll(bytes32 accountId) internal returns (uint256 paid) {
        vm.prank(tenant);
        paid = market.refund(accountId, type(uint256).max);
    }

    /// The tenant's leave for the market to take `amount`, signed.
    function permit(uint256 amount, uint256 deadline) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 typeHash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 body =
            keccak256(abi.encode(typeHash, tenant, address(market), amount, token.nonces(tenant), deadline));
        return vm.sign(TENANT_KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), body)));
    }

    function setFee(uint16 bps) internal {
        IParams.Values memory v = params.values();
        v.feeBps = bps;
        setValues(v);
    }

    /// Changes the numbers, where they are and in the market.
    function setValues(IParams.Values memory v) internal {
        vm.prank(governor);
        params.setValues(v);
        market.syncParams();
    }

    function skip(uint256 secs) internal {
        vm.warp(vm.getBlockTimestamp() + secs);
    }

    // --- nouns ---

    function time() internal view returns (uint40) {
        return uint40(vm.getBlockTimestamp());
    }

    /// For whom a key bids in these tests: who registered with it, or the provider.
    function bidsFor(address key) internal view returns (address) {
        return _bidsFor[key] == address(0) ? provider : _bidsFor[key];
    }

    function orderIdOf(bytes32 accountId, uint16 gseq) internal pure returns (bytes32) {
        return bytes32(uint256(accountId) | (uint256(gseq) << 16) | 1);
    }

    function terms() internal view returns (IMarket.OrderTerms memory) {
        return IMarket.OrderTerms({
            resourceClass: CLASS,
            maxRate: 2 * RATE,
            expiresAt: time() + 1 hours,
            minReclaim: 0,
            reqBits: 0,
            kind: 0,
            mode: 0,
            deadline: 0
        });
    }

    function bidExpiry() internal view returns (uint40) {
        return time() + 10 minutes;
    }

    function termsHash(bytes32 orderId, address from) internal view returns (bytes32) {
        IMarketLens.BidView memory b = lens.bid(orderId, from);
        return lens.termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt);
    }

    /// 384 bytes, the size for which order costs are stated.
    function spec() internal pure returns (bytes memory s) {
        s = new bytes(384);
        for (uint256 i = 0; i < s.length; i++) {
            s[i] = bytes1(uint8(97 + (i % 26)));
        }
    }

    function one(bytes32 orderId) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = orderId;
    }

    function accountOf(bytes32 orderId) internal pure returns (bytes32) {
        return bytes32((uint256(orderId) >> 32) << 32);
    }

    /// Token units that a lease at `rate` locks.
    function bondOf(uint256 rate) internal pure returns (uint256) {
        return (rate * BOND_SECS + S - 1) / S;
    }

    // --- expectations ---

    function expectRevert(bytes4 selector) internal {
        vm.expectRevert(abi.encodePacked(selector));
    }

    /// The next event of the market must equal, in topics and data, the one emitted after this.
    function expectEvent() internal {
        vm.expectEmit(true, true, true, true, address(market));
    }

    function expectRegistryEvent() internal {
        vm.expectEmit(true, true, true, true, address(registry));
    }

    function assertState(bytes32 orderId, IMarket.OrderState want) internal view {
        vm.assertEq(uint256(lens.order(orderId).state), uint256(want), "state of the order");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {Stage} from "./Stage.sol";

/// @notice What tenants do themselves.
abstract contract Tenants is Stage {
    function tenantOpens(uint256 who) external {
        vm.assume(accounts.length < 7);
        whileOpen();
        open(who);
    }

    function tenantDeposits(uint256 which, uint256 amount) external {
        bytes32 account = liveAccount(which);
        pay(account, tenantOf(account), bound(amount, 1, 50 * UNIT));
    }

    function tenantDepositsWithPermit(uint256 which, uint256 amount) external {
        bytes32 account = liveAccount(which);
        address tenant = tenantOf(account);
        amount = bound(amount, 1, 50 * UNIT);
        bytes32 body = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                tenant,
                address(market),
                amount,
                token.nonces(tenant),
                time()
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            keyOfTenant(account), keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), body))
        );
        token.mint(tenant, amount);
        vm.startPrank(tenant);
        market.depositWithPermit(account, amount, time(), v, r, s);
        token.approve(address(market), type(uint256).max);
        vm.stopPrank();
        deposited += amount;
    }

    function tenantRefunds(uint256 which, uint256 amount) external {
        bytes32 account = accounts[which % accounts.length];
        takeBack(account, bound(amount, 0, lens.account(account).refundable));
    }

    function tenantBindsManifest(uint256 which, bytes32 hash) external {
        bytes32 account = accounts[which % accounts.length];
        vm.prank(tenantOf(account));
        market.updateManifest(account, hash);
    }

    function tenantOrders(uint256 which, uint256 rate, uint256 reclaim) external {
        whileOpen();
        IMarket.OrderTerms memory t = terms(bound(rate, 1, MAX_RATE), reclaim, false, 0);
        // Some ask for what only some providers claim.
        t.reqBits = uint96(rate % 3 == 0 ? 1 : 0);
        post(which, t);
    }

    function tenantOrdersLowest(uint256 which, uint256 rate, uint256 reclaim, uint256 secs) external {
        whileOpen();
        post(which, terms(bound(rate, 100, MAX_RATE), reclaim, true, secs));
    }

    function tenantReorders(uint256 which, uint256 rate, bool lowest) external {
        whileOpen();
        rate = bound(rate, 1, MAX_RATE);
        bytes32 id = overAndLast(which, rate);
        IMarket.OrderTerms memory t = terms(rate, 0, lowest, rate);
        vm.prank(tenantOf(id));
        market.reorder(id, t, SPEC);
    }

    function tenantCancels(uint256 which) external {
        bytes32 id = inState(which, IMarket.OrderState.Open);
        vm.prank(tenantOf(id));
        market.cancelOrder(id);
        delete best[id];
    }

    function tenantAccepts(uint256 which, uint256 who) external {
        whileOpen();
        (bytes32 id, address owner, IMarketLens.BidView memory b) = acceptable(which, who);
        ensureRunway(accountOf(id), b.rate);
        bytes32 hash = lens.termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt);
        vm.prank(tenantOf(id));
        market.acceptBid(id, owner, hash);
        begun(id, owner, b, bondOf(b.rate));
    }

    /// An order and its lease in a row, so that many live at once; the price comes by quote.
    function tenantAcceptsQuote(uint256 which, uint256 who, uint256 rate, uint256 reclaim, uint256 minBill)
        external
    {
        whileOpen();
        rate = bound(rate, 1, MAX_RATE);
        address owner = activeProvider(who);
        vm.assume(isFree(owner, bondOf(rate)));
        bytes32 id = post(which, terms(rate, 0, false, 0));
        IMarket.Quote memory q = IMarket.Quote({
            orderId: id,
            specHash: keccak256(SPEC),
            provider: owner,
            rate: uint80(bound(reclaim, 1, rate)),
            expiresAt: uint40(time()),
            reclaim: uint32(bound(reclaim, 0, 1 days)),
            minBill: uint16(bound(minBill, 0, 3600)),
            nonce: nextNonce++
        });
        bytes32 typeHash = keccak256(
            "Quote(bytes32 orderId,bytes32 specHash,address provider,uint80 rate,uint40 expiresAt,uint32 reclaim,uint16 minBill,uint256 nonce)"
        );
        bytes memory signature = signed(secretOf(owner, operators[owner]), keccak256(abi.encode(typeHash, q)));
        address key = operatorOf(owner);
        vm.prank(tenantOf(id));
        market.acceptQuote(q, key, signature);
        IMarketLens.BidView memory b;
        (b.rate, b.reclaim, b.minBill) = (q.rate, q.reclaim, q.minBill);
        begun(id, owner, b, bondOf(b.rate));
    }

    function tenantCloses(uint256 which, uint256 reason) external {
        tenantEnds(liveLease(which), uint8(bound(reason, 1, 99)));
    }

    function tenantInvalidates() external {
        uint256 nonce = nextNonce++;
        vm.prank(tenantAt(nonce));
        market.invalidateNonces(nonce >> 8, 1 << (nonce & 0xff));
    }

    // --- how ---

    function tenantEnds(bytes32 id, uint8 reason) internal {
        billMinimum(id);
        vm.prank(tenantOf(id));
        market.closeLease(id, reason);
        agreed[id].live = false;
    }

    /// An order whose tenant decides, with a bid on it that can become a lease.
    function acceptable(uint256 which, uint256 who)
        internal
        view
        returns (bytes32 id, address owner, IMarketLens.BidView memory b)
    {
        bool found;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(which, i, orders.length)];
            IMarketLens.OrderView memory o = lens.order(id);
            if (o.state != IMarket.OrderState.Open || o.mode != 0) continue;
            if (lens.account(accountOf(id)).state != IMarketLens.AccountState.Open) continue;
            for (uint256 k = 0; k < PROVIDERS && !found; k++) {
                owner = providers[addmod(who, k, PROVIDERS)];
                b = lens.bid(id, owner);
                found = b.eligible;
            }
        }
        vm.assume(found);
    }

    function post(uint256 which, IMarket.OrderTerms memory t) private returns (bytes32 id) {
        id = nextOrder(which, t.maxRate);
        vm.prank(tenantOf(id));
        market.createOrder(id, t, SPEC);
    }

    function signed(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Berth Market"),
                keccak256("1"),
                block.chainid,
                address(market)
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked("\x19\x01", domain, structHash)));
        return abi.encodePacked(r, s, v);
    }
}

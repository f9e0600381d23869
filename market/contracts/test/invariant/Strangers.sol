// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {Tenants} from "./Tenants.sol";

/// @notice What anyone does: relayers with what tenants signed, the helpful, the curious and the wicked.
abstract contract Strangers is Tenants {
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

    function relayerPosts(uint256 which, uint256 rate, uint256 amount, bool lowest) external {
        whileOpen();
        rate = bound(rate, 1, MAX_RATE);
        bytes32 id = nextOrder(which, rate);
        IMarket.OrderRequest memory r;
        (r.orderId, r.terms, r.nonce, r.validUntil) =
        (id, terms(rate, 0, lowest, amount), nextNonce++, uint40(time()));
        r.deposit = bound(amount, 0, UNIT);
        token.mint(tenantOf(id), r.deposit);
        bytes32 hash = keccak256(
            abi.encode(
                REQUEST,
                id,
                r.manifestHash,
                keccak256(abi.encode(TERMS, r.terms)),
                keccak256(SPEC),
                r.deposit,
                r.nonce,
                r.validUntil
            )
        );
        bytes memory signature = signed(keyOfTenant(id), hash);
        vm.prank(STRANGER);
        market.createOrderFor(r, SPEC, signature);
        deposited += r.deposit;
    }

    function relayerAccepts(uint256 which, uint256 who) external {
        whileOpen();
        (bytes32 id, address owner, IMarketLens.BidView memory b) = acceptable(which, who);
        ensureRunway(accountOf(id), b.rate);
        IMarket.Accept memory r = IMarket.Accept({
            orderId: id,
            provider: owner,
            termsHash: lens.termsHashOf(b.rate, b.reclaim, b.minBill, b.expiresAt),
            specHash: keccak256(SPEC),
            nonce: nextNonce++,
            validUntil: uint40(time())
        });
        bytes memory signature = signed(keyOfTenant(id), keccak256(abi.encode(ACCEPT, r)));
        vm.prank(STRANGER);
        market.acceptBidFor(r, signature);
        begun(id, owner, b, bondOf(b.rate));
    }

    function relayerCloses(uint256 which, uint256 reason) external {
        bytes32 id = liveLease(which);
        IMarket.Close memory r = IMarket.Close(id, uint8(bound(reason, 1, 99)), nextNonce++, uint40(time()));
        bytes memory signature = signed(keyOfTenant(id), keccak256(abi.encode(CLOSE, r)));
        billMinimum(id);
        vm.prank(STRANGER);
        market.closeLeaseFor(r, signature);
        agreed[id].live = false;
    }

    function strangerAwards(uint256 which) external {
        whileOpen();
        bool found;
        bytes32 id;
        for (uint256 i = 0; i < orders.length && !found; i++) {
            id = orders[addmod(which, i, orders.length)];
            found = best[id].provider != address(0) && lens.order(id).state == IMarket.OrderState.Open
                && lens.account(accountOf(id)).state == IMarketLens.AccountState.Open;
        }
        vm.assume(found);
        uint256 deadline = lens.order(id).deadline;
        if (time() <= deadline) vm.warp(deadline + 1);
        vm.assume(lens.account(accountOf(id)).state == IMarketLens.AccountState.Open);
        Best memory w = best[id];
        IMarketLens.BidView memory b = lens.bid(id, w.provider);
        ensureRunway(accountOf(id), b.rate);
        vm.prank(STRANGER);
        market.award(id);
        begun(id, w.provider, b, w.bond);
    }

    function strangerExpires(uint256 which) external {
        bytes32 id = inState(which, IMarket.OrderState.Expired);
        vm.prank(STRANGER);
        market.expireOrder(id);
        delete best[id];
    }

    function strangerFinalizes(uint256 which) external {
        bytes32 id = inState(which, IMarket.OrderState.Depleted);
        vm.prank(STRANGER);
        market.finalize(id);
        agreed[id].live = false;
    }

    function strangerWithdraws(uint256 which, uint256 many) external {
        bytes32[] memory batch = new bytes32[](bound(many, 1, 4));
        uint256 n;
        for (uint256 i = 0; i < orders.length && n < batch.length; i++) {
            bytes32 id = orders[addmod(which, i, orders.length)];
            if (agreed[id].provider != address(0)) batch[n++] = id;
        }
        vm.assume(n != 0);
        assembly ("memory-safe") {
            mstore(batch, n)
        }
        payOut(batch);
    }

    function strangerDeposits(uint256 which, uint256 amount) external {
        pay(liveAccount(which), STRANGER, bound(amount, 1, 5));
    }

    function strangerCollectsFees() external {
        vm.prank(STRANGER);
        collected += market.collectFees();
    }

    /// What must never succeed.
    function strangerTries(uint256 which, uint256 kind) external {
        vm.assume(orders.length != 0);
        bytes32 id = orders[which % orders.length];
        bytes32 account = accountOf(id);
        IMarket.OrderState state = lens.order(id).state;
        bool through;
        vm.startPrank(STRANGER);
        if (kind % 8 == 0) {
            try market.refund(account, 1) {
                through = true;
            } catch {}
        } else if (kind % 8 == 1) {
            try market.closeLease(id, 1) {
                through = true;
            } catch {}
        } else if (kind % 8 == 2) {
            try market.cancelOrder(id) {
                through = true;
            } catch {}
        } else if (kind % 8 == 3) {
            try market.startReclaim(id, 100) {
                through = true;
            } catch {}
        } else if (kind % 8 == 4) {
            try market.pause() {
                through = true;
            } catch {}
        } else if (kind % 8 == 5) {
            try registry.unlockBond(providers[0], 1) {
                through = true;
            } catch {}
        } else if (kind % 8 == 6 && state != IMarket.OrderState.Depleted) {
            try market.finalize(id) {
                through = true;
            } catch {}
        } else {
            vm.stopPrank();
            vm.startPrank(tenantOf(id));
            IMarket.OrderTerms memory t = terms(1, 0, false, 0);
            try market.createOrder(id, t, SPEC) {
                through = true;
            } catch {}
        }
        vm.stopPrank();
        vm.assertTrue(!through, "a stranger got through");
    }
}

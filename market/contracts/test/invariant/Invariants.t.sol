// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {Base} from "../Base.sol";
import {Handler} from "./Handler.sol";

/// @notice What must be true after every call, whoever made it. README.md says what each one means.
contract InvariantsTest is Base {
    uint256 private constant DUST = S - 1;

    Handler private handler;
    mapping(bytes32 order => IMarket.OrderState) private seen;
    mapping(bytes32 order => address) private winner;

    function setUp() public override {
        super.setUp();
        // The market of Base is somebody else's; the books of this one start empty.
        standOn(token);
        handler = new Handler(token, params, registry, market, lens, governor);
    }

    /// forge calls the handler alone.
    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(handler);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// The moves; what a run ends with is not among them.
    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        bytes4[] memory moves = new bytes4[](18);
        moves[0] = Handler.deposit.selector;
        moves[1] = Handler.refund.selector;
        moves[2] = Handler.order.selector;
        moves[3] = Handler.bid.selector;
        moves[4] = Handler.withdrawBid.selector;
        moves[5] = Handler.accept.selector;
        moves[6] = Handler.lease.selector;
        moves[7] = Handler.cancelOrExpire.selector;
        moves[8] = Handler.reorder.selector;
        moves[9] = Handler.close.selector;
        moves[10] = Handler.mischief.selector;
        moves[11] = Handler.startReclaim.selector;
        moves[12] = Handler.runDry.selector;
        moves[13] = Handler.finalize.selector;
        moves[14] = Handler.withdraw.selector;
        moves[15] = Handler.stake.selector;
        moves[16] = Handler.govern.selector;
        moves[17] = Handler.warp.selector;
        list = new FuzzSelector[](1);
        list[0] = FuzzSelector(address(handler), moves);
    }

    /// One campaign holds all of them.
    function invariant_the_books_balance() public {
        Handler.Books memory b = handler.books();
        onlyOneLeasePerOrderAndNoWayBack(b);
        rateSumsAreThoseOfLiveLeases(b);
        bondsAreThoseOfLiveLeases(b);
        (uint256 available, uint256 earned) = owed(b);
        theMarketCanPayWhatItOwes(b, available + earned);
        moneyInIsMoneyOut(b, available + earned);
    }

    /// Whatever happened: everything can be closed, every second paid, all the rest taken back.
    function afterInvariant() public {
        handler.closeAll();
        handler.withdrawAll();
        handler.refundAll();
        handler.collectFees();
        invariant_the_books_balance();
        Handler.Books memory b = handler.books();
        for (uint256 i = 0; i < b.accounts.length; i++) {
            uint256 bal = lens.account(b.accounts[i]).balanceScaled;
            vm.assertLe(bal, DUST, "exit: less than a unit is left in a closed account");
        }
        (uint256 available, uint256 earned) = owed(b);
        (uint256 fees, uint256 dust) = lens.kept();
        vm.assertEq(fees, 0, "exit: no fee is left");
        vm.assertLe(earned, b.orders.length * DUST, "exit: less than a unit is left in a closed lease");
        vm.assertEq(
            token.balanceOf(address(market)) * S, available + earned + dust, "exit: nothing but dust is left"
        );
    }

    // I10
    function onlyOneLeasePerOrderAndNoWayBack(Handler.Books memory b) private {
        for (uint256 i = 0; i < b.orders.length; i++) {
            bytes32 id = b.orders[i];
            IMarket.OrderState state = lens.order(id).state;
            vm.assertTrue(reachable(seen[id], state), "I10: an order goes no way back");
            seen[id] = state;
            address holder = lens.lease(id).provider;
            vm.assertEq(holder, b.agreed[i].provider, "I10: the lease is the accepted provider's");
            vm.assertTrue(winner[id] == address(0) || winner[id] == holder, "I10: an order yields one lease");
            winner[id] = holder;
        }
    }

    // I2
    function rateSumsAreThoseOfLiveLeases(Handler.Books memory b) private view {
        for (uint256 i = 0; i < b.accounts.length; i++) {
            uint256 sum;
            for (uint256 k = 0; k < b.orders.length; k++) {
                if (b.agreed[k].live && accountOf(b.orders[k]) == b.accounts[i]) sum += b.agreed[k].rate;
            }
            uint256 rateSum = lens.account(b.accounts[i]).rateSum;
            vm.assertEq(rateSum, sum, "I2: rateSum is the sum of live leases");
        }
    }

    // I3, I4, I5
    function bondsAreThoseOfLiveLeases(Handler.Books memory b) private view {
        uint256 stakes;
        for (uint256 i = 0; i < b.providers.length; i++) {
            uint256 bonds;
            uint256 live;
            for (uint256 k = 0; k < b.orders.length; k++) {
                if (!b.agreed[k].live || b.agreed[k].provider != b.providers[i]) continue;
                bonds += b.agreed[k].bond;
                live++;
            }
            IProviderRegistry.ProviderView memory v = registry.provider(b.providers[i]);
            vm.assertEq(v.locked, bonds, "I4: locked is the bonds of live leases");
            vm.assertLe(v.locked, v.stake, "I4: locked is at most the stake");
            vm.assertEq(v.active, live, "I5: active counts live leases");
            stakes += v.stake;
        }
        vm.assertEq(token.balanceOf(address(registry)), stakes, "I3: the registry holds the stakes");
    }

    // I1
    function theMarketCanPayWhatItOwes(Handler.Books memory b, uint256 owes) private view {
        uint256 holds = token.balanceOf(address(market)) * S;
        (uint256 fees,) = lens.kept();
        owes += fees * S;
        vm.assertGe(holds, owes, "I1: the market can pay what it owes");
        vm.assertLe(holds - owes, b.payouts * DUST, "I1: the rest is less than a unit a payout");
    }

    // I15
    function moneyInIsMoneyOut(Handler.Books memory b, uint256 owes) private view {
        (uint256 fees, uint256 dust) = lens.kept();
        uint256 into = (b.deposited + b.penalties) * S;
        uint256 out = (b.refunded + b.paid + b.collected + fees) * S + dust;
        vm.assertEq(into, out + owes, "I15: money in is money out, to the last part");
    }

    /// What accounts hold and what leases have earned and not been paid, scaled.
    function owed(Handler.Books memory b) private view returns (uint256 available, uint256 earned) {
        for (uint256 i = 0; i < b.accounts.length; i++) {
            available += lens.account(b.accounts[i]).balanceScaled;
        }
        for (uint256 i = 0; i < b.orders.length; i++) {
            if (b.agreed[i].provider == address(0)) continue;
            earned += lens.accrued(b.orders[i]).scaled;
        }
    }

    /// Whether an order seen in one state may be seen in another later; time may have passed between.
    function reachable(IMarket.OrderState from, IMarket.OrderState to) private pure returns (bool) {
        if (from == to || from == IMarket.OrderState.None) return true;
        if (from == IMarket.OrderState.Closed) return false;
        if (to == IMarket.OrderState.Closed) return true;
        if (from == IMarket.OrderState.Open) {
            return to == IMarket.OrderState.Expired || to == IMarket.OrderState.Active;
        }
        if (from == IMarket.OrderState.Active) {
            return to == IMarket.OrderState.Reclaiming || to == IMarket.OrderState.Depleted;
        }
        return from == IMarket.OrderState.Reclaiming && to == IMarket.OrderState.Depleted;
    }
}

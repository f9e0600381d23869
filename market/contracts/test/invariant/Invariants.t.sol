// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuditorRegistry} from "../../src/interfaces/IAuditorRegistry.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {ListToken} from "../tokens/ListToken.sol";
import {Base} from "../Base.sol";
import {Everybody} from "./Everybody.sol";

/// @notice What must be true after every call, whoever made it. README.md says what each one means.
contract InvariantsTest is Base {
    uint256 private constant DUST = S - 1;

    Everybody private all;
    mapping(bytes32 order => IMarket.OrderState) private seen;
    mapping(bytes32 order => uint256) private paidUpTo;
    mapping(bytes32 order => bool) private closed;
    mapping(bytes32 account => bool) private drained;
    mapping(bytes32 account => uint256) private left;

    function setUp() public override {
        super.setUp();
        // The market of Base is somebody else's; the books of this one start empty.
        ListToken list = new ListToken();
        standOn(list);
        IAuditorRegistry auditors =
            IAuditorRegistry(deploy("AuditorRegistry.sol:AuditorRegistry", abi.encode(params, registry)));
        all = new Everybody(list, params, registry, market, lens, auditors, governor);
    }

    /// forge calls the roles alone.
    function targetContracts() external view returns (address[] memory list) {
        list = new address[](1);
        list[0] = address(all);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// The moves; what a run ends with is not among them.
    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        bytes4[38] memory moves = [
            all.tenantOpens.selector,
            all.tenantDeposits.selector,
            all.tenantDepositsWithPermit.selector,
            all.tenantRefunds.selector,
            all.tenantBindsManifest.selector,
            all.tenantOrders.selector,
            all.tenantOrdersLowest.selector,
            all.tenantReorders.selector,
            all.tenantCancels.selector,
            all.tenantAccepts.selector,
            all.tenantAcceptsQuote.selector,
            all.tenantCloses.selector,
            all.tenantInvalidates.selector,
            all.operatorBids.selector,
            all.operatorBidsLowest.selector,
            all.operatorBidsOnAll.selector,
            all.operatorWithdrawsBid.selector,
            all.operatorClaims.selector,
            all.providerGivesNotice.selector,
            all.providerCloses.selector,
            all.ownerAddsStake.selector,
            all.ownerAsksForStake.selector,
            all.ownerTakesStake.selector,
            all.ownerChangesPurse.selector,
            all.ownerChangesKey.selector,
            all.ownerRetires.selector,
            all.relayerPosts.selector,
            all.relayerAccepts.selector,
            all.relayerCloses.selector,
            all.strangerAwards.selector,
            all.strangerExpires.selector,
            all.strangerFinalizes.selector,
            all.strangerWithdraws.selector,
            all.strangerDeposits.selector,
            all.strangerCollectsFees.selector,
            all.strangerTries.selector,
            all.timePasses.selector,
            all.moneyEnds.selector
        ];
        bytes4[6] memory govern = [
            all.ownerTurnsNumbers.selector,
            all.ownerMovesTreasury.selector,
            all.anyoneTellsTheMarket.selector,
            all.guardianPauses.selector,
            all.guardianResumes.selector,
            all.auditorVouches.selector
        ];
        bytes4[] memory every = new bytes4[](moves.length + govern.length);
        for (uint256 i = 0; i < moves.length; i++) {
            every[i] = moves[i];
        }
        for (uint256 i = 0; i < govern.length; i++) {
            every[moves.length + i] = govern[i];
        }
        list = new FuzzSelector[](1);
        list[0] = FuzzSelector(address(all), every);
    }

    /// One campaign holds all of them.
    function invariant_the_books_balance() public {
        Everybody.Books memory b = all.books();
        IMarketLens.AccountView[] memory accounts = lens.accounts(b.accounts);
        IMarketLens.LeaseView[] memory leases = lens.leases(b.orders);
        onlyOneLeasePerOrderAndNoWayBack(b, leases);
        termsAreThoseAgreed(b, leases);
        payoutsGoForward(b, leases);
        leasesEndWithTheirAccount(b, accounts, leases);
        rateSumsAreThoseOfLiveLeases(b, accounts);
        bondsAreThoseOfLeasesAndBestBids(b);
        depletedIsForGood(b, accounts);
        (uint256 available, uint256 earned) = owed(b, accounts);
        theMarketCanPayWhatItOwes(b, available + earned);
        moneyInIsMoneyOut(b, available + earned);
    }

    /// Whatever happened, and on the worst day: everything can be closed, every second paid, all the rest taken back.
    function afterInvariant() public {
        all.worstDay(uint256(keccak256(abi.encode(all.books()))));
        all.tenantsLeave();
        invariant_the_books_balance();
        all.providersLeave();
        invariant_the_books_balance();
        Everybody.Books memory b = all.books();
        IMarketLens.AccountView[] memory accounts = lens.accounts(b.accounts);
        for (uint256 i = 0; i < b.accounts.length; i++) {
            vm.assertLe(accounts[i].balanceScaled, DUST, "I12: less than a unit is left in a closed account");
        }
        (uint256 available, uint256 earned) = owed(b, accounts);
        (uint256 fees, uint256 dust) = lens.kept();
        vm.assertEq(fees, 0, "exit: no fee is left");
        vm.assertLe(earned, b.orders.length * DUST, "I13: less than a unit is left in a closed lease");
        vm.assertEq(
            token.balanceOf(address(market)) * S, available + earned + dust, "exit: nothing but dust is left"
        );
        vm.assertEq(token.balanceOf(address(registry)), 0, "I13: every stake is back");
    }

    // I10
    function onlyOneLeasePerOrderAndNoWayBack(Everybody.Books memory b, IMarketLens.LeaseView[] memory leases)
        private
    {
        IMarketLens.OrderView[] memory orders = lens.orders(b.orders);
        for (uint256 i = 0; i < b.orders.length; i++) {
            bytes32 id = b.orders[i];
            IMarket.OrderState state = orders[i].state;
            vm.assertTrue(reachable(seen[id], state), "I10: an order goes no way back");
            seen[id] = state;
            vm.assertEq(leases[i].provider, b.agreed[i].provider, "I10: an order yields the one lease agreed");
        }
    }

    // I9
    function termsAreThoseAgreed(Everybody.Books memory b, IMarketLens.LeaseView[] memory leases)
        private
        pure
    {
        for (uint256 i = 0; i < b.orders.length; i++) {
            Everybody.Agreed memory a = b.agreed[i];
            IMarketLens.LeaseView memory l = leases[i];
            if (a.provider == address(0)) continue;
            bool same = l.rate == a.rate && l.reclaim == a.reclaim && l.minBill == a.minBill
                && l.feeBps == a.feeBps && l.startedAt == a.startedAt && l.bond == a.bond;
            vm.assertTrue(same, "I9: the terms are those agreed");
        }
    }

    // I6, I7
    function payoutsGoForward(Everybody.Books memory b, IMarketLens.LeaseView[] memory leases) private {
        for (uint256 i = 0; i < b.orders.length; i++) {
            Everybody.Agreed memory a = b.agreed[i];
            IMarketLens.LeaseView memory l = leases[i];
            if (a.provider == address(0)) continue;
            bytes32 id = b.orders[i];
            bool justClosed = !closed[id] && !a.live;
            if (justClosed) closed[id] = true;
            uint256 back = justClosed ? a.missing : 0;
            vm.assertGe(l.checkpoint + back, paidUpTo[id], "I6: what is paid stays paid");
            paidUpTo[id] = l.checkpoint;
            uint256 end = l.endedAt == 0 ? time() : l.endedAt;
            vm.assertLe(l.checkpoint, end, "I6: nothing is paid before it is earned");
            vm.assertLe(
                a.gross,
                a.rate * (end - a.startedAt + a.missing) / S,
                "I7: no more is paid than rate times time"
            );
        }
    }

    // I8
    function leasesEndWithTheirAccount(
        Everybody.Books memory b,
        IMarketLens.AccountView[] memory accounts,
        IMarketLens.LeaseView[] memory leases
    ) private view {
        for (uint256 i = 0; i < b.orders.length; i++) {
            if (b.agreed[i].provider == address(0)) continue;
            IMarketLens.AccountView memory account = accounts[indexOf(b.accounts, accountOf(b.orders[i]))];
            IMarketLens.LeaseView memory l = leases[i];
            vm.assertLe(l.endedAt, account.fundedUntil, "I8: no lease ends after its account");
            vm.assertLe(l.billableUntil, account.fundedUntil, "I8: no lease earns after its account");
            vm.assertTrue(l.billableUntil <= time(), "I8: no lease earns ahead of time");
            vm.assertTrue(b.agreed[i].live == (l.endedAt == 0), "a lease is live until somebody ended it");
        }
    }

    // I2
    function rateSumsAreThoseOfLiveLeases(Everybody.Books memory b, IMarketLens.AccountView[] memory accounts)
        private
        pure
    {
        for (uint256 i = 0; i < b.accounts.length; i++) {
            uint256 sum;
            for (uint256 k = 0; k < b.orders.length; k++) {
                if (b.agreed[k].live && accountOf(b.orders[k]) == b.accounts[i]) sum += b.agreed[k].rate;
            }
            vm.assertEq(accounts[i].rateSum, sum, "I2: rateSum is the sum of live leases");
        }
    }

    // I3, I4, I5
    function bondsAreThoseOfLeasesAndBestBids(Everybody.Books memory b) private view {
        uint256 stakes;
        for (uint256 i = 0; i < b.providers.length; i++) {
            uint256 bonds;
            uint256 live;
            for (uint256 k = 0; k < b.orders.length; k++) {
                if (b.best[k].provider == b.providers[i]) bonds += b.best[k].bond;
                if (!b.agreed[k].live || b.agreed[k].provider != b.providers[i]) continue;
                bonds += b.agreed[k].bond;
                live++;
            }
            IProviderRegistry.ProviderView memory v = registry.provider(b.providers[i]);
            vm.assertEq(v.locked, bonds, "I4: locked is the bonds of live leases and best bids");
            vm.assertLe(v.locked, v.stake, "I4: locked is at most the stake");
            vm.assertEq(v.active, live, "I5: active counts live leases");
            stakes += v.stake;
        }
        vm.assertEq(token.balanceOf(address(registry)), stakes, "I3: the registry holds the stakes");
    }

    // I11
    function depletedIsForGood(Everybody.Books memory b, IMarketLens.AccountView[] memory accounts) private {
        for (uint256 i = 0; i < b.accounts.length; i++) {
            bytes32 id = b.accounts[i];
            bool dry = accounts[i].state == IMarketLens.AccountState.Depleted;
            if (drained[id]) {
                vm.assertTrue(dry, "I11: an account whose money ended stays ended");
                vm.assertLe(accounts[i].balanceScaled, left[id], "I11: a depleted account gains nothing");
            }
            if (dry) (drained[id], left[id]) = (true, accounts[i].balanceScaled);
        }
    }

    // I1
    function theMarketCanPayWhatItOwes(Everybody.Books memory b, uint256 owes) private view {
        uint256 holds = token.balanceOf(address(market)) * S;
        (uint256 fees,) = lens.kept();
        owes += fees * S;
        vm.assertGe(holds, owes, "I1: the market can pay what it owes");
        vm.assertLe(holds - owes, b.payouts * DUST, "I1: the rest is less than a unit a payout");
    }

    // I15
    function moneyInIsMoneyOut(Everybody.Books memory b, uint256 owes) private view {
        (uint256 fees, uint256 dust) = lens.kept();
        uint256 into = (b.deposited + b.penalties) * S;
        uint256 out = (b.refunded + b.paid + b.collected + fees) * S + dust;
        vm.assertEq(into, out + owes, "I15: money in is money out, to the last part");
    }

    /// What accounts hold and what leases have earned and not been paid, scaled.
    function owed(Everybody.Books memory b, IMarketLens.AccountView[] memory accounts)
        private
        view
        returns (uint256 available, uint256 earned)
    {
        for (uint256 i = 0; i < accounts.length; i++) {
            available += accounts[i].balanceScaled;
        }
        IMarketLens.AccruedView[] memory accruals = lens.accruals(b.orders);
        for (uint256 i = 0; i < accruals.length; i++) {
            earned += accruals[i].scaled;
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

    function indexOf(bytes32[] memory list, bytes32 id) private pure returns (uint256 i) {
        while (list[i] != id) i++;
    }
}

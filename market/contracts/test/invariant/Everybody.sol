// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuditorRegistry} from "../../src/interfaces/IAuditorRegistry.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IMarketLens} from "../../src/interfaces/IMarketLens.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IProviderRegistry} from "../../src/interfaces/IProviderRegistry.sol";
import {ListToken} from "../tokens/ListToken.sol";
import {Governors} from "./Governors.sol";
import {Providers} from "./Providers.sol";
import {Stage} from "./Stage.sol";
import {Strangers} from "./Strangers.sol";

/// @notice All roles at once, and how everybody leaves.
contract Everybody is Strangers, Providers, Governors {
    IAuditorRegistry private immutable _auditors;

    constructor(
        ListToken token_,
        IParams params_,
        IProviderRegistry registry_,
        IMarket market_,
        IMarketLens lens_,
        IAuditorRegistry auditors_,
        address governor_
    ) Stage(token_, params_, registry_, market_, lens_, governor_) {
        _auditors = auditors_;
    }

    function auditors() internal view override returns (IAuditorRegistry) {
        return _auditors;
    }

    /// The worst day: everything new is stopped, for good on some days; every provider has retired; and the token serves
    /// neither the keys nor the purse of one of them.
    function worstDay(uint256 seed) external {
        if (seed % 2 == 0) {
            vm.prank(governor);
            market.sunset();
        } else {
            vm.prank(governor);
            market.pause();
        }
        for (uint256 i = 0; i < PROVIDERS; i++) {
            if (registry.provider(providers[i]).state != IProviderRegistry.ProviderState.Active) continue;
            vm.prank(providers[i]);
            registry.retire();
        }
        address owner = providers[seed % PROVIDERS];
        token.refuse(owner);
        token.refuse(operatorOf(owner));
        token.refuse(registry.payoutOf(owner));
    }

    /// Tenants end every lease and take every order off the book, and take back what is left.
    function tenantsLeave() external {
        for (uint256 i = 0; i < orders.length; i++) {
            bytes32 id = orders[i];
            if (agreed[id].live) {
                tenantEnds(id, 1);
            } else if (agreed[id].provider == address(0) && lens.order(id).state != IMarket.OrderState.Closed)
            {
                vm.prank(tenantOf(id));
                market.cancelOrder(id);
                delete best[id];
            }
        }
        for (uint256 i = 0; i < accounts.length; i++) {
            takeBack(accounts[i], type(uint256).max);
        }
    }

    /// Providers are paid; the one whose purse the token refuses names another, and waits a day. Then stakes leave too.
    function providersLeave() external {
        for (uint256 i = 0; i < PROVIDERS; i++) {
            vm.prank(providers[i]);
            registry.setPayout(purseOf(providers[i], ++purses[providers[i]]));
        }
        vm.warp(time() + 7 days);
        for (uint256 i = 0; i < orders.length; i++) {
            if (agreed[orders[i]].provider != address(0)) payOut(one(orders[i]));
        }
        for (uint256 i = 0; i < PROVIDERS; i++) {
            uint256 stake = registry.provider(providers[i]).stake;
            vm.prank(providers[i]);
            registry.unstake(stake);
        }
        collected += market.collectFees();
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAuditorRegistry} from "../../src/interfaces/IAuditorRegistry.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {Stage} from "./Stage.sol";

/// @notice What the owner of the parameters, the guardian and an auditor do, and what time does.
abstract contract Governors is Stage {
    address private constant AUDITOR = address(0xA0D1);

    function auditors() internal view virtual returns (IAuditorRegistry);

    function ownerTurnsNumbers(uint256 fee, uint256 runway, uint256 bondSecs) external {
        IParams.Values memory v = params.values();
        v.feeBps = uint16(bound(fee, 0, 1000));
        v.minRunway = uint32(bound(runway, 600, 3600));
        v.bondSecs = uint24(bound(bondSecs, 3600, 1 days));
        vm.prank(governor);
        params.setValues(v);
    }

    function anyoneTellsTheMarket() external {
        market.syncParams();
        numbers = params.values();
    }

    function ownerMovesTreasury(uint160 to) external {
        vm.prank(governor);
        params.setTreasury(address(uint160(bound(to, 0x7000, 0x7003))));
    }

    function guardianPauses() external {
        if (lens.rules().pauseSpent) {
            vm.prank(GUARDIAN);
            try market.pause() {
                vm.assertTrue(false, "a spent pause is not used again");
            } catch {}
            vm.prank(governor);
            market.rearmPause();
        }
        vm.prank(GUARDIAN);
        market.pause();
    }

    function guardianResumes() external {
        vm.prank(GUARDIAN);
        market.unpause();
    }

    function auditorVouches(uint256 who, uint40 secs, bool clears) external {
        address owner = providers[who % PROVIDERS];
        vm.startPrank(AUDITOR);
        if (clears) auditors().clear(owner, 0);
        else auditors().setBits(owner, 0, 0, "attrs", uint40(time() + bound(secs, 1 days, 30 days)));
        vm.stopPrank();
        vm.warp(time() + 1);
    }

    function timePasses(uint256 secs) external {
        vm.warp(time() + bound(secs, 1, 20_000));
    }

    /// Lets the money of an account end, if that is near, and a little time pass over it.
    function moneyEnds(uint256 which, uint256 secs) external {
        uint256 end;
        for (uint256 i = 0; i < accounts.length && end == 0; i++) {
            uint256 until = lens.account(accounts[addmod(which, i, accounts.length)]).fundedUntil;
            if (until > time() && until < time() + 2 days) end = until;
        }
        vm.assume(end != 0);
        vm.warp(end + secs % 3);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";

contract TestTokenTest is Base {
    function test_it_has_the_shape_of_a_dollar() public view {
        vm.assertEq(token.decimals(), 6, "decimals");
        vm.assertEq(token.symbol(), "tUSD", "symbol");
    }

    function test_anyone_mints() public {
        vm.prank(stranger);
        token.mint(stranger, 7);
        vm.assertEq(token.balanceOf(stranger), 7, "balance");
    }

    function test_a_permit_gives_an_allowance() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(5, time());
        token.permit(tenant, address(market), 5, time(), v, r, s);
        vm.assertEq(token.allowance(tenant, address(market)), 5, "allowance");
    }
}

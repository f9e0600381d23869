// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The owner of Params: what governance wants waits here for all to see
/// @notice OpenZeppelin's TimelockController without an administrator from outside: from the first block on, roles and the
/// delay change only by an operation that waited its delay. Proposers schedule and cancel, executors (anyone, if the zero
/// address is among them) carry out what waited long enough.
contract Timelock is TimelockController {
    constructor(uint256 delay, address[] memory proposers, address[] memory executors)
        TimelockController(delay, proposers, executors, address(0))
    {}
}

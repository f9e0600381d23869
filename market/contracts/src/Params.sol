// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IParams} from "./interfaces/IParams.sol";

/// @title The numbers that governance may turn. The manual is IParams.
contract Params is IParams, Ownable2Step {
    uint16 private constant MAX_FEE_BPS = 1000;
    uint32 private constant LEAST_RUNWAY = 10 minutes;
    uint32 private constant MOST_RUNWAY = 24 hours;
    uint24 private constant LEAST_BOND = 1 hours;
    uint24 private constant MOST_BOND = 7 days;
    uint32 private constant LEAST_ORDER = 5 minutes;
    uint32 private constant MOST_ORDER = 30 days;
    uint88 private constant MOST_MIN_STAKE = 1e12;

    Values private _values;
    /// @inheritdoc IParams
    address public treasury;
    /// @inheritdoc IParams
    address public guardian;

    constructor(address owner_, address treasury_, address guardian_) Ownable(owner_) {
        _setValues(
            Values({
                feeBps: 0,
                minRunway: LEAST_RUNWAY,
                bondSecs: 6 hours,
                minOrderDuration: LEAST_ORDER,
                maxOrderDuration: MOST_ORDER,
                minStake: 100e6
            })
        );
        _setTreasury(treasury_);
        _setGuardian(guardian_);
    }

    /// @inheritdoc IParams
    function values() external view returns (Values memory) {
        return _values;
    }

    /// @inheritdoc IParams
    function setValues(Values calldata newValues) external onlyOwner {
        _setValues(newValues);
    }

    /// @inheritdoc IParams
    function setTreasury(address newTreasury) external onlyOwner {
        _setTreasury(newTreasury);
    }

    /// @inheritdoc IParams
    function setGuardian(address newGuardian) external onlyOwner {
        _setGuardian(newGuardian);
    }

    /// @inheritdoc IParams
    function owner() public view override(IParams, Ownable) returns (address) {
        return super.owner();
    }

    function _setValues(Values memory v) private {
        require(v.feeBps <= MAX_FEE_BPS, CapExceeded());
        require(v.minRunway >= LEAST_RUNWAY && v.minRunway <= MOST_RUNWAY, CapExceeded());
        require(v.bondSecs >= LEAST_BOND && v.bondSecs <= MOST_BOND, CapExceeded());
        require(v.minOrderDuration >= LEAST_ORDER && v.maxOrderDuration <= MOST_ORDER, CapExceeded());
        require(v.minOrderDuration <= v.maxOrderDuration, CapExceeded());
        require(v.minStake <= MOST_MIN_STAKE, CapExceeded());
        _values = v;
        emit ParamsChanged(v);
    }

    function _setTreasury(address newTreasury) private {
        require(newTreasury != address(0), ZeroAddress());
        treasury = newTreasury;
        emit TreasuryChanged(newTreasury);
    }

    function _setGuardian(address newGuardian) private {
        guardian = newGuardian;
        emit GuardianChanged(newGuardian);
    }
}

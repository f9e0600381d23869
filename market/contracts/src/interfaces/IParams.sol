// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The numbers that governance may turn
/// @notice Every number has a hard cap in code; a lease keeps the fee and the bond it was made with. The owner is meant
/// to be a timelock behind a multisig; ownership moves in two steps (`transferOwnership`, `acceptOwnership`).
///
/// Deployed second: `Params(address owner, address treasury)`. It starts with the defaults named below.
interface IParams {
    /// @param feeBps Fee of the market in hundredths of a percent of what providers are paid; default 0, at most 1000.
    /// @param minRunway Seconds that an account must be able to pay when a lease starts or money is taken back;
    /// default 600, from 600 to 86400.
    /// @param bondSecs Seconds of a lease's rate that its provider locks from stake; default 21600, from 3600 to 604800.
    /// @param minOrderDuration Least seconds from an order's creation to its expiry; default 300, not below 300.
    /// @param maxOrderDuration Most seconds from an order's creation to its expiry; default 2592000, not above that.
    /// @param minStake Token units that a provider needs to register; default 100000000 (100 tokens of 6 decimals),
    /// at most 10^12.
    struct Values {
        uint16 feeBps;
        uint32 minRunway;
        uint24 bondSecs;
        uint32 minOrderDuration;
        uint32 maxOrderDuration;
        uint88 minStake;
    }

    /// @notice The numbers were changed; live leases are not touched.
    event ParamsChanged(Values values);
    /// @notice Fees go to `treasury` from now on.
    event TreasuryChanged(address indexed treasury);

    /// @notice A value is outside its hard cap, or the shortest order is longer than the longest.
    error CapExceeded();
    /// @notice The zero address cannot receive.
    error ZeroAddress();

    /// @notice All numbers, one storage read.
    function values() external view returns (Values memory);
    /// @notice Who receives the fees.
    function treasury() external view returns (address);
    /// @notice Owner only. Replaces all numbers; reverts with CapExceeded outside the caps.
    function setValues(Values calldata newValues) external;
    /// @notice Owner only.
    function setTreasury(address newTreasury) external;
}

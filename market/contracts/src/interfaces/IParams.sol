// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The numbers that governance may turn, and who governs
/// @notice Every number has a hard cap in code, and a lease keeps the fee and the bond it was made with: whoever owns this
/// contract can make new leases dearer within the caps, and can touch no money that is in escrow, staked or earned.
///
/// `Params(address owner, address treasury, address guardian)` starts with the defaults named below.
///
/// The owner is meant to be OpenZeppelin's TimelockController behind a multisig, so that every change is seen before it
/// holds. Ownership moves in two steps (`transferOwnership`, then `acceptOwnership` by the new owner).
///
/// WARNING: `renounceOwnership` is final. The numbers, the treasury and the guardian then stay as they are, no pause can
/// be armed again and no market can be sunset.
///
/// Errors of Ownable: OwnableUnauthorizedAccount (the caller is not the owner), OwnableInvalidOwner (the constructor was
/// given the zero address).
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

    /// @notice The numbers are these: for registrations from now on, for orders and leases to come in each Market from its
    /// `syncParams` on; live leases are not touched.
    event ParamsChanged(Values values);
    /// @notice Fees that are paid out go to `treasury` from now on, those that were earned before included.
    event TreasuryChanged(address indexed treasury);
    /// @notice `guardian` may pause the entries of markets from now on; zero: nobody but the owner can.
    event GuardianChanged(address indexed guardian);

    /// @notice A value is outside its hard cap, or the shortest order is longer than the longest.
    error CapExceeded();
    /// @notice The zero address cannot receive.
    error ZeroAddress();

    // --- owner ---

    /// @notice Owner only. Replaces all numbers. Markets go by a copy until somebody calls their `syncParams`, which belongs
    /// into the same operation of the timelock. WARNING: a higher `minStake` does not turn providers away that registered
    /// with less; it only keeps them from taking stake out.
    /// Reverts: CapExceeded, OwnableUnauthorizedAccount.
    function setValues(Values calldata newValues) external;

    /// @notice Owner only. Reverts: ZeroAddress, OwnableUnauthorizedAccount.
    function setTreasury(address newTreasury) external;

    /// @notice Owner only. Names who may pause; the zero address leaves that to nobody. What a pause can stop, and how
    /// long, is in IMarket. Reverts: OwnableUnauthorizedAccount.
    function setGuardian(address newGuardian) external;

    // --- views ---

    /// @notice All numbers, one storage read.
    function values() external view returns (Values memory);
    /// @notice Who receives the fees.
    function treasury() external view returns (address);
    /// @notice Who may pause the entries of markets for a while; zero for nobody.
    function guardian() external view returns (address);
    /// @notice Who sets all of this, arms pauses and sunsets markets; zero once renounced.
    function owner() external view returns (address);
}

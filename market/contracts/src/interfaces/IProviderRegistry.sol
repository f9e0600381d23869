// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who sells: provider records, stake and bonds
/// @notice A provider is the address that registered (the owner, a cold key). It names an operator key that bids and
/// closes, and a payout address that alone receives money: what leases earn, and stake that is taken out. A bond is the
/// part of the stake that a live lease, or the best bid of an order that is awarded by price, locks; only the Market
/// locks, frees and slashes, and it is named once. Nobody else can touch stake: no owner of anything, no guardian.
///
/// Amounts are units of the settlement token (a dollar token has 6 decimals: 1 unit is a millionth of a dollar). Times are
/// unix seconds.
///
/// The Market creates it, in its constructor: `ProviderRegistry(IERC20 token, IParams params)`. Who creates it is its Market,
/// so no key ever had the power to name another one.
///
/// Where the gateway is stands in the log, not in storage: in the provider's last ProviderRegistered or GatewayChanged, in
/// the block of the second `gatewayAt`, so that one block is all that has to be read of the log. A provider whose word
/// has sunk below what endpoints keep of their logs says it again with `setGateway`. Which certificate the gateway must show
/// stands in storage.
///
/// WARNING for readers: `uri`, `spkiHash`, `attrsHash` and the capabilities are what the provider says of itself. Connect
/// to `uri` only over TLS and only if the SHA-256 of the certificate's SubjectPublicKeyInfo equals `spkiHash`, or, while
/// `oldSpkiUntil` is ahead, `oldSpkiHash`: then a stale or a forged `uri` leads nowhere.
///
/// WARNING for owners: who has the owner key can send tenants to another gateway at once, and, after 24 hours for all to
/// see, what leases earn elsewhere. Keep it off every server; the operator key is the one that works.
///
/// WARNING for owners: who has the operator key can turn free stake into penalties for a tenant of its own, by bidding with a
/// long notice and leaving at once. Keep no more free stake than the bonds of leases to come, and replace a lost operator
/// key at once.
///
/// One key may be the operator of many providers: whoever bids says for which of them. An owner that names a stranger's key
/// only gives that key power over itself.
///
/// Every function that moves tokens can fail with the token's own errors, and with SafeERC20FailedOperation; amounts that
/// do not fit their field revert with SafeCastOverflowedUintDowncast; a token that calls back is turned away with
/// ReentrancyGuardReentrantCall.
interface IProviderRegistry {
    /// @notice Retired is final: no new leases, existing ones run to their end, stake can be taken out.
    enum ProviderState {
        None,
        Active,
        Retired
    }

    /// @param state None, Active or Retired.
    /// @param operator The key that bids and closes.
    /// @param payout Where money goes now; a change that has become due is counted in.
    /// @param pendingPayout Where money goes from `payoutChangeAt` on; zero when no change waits.
    /// @param payoutChangeAt Unix seconds; zero when no change waits.
    /// @param attrsHash keccak256 of the provider's attributes document; zero when it published none.
    /// @param gatewayAt Unix seconds in which the provider last said where its gateway is; the log of that block tells.
    /// @param spkiHash SHA-256 of the SubjectPublicKeyInfo of the gateway's certificate.
    /// @param oldSpkiHash The certificate before, which counts as well until `oldSpkiUntil`; zero when none does.
    /// @param oldSpkiUntil Unix seconds; zero when none does.
    /// @param stake Token units held here for the provider.
    /// @param locked Token units of `stake` that bonds of live leases and of best bids hold.
    /// @param unbondAt Unix seconds from which `unstake` works; zero when nothing was requested.
    /// @param active Number of live leases.
    /// @param capabilities Bits that the provider says of itself; see `setCapabilities`.
    /// @param firstSeen Unix seconds in which it registered.
    struct ProviderView {
        ProviderState state;
        address operator;
        address payout;
        address pendingPayout;
        uint40 payoutChangeAt;
        bytes32 attrsHash;
        uint40 gatewayAt;
        bytes32 spkiHash;
        bytes32 oldSpkiHash;
        uint40 oldSpkiUntil;
        uint88 stake;
        uint88 locked;
        uint40 unbondAt;
        uint32 active;
        uint96 capabilities;
        uint40 firstSeen;
    }

    /// @notice What the leases that ended say of a provider. Written when a lease ends, and only then; every count stops
    /// at the most it can hold.
    /// @param servedSecs Seconds that its leases ran.
    /// @param feesPaid Token units of fees that those seconds owe the treasury. Weigh by it: leases with oneself cost it.
    /// @param completed Leases that the tenant, the end of the money or a notice that had elapsed ended.
    /// @param earlyExits Leases that the provider left otherwise, whether it had promised notice or not.
    /// @param slashes Leases of these whose end cost it a penalty.
    struct Reputation {
        uint64 servedSecs;
        uint96 feesPaid;
        uint32 completed;
        uint32 earlyExits;
        uint32 slashes;
    }

    /// @notice `provider` registered: `operator` bids and closes for it, its gateway is at `uri` (such as
    /// `https://host:8443`) and shows a certificate of the key `spkiHash`. PayoutChanged and StakeChanged follow in the same
    /// transaction.
    event ProviderRegistered(
        address indexed provider, address indexed operator, string uri, bytes32 spkiHash
    );
    /// @notice `operator` bids and closes for `provider` from now on; the key before, if another one, can do nothing any
    /// more.
    event OperatorChanged(address indexed provider, address indexed operator);
    /// @notice The gateway is at `uri` from now on. Its certificate is of the key `spkiHash`; if the one before was of
    /// another, that one is revoked.
    event GatewayChanged(address indexed provider, string uri, bytes32 spkiHash);
    /// @notice The provider's attributes are those of this hash from now on; zero: it publishes none. Audits of others are
    /// void.
    event AttributesChanged(address indexed provider, bytes32 attrsHash);
    /// @notice The gateway presents `spkiHash` from now on; `oldSpkiHash` counts as well until `oldUntil` (unix seconds),
    /// which may have passed: then it was revoked. The gateway stays where it is.
    event CertRotated(
        address indexed provider, bytes32 indexed spkiHash, bytes32 indexed oldSpkiHash, uint40 oldUntil
    );
    /// @notice No new leases from now on. StakeChanged follows, with the time from which the stake can be taken out.
    event ProviderRetired(address indexed provider);
    /// @notice Money of `provider` goes to `payout` from `effectiveAt` (unix seconds) on, unless another such event comes
    /// before. Who did not expect it has until then to act with the owner key.
    event PayoutChanged(address indexed provider, address indexed payout, uint40 effectiveAt);
    /// @notice The provider says of itself that it has these capabilities, and no others.
    event CapabilitiesChanged(address indexed provider, uint96 bits);
    /// @notice Stake was added, requested back, taken out or slashed; the event carries all three numbers as they are now.
    /// Locking and freeing alone say nothing here: they follow from the Market's events.
    event StakeChanged(address indexed provider, uint88 stake, uint88 locked, uint40 unbondAt);
    /// @notice The provider left lease `orderId` before the notice it had promised; `amount` token units of its stake went
    /// to the tenant's escrow account. `reason` is that of LeaseClosed. StakeChanged follows.
    event Slashed(address indexed provider, bytes32 indexed orderId, uint256 amount, uint8 reason);

    /// @notice The caller may not do this: not the Market, or no registered provider.
    error NotAllowed();
    /// @notice The key that wants to end a lease is neither the owner nor the operator of its provider.
    error NotOperator();
    /// @notice The caller is registered already, or was: a retired provider needs another owner key.
    error IdTaken();
    /// @notice The provider is retired or was never registered.
    error ProviderInactive();
    /// @notice `free` token units can be used for this, `need` are needed.
    error StakeTooLow(uint256 free, uint256 need);
    /// @notice Nothing can be taken out before `unbondAt`; zero: call `requestUnstake` first.
    error StillBonded(uint40 unbondAt);
    /// @notice The URI is empty or longer than 256 bytes.
    error BadUri();
    /// @notice The zero address is no key and no purse.
    error ZeroAddress();
    /// @notice The token moved another amount than asked.
    error AmountMismatch();
    /// @notice There are no such capabilities: bits 0 to 94 are.
    error UnknownCapabilities(uint96 bits);
    /// @notice A certificate before may count for at most seven days.
    error DurationOutOfBounds();

    // --- provider's owner key ---

    /// @notice Makes the caller a provider. `stake` token units (at least Params.minStake) are pulled from the caller,
    /// who has approved this contract before. Operator and payout may be the caller's own address. Attributes, of which
    /// only auditors speak, are published apart (`setAttributes`).
    /// Reverts: IdTaken, ZeroAddress, BadUri, StakeTooLow, AmountMismatch.
    function register(address operator, address payout, string calldata uri, bytes32 spkiHash, uint256 stake)
        external;

    /// @notice Names another operator key at once; the old one can do nothing from then on. Bids of the provider stand: they
    /// belong to the owner. Naming the same key again changes nothing.
    /// Reverts: NotAllowed, ZeroAddress.
    function setOperator(address operator) external;

    /// @notice Names another payout address. It takes effect 24 hours later, so that a stolen owner key is seen before
    /// it earns; a second call replaces a change that still waits, and starts the 24 hours again (naming the address that
    /// counts now thereby cancels the change).
    /// Reverts: NotAllowed, ZeroAddress.
    function setPayout(address payout) external;

    /// @notice Says where the gateway is and which certificate it shows, at once. Another certificate than before counts
    /// alone: use it to revoke a stolen one, and `rotateCert` to change it while tenants are connected. The same of both
    /// says them again to readers whose logs are short.
    /// Reverts: NotAllowed, BadUri.
    function setGateway(string calldata uri, bytes32 spkiHash) external;

    /// @notice Publishes the hash of the provider's attributes document, in place of the one before; zero takes it back.
    /// WARNING: audits are bound to the attributes; with others they are void.
    /// Reverts: NotAllowed.
    function setAttributes(bytes32 attrsHash) external;

    /// @notice Announces the gateway's next certificate: both it and the one before count until `oldUntil`, at most seven
    /// days from now, and the gateway changes to it meanwhile. Only one certificate before ever counts: a second rotation
    /// ends the overlap of the first.
    /// Reverts: NotAllowed, DurationOutOfBounds.
    function rotateCert(bytes32 spkiHash, uint40 oldUntil) external;

    /// @notice Starts the seven days after which `unstake` works, anew if they run already. The stake serves as bond
    /// meanwhile. A request stays open until stake is taken out or the provider retires.
    /// Reverts: NotAllowed.
    function requestUnstake() external;

    /// @notice Pays `amount` token units of unlocked stake to the payout address and ends the request. An active provider
    /// must keep Params.minStake; a retired one may take all that nothing locks, and the rest later without asking anew.
    /// Reverts: NotAllowed, StillBonded, StakeTooLow.
    function unstake(uint256 amount) external;

    /// @notice Takes no new leases, for ever, and starts the seven days after which the stake can be taken out. Live leases
    /// go on and can be closed by the same keys, and a best bid can still be awarded.
    /// Reverts: NotAllowed, ProviderInactive (it is retired already).
    function retire() external;

    // --- provider's owner or operator key ---

    /// @notice Says which capabilities (bits 0 to 94) the provider has, in place of what it said before. It may bid on
    /// orders that ask for no others.
    /// Reverts: NotAllowed, UnknownCapabilities.
    function setCapabilities(address provider, uint96 bits) external;

    // --- anyone ---

    /// @notice Adds `amount` token units of the caller, who has approved this contract before, to the stake of `provider`.
    /// WARNING: they belong to the provider from then on.
    /// Reverts: ProviderInactive, AmountMismatch.
    function addStake(address provider, uint256 amount) external;

    // --- Market ---

    /// @notice Market only (NotAllowed). Locks `amount` for the best bid of an order that is awarded by price; no lease is counted.
    /// Reverts: ProviderInactive, StakeTooLow.
    function lockBond(address provider, uint256 amount) external;

    /// @notice Market only (NotAllowed). Frees `amount` that was locked for a best bid: it was bettered, or its order closed. Never
    /// reverts for what was locked, retired or not.
    function unlockBond(address provider, uint256 amount) external;

    /// @notice Market only (NotAllowed). Counts a lease and locks `amount` for it. With an amount of zero (the bond of an awarded bid
    /// is locked before) nothing about the provider is asked, so that an award cannot be blocked by its winner.
    /// Reverts: ProviderInactive, StakeTooLow.
    function beginLease(address provider, uint256 amount) external;

    /// @notice Market only (NotAllowed). Ends one lease and frees its bond of `bond`, of which `penalty` is paid to the Market, and
    /// writes what the lease says of the provider: `reason` as in LeaseClosed, but 104 whenever notice had elapsed;
    /// `fees` in token units. `key` must act for the provider (NotOperator): whoever ends the lease in its name, and the
    /// provider itself where the tenant or time ends it. Otherwise this never reverts for a live lease.
    function endLease(
        address provider,
        address key,
        bytes32 orderId,
        uint256 bond,
        uint256 penalty,
        uint8 reason,
        uint40 servedSecs,
        uint96 fees
    ) external;

    // --- views ---

    /// @notice The settlement token in which stake is held.
    function token() external view returns (address);
    /// @notice The Params whose `minStake` counts here.
    function params() external view returns (address);
    /// @notice The Market that created this registry: the only bond locker.
    function market() external view returns (address);
    /// @notice The whole record; state None for an unknown address.
    function provider(address owner) external view returns (ProviderView memory);
    /// @notice What the leases of a provider that ended say of it; zeros for an unknown address.
    function reputationOf(address provider) external view returns (Reputation memory);
    /// @notice The key that bids for a provider (zero for an unknown address), whether the provider is active, and its
    /// capabilities.
    function standingOf(address provider) external view returns (address operator, bool active, uint96 bits);
    /// @notice Whether `key` acts for `provider`: its owner or its operator key.
    function isKeyOf(address provider, address key) external view returns (bool);
    /// @notice Whether `who` is the provider, its operator key, or where its money goes now.
    function isRoleOf(address provider, address who) external view returns (bool);
    /// @notice Where money of `provider` goes now; zero for an unknown address.
    function payoutOf(address provider) external view returns (address);
    /// @notice keccak256 of the attributes that the provider publishes; zero for an unknown address.
    function attrsHashOf(address provider) external view returns (bytes32);
}

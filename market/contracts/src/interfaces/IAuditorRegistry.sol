// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who vouches for whom: the dictionary of capability bits and what auditors say of providers
/// @notice An auditor is any address that says something. Nobody admits auditors: who reads chooses whose word counts, and
/// an address that nobody chose says nothing to anybody. This contract holds no money and no contract acts on its words;
/// tenants and providers read them.
///
/// A statement is about one provider, and within it about one node (`nodeId`) or, with `nodeId` zero, about the provider
/// as a whole. It says which capability bits the auditor saw, is bound to the attributes that the provider published at
/// that time, and expires. Per auditor, provider and node there is one statement; a newer one takes its place.
///
/// Deployed after the registry: `AuditorRegistry(IParams params, IProviderRegistry registry)`.
///
/// WARNING for readers: ask `bitsOf`. What the events said may have expired, been cleared, or become void because the
/// provider changed its attributes since.
///
/// WARNING for auditors: a signed statement can be submitted by anyone until it expires. `cancel` its nonce, or `clear`,
/// to take back what was signed. The domain of the signature is name "Berth Auditors", version "1", this chain and this
/// contract.
interface IAuditorRegistry {
    /// @notice Where a statement stands now. Cleared: the auditor took its word back. Void: the provider's attributes are
    /// others than the auditor saw.
    enum StatementState {
        None,
        Valid,
        Expired,
        Void,
        Cleared
    }

    /// @notice What an auditor signs (EIP-712 type `AuditStatement`, fields in this order).
    /// @param provider Of whom it speaks: the owner address in the ProviderRegistry.
    /// @param bits The capability bits that the auditor saw; bit i is entry i of the dictionary.
    /// @param attrsHash The provider's attributes as the auditor saw them; equal to those in the ProviderRegistry.
    /// @param nodeId keccak256 over the sorted UUIDs of the node's GPUs; zero for the provider as a whole.
    /// @param issuedAt Unix seconds; not later than the block that takes it.
    /// @param expiresAt Unix seconds from which it says nothing any more; at most 365 days ahead.
    /// @param nonce Any number that this auditor did not use before; the order is free.
    struct AuditStatement {
        address provider;
        uint176 bits;
        bytes32 attrsHash;
        bytes32 nodeId;
        uint40 issuedAt;
        uint40 expiresAt;
        uint256 nonce;
    }

    /// @param state Where the statement stands now.
    /// @param bits What it said; it counts only in state Valid.
    /// @param attrsHash The attributes that it is bound to.
    /// @param issuedAt Unix seconds in which it was said, or taken back.
    /// @param expiresAt Unix seconds from which it says nothing.
    struct StatementView {
        StatementState state;
        uint176 bits;
        bytes32 attrsHash;
        uint40 issuedAt;
        uint40 expiresAt;
    }

    /// @notice Bit `index` means that the attribute `key` has the value `value`, for ever.
    event BitDefined(uint8 indexed index, string key, string value);
    /// @notice `auditor` vouches for `bits` of `provider` (of its node `nodeId`, if not zero) until `expiresAt`, as long
    /// as the provider's attributes hash to `attrsHash`; what it said before is replaced.
    event AuditBitsSet(
        address indexed auditor,
        address indexed provider,
        bytes32 indexed nodeId,
        uint176 bits,
        bytes32 attrsHash,
        uint40 issuedAt,
        uint40 expiresAt
    );
    /// @notice `auditor` vouches for nothing of `provider` (of its node `nodeId`) any more, and nothing that it signed
    /// until now will change that.
    event AuditCleared(address indexed auditor, address indexed provider, bytes32 indexed nodeId);
    /// @notice `auditor` took back the statement with this nonce before anybody submitted it.
    event NonceCancelled(address indexed auditor, uint256 nonce);

    /// @notice The caller is not the owner of Params.
    error NotAllowed();
    /// @notice The index is above 175, the key is empty or above 64 bytes, or the value is above 64 bytes.
    error BadBit();
    /// @notice This bit has its meaning already, and keeps it.
    error BitTaken(uint8 index);
    /// @notice These bits are not in the dictionary; they mean nothing.
    error UndefinedBits(uint256 bits);
    /// @notice The provider's attributes hash to `have` (zero: it published none, or is not registered), which is not what
    /// the statement is about.
    error AttrsChanged(bytes32 have);
    /// @notice The statement ends before it begins to count.
    error AuditExpired();
    /// @notice The statement is issued later than now, or lasts longer than 365 days.
    error DurationOutOfBounds();
    /// @notice The auditor said something about this provider and node at `have`, which is not before this statement.
    error NotNewer(uint40 have);
    /// @notice The statement was submitted or cancelled before.
    error NonceUsed(uint256 nonce);
    /// @notice The signature is not the auditor's.
    error BadSignature();

    // --- owner of Params (the timelock) ---

    /// @notice Gives bit `index` (0 to 175) its meaning. The first 95 are those that orders can ask for (`reqBits`) and
    /// providers claim (`setCapabilities`); the rest only auditors use. Append-only: no meaning is ever changed or removed.
    /// Reverts: NotAllowed, BadBit, BitTaken.
    function defineBit(uint8 index, string calldata key, string calldata value) external;

    // --- auditors ---

    /// @notice Says which bits the caller saw, from this second on. Reverts: AttrsChanged, UndefinedBits, AuditExpired,
    /// DurationOutOfBounds.
    function setBits(address provider, bytes32 nodeId, uint176 bits, bytes32 attrsHash, uint40 expiresAt)
        external;

    /// @notice Takes the caller's word back at once. Statements that it signed up to this second can no longer be
    /// submitted for this provider and node. Harmless if there is nothing to take back.
    function clear(address provider, bytes32 nodeId) external;

    /// @notice Takes one signed statement back before it is submitted, whomever it is about. Reverts: NonceUsed.
    function cancel(uint256 nonce) external;

    // --- anyone ---

    /// @notice Brings a statement that `auditor` signed: by its key, low s, 65 bytes, or as ERC-1271 where the auditor is a
    /// contract. It must have been issued after what the auditor said last of this provider and node.
    /// Reverts: AttrsChanged, UndefinedBits, AuditExpired, DurationOutOfBounds, NotNewer, NonceUsed, BadSignature.
    function submit(address auditor, AuditStatement calldata statement, bytes calldata signature) external;

    // --- views ---

    /// @notice The bits that `auditor` vouches for now; zero unless its statement is Valid.
    function bitsOf(address auditor, address provider, bytes32 nodeId) external view returns (uint176);
    /// @notice The whole statement and where it stands.
    function statementOf(address auditor, address provider, bytes32 nodeId)
        external
        view
        returns (StatementView memory);
    /// @notice What bit `index` means; two empty texts for a bit that means nothing.
    function meaningOf(uint8 index) external view returns (string memory key, string memory value);
    /// @notice The bits that have a meaning.
    function definedBits() external view returns (uint256);
    /// @notice Whether the auditor's statement with this nonce was submitted or cancelled.
    function isNonceUsed(address auditor, uint256 nonce) external view returns (bool);
    /// @notice What the auditor's key signs for this statement.
    function digestOf(AuditStatement calldata statement) external view returns (bytes32);
    /// @notice The ProviderRegistry that it speaks of.
    function registry() external view returns (address);
    /// @notice The Params whose owner keeps the dictionary.
    function params() external view returns (address);
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";
import {IAuditorRegistry} from "./interfaces/IAuditorRegistry.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";

/// @title Who vouches for whom. The manual is IAuditorRegistry.
contract AuditorRegistry is IAuditorRegistry, EIP712 {
    using BitMaps for BitMaps.BitMap;

    uint256 private constant MOST_BITS = 176;
    uint256 private constant MOST_TEXT = 64;
    uint40 private constant MOST_VALIDITY = 365 days;
    bytes32 private constant STATEMENT_TYPE = keccak256(
        "AuditStatement(address provider,uint176 bits,bytes32 attrsHash,bytes32 nodeId,uint40 issuedAt,uint40 expiresAt,uint256 nonce)"
    );

    struct Meaning {
        string key;
        string value;
    }

    /// Two slots. A statement that was cleared has an `issuedAt` and no `expiresAt`.
    struct Statement {
        uint176 bits;
        uint40 issuedAt;
        uint40 expiresAt;
        bytes32 attrsHash;
    }

    IParams private immutable _params;
    IProviderRegistry private immutable _registry;

    /// @inheritdoc IAuditorRegistry
    uint256 public definedBits;
    mapping(uint8 index => Meaning) private _meanings;
    mapping(address auditor => mapping(address provider => mapping(bytes32 nodeId => Statement))) private
        _statements;
    /// Nonces as bits, 256 to a slot, so that statements can be submitted in any order.
    mapping(address auditor => BitMaps.BitMap) private _nonces;

    constructor(IParams params_, IProviderRegistry registry_) EIP712("Berth Auditors", "1") {
        _params = params_;
        _registry = registry_;
    }

    /// @inheritdoc IAuditorRegistry
    function defineBit(uint8 index, string calldata key, string calldata value) external {
        require(msg.sender == _params.owner(), NotAllowed());
        require(
            index < MOST_BITS && bytes(key).length != 0 && bytes(key).length <= MOST_TEXT
                && bytes(value).length <= MOST_TEXT,
            BadBit()
        );
        uint256 bit = 2 ** index;
        require(definedBits & bit == 0, BitTaken(index));
        definedBits |= bit;
        _meanings[index] = Meaning(key, value);
        emit BitDefined(index, key, value);
    }

    /// @inheritdoc IAuditorRegistry
    function setBits(address provider, bytes32 nodeId, uint176 bits, bytes32 attrsHash, uint40 expiresAt)
        external
    {
        // forge-lint: disable-next-line(unsafe-typecast) block time fits 40 bits
        _say(msg.sender, provider, nodeId, Statement(bits, uint40(block.timestamp), expiresAt, attrsHash));
    }

    /// @inheritdoc IAuditorRegistry
    function clear(address provider, bytes32 nodeId) external {
        // forge-lint: disable-next-line(unsafe-typecast) block time fits 40 bits
        _statements[msg.sender][provider][nodeId] = Statement(0, uint40(block.timestamp), 0, 0);
        emit AuditCleared(msg.sender, provider, nodeId);
    }

    /// @inheritdoc IAuditorRegistry
    function cancel(uint256 nonce) external {
        _useNonce(msg.sender, nonce);
        emit NonceCancelled(msg.sender, nonce);
    }

    /// @inheritdoc IAuditorRegistry
    function submit(address auditor, AuditStatement calldata statement, bytes calldata signature) external {
        uint40 said = _statements[auditor][statement.provider][statement.nodeId].issuedAt;
        require(statement.issuedAt > said, NotNewer(said));
        require(statement.issuedAt <= block.timestamp, DurationOutOfBounds());
        require(SignatureChecker.isValidSignatureNow(auditor, digestOf(statement), signature), BadSignature());
        _useNonce(auditor, statement.nonce);
        _say(
            auditor,
            statement.provider,
            statement.nodeId,
            Statement(statement.bits, statement.issuedAt, statement.expiresAt, statement.attrsHash)
        );
    }

    /// @inheritdoc IAuditorRegistry
    function bitsOf(address auditor, address provider, bytes32 nodeId) external view returns (uint176) {
        StatementView memory v = statementOf(auditor, provider, nodeId);
        return v.state == StatementState.Valid ? v.bits : 0;
    }

    /// @inheritdoc IAuditorRegistry
    function statementOf(address auditor, address provider, bytes32 nodeId)
        public
        view
        returns (StatementView memory)
    {
        Statement memory s = _statements[auditor][provider][nodeId];
        return StatementView(_stateOf(s, provider), s.bits, s.attrsHash, s.issuedAt, s.expiresAt);
    }

    /// @inheritdoc IAuditorRegistry
    function meaningOf(uint8 index) external view returns (string memory key, string memory value) {
        Meaning storage m = _meanings[index];
        return (m.key, m.value);
    }

    /// @inheritdoc IAuditorRegistry
    function isNonceUsed(address auditor, uint256 nonce) external view returns (bool) {
        return _nonces[auditor].get(nonce);
    }

    /// @inheritdoc IAuditorRegistry
    function digestOf(AuditStatement calldata statement) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(STATEMENT_TYPE, statement)));
    }

    /// @inheritdoc IAuditorRegistry
    function registry() external view returns (address) {
        return address(_registry);
    }

    /// @inheritdoc IAuditorRegistry
    function params() external view returns (address) {
        return address(_params);
    }

    function _say(address auditor, address provider, bytes32 nodeId, Statement memory s) private {
        bytes32 have = _registry.attrsHashOf(provider);
        require(have != 0 && s.attrsHash == have, AttrsChanged(have));
        uint256 undefined = s.bits & ~definedBits;
        require(undefined == 0, UndefinedBits(undefined));
        require(s.expiresAt > block.timestamp, AuditExpired());
        require(s.expiresAt <= block.timestamp + MOST_VALIDITY, DurationOutOfBounds());
        _statements[auditor][provider][nodeId] = s;
        emit AuditBitsSet(auditor, provider, nodeId, s.bits, s.attrsHash, s.issuedAt, s.expiresAt);
    }

    function _useNonce(address auditor, uint256 nonce) private {
        require(!_nonces[auditor].get(nonce), NonceUsed(nonce));
        _nonces[auditor].set(nonce);
    }

    function _stateOf(Statement memory s, address provider) private view returns (StatementState) {
        if (s.issuedAt == 0) return StatementState.None;
        if (s.expiresAt == 0) return StatementState.Cleared;
        if (block.timestamp >= s.expiresAt) return StatementState.Expired;
        return s.attrsHash == _registry.attrsHashOf(provider) ? StatementState.Valid : StatementState.Void;
    }
}

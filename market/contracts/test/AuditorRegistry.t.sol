// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IAuditorRegistry} from "../src/interfaces/IAuditorRegistry.sol";
import {Base} from "./Base.sol";

/// @notice An auditor that is a contract: it signed what its hash says.
contract AuditFirm is IERC1271 {
    bytes32 private immutable _signed;

    constructor(bytes32 signed) {
        _signed = signed;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == _signed ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

contract AuditorRegistryTest is Base {
    uint256 private constant AUDITOR_KEY = 0xA0D17;
    bytes32 private constant ATTRS = keccak256("attrs");
    bytes32 private constant NODE = keccak256("GPU-1,GPU-2");
    uint176 private constant BITS = 1 | (1 << 175);

    address private immutable auditor = vm.addr(AUDITOR_KEY);
    IAuditorRegistry private auditors;

    function setUp() public override {
        super.setUp();
        auditors =
            IAuditorRegistry(deploy("AuditorRegistry.sol:AuditorRegistry", abi.encode(params, registry)));
        vm.prank(provider);
        registry.setAttributes(ATTRS);
        vm.startPrank(governor);
        auditors.defineBit(0, "region", "eu-west");
        auditors.defineBit(175, "tier", "3");
        vm.stopPrank();
    }

    function test_it_belongs_to_a_registry_and_to_governance() public view {
        vm.assertEq(auditors.registry(), address(registry), "registry");
        vm.assertEq(auditors.params(), address(params), "params");
        (, string memory name, string memory version, uint256 chain, address where,,) =
            IERC5267(address(auditors)).eip712Domain();
        vm.assertEq(name, "Berth Auditors", "name");
        vm.assertEq(version, "1", "version");
        vm.assertEq(chain, block.chainid, "chain");
        vm.assertEq(where, address(auditors), "contract");
    }

    // --- dictionary ---

    function test_a_bit_gets_a_meaning_for_ever() public {
        vm.startPrank(governor);
        vm.expectEmit(true, true, true, true, address(auditors));
        emit IAuditorRegistry.BitDefined(7, "gpu", "h200");
        auditors.defineBit(7, "gpu", "h200");
        (string memory key, string memory value) = auditors.meaningOf(7);
        vm.assertEq(key, "gpu", "key");
        vm.assertEq(value, "h200", "value");
        vm.assertEq(auditors.definedBits(), 1 | (1 << 7) | (1 << 175), "defined");
        vm.expectRevert(abi.encodeWithSelector(IAuditorRegistry.BitTaken.selector, 7));
        auditors.defineBit(7, "gpu", "b200");
        (key,) = auditors.meaningOf(8);
        vm.assertEq(key, "", "no meaning");
    }

    function test_only_governance_keeps_the_dictionary_whoever_that_is() public {
        vm.prank(governor);
        Ownable2Step(address(params)).transferOwnership(stranger);
        expectRevert(IAuditorRegistry.NotAllowed.selector);
        vm.prank(stranger);
        auditors.defineBit(7, "gpu", "h200");
        vm.startPrank(stranger);
        Ownable2Step(address(params)).acceptOwnership();
        auditors.defineBit(7, "gpu", "h200");
        vm.stopPrank();
        expectRevert(IAuditorRegistry.NotAllowed.selector);
        vm.prank(governor);
        auditors.defineBit(8, "gpu", "b200");
    }

    function test_a_bit_has_an_index_below_176_a_key_and_short_texts() public {
        string memory longest = string(new bytes(64));
        string memory tooLong = string(new bytes(65));
        vm.startPrank(governor);
        expectRevert(IAuditorRegistry.BadBit.selector);
        auditors.defineBit(176, "gpu", "h200");
        expectRevert(IAuditorRegistry.BadBit.selector);
        auditors.defineBit(7, "", "h200");
        expectRevert(IAuditorRegistry.BadBit.selector);
        auditors.defineBit(7, tooLong, "h200");
        expectRevert(IAuditorRegistry.BadBit.selector);
        auditors.defineBit(7, "gpu", tooLong);
        auditors.defineBit(7, longest, longest);
        auditors.defineBit(8, "sev", "");
    }

    // --- an auditor speaks ---

    function test_an_auditor_vouches_until_the_expiry() public {
        uint40 until = time() + 30 days;
        vm.expectEmit(true, true, true, true, address(auditors));
        emit IAuditorRegistry.AuditBitsSet(auditor, provider, NODE, BITS, ATTRS, time(), until);
        vm.prank(auditor);
        auditors.setBits(provider, NODE, BITS, ATTRS, until);
        assertState(NODE, IAuditorRegistry.StatementState.Valid);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), BITS, "bits");
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, 0)), 0, "of the provider as a whole nothing");
        vm.assertEq(uint256(auditors.bitsOf(stranger, provider, NODE)), 0, "nobody else said so");
        IAuditorRegistry.StatementView memory v = auditors.statementOf(auditor, provider, NODE);
        vm.assertEq(v.attrsHash, ATTRS, "attrsHash");
        vm.assertEq(v.expiresAt, until, "expiresAt");
        skip(30 days - 1);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), BITS, "to the last second");
        skip(1);
        assertState(NODE, IAuditorRegistry.StatementState.Expired);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), 0, "expired");
    }

    function test_a_statement_is_void_while_the_attributes_are_others() public {
        vm.prank(auditor);
        auditors.setBits(provider, 0, BITS, ATTRS, time() + 1 days);
        vm.prank(provider);
        registry.setAttributes("others");
        assertState(0, IAuditorRegistry.StatementState.Void);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, 0)), 0, "void");
        vm.expectRevert(abi.encodeWithSelector(IAuditorRegistry.AttrsChanged.selector, bytes32("others")));
        vm.prank(auditor);
        auditors.setBits(provider, 0, BITS, ATTRS, time() + 1 days);
        vm.prank(provider);
        registry.setAttributes(ATTRS);
        assertState(0, IAuditorRegistry.StatementState.Valid);
    }

    function test_nobody_vouches_for_who_published_nothing() public {
        vm.startPrank(auditor);
        vm.expectRevert(abi.encodeWithSelector(IAuditorRegistry.AttrsChanged.selector, bytes32(0)));
        auditors.setBits(stranger, 0, BITS, 0, time() + 1 days);
    }

    function test_bits_without_a_meaning_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IAuditorRegistry.UndefinedBits.selector, 6));
        vm.prank(auditor);
        auditors.setBits(provider, 0, 7, ATTRS, time() + 1 days);
    }

    function test_a_statement_lasts_at_least_a_moment_and_at_most_a_year() public {
        vm.startPrank(auditor);
        expectRevert(IAuditorRegistry.AuditExpired.selector);
        auditors.setBits(provider, 0, BITS, ATTRS, time());
        expectRevert(IAuditorRegistry.DurationOutOfBounds.selector);
        auditors.setBits(provider, 0, BITS, ATTRS, time() + 365 days + 1);
        auditors.setBits(provider, 0, BITS, ATTRS, time() + 365 days);
        auditors.setBits(provider, 0, BITS, ATTRS, time() + 1);
    }

    function test_a_cleared_word_says_nothing_and_stays_cleared() public {
        IAuditorRegistry.AuditStatement memory older = statement(1);
        skip(1);
        vm.startPrank(auditor);
        auditors.setBits(provider, NODE, BITS, ATTRS, time() + 1 days);
        skip(10);
        vm.expectEmit(true, true, true, true, address(auditors));
        emit IAuditorRegistry.AuditCleared(auditor, provider, NODE);
        auditors.clear(provider, NODE);
        vm.stopPrank();
        assertState(NODE, IAuditorRegistry.StatementState.Cleared);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), 0, "bits");
        refuse(older, abi.encodeWithSelector(IAuditorRegistry.NotNewer.selector, time()));
        IAuditorRegistry.AuditStatement memory same = statement(2);
        refuse(same, abi.encodeWithSelector(IAuditorRegistry.NotNewer.selector, time()));
        skip(1);
        submit(statement(3));
        assertState(NODE, IAuditorRegistry.StatementState.Valid);
    }

    function test_nothing_was_said_at_first() public view {
        assertState(0, IAuditorRegistry.StatementState.None);
    }

    // --- signed statements ---

    function test_anyone_submits_what_an_auditor_signed() public {
        IAuditorRegistry.AuditStatement memory s = statement(300);
        skip(60);
        vm.expectEmit(true, true, true, true, address(auditors));
        emit IAuditorRegistry.AuditBitsSet(auditor, provider, NODE, BITS, ATTRS, s.issuedAt, s.expiresAt);
        submit(s);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), BITS, "bits");
        vm.assertEq(
            uint256(auditors.statementOf(auditor, provider, NODE).issuedAt), s.issuedAt, "when it was signed"
        );
        vm.assertTrue(auditors.isNonceUsed(auditor, 300), "used");
        vm.assertTrue(!auditors.isNonceUsed(auditor, 301), "neighbour");
        vm.assertTrue(!auditors.isNonceUsed(auditor, 44), "same bit of another slot");
        vm.assertTrue(!auditors.isNonceUsed(stranger, 300), "somebody else's");
    }

    function test_the_digest_is_that_of_eip_712() public view {
        IAuditorRegistry.AuditStatement memory s = statement(5);
        bytes32 typeHash = keccak256(
            "AuditStatement(address provider,uint176 bits,bytes32 attrsHash,bytes32 nodeId,uint40 issuedAt,uint40 expiresAt,uint256 nonce)"
        );
        bytes32 body = keccak256(
            abi.encode(typeHash, s.provider, s.bits, s.attrsHash, s.nodeId, s.issuedAt, s.expiresAt, s.nonce)
        );
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Berth Auditors"),
                keccak256("1"),
                block.chainid,
                address(auditors)
            )
        );
        vm.assertEq(auditors.digestOf(s), keccak256(abi.encodePacked("\x19\x01", domain, body)), "digest");
    }

    function test_a_statement_is_submitted_once() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        submit(s);
        refuse(s, abi.encodeWithSelector(IAuditorRegistry.NotNewer.selector, s.issuedAt));
        skip(1);
        IAuditorRegistry.AuditStatement memory sameNonce = statement(1);
        refuse(sameNonce, abi.encodeWithSelector(IAuditorRegistry.NonceUsed.selector, 1));
    }

    function test_statements_are_submitted_in_any_order_of_their_nonces() public {
        submit(statement(9));
        skip(1);
        submit(statement(0));
        skip(1);
        submit(statement(type(uint256).max));
    }

    function test_an_older_statement_does_not_replace_a_newer() public {
        IAuditorRegistry.AuditStatement memory better = statement(1);
        skip(1);
        IAuditorRegistry.AuditStatement memory worse = statement(2);
        worse.bits = 0;
        submit(worse);
        refuse(better, abi.encodeWithSelector(IAuditorRegistry.NotNewer.selector, worse.issuedAt));
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), 0, "the newer one");
    }

    function test_a_cancelled_statement_is_not_submitted() public {
        IAuditorRegistry.AuditStatement memory s = statement(12);
        vm.startPrank(auditor);
        vm.expectEmit(true, true, true, true, address(auditors));
        emit IAuditorRegistry.NonceCancelled(auditor, 12);
        auditors.cancel(12);
        vm.expectRevert(abi.encodeWithSelector(IAuditorRegistry.NonceUsed.selector, 12));
        auditors.cancel(12);
        vm.stopPrank();
        refuse(s, abi.encodeWithSelector(IAuditorRegistry.NonceUsed.selector, 12));
    }

    function test_a_statement_from_the_future_waits() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        s.issuedAt = time() + 1;
        refuse(s, abi.encodePacked(IAuditorRegistry.DurationOutOfBounds.selector));
        skip(1);
        submit(s);
    }

    function test_signed_statements_obey_the_same_bounds() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        s.expiresAt = time();
        refuse(s, abi.encodePacked(IAuditorRegistry.AuditExpired.selector));
        s.expiresAt = time() + 365 days + 1;
        refuse(s, abi.encodePacked(IAuditorRegistry.DurationOutOfBounds.selector));
        s = statement(1);
        s.bits = 4;
        refuse(s, abi.encodeWithSelector(IAuditorRegistry.UndefinedBits.selector, 4));
        s = statement(1);
        s.attrsHash = "others";
        refuse(s, abi.encodeWithSelector(IAuditorRegistry.AttrsChanged.selector, ATTRS));
        vm.assertTrue(!auditors.isNonceUsed(auditor, 1), "what is refused uses no nonce");
    }

    function test_only_the_auditors_own_signature_counts() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        bytes memory signature = sign(s);
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(stranger, s, signature);
        s.bits = 1;
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(auditor, s, signature);
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(auditor, s, "");
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(address(0), s, signature);
    }

    function test_the_twin_of_a_signature_is_refused() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        (uint8 v, bytes32 r, bytes32 low) = vm.sign(AUDITOR_KEY, auditors.digestOf(s));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(auditor, s, abi.encodePacked(r, bytes32(order - uint256(low)), v == 27 ? 28 : 27));
    }

    function test_a_signature_for_another_chain_or_contract_is_refused() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        bytes memory signature = sign(s);
        IAuditorRegistry twin =
            IAuditorRegistry(deploy("AuditorRegistry.sol:AuditorRegistry", abi.encode(params, registry)));
        vm.startPrank(governor);
        twin.defineBit(0, "region", "eu-west");
        twin.defineBit(175, "tier", "3");
        vm.stopPrank();
        expectRevert(IAuditorRegistry.BadSignature.selector);
        twin.submit(auditor, s, signature);
        vm.chainId(block.chainid + 1);
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(auditor, s, signature);
    }

    function test_an_auditor_may_be_a_contract() public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        address firm = address(new AuditFirm(auditors.digestOf(s)));
        auditors.submit(firm, s, "");
        vm.assertEq(uint256(auditors.bitsOf(firm, provider, NODE)), BITS, "bits");
        s.nonce = 2;
        skip(1);
        s.issuedAt = time();
        expectRevert(IAuditorRegistry.BadSignature.selector);
        auditors.submit(firm, s, "");
    }

    /// Whatever is signed, at most the defined bits of an unexpired statement are ever told.
    function test_no_statement_tells_more_than_was_signed(uint176 bits, uint40 life, uint40 wait) public {
        IAuditorRegistry.AuditStatement memory s = statement(1);
        s.bits = bits & uint176(auditors.definedBits());
        life = life % 365 days + 1;
        wait %= 400 days;
        s.expiresAt = time() + life;
        submit(s);
        skip(wait);
        vm.assertEq(uint256(auditors.bitsOf(auditor, provider, NODE)), wait < life ? s.bits : 0, "bits");
    }

    function statement(uint256 nonce) private view returns (IAuditorRegistry.AuditStatement memory) {
        return IAuditorRegistry.AuditStatement({
            provider: provider,
            bits: BITS,
            attrsHash: ATTRS,
            nodeId: NODE,
            issuedAt: time(),
            expiresAt: time() + 30 days,
            nonce: nonce
        });
    }

    function sign(IAuditorRegistry.AuditStatement memory s) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 low) = vm.sign(AUDITOR_KEY, auditors.digestOf(s));
        return abi.encodePacked(r, low, v);
    }

    function submit(IAuditorRegistry.AuditStatement memory s) private {
        bytes memory signature = sign(s);
        vm.prank(stranger);
        auditors.submit(auditor, s, signature);
    }

    function refuse(IAuditorRegistry.AuditStatement memory s, bytes memory why) private {
        bytes memory signature = sign(s);
        vm.expectRevert(why);
        vm.prank(stranger);
        auditors.submit(auditor, s, signature);
    }

    function assertState(bytes32 nodeId, IAuditorRegistry.StatementState want) private view {
        vm.assertEq(uint256(auditors.statementOf(auditor, provider, nodeId).state), uint256(want), "state");
    }
}

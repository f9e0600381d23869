// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Id} from "../src/libraries/Id.sol";
import {Vm} from "./Vm.sol";

contract IdTest {
    using Id for bytes32;

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function test_an_id_gives_back_what_it_was_made_of(address owner, uint64 dseq, uint16 gseq, uint16 oseq)
        public
        pure
    {
        bytes32 accountId = Id.ofAccount(owner, dseq);
        bytes32 orderId = bytes32(uint256(accountId) | (uint256(gseq) << 16) | oseq);
        vm.assertEq(orderId.tenant(), owner, "tenant");
        vm.assertEq(orderId.account(), accountId, "account");
        vm.assertEq(orderId.gseq(), gseq, "gseq");
        vm.assertEq(orderId.oseq(), oseq, "oseq");
        vm.assertEq(uint64(uint256(orderId) >> 32), dseq, "dseq");
    }

    function test_the_word_reads_tenant_dseq_gseq_oseq_from_the_left() public pure {
        bytes32 accountId = Id.ofAccount(0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB, 0x01020304);
        vm.assertEq(
            accountId,
            0xabababababababababababababababababababab000000000102030400000000,
            "word of the account"
        );
    }
}

//! Why a contract refused a call, read from what it returned.

use ethers_core::utils::keccak256;
use manifests::money::Rate;
use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};

/// What a caller does about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The same call will be refused again: give it up.
    Permanent,
    /// It may pass later, unchanged.
    Transient,
    /// What the call was about looks different from what the caller thought: read again, then decide.
    ReadAgain,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident $( { $( $(#[$field_doc:meta])* $field:ident : $kind:ident ),+ $(,)? } )? = $reaction:ident, $text:literal;)+) => {
        /// The custom errors of our contracts and of the token, beside Solidity's own.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
        #[serde(rename_all = "snake_case")]
        pub enum MarketError {
            $($(#[$doc])* #[error($text)] $name $( { $( $(#[$field_doc])* $field: errors!(@type $kind) ),+ } )?,)+
            /// `require` or `revert` with a text.
            #[error("the contract says: {text}")]
            Text {
                /// The text, cleaned.
                text: String,
            },
            /// An assertion, an overflow, or another fault that the compiler guards against.
            #[error("the contract panicked with code {code:#x}")]
            Panic {
                /// Solidity's panic code.
                code: u8,
            },
            /// An error that is not in this list, or none at all.
            #[error("the contract refused without a reason that is known here ({data})")]
            Unknown {
                /// The first bytes of what was returned, as hex.
                data: String,
            },
        }

        impl MarketError {
            /// What to do about it.
            #[must_use]
            pub fn reaction(&self) -> Reaction {
                match self {
                    $(Self::$name { .. } => Reaction::$reaction,)+
                    Self::Text { .. } | Self::Panic { .. } => Reaction::Permanent,
                    Self::Unknown { .. } => Reaction::Transient,
                }
            }

            /// Name and argument types of each custom error, as Solidity hashes them for its selector.
            pub(crate) fn signatures() -> Vec<String> {
                vec![$(format!("{}({})", stringify!($name), <[&str]>::join(&[$($(errors!(@abi $kind)),+)?], ","))),+]
            }

            fn custom(selector: [u8; 4], words: &[[u8; 32]]) -> Option<Self> {
                let mut signatures = Self::signatures().into_iter();
                $(
                    if selector_of(&signatures.next()?) == selector {
                        let mut words = words.iter();
                        $($(let $field = errors!(@read $kind, words.next()?)?;)+)?
                        let _ = &mut words;
                        return Some(Self::$name $({ $($field),+ })?);
                    }
                )+
                None
            }
        }
    };
    (@type state) => { u8 };
    (@type secs16) => { u16 };
    (@type time) => { u64 };
    (@type bits96) => { u128 };
    (@type rate) => { Rate };
    (@type number) => { u128 };
    (@type hash) => { Hash };
    (@type address) => { Address };
    (@abi state) => { "uint8" };
    (@abi secs16) => { "uint16" };
    (@abi time) => { "uint40" };
    (@abi bits96) => { "uint96" };
    (@abi rate) => { "uint80" };
    (@abi number) => { "uint256" };
    (@abi hash) => { "bytes32" };
    (@abi address) => { "address" };
    (@read state, $word:expr) => { u8::try_from(number($word)).ok() };
    (@read secs16, $word:expr) => { u16::try_from(number($word)).ok() };
    (@read time, $word:expr) => { u64::try_from(number($word)).ok() };
    (@read bits96, $word:expr) => { Some(number($word)) };
    (@read rate, $word:expr) => { Rate::new(number($word)).ok() };
    (@read number, $word:expr) => { Some(number($word)) };
    (@read hash, $word:expr) => { Some(Hash(*$word)) };
    (@read address, $word:expr) => { Some(address($word)) };
}

errors! {
    /// The caller is not the tenant that the id names.
    NotTenant = Permanent, "the account that signs is not the tenant of this deployment";
    /// The caller is not the operator key of the provider (or, to end a lease or give notice, its owner).
    NotOperator = Permanent, "the account that signs is not the operator of this provider";
    /// No such account.
    UnknownId = ReadAgain, "the chain knows no such deployment";
    /// The id was used before.
    IdTaken = Permanent, "this id was used before";
    /// Groups and orders count from 1.
    InvalidId = Permanent, "this id cannot name an order: groups and orders count from 1";
    /// The order or lease is in another state.
    WrongState {
        /// The state it is in, as the contract numbers it: 0 none, 1 open, 2 active, 3 reclaiming, 4 closed, 5 expired, 6 depleted.
        have: state,
    } = ReadAgain, "the order or lease is in another state by now ({have})";
    /// The order, or the bid, is past its time.
    Expired = Permanent, "the order or the bid is past its time";
    /// The order's spec is another one.
    SpecMismatch {
        /// Its hash.
        have: hash,
    } = ReadAgain, "the order's spec is another one than was read before";
    /// Above what the order pays, or above the earlier bid.
    RateTooHigh {
        /// The most that is taken.
        max: rate,
    } = Permanent, "the rate is above {max}, the most that is taken";
    /// A rate of nothing.
    RateZero = Permanent, "a rate of zero is not taken";
    /// The bid's terms are not the ones that were accepted.
    RateChanged {
        /// Its rate now.
        have: rate,
    } = ReadAgain, "the bid's terms changed since they were read; its rate is now {have}";
    /// The promised notice is too short.
    ReclaimTooShort = Permanent, "the promised notice is shorter than the order wants, or than promised before";
    /// The minimum bill is too long.
    MinBillTooLong {
        /// The most seconds that are taken.
        max: secs16,
    } = Permanent, "the minimum bill is above {max} seconds, the most that is taken";
    /// There is no such bid (any more).
    BidNotOpen = ReadAgain, "the bid is not open: it was taken back, or expired, or never placed";
    /// The provider is retired or unknown.
    ProviderInactive = Permanent, "the provider takes no new leases";
    /// Tenant and provider are the same.
    SelfDealing = Permanent, "tenant and provider are the same";
    /// The provider's free stake does not cover the bond.
    StakeTooLow {
        /// Token units of stake that no lease locks.
        free: number,
        /// Token units that are needed.
        need: number,
    } = Transient, "the provider's free stake of {free} units is below the {need} that are needed";
    /// The account holds too little for its leases.
    RunwayTooShort {
        /// Token units that are there.
        have: number,
        /// Token units that are needed.
        need: number,
    } = ReadAgain, "the escrow account has {have} units where {need} are needed: deposit more";
    /// The account's money ended.
    AccountDepleted {
        /// Unix seconds when.
        ended_at: time,
    } = Permanent, "the escrow account ran dry at {ended_at}, and its leases ended with it";
    /// Zero, or the token moved another amount than asked.
    AmountMismatch = Permanent, "the amount is zero, or the token moved another amount than asked";
    /// The order's lifetime is too short or too long, or its deadline does not fit; or a bid would expire before the award.
    DurationOutOfBounds = Permanent, "the order or bid would expire too soon or too late for this market or for the award";
    /// The notice still runs.
    ReclaimNotElapsed {
        /// Unix seconds until when; 0 if no notice was given.
        deadline: time,
    } = Transient, "the notice runs until {deadline}";
    /// Too many ids, a spec that is empty or too large, or a number beyond its cap.
    CapExceeded = Permanent, "a spec is empty or above 8192 bytes, a list above 100 entries, or a number above its cap";
    /// The reason is not one that this caller may give.
    ReasonOutOfRange {
        /// The reason that was given.
        reason: state,
    } = Permanent, "reason {reason} is not one that this side may give";
    /// Not traded in this version.
    UnsupportedKind {
        /// The kind that was asked for.
        kind: state,
    } = Permanent, "this market does not trade orders of kind {kind}";
    /// Not traded in this version.
    UnsupportedMode {
        /// The mode that was asked for.
        mode: state,
        /// Its deadline.
        deadline: time,
    } = Permanent, "this market does not know bidding mode {mode} with deadline {deadline}";
    /// The order goes another way than by this call.
    WrongMode {
        /// The order's mode: 0 its tenant decides, 1 its lowest bid wins.
        mode: state,
    } = Permanent, "the order is of mode {mode}: its tenant accepts a bid (mode 0) or anyone awards it to the lowest (mode 1)";
    /// The provider does not claim what the order asks for.
    MissingCapabilities {
        /// Bits of what is missing.
        missing: number,
    } = Permanent, "the provider does not claim the capabilities {missing:#x}, which the order asks for";
    /// The best bid of an order that is awarded stays.
    BidIsBest = Permanent, "the bid is the lowest of an order that is awarded: it stays until it is bettered, awarded or expired";
    /// The award comes after the deadline.
    AwardNotDue {
        /// Unix seconds until which bids are taken.
        deadline: time,
    } = Transient, "bids are taken until {deadline}; the award comes after it";
    /// A signature is not of the key that should have signed.
    BadSignature = Permanent, "the signature is not of the key that should have signed this";
    /// A signed request was used, or taken back.
    NonceUsed = Permanent, "this was sent before, or its signer took it back";
    /// The market begins nothing new.
    Paused {
        /// Unix seconds until when; the largest number: for good.
        until: time,
    } = Transient, "the market is paused and begins nothing new until {until}";
    /// The guardian paused before.
    PauseSpent = Permanent, "the guardian's pause is used up until the owner rearms it";
    /// The caller may not pause.
    NotGovernor = Permanent, "the account that signs neither governs nor guards this market";
    /// Contracts that do not fit together.
    BadSetup = Permanent, "these contracts do not belong together";
    /// The caller may not do this.
    NotAllowed = Permanent, "the account that signs may not do this";
    /// Stake cannot be taken out yet.
    StillBonded {
        /// Unix seconds from which it can; 0 if nothing was requested.
        unbond_at: time,
    } = Transient, "the stake is bonded until {unbond_at}";
    /// There are no such capabilities.
    UnknownCapabilities {
        /// The bits that mean nothing.
        bits: bits96,
    } = Permanent, "there are no such capabilities: {bits:#x}";
    /// The gateway's URI is empty or too long.
    BadUri = Permanent, "the gateway's URI is empty or longer than 256 bytes";
    /// The zero address is no one.
    ZeroAddress = Permanent, "the zero address can neither sign nor receive";
    /// The caller does not own the governance contract.
    OwnableUnauthorizedAccount {
        /// The caller.
        account: address,
    } = Permanent, "{account} is not the owner";
    /// No such owner can be.
    OwnableInvalidOwner {
        /// Who was named.
        owner: address,
    } = Permanent, "{owner} cannot be the owner";
    /// A call into a call.
    ReentrancyGuardReentrantCall = Permanent, "a call came in while another was under way";
    /// A token transfer failed.
    SafeERC20FailedOperation {
        /// The token.
        token: address,
    } = Transient, "the token {token} did not move the money";
    /// A number does not fit its field.
    SafeCastOverflowedUintDowncast {
        /// Bits of the field.
        bits: state,
        /// The number.
        value: number,
    } = Permanent, "{value} does not fit {bits} bits";
    /// A number does not fit its field.
    SafeCastOverflowedUintToInt {
        /// The number.
        value: number,
    } = Permanent, "{value} does not fit its field";
    /// A call to an address without code.
    AddressEmptyCode {
        /// The address.
        target: address,
    } = Permanent, "there is no contract at {target}";
    /// A call within the call failed.
    FailedCall = Transient, "a call to another contract failed";
    /// The sender has too few tokens.
    ERC20InsufficientBalance {
        /// Who.
        sender: address,
        /// Token units there.
        balance: number,
        /// Token units that are needed.
        needed: number,
    } = ReadAgain, "{sender} has {balance} token units where {needed} are needed";
    /// The sender allowed too little.
    ERC20InsufficientAllowance {
        /// Who wanted to move the tokens.
        spender: address,
        /// Token units allowed.
        allowance: number,
        /// Token units that are needed.
        needed: number,
    } = ReadAgain, "{spender} may move {allowance} token units where {needed} are needed: approve first";
    /// A permit that is too old.
    ERC2612ExpiredSignature {
        /// Unix seconds of its end.
        deadline: number,
    } = Permanent, "the permit ended at {deadline}";
    /// A permit that another key signed.
    ERC2612InvalidSigner {
        /// Who signed.
        signer: address,
        /// Who should have.
        owner: address,
    } = Permanent, "the permit was signed by {signer}, not by {owner}";
}

impl MarketError {
    /// Reads what a reverted call returned.
    #[must_use]
    pub fn from_revert(data: &[u8]) -> Self {
        let unknown = || Self::Unknown { data: format!("0x{}", hex::encode(&data[..data.len().min(36)])) };
        let Some((selector, arguments)) = data.split_first_chunk::<4>() else { return unknown() };
        let (words, _) = arguments.as_chunks::<32>();
        match (*selector, words) {
            // Error(string): offset, length, text.
            ([0x08, 0xc3, 0x79, 0xa0], [_, length, ..]) => {
                let length = usize::try_from(number(length)).unwrap_or(usize::MAX);
                let text = &arguments[64..];
                let text = String::from_utf8_lossy(&text[..length.min(text.len())]).into_owned();
                Self::Text { text: crate::rpc::clean(&text) }
            }
            // Panic(uint256)
            ([0x4e, 0x48, 0x7b, 0x71], [code, ..]) => Self::Panic { code: code[31] },
            _ => Self::custom(*selector, words).unwrap_or_else(unknown),
        }
    }
}

fn selector_of(signature: &str) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature);
    [a, b, c, d]
}

/// A word as a number; one above 128 bits is shown as the largest that fits, since these are only told to people.
fn number(word: &[u8; 32]) -> u128 {
    let (high, low) = word.split_at(16);
    if high.iter().any(|byte| *byte != 0) {
        return u128::MAX;
    }
    low.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn address(word: &[u8; 32]) -> Address {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&word[12..]);
    Address(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bindings;

    #[test]
    fn every_error_of_our_contracts_is_known_with_its_arguments() {
        let known: BTreeSet<String> = MarketError::signatures().into_iter().collect();
        let abis = [&bindings::MARKET_ABI, &bindings::PROVIDERREGISTRY_ABI, &bindings::PARAMS_ABI];
        for abi in abis {
            for error in abi.errors() {
                let kinds: Vec<String> = error.inputs.iter().map(|input| input.kind.to_string()).collect();
                let signature = format!("{}({})", error.name, kinds.join(","));
                // Of the constructor alone, which names its EIP-712 domain.
                if signature == "InvalidShortString()" || signature == "StringTooLong(string)" {
                    continue;
                }
                assert!(known.contains(&signature), "{signature} is not in the list");
            }
        }
    }

    #[test]
    fn arguments_are_read_from_their_words() {
        let mut data = selector_of("RunwayTooShort(uint256,uint256)").to_vec();
        data.extend([0; 31]);
        data.push(7);
        data.extend([0; 30]);
        data.extend([1, 0]);
        let error = MarketError::from_revert(&data);
        assert_eq!(error, MarketError::RunwayTooShort { have: 7, need: 256 });
        assert_eq!(error.reaction(), Reaction::ReadAgain);
        let json = serde_json::to_string(&error).expect("json");
        assert_eq!(serde_json::from_str::<MarketError>(&json).expect("back"), error);
    }

    #[test]
    fn texts_panics_and_silence_are_told_apart() {
        let text = "08c379a0\
            0000000000000000000000000000000000000000000000000000000000000020\
            0000000000000000000000000000000000000000000000000000000000000002\
            6e6f000000000000000000000000000000000000000000000000000000000000";
        let text = MarketError::from_revert(&hex::decode(text).expect("hex"));
        assert_eq!(text, MarketError::Text { text: "no".to_owned() });
        let mut panic = hex::decode("4e487b71").expect("hex");
        panic.extend([0; 31]);
        panic.push(0x11);
        assert_eq!(MarketError::from_revert(&panic), MarketError::Panic { code: 0x11 });
        assert_eq!(MarketError::from_revert(&[]), MarketError::Unknown { data: "0x".to_owned() });
        assert_eq!(MarketError::from_revert(&[1, 2, 3, 4]).reaction(), Reaction::Transient);
    }
}

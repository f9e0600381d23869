//! Who signs for an account: the seam between what we want to send and the key that lets us.
//!
//! A [`Signer`] stands for one account. Behind it is a key in this process ([`Wallet`]) or one that a signing service holds
//! ([`Service`]: web3signer's JSON-RPC over HTTP); whoever asks need not know which. What comes back is what was asked, signed
//! by that account, or an error: then nothing was signed that anyone could send. A [`Policy`] before either kind of key says
//! what the key is for; it is asked before the key is.
//!
//! A key in a cloud's key management (KMS) is not spoken to from here: web3signer holds such keys (AWS, Azure, vaults), and
//! another kind of key is one more variant behind this seam, held to the same checks.

mod daily;
mod policy;
mod service;
mod typed;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Eip1559TransactionRequest, U256};
use manifests::order::Address;

pub use self::policy::{DailyGas, Denial, Policy};
pub use self::service::{Service, ServiceError, ServiceUrl};
pub(crate) use self::typed::TypedData;

use self::daily::Day;
use crate::rpc::RpcError;
use crate::sender::Attempt;
use crate::wallet::Wallet;

/// Why something was not signed. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The policy of the key forbids it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The signing service gave no signature.
    #[error("the signing service did not sign for {account}: {error}")]
    NoSignature {
        /// The account that was to sign.
        account: Address,
        /// How it failed.
        error: RpcError,
    },
    /// The signing service answered with something else than was asked.
    #[error(
        "the signing service {endpoint} was asked to sign for {account} and did not return that: {problem}; nothing was sent, \
         and the service cannot be trusted until this is explained"
    )]
    NotWhatWasAsked {
        /// Scheme, host and port of the service.
        endpoint: String,
        /// The account that was to sign.
        account: Address,
        /// What differs.
        problem: String,
    },
}

impl SignError {
    /// Whether the same may be signed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Denied(denial) => denial.is_transient(),
            Self::NoSignature { error, .. } => error.is_transient(),
            Self::NotWhatWasAsked { .. } => false,
        }
    }
}

/// The signer of one account. Clones share the key and the day's count of gas.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Arc<Key>,
    guard: Option<Arc<Guard>>,
}

#[derive(Debug)]
enum Key {
    Local(Wallet),
    Remote(Service),
}

/// What stands before the key.
#[derive(Debug)]
struct Guard {
    policy: Policy,
    day: Mutex<Day>,
}

impl From<Wallet> for Signer {
    fn from(wallet: Wallet) -> Self {
        Self { key: Arc::new(Key::Local(wallet)), guard: None }
    }
}

impl From<&Wallet> for Signer {
    fn from(wallet: &Wallet) -> Self {
        wallet.clone().into()
    }
}

impl From<Service> for Signer {
    fn from(service: Service) -> Self {
        Self { key: Arc::new(Key::Remote(service)), guard: None }
    }
}

impl From<&Self> for Signer {
    fn from(signer: &Self) -> Self {
        signer.clone()
    }
}

impl Signer {
    /// The same key behind a policy, which clones made before do not have. `signed` are the attempts that this account signed
    /// since the UTC day began ([`Policy::day_began`]), so that a restart does not give the day's gas anew.
    #[must_use]
    pub fn guarded(self, policy: Policy, signed: &[Attempt]) -> Self {
        let mut day = Day::default();
        for attempt in signed.iter().filter(|attempt| attempt.key == self.address()) {
            day.count(attempt.signed_at, attempt.nonce, attempt.most_wei());
        }
        Self { guard: Some(Arc::new(Guard { policy, day: Mutex::new(day) })), ..self }
    }

    /// The account that signs.
    #[must_use]
    pub fn address(&self) -> Address {
        match &*self.key {
            Key::Local(wallet) => wallet.address(),
            Key::Remote(service) => service.address(),
        }
    }

    /// Where the key is, for people: never the key, and no credentials.
    #[must_use]
    pub fn place(&self) -> String {
        match &*self.key {
            Key::Local(_) => "the keystore file".to_owned(),
            Key::Remote(service) => format!("the signing service {}", service.endpoint()),
        }
    }

    /// The transaction as it is sent, signed: the bytes of exactly this one.
    pub(crate) async fn sign_transaction(
        &self,
        transaction: Eip1559TransactionRequest,
    ) -> Result<Vec<u8>, SignError> {
        if let Some(guard) = &self.guard {
            guard.admit(self.address(), &transaction)?;
        }
        match &*self.key {
            Key::Local(wallet) => {
                let transaction = TypedTransaction::Eip1559(transaction);
                Ok(transaction.rlp_signed(&wallet.sign_transaction(&transaction)).to_vec())
            }
            Key::Remote(service) => service.sign_transaction(transaction).await,
        }
    }

    /// The signature of typed data (EIP-712): r, s and v in 65 bytes, s low, v 27 or 28.
    pub(crate) async fn sign_typed_data(&self, data: &TypedData) -> Result<[u8; 65], SignError> {
        if let Some(guard) = &self.guard {
            guard.policy.admit_typed_data(self.address(), &data.name)?;
        }
        match &*self.key {
            Key::Local(wallet) => Ok(wallet.sign_digest(data.digest)),
            Key::Remote(service) => service.sign_typed_data(data).await,
        }
    }
}

impl Guard {
    fn admit(&self, key: Address, transaction: &Eip1559TransactionRequest) -> Result<(), Denial> {
        let may_use_reserve = self.policy.admit(key, transaction)?;
        let number = |number: Option<U256>| number.and_then(|number| u128::try_from(number).ok());
        let cost = match (number(transaction.gas), number(transaction.max_fee_per_gas)) {
            (Some(gas), Some(fee)) => gas.saturating_mul(fee),
            _ => u128::MAX,
        };
        let nonce = transaction.nonce.as_ref().map_or(0, U256::low_u64);
        let mut day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        day.admit(unix_now(), nonce, cost, self.policy.daily_gas(), may_use_reserve)
            .map_err(|denial| denial.of(key))
    }
}

/// The wall clock, in unix seconds.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

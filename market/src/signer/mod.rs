//! Who signs for an account: the seam between what we want to send and the key that lets us.
//!
//! A [`Signer`] stands for one account. Behind it is a key in this process, or one that a signing service holds; whoever asks
//! need not know which. What comes back is what was asked, signed by that account, or an error: then nothing was signed that
//! anyone could send.

use std::sync::Arc;

use ethers_core::types::Eip1559TransactionRequest;
use ethers_core::types::transaction::eip2718::TypedTransaction;
use manifests::order::Address;

use crate::wallet::Wallet;

/// Why something was not signed. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {}

impl SignError {
    /// Whether the same may be signed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match *self {}
    }
}

/// The signer of one account. Clones share it.
#[derive(Debug, Clone)]
pub struct Signer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: Key,
}

#[derive(Debug)]
enum Key {
    Local(Wallet),
}

impl From<Wallet> for Signer {
    fn from(wallet: Wallet) -> Self {
        Self(Arc::new(Inner { key: Key::Local(wallet) }))
    }
}

impl Signer {
    /// The account that signs.
    #[must_use]
    pub fn address(&self) -> Address {
        match &self.0.key {
            Key::Local(wallet) => wallet.address(),
        }
    }

    /// The transaction as it is sent, signed: the bytes of exactly this one.
    pub(crate) async fn sign_transaction(
        &self,
        transaction: Eip1559TransactionRequest,
    ) -> Result<Vec<u8>, SignError> {
        match &self.0.key {
            Key::Local(wallet) => {
                let transaction = TypedTransaction::Eip1559(transaction);
                Ok(transaction.rlp_signed(&wallet.sign_transaction(&transaction)).to_vec())
            }
        }
    }
}

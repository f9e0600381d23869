//! A key that a signing service holds, spoken to as web3signer is: JSON-RPC over HTTP, `eth_accounts`, `eth_signTransaction`,
//! `eth_signTypedData`.
//!
//! The service is asked, not believed. A transaction that comes back must be, byte by byte, the one that was asked for, and
//! what it signed must recover to the account that was pinned at the start. Signing has no effect by itself, so what got no
//! answer is asked again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Eip1559TransactionRequest, H256, NameOrAddress, RecoveryMessage, Signature, U256};
use ethers_core::utils::rlp::{DecoderError, Rlp};
use manifests::order::Address;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::{SignError, TypedData};
use crate::rpc::{Endpoint, RpcError};

/// How often a question is put that gets no answer.
const TRIES: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// The type byte of a transaction with a base fee (EIP-1559).
const WITH_BASE_FEE: u8 = 2;
/// Its fields in order, before the signature.
const FIELDS: [&str; 9] = [
    "the chain id",
    "the nonce",
    "the tip",
    "the highest fee",
    "the gas limit",
    "the address",
    "the value",
    "the data",
    "the access list",
];

/// Half the order of secp256k1: nodes take no signature whose s is above.
const HALF_ORDER: U256 =
    U256([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, u64::MAX, 0x7fff_ffff_ffff_ffff]);

/// Where a signing service is. Debug and errors show scheme, host and port: the rest may hold credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(Url);

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceUrl({})", self.0.origin().ascii_serialization())
    }
}

impl FromStr for ServiceUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it is not a URL with http or https and a host";
        let url: Url = text.trim().parse().map_err(|_| FORM)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(FORM);
        }
        Ok(Self(url))
    }
}

/// Why a signing service cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The file with its certificate authorities is not to be read.
    #[error("the certificate authorities in {} cannot be used: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// It holds other keys.
    #[error("the signing service {endpoint} does not hold the key of {account}: {have}")]
    OtherKeys {
        /// Scheme, host and port of the service.
        endpoint: String,
        /// The account that is wanted.
        account: Address,
        /// Which it holds, in words.
        have: String,
    },
}

/// A key of one account at a signing service.
#[derive(Debug)]
pub struct Service {
    endpoint: Endpoint,
    account: Address,
    /// How long one question may take.
    limit: Duration,
}

impl Service {
    /// The key of `account` at a service, which must hold it. `authorities` is a PEM file of the certificate authorities that
    /// its certificate is judged by, alone; without one the system's are asked. Each question may take `limit`.
    ///
    /// # Errors
    /// [`ServiceError`] when the service does not answer or does not hold the key.
    pub async fn connect(
        url: &ServiceUrl,
        account: Address,
        authorities: Option<&Path>,
        limit: Duration,
    ) -> Result<Self, ServiceError> {
        let authorities = authorities.map(read_authorities).transpose()?;
        let endpoint = Endpoint::trusting(url.0.as_str(), authorities)?;
        let service = Self { endpoint, account, limit };
        let accounts: Vec<Address> = service.ask("eth_accounts", &json!([])).await?;
        if accounts.contains(&account) {
            return Ok(service);
        }
        let have = match accounts.as_slice() {
            [] => "it holds none; load the key there".to_owned(),
            [one] => format!("it holds that of {one}; load the key there, or correct wallet.address"),
            many => format!("it holds {} others; load the key there, or correct wallet.address", many.len()),
        };
        Err(ServiceError::OtherKeys { endpoint: service.endpoint().to_owned(), account, have })
    }

    /// The account that signs.
    #[must_use]
    pub fn address(&self) -> Address {
        self.account
    }

    /// Scheme, host and port of the service.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.shown()
    }

    pub(super) async fn sign_transaction(
        &self,
        transaction: Eip1559TransactionRequest,
    ) -> Result<Vec<u8>, SignError> {
        let raw: String =
            self.sign("eth_signTransaction", &json!([as_asked(self.account, &transaction)])).await?;
        let raw = raw.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
        let raw = raw.ok_or_else(|| self.mistrust("it is not hex"))?;
        self.check_transaction(&raw, &transaction.into()).map_err(|problem| self.mistrust(&problem))?;
        Ok(raw)
    }

    pub(super) async fn sign_typed_data(&self, data: &TypedData) -> Result<[u8; 65], SignError> {
        // The document travels as a text within the JSON, which is how web3signer reads it.
        let params = json!([self.account, data.document.to_string()]);
        let text: String = self.sign("eth_signTypedData", &params).await?;
        let bytes = text.strip_prefix("0x").and_then(|digits| hex::decode(digits).ok());
        let signature = bytes.and_then(|bytes| Signature::try_from(bytes.as_slice()).ok());
        let signature = signature.ok_or_else(|| self.mistrust("it is not a signature of 65 bytes"))?;
        let v = match signature.v {
            parity @ (0 | 1) => parity + 27,
            v => v,
        };
        let signature = Signature { v, ..signature };
        self.check_signature(&signature, H256(data.digest.0)).map_err(|problem| self.mistrust(&problem))?;
        Ok(<[u8; 65]>::from(signature))
    }

    async fn sign<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<R, SignError> {
        let asked = self.ask(method, params).await;
        asked.map_err(|error| SignError::NoSignature { account: self.account, error })
    }

    /// Puts a question, and again if there is no answer: none of them has an effect.
    async fn ask<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<R, RpcError> {
        let params = to_raw_value(params).expect("parameters are made of texts, numbers and lists");
        let mut tries = 1;
        loop {
            match self.endpoint.call(method, &params, self.limit).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::warn!(tries, %error, "asking the signing service again");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    fn mistrust(&self, problem: &str) -> SignError {
        SignError::NotWhatWasAsked {
            endpoint: self.endpoint().to_owned(),
            account: self.account,
            problem: problem.to_owned(),
        }
    }

    /// Whether the bytes are the transaction that was asked for, with a signature of our account.
    fn check_transaction(&self, raw: &[u8], asked: &TypedTransaction) -> Result<(), String> {
        let garbled = |_: DecoderError| "it is not a signed transaction".to_owned();
        let Some((&WITH_BASE_FEE, list)) = raw.split_first() else {
            return Err("it is not a transaction with a base fee (EIP-1559)".to_owned());
        };
        let (unsigned, list) = (asked.rlp(), Rlp::new(list));
        let wanted = Rlp::new(unsigned.get(1..).unwrap_or_default());
        if list.item_count().map_err(garbled)? != FIELDS.len() + 3 {
            return Err("it is not a signed transaction".to_owned());
        }
        for (index, field) in FIELDS.iter().enumerate() {
            let (have, want) = (list.at(index).map_err(garbled)?, wanted.at(index).map_err(garbled)?);
            if have.as_raw() != want.as_raw() {
                return Err(format!("{field} is another one"));
            }
        }
        let number = |index: usize| list.val_at::<U256>(FIELDS.len() + index).map_err(garbled);
        let (parity, r, s) = (number(0)?, number(1)?, number(2)?);
        if parity > U256::one() {
            return Err("its signature is not one of secp256k1".to_owned());
        }
        let signature = Signature { r, s, v: parity.low_u64() };
        // Whatever else might hide in the bytes: these are the only ones that say this.
        if asked.rlp_signed(&signature).as_ref() != raw {
            return Err("it has bytes that do not belong there".to_owned());
        }
        self.check_signature(&signature, asked.sighash())
    }

    fn check_signature(&self, signature: &Signature, digest: H256) -> Result<(), String> {
        if signature.s > HALF_ORDER {
            return Err("its signature has a high s, which nodes refuse".to_owned());
        }
        match signature.recover(RecoveryMessage::Hash(digest)) {
            Ok(signer) if signer.0 == self.account.0 => Ok(()),
            Ok(signer) => Err(format!("it was signed by {}", Address(signer.0))),
            Err(_) => Err("its signature is not one of secp256k1".to_owned()),
        }
    }
}

/// The transaction in the words of `eth_signTransaction`.
fn as_asked(account: Address, transaction: &Eip1559TransactionRequest) -> serde_json::Value {
    let Eip1559TransactionRequest {
        from: _,
        to,
        gas,
        value,
        data,
        nonce,
        access_list: _,
        max_priority_fee_per_gas,
        max_fee_per_gas,
        chain_id,
    } = transaction;
    let mut asked = json!({
        "from": account,
        "gas": gas.unwrap_or_default(),
        "value": value.unwrap_or_default(),
        "nonce": nonce.unwrap_or_default(),
        "data": data.clone().unwrap_or_default(),
        "maxPriorityFeePerGas": max_priority_fee_per_gas.unwrap_or_default(),
        "maxFeePerGas": max_fee_per_gas.unwrap_or_default(),
        "chainId": chain_id.unwrap_or_default(),
    });
    if let Some(to) = to.as_ref().and_then(NameOrAddress::as_address) {
        asked["to"] = json!(Address(to.0));
    }
    asked
}

fn read_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ServiceError> {
    let failed = |problem: String| ServiceError::Authorities { path: path.to_owned(), problem };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let authorities = reqwest::Certificate::from_pem_bundle(&text)
        .map_err(|_| failed("it is not a file of certificates in PEM".to_owned()))?;
    if authorities.is_empty() {
        return Err(failed("there is no certificate in it; write them as PEM".to_owned()));
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_signing_service_are_never_shown() {
        let url: ServiceUrl =
            "https://user:hunter2@signer.example:9000/key-in-the-path?a=b".parse().expect("a URL");
        assert_eq!(format!("{url:?}"), "ServiceUrl(https://signer.example:9000)");
        for wrong in ["", "signer:9000", "ws://signer:9000", "unix:/run/signer"] {
            wrong.parse::<ServiceUrl>().expect_err(wrong);
        }
    }

    #[test]
    fn half_the_order_is_that_of_the_curve() {
        let half = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";
        assert_eq!(HALF_ORDER, U256::from_str_radix(half, 16).expect("a number"));
    }
}

//! The questions that are put to a node, with their answers in our words.

use ethers_core::abi::ethereum_types::BloomInput;
use ethers_core::types::{Bloom, Bytes, FeeHistory, H160, H256, Log, U64, U256};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use manifests::order::{Address, BlockRef, Hash};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::convert;
use crate::rpc::{Rpc, RpcError};

/// The state in which a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// After the newest block.
    #[default]
    Latest,
    /// After the newest block and what waits to be mined.
    Pending,
    /// After the block with this hash; a node that does not have it refuses.
    Block(Hash),
}

impl At {
    fn to_json(self) -> Value {
        match self {
            Self::Latest => json!("latest"),
            Self::Pending => json!("pending"),
            Self::Block(hash) => json!({ "blockHash": hash }),
        }
    }
}

/// What became of a mined transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) hash: Hash,
    pub(crate) block: u64,
    pub(crate) block_hash: Hash,
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    /// Wei per gas.
    pub(crate) gas_price: u128,
    pub(crate) created: Option<Address>,
    /// Whom it called; none if it created a contract.
    pub(crate) to: Option<Address>,
    /// What contracts said in it.
    pub(crate) logs: Vec<Log>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: H256,
    block_number: U64,
    block_hash: H256,
    status: U64,
    gas_used: U256,
    effective_gas_price: U256,
    contract_address: Option<H160>,
    to: Option<H160>,
    #[serde(default)]
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct RawBlock {
    number: U64,
    hash: H256,
    #[serde(rename = "parentHash")]
    parent: H256,
    timestamp: U256,
}

/// The receipt of a transaction, as far as what contracts said.
#[derive(Deserialize)]
struct RawLogs {
    logs: Vec<Log>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBloom {
    hash: H256,
    logs_bloom: Option<Bloom>,
}

impl RawBloom {
    /// Whether the filter allows that one of these contracts said anything. Without a filter nothing is ruled out.
    fn may_mention(&self, contracts: &[Address]) -> bool {
        self.logs_bloom.as_ref().is_none_or(|bloom| {
            contracts.iter().any(|contract| bloom.contains_input(BloomInput::Raw(&contract.0)))
        })
    }
}

/// The longest range of blocks that are looked at one by one when they are said to hold nothing.
const LOOKED_AT: u64 = 2048;

/// How many of them are asked for at once.
const AT_ONCE: usize = 16;

/// A call as a node wants it, without nonce and fees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a> {
    pub(crate) from: Option<Address>,
    pub(crate) to: Option<Address>,
    pub(crate) data: &'a [u8],
}

impl Probe<'_> {
    fn to_json(self) -> Value {
        let mut call = json!({ "data": Bytes::from(self.data.to_vec()) });
        if let Some(from) = self.from {
            call["from"] = json!(from);
        }
        if let Some(to) = self.to {
            call["to"] = json!(to);
        }
        call
    }
}

impl Rpc {
    pub(crate) async fn chain_id(&self) -> Result<u64, RpcError> {
        Ok(self.call::<_, U256>("eth_chainId", json!([])).await?.low_u64())
    }

    pub(crate) async fn code(&self, address: Address) -> Result<Vec<u8>, RpcError> {
        Ok(self.call::<_, Bytes>("eth_getCode", json!([address, "latest"])).await?.to_vec())
    }

    pub(crate) async fn block(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        self.block_by_number(&format!("{number:#x}")).await
    }

    /// The newest block that any endpoint has. All are asked when the best one is behind what was told before, or nothing new
    /// was told for a while.
    pub(crate) async fn head(&self) -> Result<Option<BlockRef>, RpcError> {
        let mut endpoints = self.each().into_iter();
        let mut failure = None;
        let mut best: Option<BlockRef> = None;
        for endpoint in endpoints.by_ref() {
            match endpoint.block_by_number("latest").await {
                Ok(head) => {
                    best = head;
                    if head.is_some_and(|head| endpoint.note_head(head.number)) {
                        return Ok(head);
                    }
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        let others = endpoints.map(async |endpoint| {
            let head = endpoint.block_by_number("latest").await.ok().flatten()?;
            endpoint.note_head(head.number);
            Some(head)
        });
        let heads = join_all(others).await.into_iter().flatten().chain(best);
        match (heads.max_by_key(|head| head.number), failure) {
            (None, Some(error)) => Err(error),
            (head, _) => Ok(head),
        }
    }

    async fn block_by_number(&self, tag: &str) -> Result<Option<BlockRef>, RpcError> {
        let block: Option<RawBlock> = self.call("eth_getBlockByNumber", json!([tag, false])).await?;
        Ok(block.as_ref().map(block_ref))
    }

    pub(crate) async fn block_by_hash(&self, hash: Hash) -> Result<Option<BlockRef>, RpcError> {
        Ok(self
            .call::<_, Option<RawBlock>>("eth_getBlockByHash", json!([hash, false]))
            .await?
            .as_ref()
            .map(block_ref))
    }

    /// What these contracts said in one block. Nodes are known to answer with nothing when they should not have: where the
    /// block's bloom filter does not rule the contracts out, nothing is believed only after the receipts, or else every endpoint,
    /// said so too.
    pub(crate) async fn logs_of_block(&self, hash: Hash, of: &[Address]) -> Result<Vec<Log>, RpcError> {
        let filter = json!({ "blockHash": hash, "address": of });
        let logs = self.logs(&filter).await?;
        if !logs.is_empty() || !self.may_mention(hash, of).await? {
            return Ok(logs);
        }
        for endpoint in self.each() {
            let receipts: Result<Option<Vec<RawLogs>>, _> =
                endpoint.call("eth_getBlockReceipts", json!([hash])).await;
            if let Ok(Some(receipts)) = receipts {
                let said = receipts.into_iter().flat_map(|receipt| receipt.logs);
                return Ok(said.filter(|log| of.contains(&convert::address(log.address))).collect());
            }
        }
        // No endpoint gives receipts by the block.
        for endpoint in self.each() {
            let logs = endpoint.logs(&filter).await?;
            if !logs.is_empty() {
                return Ok(logs);
            }
        }
        Ok(logs)
    }

    /// Whether the block's bloom filter allows that one of these contracts said anything in it.
    async fn may_mention(&self, hash: Hash, contracts: &[Address]) -> Result<bool, RpcError> {
        let block: Option<RawBloom> = self.call("eth_getBlockByHash", json!([hash, false])).await?;
        Ok(block.is_none_or(|block| block.may_mention(contracts)))
    }

    /// What these contracts said from block `first` to block `last`. As in [`Rpc::logs_of_block`] nothing is not believed at
    /// once: the other endpoints are asked too, and the blocks of a range that is not too long are looked at one by one.
    pub(crate) async fn logs_between(
        &self,
        first: u64,
        last: u64,
        of: &[Address],
    ) -> Result<Vec<Log>, RpcError> {
        let range =
            json!({ "fromBlock": format!("{first:#x}"), "toBlock": format!("{last:#x}"), "address": of });
        let logs = self.logs(&range).await?;
        if !logs.is_empty() {
            return Ok(logs);
        }
        let others = self.each();
        if others.len() > 1 {
            for endpoint in others {
                // One that cannot tell does not speak against the answer.
                if let Ok(logs) = endpoint.logs(&range).await
                    && !logs.is_empty()
                {
                    return Ok(logs);
                }
            }
        }
        if last.saturating_sub(first) >= LOOKED_AT {
            return Ok(logs);
        }
        let looks = stream::iter(first..=last).map(|number| async move {
            let params = json!([format!("{number:#x}"), false]);
            self.call::<_, Option<RawBloom>>("eth_getBlockByNumber", params).await
        });
        let blocks: Vec<Option<RawBloom>> = looks.buffered(AT_ONCE).try_collect().await?;
        let mut logs = Vec::new();
        for block in blocks.into_iter().flatten().filter(|block| block.may_mention(of)) {
            logs.extend(self.logs_of_block(convert::hash(block.hash), of).await?);
        }
        Ok(logs)
    }

    pub(crate) async fn logs(&self, filter: &Value) -> Result<Vec<Log>, RpcError> {
        self.call("eth_getLogs", json!([filter])).await
    }

    pub(crate) async fn eth_call(&self, probe: Probe<'_>, at: At) -> Result<Vec<u8>, RpcError> {
        Ok(self.call::<_, Bytes>("eth_call", json!([probe.to_json(), at.to_json()])).await?.to_vec())
    }

    pub(crate) async fn estimate_gas(&self, probe: Probe<'_>, at: At) -> Result<u64, RpcError> {
        let gas: U256 = self.call("eth_estimateGas", json!([probe.to_json(), at.to_json()])).await?;
        Ok(u64::try_from(gas).unwrap_or(u64::MAX))
    }

    pub(crate) async fn fee_history(&self, blocks: u64, percentile: f64) -> Result<FeeHistory, RpcError> {
        self.call("eth_feeHistory", json!([format!("{blocks:#x}"), "latest", [percentile]])).await
    }

    pub(crate) async fn nonce(&self, address: Address, at: At) -> Result<u64, RpcError> {
        let count: U256 = self.call("eth_getTransactionCount", json!([address, at.to_json()])).await?;
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    pub(crate) async fn native_balance(&self, address: Address) -> Result<u128, RpcError> {
        let wei: U256 = self.call("eth_getBalance", json!([address, "latest"])).await?;
        Ok(u128::try_from(wei).unwrap_or(u128::MAX))
    }

    pub(crate) async fn send_raw(&self, raw: &[u8]) -> Result<Hash, RpcError> {
        Ok(convert::hash(self.give("eth_sendRawTransaction", json!([Bytes::from(raw.to_vec())])).await?))
    }

    pub(crate) async fn receipt(&self, hash: Hash) -> Result<Option<Receipt>, RpcError> {
        let raw: Option<RawReceipt> = self.call("eth_getTransactionReceipt", json!([hash])).await?;
        Ok(raw.map(|raw| Receipt {
            hash: convert::hash(raw.transaction_hash),
            block: raw.block_number.as_u64(),
            block_hash: convert::hash(raw.block_hash),
            success: raw.status.as_u64() == 1,
            gas_used: u64::try_from(raw.gas_used).unwrap_or(u64::MAX),
            gas_price: u128::try_from(raw.effective_gas_price).unwrap_or(u128::MAX),
            created: raw.contract_address.map(convert::address),
            to: raw.to.map(convert::address),
            logs: raw.logs,
        }))
    }
}

fn block_ref(raw: &RawBlock) -> BlockRef {
    let RawBlock { number, hash, parent, timestamp } = *raw;
    BlockRef {
        number: number.as_u64(),
        hash: convert::hash(hash),
        parent: convert::hash(parent),
        timestamp: u64::try_from(timestamp).unwrap_or(u64::MAX),
    }
}

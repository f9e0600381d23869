//! The contracts on a node of their own, called by whom a move says, and read whole after every call.

use std::collections::BTreeMap;

use ethers_core::abi::{Abi, RawLog, Token};
use ethers_core::types::{Address, U256};
use serde_json::{Value, json};

use super::moves::{Deed, Hand, PROVIDERS, PURSES, STRANGER, TENANTS};
use super::rules::{AccountKey, Model, Numbers, OrderKey, Provider, Refusal, S, Stage};
use crate::anvil::Anvil;

/// Everything that can be seen, by name, as numbers.
pub(super) type Sight = BTreeMap<String, Vec<u128>>;

const SPEC: &[u8] = b"spec";
const TOKENS: u128 = 1_000_000_000_000;
const STAKE: u128 = 5_000_000_000;
const GAS: u64 = 12_000_000;

pub(super) struct Contracts {
    node: Anvil,
    abis: BTreeMap<&'static str, Abi>,
    addresses: BTreeMap<&'static str, Address>,
    /// The model of the day the contracts were deployed.
    pub start: Model,
    first_block: u64,
}

fn person(kind: u8, index: usize) -> Address {
    let mut bytes = [kind; 20];
    bytes[19] = u8::try_from(index).expect("few") + 1;
    Address::from(bytes)
}

fn tenant(index: usize) -> Address {
    person(0x11, index)
}

fn owner(index: usize) -> Address {
    person(0x22, index)
}

fn operator(index: usize) -> Address {
    person(0x33, index)
}

fn purse(index: usize) -> Address {
    person(0x44, index)
}

fn governor() -> Address {
    person(0x55, 0)
}

fn guardian() -> Address {
    person(0x66, 0)
}

fn treasury() -> Address {
    person(0x77, 0)
}

fn hand(hand: Hand) -> Address {
    match hand {
        Hand::Owner(index) => owner(index),
        Hand::Operator(index) => operator(index),
        Hand::Stranger => tenant(STRANGER),
    }
}

fn word(key: AccountKey, gseq: u16, oseq: u16) -> [u8; 32] {
    let mut word = [0; 32];
    word[..20].copy_from_slice(tenant(key.tenant).as_bytes());
    word[20..28].copy_from_slice(&key.dseq.to_be_bytes());
    word[28..30].copy_from_slice(&gseq.to_be_bytes());
    word[30..].copy_from_slice(&oseq.to_be_bytes());
    word
}

fn account_id(key: AccountKey) -> Token {
    Token::FixedBytes(word(key, 0, 0).to_vec())
}

fn order_id(key: OrderKey) -> Token {
    Token::FixedBytes(word(key.account, key.gseq, key.oseq).to_vec())
}

/// The order that a word names.
pub(super) fn order_of(word: &[u8]) -> OrderKey {
    let number = |range: std::ops::Range<usize>| {
        word[range].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let account = AccountKey { tenant: usize::from(word[19]) - 1, dseq: number(20..28) };
    let small = |range| u16::try_from(number(range)).expect("two bytes");
    OrderKey { account, gseq: small(28..30), oseq: small(30..32) }
}

fn uint(number: impl Into<u128>) -> Token {
    Token::Uint(U256::from(number.into()))
}

fn hash(bytes: &[u8]) -> Token {
    Token::FixedBytes(ethers_core::utils::keccak256(bytes).to_vec())
}

/// The number that a word of an answer is. Addresses of people are their last byte.
pub(super) fn number(token: &Token) -> u128 {
    match token {
        Token::Uint(number) => {
            if *number > U256::from(u128::MAX) {
                u128::MAX
            } else {
                number.as_u128()
            }
        }
        Token::Address(address) => u128::from(address.as_bytes()[19]),
        Token::Bool(flag) => u128::from(*flag),
        Token::FixedBytes(bytes) => {
            bytes.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
        }
        other => panic!("{other} is no number"),
    }
}

fn fields(token: &Token) -> Vec<u128> {
    match token {
        Token::Tuple(fields) => fields
            .iter()
            .map(|field| if matches!(field, Token::String(_)) { 0 } else { number(field) })
            .collect(),
        other => panic!("{other} is no struct"),
    }
}

impl Contracts {
    /// Deploys everything, registers the providers and gives everybody tokens; `None` where there is no node.
    pub(super) async fn deploy() -> Option<Self> {
        let node = Anvil::start()?;
        let names = ["Market", "MarketLens", "Params", "ProviderRegistry", "TestToken"];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/artifacts");
        let artifact = |name: &str| -> Value {
            let text = std::fs::read_to_string(format!("{folder}/{name}.json")).expect("committed");
            serde_json::from_str(&text).expect("JSON")
        };
        let abis = names
            .map(|name| (name, serde_json::from_value(artifact(name)["abi"].clone()).expect("an interface")));
        let numbers =
            Numbers { fee_bps: 0, min_runway: 0, bond_secs: 0, least_order: 0, most_order: 0, min_stake: 0 };
        let start = Model {
            now: 0,
            numbers,
            accounts: BTreeMap::new(),
            orders: BTreeMap::new(),
            providers: Vec::new(),
            tenants: vec![TOKENS; TENANTS + 1],
            purses: vec![0; PURSES],
            treasury: 0,
            market: 0,
            registry: 0,
            fees: 0,
            dust: 0,
            paused_until: 0,
            pause_spent: false,
        };
        let mut it = Self { node, abis: abis.into(), addresses: BTreeMap::new(), start, first_block: 0 };
        it.node.ask("anvil_autoImpersonateAccount", json!([true])).await;
        let people =
            (0..=TENANTS).map(tenant).chain((0..PROVIDERS).flat_map(|index| [owner(index), operator(index)]));
        for address in people.chain([governor(), guardian()]) {
            it.node.ask("anvil_setBalance", json!([address, "0xffffffffffffffffffff"])).await;
        }
        let bytecode = |name: &str| artifact(name)["bytecode"].as_str().expect("bytecode").to_owned();
        let token = it.create("TestToken", &bytecode("TestToken"), &[]).await;
        let roles = [governor(), treasury(), guardian()].map(Token::Address);
        let params = it.create("Params", &bytecode("Params"), &roles).await;
        let market = it.create("Market", &bytecode("Market"), &[token, params].map(Token::Address)).await;
        let Some(Token::Address(registry)) = it.read("Market", "registry", &[]).await.pop() else {
            panic!("the market has a registry")
        };
        it.addresses.insert("ProviderRegistry", registry);
        it.create("MarketLens", &bytecode("MarketLens"), &[Token::Address(market)]).await;
        let all = Token::Uint(U256::MAX);
        for address in (0..=TENANTS).map(tenant) {
            it.must(address, "TestToken", "mint", &[Token::Address(address), uint(TOKENS)]).await;
            for spender in [market, registry] {
                it.must(address, "TestToken", "approve", &[Token::Address(spender), all.clone()]).await;
            }
        }
        for index in 0..PROVIDERS {
            it.must(owner(index), "TestToken", "mint", &[Token::Address(owner(index)), uint(STAKE)]).await;
            it.must(owner(index), "TestToken", "approve", &[Token::Address(registry), all.clone()]).await;
            let zero = Token::FixedBytes(vec![0; 32]);
            let uri = Token::String("https://p".into());
            let register =
                [Token::Address(operator(index)), Token::Address(purse(index)), uri, zero, uint(STAKE)];
            it.must(owner(index), "ProviderRegistry", "register", &register).await;
            it.start.providers.push(Provider { stake: STAKE, purse: index, ..Provider::default() });
            it.start.registry += STAKE;
        }
        let values = fields(&it.read("Params", "values", &[]).await[0]);
        it.start.numbers = Numbers {
            fee_bps: values[0],
            min_runway: values[1],
            bond_secs: values[2],
            least_order: u64::try_from(values[3]).expect("32 bits"),
            most_order: u64::try_from(values[4]).expect("32 bits"),
            min_stake: values[5],
        };
        let head = it.node.ask("eth_getBlockByNumber", json!(["latest", false])).await;
        it.start.now = hex_number(&head["timestamp"]);
        it.first_block = hex_number(&head["number"]) + 1;
        Some(it)
    }

    pub(super) async fn snapshot(&self) -> Value {
        self.node.ask("evm_snapshot", json!([])).await
    }

    pub(super) async fn revert_to(&self, snapshot: Value) {
        self.node.ask("evm_revert", json!([snapshot])).await;
    }

    async fn create(&mut self, name: &'static str, bytecode: &str, arguments: &[Token]) -> Address {
        let code = hex::decode(bytecode.trim_start_matches("0x")).expect("hex");
        let data = match self.abis[name].constructor() {
            Some(constructor) => constructor.encode_input(code, arguments).expect("its arguments"),
            None => code,
        };
        let transaction = json!({ "from": governor(), "gas": format!("{GAS:#x}"), "data": format!("0x{}", hex::encode(data)) });
        let sent = self.node.ask("eth_sendTransaction", json!([transaction])).await;
        let receipt = self.receipt(&sent).await;
        assert_eq!(receipt["status"], "0x1", "{name} is not deployed: {receipt}");
        let address = serde_json::from_value(receipt["contractAddress"].clone()).expect("an address");
        self.addresses.insert(name, address);
        address
    }

    async fn must(&self, from: Address, contract: &str, function: &str, arguments: &[Token]) {
        let answer = self.send(from, contract, function, arguments).await;
        assert_eq!(answer, Ok(()), "{contract}.{function}");
    }

    fn data(&self, contract: &str, function: &str, arguments: &[Token]) -> String {
        let function = self.abis[contract].function(function).expect("it is there");
        format!("0x{}", hex::encode(function.encode_input(arguments).expect("its arguments")))
    }

    /// Sends a call that is mined at once; answers with the error it reverted with.
    async fn send(
        &self,
        from: Address,
        contract: &str,
        function: &str,
        arguments: &[Token],
    ) -> Result<(), Refusal> {
        let transaction = self.transaction(from, contract, function, arguments);
        let sent = self.node.ask("eth_sendTransaction", json!([transaction])).await;
        self.outcome(sent).await
    }

    fn transaction(&self, from: Address, contract: &str, function: &str, arguments: &[Token]) -> Value {
        json!({
            "from": from,
            "to": self.addresses[contract],
            "gas": format!("{GAS:#x}"),
            "data": self.data(contract, function, arguments),
        })
    }

    async fn outcome(&self, sent: Value) -> Result<(), Refusal> {
        let receipt = self.receipt(&sent).await;
        if receipt["status"] == "0x1" {
            return Ok(());
        }
        let trace = self.node.ask("debug_traceTransaction", json!([sent, { "tracer": "callTracer" }])).await;
        let told = trace["output"].as_str().unwrap_or_default().trim_start_matches("0x");
        let told = hex::decode(told).expect("hex");
        Err(self.refusal(&told).unwrap_or_else(|| panic!("a call reverted with {told:02x?}")))
    }

    /// The node mines at once, and tells a moment later.
    async fn receipt(&self, sent: &Value) -> Value {
        let mined = async {
            loop {
                let receipt = self.node.ask("eth_getTransactionReceipt", json!([sent])).await;
                if !receipt.is_null() {
                    return receipt;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), mined).await.expect("mined in time")
    }

    fn refusal(&self, told: &[u8]) -> Option<Refusal> {
        let selector = told.get(..4)?;
        let errors = self.abis.values().flat_map(|abi| abi.errors());
        let error = errors.into_iter().find(|error| error.signature().as_bytes()[..4] == *selector)?;
        let numbers = error.decode(&told[4..]).ok()?.iter().map(number).collect();
        // Names live as long as the program does; there are few.
        Some(Refusal { error: error.name.clone().leak(), numbers })
    }

    async fn read(&self, contract: &str, function: &str, arguments: &[Token]) -> Vec<Token> {
        self.read_all(&[(contract, function, arguments.to_vec())]).await.remove(0)
    }

    /// Many reads of one block, in one question.
    async fn read_all(&self, reads: &[(&str, &str, Vec<Token>)]) -> Vec<Vec<Token>> {
        let questions = reads.iter().map(|(contract, function, arguments)| {
            let call =
                json!({ "to": self.addresses[contract], "data": self.data(contract, function, arguments) });
            ("eth_call", json!([call, "latest"]))
        });
        let answers = self.node.ask_all(questions).await;
        let decoded = reads.iter().zip(answers).map(|((contract, function, _), answer)| {
            let bytes = hex::decode(answer.as_str().expect("data").trim_start_matches("0x")).expect("hex");
            self.abis[contract].function(function).expect("there").decode_output(&bytes).expect("an answer")
        });
        decoded.collect()
    }

    /// Does a deed in a block of the second `at`.
    pub(super) async fn perform(&self, deed: &Deed, at: u64) -> Result<(), Refusal> {
        self.node.next_block_at(at).await;
        let market = |from: Address, function: &'static str, arguments: Vec<Token>| {
            (from, "Market", function, arguments)
        };
        let registry = |from: Address, function: &'static str, arguments: Vec<Token>| {
            (from, "ProviderRegistry", function, arguments)
        };
        let anyone = tenant(STRANGER);
        let spec = || Token::Bytes(SPEC.to_vec());
        let (from, contract, function, arguments) = match deed.clone() {
            Deed::Open { key } => {
                market(tenant(key.tenant), "createDeployment", vec![uint(key.dseq), hash(b"manifest")])
            }
            Deed::Deposit { from, key, amount } => {
                market(tenant(from), "deposit", vec![account_id(key), uint(amount)])
            }
            Deed::Refund { by, key, amount } => {
                let amount = amount.map_or(Token::Uint(U256::MAX), uint);
                market(tenant(by), "refund", vec![account_id(key), amount])
            }
            Deed::Post { key, terms } => {
                let arguments = vec![order_id(key), terms_token(&terms), spec()];
                market(tenant(key.account.tenant), "createOrder", arguments)
            }
            Deed::Reorder { prev, terms } => {
                let arguments = vec![order_id(prev), terms_token(&terms), spec()];
                market(tenant(prev.account.tenant), "reorder", arguments)
            }
            Deed::Cancel { by, key } => market(tenant(by), "cancelOrder", vec![order_id(key)]),
            Deed::Bid { provider, key, bid } => {
                let (of, spec) = (Token::Address(owner(provider)), hash(SPEC));
                let terms = [bid.rate, bid.expires.into(), bid.reclaim, bid.min_bill].map(uint);
                market(
                    operator(provider),
                    "placeBid",
                    [order_id(key), of, spec].into_iter().chain(terms).collect(),
                )
            }
            Deed::WithdrawBid { provider, key } => market(
                operator(provider),
                "withdrawBid",
                vec![order_id(key), Token::Address(owner(provider))],
            ),
            Deed::Accept { by, key, provider, stale } => {
                let terms = self.terms_hash(key, provider, stale).await;
                let arguments = vec![order_id(key), Token::Address(owner(provider)), terms];
                market(tenant(by), "acceptBid", arguments)
            }
            Deed::Award { key } => market(anyone, "award", vec![order_id(key)]),
            Deed::Notice { by, key } => market(hand(by), "startReclaim", vec![order_id(key), uint(102_u8)]),
            Deed::CloseByTenant { by, key, reason } => {
                market(tenant(by), "closeLease", vec![order_id(key), uint(reason)])
            }
            Deed::CloseByProvider { by, key, reason } => {
                market(hand(by), "closeLease", vec![order_id(key), uint(reason)])
            }
            Deed::Expire { key } => market(anyone, "expireOrder", vec![order_id(key)]),
            Deed::Finalize { key } => market(anyone, "finalize", vec![order_id(key)]),
            Deed::Withdraw { keys } => {
                market(anyone, "withdraw", vec![Token::Array(keys.into_iter().map(order_id).collect())])
            }
            Deed::Collect => market(anyone, "collectFees", vec![]),
            Deed::Turn { numbers } => {
                let values = [
                    numbers.fee_bps,
                    numbers.min_runway,
                    numbers.bond_secs,
                    numbers.least_order.into(),
                    numbers.most_order.into(),
                    numbers.min_stake,
                ];
                let values = Token::Tuple(values.map(uint).to_vec());
                // Both in one block, so that no other number rules between.
                self.node.mine_by_hand().await;
                let set = self.transaction(governor(), "Params", "setValues", &[values]);
                self.node.ask("eth_sendTransaction", json!([set])).await;
                let sync = self.transaction(anyone, "Market", "syncParams", &[]);
                let sent = self.node.ask("eth_sendTransaction", json!([sync])).await;
                self.node.mine().await;
                self.node.ask("evm_setAutomine", json!([true])).await;
                return self.outcome(sent).await;
            }
            Deed::AddStake { from, provider, amount } => {
                registry(tenant(from), "addStake", vec![Token::Address(owner(provider)), uint(amount)])
            }
            Deed::AskForStake { provider } => registry(owner(provider), "requestUnstake", vec![]),
            Deed::TakeStake { provider, amount } => registry(owner(provider), "unstake", vec![uint(amount)]),
            Deed::Retire { provider } => registry(owner(provider), "retire", vec![]),
            Deed::ChangePurse { provider, purse: to } => {
                registry(owner(provider), "setPayout", vec![Token::Address(purse(to))])
            }
            Deed::Claim { provider, bits } => {
                let arguments = vec![Token::Address(owner(provider)), uint(bits)];
                registry(operator(provider), "setCapabilities", arguments)
            }
            Deed::Pause => market(guardian(), "pause", vec![]),
            Deed::Unpause => market(guardian(), "unpause", vec![]),
            Deed::Rearm => market(governor(), "rearmPause", vec![]),
        };
        self.send(from, contract, function, &arguments).await
    }

    /// The hash of what the bid says, or of something else.
    async fn terms_hash(&self, key: OrderKey, provider: usize, stale: bool) -> Token {
        let arguments = [order_id(key), Token::Address(owner(provider))];
        let bid = fields(&self.read("MarketLens", "bid", &arguments).await[0]);
        let rate = bid[1] + u128::from(stale);
        let terms = ethers_core::abi::encode(&[rate, bid[3], bid[4], bid[2]].map(uint));
        hash(&terms)
    }

    /// All that happened since the deployment, in order: the second, and the event by name with its words.
    pub(super) async fn log(&self) -> Vec<(u64, String, String, BTreeMap<String, Token>)> {
        let filter = json!([{ "fromBlock": format!("{:#x}", self.first_block) }]);
        let logs = self.node.ask("eth_getLogs", filter).await;
        let mut told = Vec::new();
        for log in logs.as_array().expect("a list") {
            let topics: Vec<ethers_core::types::H256> =
                serde_json::from_value(log["topics"].clone()).expect("topics");
            let data =
                hex::decode(log["data"].as_str().expect("data").trim_start_matches("0x")).expect("hex");
            let mut events = self.abis.values().flat_map(|abi| abi.events());
            let Some(event) = events.find(|event| event.signature() == topics[0]) else { continue };
            let parsed = event.parse_log(RawLog { topics, data }).expect("its words");
            let words = parsed.params.into_iter().map(|word| (word.name, word.value)).collect();
            let second = hex_number(&log["blockTimestamp"]);
            let transaction = log["transactionHash"].as_str().expect("a hash").to_owned();
            told.push((second, transaction, event.name.clone(), words));
        }
        told
    }

    /// Everything there is to see of what the model knows of.
    pub(super) async fn sight(&self, model: &Model) -> Sight {
        let accounts: Vec<AccountKey> = model.accounts.keys().copied().collect();
        let orders: Vec<OrderKey> = model.orders.keys().copied().collect();
        let list = |tokens: Vec<Token>| vec![Token::Array(tokens)];
        let ids: Vec<Token> = orders.iter().map(|key| order_id(*key)).collect();
        let mut reads: Vec<(&str, &str, Vec<Token>)> = vec![
            ("MarketLens", "accounts", list(accounts.iter().map(|key| account_id(*key)).collect())),
            ("MarketLens", "orders", list(ids.clone())),
            ("MarketLens", "leases", list(ids.clone())),
            ("MarketLens", "accruals", list(ids.clone())),
            ("MarketLens", "kept", vec![]),
            ("MarketLens", "rules", vec![]),
        ];
        for index in 0..PROVIDERS {
            let owners = vec![Token::Address(owner(index)); ids.len()];
            reads.push(("MarketLens", "bids", vec![Token::Array(ids.clone()), Token::Array(owners)]));
            reads.push(("ProviderRegistry", "provider", vec![Token::Address(owner(index))]));
            reads.push(("ProviderRegistry", "reputationOf", vec![Token::Address(owner(index))]));
        }
        let people = (0..=TENANTS).map(tenant).chain((0..PURSES).map(purse));
        let contracts = ["Market", "ProviderRegistry"].map(|name| self.addresses[name]);
        for address in people.chain([treasury()]).chain(contracts) {
            reads.push(("TestToken", "balanceOf", vec![Token::Address(address)]));
        }
        let mut answers = self.read_all(&reads).await.into_iter();
        let mut next = || answers.next().expect("an answer each");
        let rows = |answer: Vec<Token>| match answer.into_iter().next() {
            Some(Token::Array(rows)) => rows,
            other => panic!("{other:?} is no list"),
        };
        let mut sight = Sight::new();
        for (key, row) in accounts.iter().zip(rows(next())) {
            let row = fields(&row);
            sight.insert(format!("{key:?}"), vec![row[0], row[3], row[5], row[6], row[7], row[8]]);
        }
        for (key, row) in orders.iter().zip(rows(next())) {
            let row = fields(&row);
            sight.insert(format!("{key:?}"), vec![row[0], row[8], row[9], row[10], row[11]]);
        }
        for (key, row) in orders.iter().zip(rows(next())) {
            let row = fields(&row);
            if row[0] != 0 {
                let shown =
                    [row[0], row[2], row[3], row[4], row[6], row[8], row[9], row[11], row[13], row[14]];
                sight.insert(format!("lease {key:?}"), shown.to_vec());
            }
        }
        for (key, row) in orders.iter().zip(rows(next())) {
            let row = fields(&row);
            sight.insert(format!("accrued {key:?}"), row[..3].to_vec());
        }
        sight.insert("kept".into(), next().iter().map(number).collect());
        let rules = fields(&next()[0]);
        sight.insert("rules".into(), vec![rules[0], rules[1], rules[2], rules[3], rules[4]]);
        for index in 0..PROVIDERS {
            for (key, row) in orders.iter().zip(rows(next())) {
                let row = fields(&row);
                if row[0] != 0 {
                    sight.insert(format!("bid {index} on {key:?}"), vec![row[0], row[1], row[3], row[4]]);
                }
            }
            let record = self.named("ProviderRegistry", "provider", &next()[0]);
            let shown = ["state", "payout", "stake", "locked", "unbondAt", "active", "capabilities"];
            sight.insert(format!("provider {index}"), shown.map(|name| record[name]).to_vec());
            sight.insert(format!("reputation {index}"), fields(&next()[0]));
        }
        for index in 0..=TENANTS {
            sight.insert(format!("tokens of tenant {index}"), vec![number(&next()[0])]);
        }
        for index in 0..PURSES {
            sight.insert(format!("tokens of purse {index}"), vec![number(&next()[0])]);
        }
        for name in ["treasury", "market", "registry"] {
            sight.insert(format!("tokens of {name}"), vec![number(&next()[0])]);
        }
        sight
    }

    /// The words of a struct that a function answers with, by their names.
    fn named(&self, contract: &str, function: &str, answer: &Token) -> BTreeMap<String, u128> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/artifacts");
        let text = std::fs::read_to_string(format!("{folder}/{contract}.json"));
        let artifact: Value = serde_json::from_str(&text.expect("committed")).expect("JSON");
        let abi = artifact["abi"].as_array().expect("a list");
        let entry = abi.iter().find(|entry| entry["name"] == function).expect("it is there");
        let names = entry["outputs"][0]["components"].as_array().expect("a struct").iter();
        let names = names.map(|component| component["name"].as_str().expect("a name").to_owned());
        names.zip(fields(answer)).collect()
    }
}

fn terms_token(terms: &super::rules::Terms) -> Token {
    Token::Tuple(vec![
        hash(b"cpu"),
        uint(terms.max_rate),
        uint(terms.expires),
        uint(terms.min_reclaim),
        uint(terms.bits),
        uint(0_u8),
        uint(u8::from(terms.lowest_by.is_some())),
        uint(terms.lowest_by.unwrap_or_default()),
    ])
}

fn hex_number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().expect("a number").trim_start_matches("0x"), 16).expect("hex")
}

/// What the model says is to be seen.
pub(super) fn expected(model: &Model) -> Sight {
    let mut sight = Sight::new();
    for (key, account) in &model.accounts {
        let state = if account.ended.is_some() { 2 } else { 1 };
        let shown = [
            state,
            model.rate_sum(*key),
            model.funded_until(*key).into(),
            account.scaled / S,
            account.scaled,
            model.refundable(*key),
        ];
        sight.insert(format!("{key:?}"), shown.to_vec());
    }
    for (key, order) in &model.orders {
        let best = order.best.map_or(0, |best| best as u128 + 1);
        let rate = order.best.map_or(0, |best| order.bids[&best].rate);
        let (mode, deadline) = order.terms.lowest_by.map_or((0, 0), |deadline| (1, u128::from(deadline)));
        sight.insert(format!("{key:?}"), vec![model.state(*key), mode, deadline, best, rate]);
        let mut accrued = vec![0, 0, 0];
        if let Stage::Leased(lease) = &order.stage {
            let until = model.funded_until(key.account);
            let (end, reason) = lease.end.unwrap_or_default();
            let billable = if lease.end.is_some() { end } else { model.now.min(until) };
            let shown = [
                model.state(*key),
                lease.provider as u128 + 1,
                lease.rate,
                lease.started.into(),
                billable.into(),
                end.into(),
                reason.into(),
                lease.notice.unwrap_or_default().into(),
                lease.fee_bps,
                lease.bond,
            ];
            sight.insert(format!("lease {key:?}"), shown.to_vec());
            let gross = lease.earned / S;
            let fee = gross * lease.fee_bps / 10_000;
            accrued = vec![gross - fee, fee, lease.earned];
        }
        sight.insert(format!("accrued {key:?}"), accrued);
        for (provider, bid) in &order.bids {
            let shown = [model.bid_state(*key, *provider), bid.rate, bid.reclaim, bid.min_bill];
            sight.insert(format!("bid {provider} on {key:?}"), shown.to_vec());
        }
    }
    sight.insert("kept".into(), vec![model.fees, model.dust]);
    let numbers = model.numbers;
    let paused = model.paused_until.into();
    let rules = [paused, model.pause_spent.into(), numbers.fee_bps, numbers.min_runway, numbers.bond_secs];
    sight.insert("rules".into(), rules.to_vec());
    for (index, provider) in model.providers.iter().enumerate() {
        let shown = [
            if provider.retired { 2 } else { 1 },
            provider.purse as u128 + 1,
            provider.stake,
            provider.locked,
            provider.unbond_at.into(),
            provider.active,
            provider.bits,
        ];
        sight.insert(format!("provider {index}"), shown.to_vec());
        let reputation =
            [provider.served, provider.fees, provider.completed, provider.early, provider.slashes];
        sight.insert(format!("reputation {index}"), reputation.to_vec());
    }
    for (index, tokens) in model.tenants.iter().enumerate() {
        sight.insert(format!("tokens of tenant {index}"), vec![*tokens]);
    }
    for (index, tokens) in model.purses.iter().enumerate() {
        sight.insert(format!("tokens of purse {index}"), vec![*tokens]);
    }
    sight.insert("tokens of treasury".into(), vec![model.treasury]);
    sight.insert("tokens of market".into(), vec![model.market]);
    sight.insert("tokens of registry".into(), vec![model.registry]);
    sight
}

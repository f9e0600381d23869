//! Exit codes, so that scripts can tell endings apart.

use std::fmt;
use std::process::ExitCode;

use market::ConnectError;
use market::api::ErrorKind;
use market::client::ClientError;
use market::revert::MarketError;
use market::sender::SendError;
use market::wallet::WalletError;

/// An ending with a code of its own and a sentence.
#[derive(Debug)]
pub(crate) struct Ending {
    code: u8,
    sentence: String,
}

impl Ending {
    /// 1: the answer is no, such as for a document that is refused.
    pub(crate) const REFUSED: u8 = 1;
    /// 2: the command or the document is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// 3: there is no such thing.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// 4: nobody bid.
    pub(crate) const NO_BIDS: u8 = 4;
    /// 5: a key or a signature was not accepted.
    pub(crate) const AUTH: u8 = 5;
    /// 6: too little money.
    pub(crate) const FUNDS: u8 = 6;
    /// 7: the provider cannot be reached.
    pub(crate) const UNREACHABLE: u8 = 7;
    /// 8: the lease is over.
    pub(crate) const CLOSED: u8 = 8;
    /// 124: it took too long.
    pub(crate) const TIMEOUT: u8 = 124;
    /// 130: interrupted from the keyboard.
    pub(crate) const INTERRUPTED: u8 = 130;

    /// Whether nobody bid.
    pub(crate) fn is_no_bids(&self) -> bool {
        self.code == Self::NO_BIDS
    }

    pub(crate) fn error(code: u8, sentence: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { code, sentence: sentence.into() })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Ending {}

/// The code of an error: that of the innermost cause that has one, otherwise 1.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(of_cause).unwrap_or(1))
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(ending) = cause.downcast_ref::<Ending>() {
        return Some(ending.code);
    }
    if let Some(error) = cause.downcast_ref::<ClientError>() {
        return Some(match error.refusal() {
            Some(ErrorKind::Unauthorized) => Ending::AUTH,
            Some(ErrorKind::LeaseClosed) => Ending::CLOSED,
            Some(ErrorKind::NotFound | ErrorKind::LeaseUnknown) => Ending::NOT_FOUND,
            _ => Ending::UNREACHABLE,
        });
    }
    if cause.downcast_ref::<WalletError>().is_some() {
        return Some(Ending::AUTH);
    }
    if let Some(
        ConnectError::WrongChain { .. } | ConnectError::NoCode { .. } | ConnectError::NotAMarket { .. },
    ) = cause.downcast_ref::<ConnectError>()
    {
        return Some(Ending::USAGE);
    }
    let refusal = match cause.downcast_ref::<SendError>() {
        Some(SendError::NotTaken { .. }) => return Some(Ending::FUNDS),
        Some(SendError::Refused(refusal)) => Some(refusal),
        _ => None,
    };
    match refusal {
        Some(MarketError::RunwayTooShort { .. } | MarketError::ERC20InsufficientBalance { .. }) => {
            Some(Ending::FUNDS)
        }
        Some(MarketError::AccountDepleted { .. }) => Some(Ending::CLOSED),
        Some(MarketError::NotTenant) => Some(Ending::AUTH),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_keeps_its_code_under_context() {
        let error = Err::<(), _>(Ending::error(Ending::NO_BIDS, "nobody bid")).context("failed to start web");
        assert_eq!(code_of(&error.expect_err("failed")), ExitCode::from(4));
        let funds = anyhow::Error::new(SendError::Refused(MarketError::RunwayTooShort { have: 1, need: 2 }));
        assert_eq!(code_of(&funds), ExitCode::from(6));
        assert_eq!(code_of(&anyhow::anyhow!("anything")), ExitCode::from(1));
    }
}

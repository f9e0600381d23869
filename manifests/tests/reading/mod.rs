//! Documents of which a test knows whether they are accepted.

use manifests::problem::Problem;
use manifests::{Deployment, parse};

pub(crate) fn accepted(text: &str) -> Deployment {
    parse(text).unwrap_or_else(|problems| panic!("refused: {}\n{text}", problems[0]))
}

pub(crate) fn refused(text: &str) -> Vec<Problem> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems,
    }
}
